/*
 * Parts of a checkpoint: groups, and their dead letters.
 *
 * Of the positions between floor and `looked` (how far the group has read) only the unsettled ones are listed: the rest is
 * settled or does not match. Behind `looked` it is the other way round: only what is known is listed.
 */
#include "base/status.h"
#include "bus/internal.h"
#include "bus/state.h"

typedef struct group_frame {
    uint32_t name_bytes, config_bytes, known_count, bits;
    uint64_t floor, looked, replay_until;
} group_frame;

enum { GROUP_PAUSED = 1, GROUP_MATCHED = 2, GROUP_BREAKER_OPEN = 4 };
enum { KNOWN_DONE = 1, KNOWN_REMOTE = 2 };

typedef struct known_frame {
    uint64_t pos, token;
    uint32_t attempts, bits;
} known_frame;

/* A piece of n bytes from the front of rest; NULL p when it is not there. */
static nexus_slice cut(nexus_slice *rest, size_t n)
{
    if (rest->n < n)
        return (nexus_slice){NULL, 0};
    nexus_slice piece = nexus__slice(rest->p, n);
    *rest = nexus__slice_from(*rest, n);
    return piece;
}

static nexus__bgroup *nth_group(nexus__broker *b, size_t i)
{
    pthread_mutex_lock(&b->groups_lock);
    nexus__bgroup *g = i < b->group_count ? b->group_list[i] : NULL;
    pthread_mutex_unlock(&b->groups_lock);
    return g;
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

static void list_window(const nexus__bgroup *g, nexus__buf *out, group_frame *head)
{
    for (const nexus__list *n = g->window.next; n != &g->window; n = n->next) {
        const entry *e = NEXUS__CONTAINER(n, entry, in_window);
        known_frame k = {e->pos, e->state == ENTRY_LEASED ? e->token : 0, e->attempts, e->remote ? KNOWN_REMOTE : 0};
        if (e->state == ENTRY_COMMITTING) /* settled if its commit is; if that fails, so does the checkpoint */
            continue;
        nexus__buf_append(out, &k, sizeof k);
        head->known_count++;
    }
}

static void list_known(const nexus__bgroup *g, nexus__buf *out, group_frame *head)
{
    size_t cursor = 0;
    for (nexus__map_entry *m; (m = nexus__map_next(&g->known, &cursor));) {
        const known *k = m->value;
        if (k->pos <= g->loaded)
            continue;
        known_frame f = {k->pos, k->token, k->attempts, (k->done ? KNOWN_DONE : 0u) | (k->remote ? KNOWN_REMOTE : 0u)};
        nexus__buf_append(out, &f, sizeof f);
        head->known_count++;
    }
}

static uint32_t bits_of(const nexus__bgroup *g)
{
    bool open = nexus__breaker_state(&g->breaker, nexus__mono_ns()) == NEXUS_BREAKER_OPEN;
    return (g->paused ? GROUP_PAUSED : 0u) | (g->matched ? GROUP_MATCHED : 0u) | (open ? GROUP_BREAKER_OPEN : 0u);
}

static nexus_status write_group(nexus__bgroup *g, nexus__state_out *out)
{
    nexus__buf frame;
    nexus__buf_init(&frame, g->broker->alloc, 0);
    pthread_mutex_lock(&g->lock);
    group_frame head = {.name_bytes = (uint32_t)strlen(g->name),
                        .config_bytes = (uint32_t)g->config_n,
                        .bits = bits_of(g),
                        .floor = g->floor,
                        .replay_until = g->replay_until,
                        .looked = g->loaded > g->resumed ? g->loaded : g->resumed};
    nexus__buf_append(&frame, &head, sizeof head);
    nexus__buf_append(&frame, g->name, head.name_bytes);
    nexus__buf_append(&frame, g->config_bytes, head.config_bytes);
    list_window(g, &frame, &head);
    list_known(g, &frame, &head);
    nexus__bgroup_list_audit(g, &frame);
    pthread_mutex_unlock(&g->lock);
    if (frame.status == NEXUS_OK)
        memcpy(frame.p, &head, sizeof head);
    nexus_status status = frame.status == NEXUS_OK ? nexus__state_put(out, nexus__buf_slice(&frame)) : nexus__nomem();
    nexus__buf_free(&frame);
    return status;
}

static nexus_status write_groups(nexus__broker *b, nexus__state_out *out)
{
    nexus_status status = NEXUS_OK;
    nexus__bgroup *g;
    for (size_t i = 0; status == NEXUS_OK && (g = nth_group(b, i)); i++)
        status = write_group(g, out);
    return status;
}

static nexus_status know(nexus__bgroup *g, const known_frame *f)
{
    known *k = nexus__bgroup_know(g, f->pos);
    if (!k)
        return nexus__nomem();
    k->token = f->token;
    k->attempts = f->attempts;
    k->done = f->bits & KNOWN_DONE;
    k->remote = f->bits & KNOWN_REMOTE;
    return NEXUS_OK;
}

static nexus_status read_group(nexus__broker *b, nexus_slice frame)
{
    group_frame head;
    nexus_slice fixed = cut(&frame, sizeof head);
    if (!fixed.p)
        return nexus__fail(NEXUS_ECORRUPT, "a group is cut short");
    memcpy(&head, fixed.p, sizeof head);
    nexus_slice name = cut(&frame, head.name_bytes), config = cut(&frame, head.config_bytes);
    nexus_slice list = cut(&frame, head.known_count * sizeof(known_frame));
    if (!name.p || !config.p || !list.p)
        return nexus__fail(NEXUS_ECORRUPT, "a group is cut short");
    nexus__bgroup *g;
    nexus_status status = nexus__bgroup_new(b, name, config, &g);
    if (status != NEXUS_OK)
        return status;
    g->floor = g->loaded = head.floor;
    g->resumed = head.looked;
    g->replay_until = head.replay_until;
    g->matched = head.bits & GROUP_MATCHED;
    nexus__bgroup_control(g, CONTROL_PAUSE, head.bits & GROUP_PAUSED);
    if (head.bits & GROUP_BREAKER_OPEN)
        nexus__bgroup_control(g, CONTROL_BREAKER, 1);
    for (uint32_t i = 0; i < head.known_count && status == NEXUS_OK; i++) {
        known_frame k;
        memcpy(&k, list.p + i * sizeof k, sizeof k);
        status = know(g, &k);
    }
    if (status == NEXUS_OK)
        status = nexus__bgroup_keep_audit(g, frame);
    nexus__bgroup_audit_is_kept(g);
    return status;
}

/* What a group has not passed stays. */
static uint64_t groups_need(nexus__broker *b)
{
    uint64_t first = UINT64_MAX;
    nexus__bgroup *g;
    for (size_t i = 0; (g = nth_group(b, i)); i++) {
        pthread_mutex_lock(&g->lock);
        first = g->floor + 1 < first ? g->floor + 1 : first;
        pthread_mutex_unlock(&g->lock);
    }
    return first;
}

/* --- dead letters ------------------------------------------------------------------------------------------------- */

typedef struct letter_frame {
    dead_record d;
    int64_t version, recv_ns;
    uint32_t name_bytes, back;
} letter_frame;

enum { LETTERS_AT_ONCE = 64 };

static void add_letter(const nexus__bgroup *g, const dead *d, nexus__buf *out)
{
    const nexus__stored *s = d->stored;
    const entry *again = d->back ? nexus__map_get(&g->by_pos, nexus__pos_key(&d->pos)) : NULL;
    letter_frame f = {.d = {.pos = d->pos,
                            .first_at_ns = d->first_at_ns,
                            .dead_at_ns = d->dead_at_ns,
                            .attempts = (again ? again->attempts : d->attempts) | (d->parked ? DEAD_PARKED : 0),
                            .reason_bytes = (uint32_t)strlen(d->reason),
                            .meta_bytes = (uint32_t)s->meta.n,
                            .data_bytes = (uint32_t)s->view.event.data.n},
                      .version = s->view.event.version,
                      .recv_ns = s->view.event.recv_ns,
                      .name_bytes = (uint32_t)strlen(g->name),
                      .back = d->back};
    nexus__buf_append(out, &f, sizeof f);
    nexus__buf_text(out, g->name);
    nexus__buf_text(out, d->reason);
    nexus__buf_slice_append(out, s->meta);
    nexus__buf_slice_append(out, s->view.event.data);
}

/* The positions at one moment; what becomes a letter later is in the log behind the cursor. */
static nexus_status list_letters(nexus__bgroup *g, nexus__buf *out)
{
    pthread_mutex_lock(&g->lock);
    for (const nexus__list *n = g->dead.next; n != &g->dead; n = n->next)
        nexus__buf_append(out, &NEXUS__CONTAINER(n, dead, node)->pos, sizeof(uint64_t));
    pthread_mutex_unlock(&g->lock);
    return out->status;
}

static nexus_status write_letters(nexus__bgroup *g, const nexus__buf *list, nexus__state_out *out)
{
    nexus__buf frame;
    nexus__buf_init(&frame, g->broker->alloc, 0);
    nexus_status status = NEXUS_OK;
    for (size_t at = 0; at < list->len && status == NEXUS_OK;) {
        nexus__buf_clear(&frame);
        pthread_mutex_lock(&g->lock);
        for (size_t i = 0; i < LETTERS_AT_ONCE && at < list->len && frame.len < 65536; i++, at += sizeof(uint64_t)) {
            uint64_t pos;
            memcpy(&pos, list->p + at, sizeof pos);
            const dead *d = nexus__map_get(&g->dead_by_pos, nexus__pos_key(&pos));
            const entry *again = d && d->back ? nexus__map_get(&g->by_pos, nexus__pos_key(&pos)) : NULL;
            if (d && !(again && again->state == ENTRY_COMMITTING))
                add_letter(g, d, &frame);
        }
        pthread_mutex_unlock(&g->lock);
        status = frame.status;
        if (status == NEXUS_OK && frame.len)
            status = nexus__state_put(out, nexus__buf_slice(&frame));
    }
    nexus__buf_free(&frame);
    return status;
}

static nexus_status write_dead(nexus__broker *b, nexus__state_out *out)
{
    nexus_status status = NEXUS_OK;
    nexus__bgroup *g;
    nexus__buf list;
    nexus__buf_init(&list, b->alloc, 0);
    for (size_t i = 0; status == NEXUS_OK && (g = nth_group(b, i)); i++) {
        nexus__buf_clear(&list);
        status = list_letters(g, &list);
        if (status == NEXUS_OK)
            status = write_letters(g, &list, out);
    }
    nexus__buf_free(&list);
    return status;
}

static nexus_status read_letter(nexus__broker *b, nexus_slice *rest)
{
    letter_frame f;
    nexus_slice fixed = cut(rest, sizeof f);
    if (!fixed.p)
        return nexus__fail(NEXUS_ECORRUPT, "a dead letter is cut short");
    memcpy(&f, fixed.p, sizeof f);
    nexus_slice name = cut(rest, f.name_bytes), reason = cut(rest, f.d.reason_bytes), meta = cut(rest, f.d.meta_bytes),
                data = cut(rest, f.d.data_bytes);
    nexus__bgroup *g = name.p && data.p ? nexus__map_get(&b->groups, name) : NULL;
    if (!g || !reason.p || !meta.p)
        return nexus__fail(NEXUS_ECORRUPT, "a dead letter is cut short or of no group");
    nexus_status status;
    nexus__stored *stored = nexus__stored_new(b->alloc, meta, data, &status);
    if (!stored)
        return status;
    stored->pos = stored->view.event.pos = f.d.pos;
    stored->view.event.version = f.version;
    stored->view.event.recv_ns = f.recv_ns;
    status = nexus__bgroup_add_dead(g, &f.d, reason, stored);
    if (status != NEXUS_OK || !f.back)
        return status;
    status = nexus__bgroup_mark_back(g, f.d.pos, NEXUS_S(""));
    if (status == NEXUS_OK)
        ((dead *)nexus__map_get(&g->dead_by_pos, nexus__pos_key(&f.d.pos)))->attempts = f.d.attempts & ~DEAD_PARKED;
    return status;
}

static nexus_status read_dead(nexus__broker *b, nexus_slice frame)
{
    nexus_status status = NEXUS_OK;
    while (frame.n && status == NEXUS_OK)
        status = read_letter(b, &frame);
    return status;
}

const nexus__state_part nexus__state_groups = {"groups", write_groups, read_group, groups_need};
const nexus__state_part nexus__state_dead = {"dead", write_dead, read_dead, NULL};
