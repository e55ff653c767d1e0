/*
 * Of the types that are to be compacted the log keeps the last event of each (type, key), and of a last one without data (a
 * tombstone) nothing once its grace is over. What goes leaves a record in its place that has its position, type and tags, and
 * that readers pass over without a word; so positions and batches stay as they are.
 *
 * Only finished files are touched that every group has passed and both checkpoints know: ids outlive the events. What is left
 * of a stream's last event has the stream's name, too, for the version. A file is worth it when half of it has been superseded.
 * Which event is the last one of its key is known by a table, filled by one pass over the log and kept from then on.
 */
#include "bus/compact.h"

#include "base/status.h"
#include "bus/handle.h"
#include "bus/internal.h"
#include "bus/state.h"

enum { KEYS_MAX = 4 << 20, CHUNK = 200000 };

typedef struct dirt {
    uint64_t generation, end_pos, bytes;
} dirt;

struct nexus__compaction {
    const nexus_alloc *alloc;
    char *types;
    int64_t grace_ns;
    /* under the keeper's lock `work` */
    nexus__table last; /* value = position, extra = its bytes */
    uint64_t upto;     /* the log is known up to here */
    dirt *files;       /* from old to new */
    size_t count;
};

/* --- decisions ---------------------------------------------------------------------------------------------------- */

bool nexus__compact_may(const nexus__compact_file *f, uint64_t needed, uint64_t saved_seq)
{
    return !f->last && f->end_pos <= needed && f->end_seq <= saved_seq;
}

bool nexus__compact_should(const nexus__compact_file *f, uint64_t needed, uint64_t saved_seq)
{
    return nexus__compact_may(f, needed, saved_seq) && f->dead_bytes >= f->bytes / 2;
}

bool nexus__compact_drops(const nexus__wal_record *r, uint64_t last, int64_t now_ns, int64_t grace_ns)
{
    bool tombstone = last == r->pos && r->payload.n == 0 && !(r->flags & NEXUS__WAL_ERASED);
    return last > r->pos || (tombstone && now_ns - r->recv_ns > grace_ns);
}

/* --- open, close -------------------------------------------------------------------------------------------------- */

nexus_status nexus__compaction_open(nexus__compaction **out, const nexus_bus_opts *o)
{
    *out = NULL;
    if (!o->compact_types || !*o->compact_types)
        return NEXUS_OK;
    nexus_status status = nexus__types_check(nexus__slice_c(o->compact_types));
    nexus__compaction *c = status == NEXUS_OK ? nexus__calloc(o->alloc, 1, sizeof *c) : NULL;
    if (!c)
        return status == NEXUS_OK ? nexus__nomem() : status;
    c->alloc = o->alloc;
    c->grace_ns = (o->tombstone_grace_s ? o->tombstone_grace_s : 86400) * NEXUS__NS_PER_S;
    nexus__table_init(&c->last, o->alloc);
    c->types = nexus__strndup(o->alloc, nexus__slice_c(o->compact_types));
    if (!c->types) {
        nexus__compaction_close(c);
        return nexus__nomem();
    }
    *out = c;
    return NEXUS_OK;
}

void nexus__compaction_close(nexus__compaction *c)
{
    if (!c)
        return;
    nexus__table_free(&c->last);
    nexus__free(c->alloc, c->files);
    nexus__free(c->alloc, c->types);
    nexus__free(c->alloc, c);
}

/* --- which is the last one of a key ------------------------------------------------------------------------------- */

/* Whether the record is an event to be compacted, and under which key. */
static bool has_key(const nexus__compaction *c, const nexus__wal_record *r, nexus__event_view *view, nexus__key128 *key)
{
    if (r->kind != KIND_EVENT || (r->flags & (NEXUS__WAL_INTERNAL | NEXUS__WAL_COMPACTED)) ||
        nexus__event_decode(view, r->meta, r->payload) != NEXUS_OK ||
        !nexus__types_match(nexus__slice_c(c->types), view->event.type))
        return false;
    nexus_slice own = view->event.partitionkey.n ? view->event.partitionkey : view->event.subject;
    *key = nexus__table_key(&c->last, view->event.type, own);
    return own.n > 0;
}

static void soil(nexus__compaction *c, uint64_t pos, uint64_t bytes)
{
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c->files[mid].end_pos <= pos)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < c->count)
        c->files[low].bytes += bytes;
}

static void learn_record(nexus__compaction *c, const nexus__wal_record *r)
{
    nexus__event_view view;
    nexus__key128 key;
    if (!has_key(c, r, &view, &key))
        return;
    nexus__table_entry *e = nexus__table_get(&c->last, key);
    if (!e && c->last.count < KEYS_MAX)
        e = nexus__table_put(&c->last, key);
    if (!e)
        return; /* more keys than are kept in mind: all events of this one stay */
    if (e->value)
        soil(c, e->value, e->extra);
    e->value = r->pos;
    e->extra = r->meta.n + r->payload.n;
}

static bool wants_type(nexus_slice type, void *user_data)
{
    const nexus__compaction *c = user_data;
    return nexus__types_match(nexus__slice_c(c->types), type);
}

/* Reads on, at most CHUNK records; *more: there are others. */
static nexus_status learn(nexus__broker *b, bool *more)
{
    nexus__compaction *c = b->compaction;
    uint64_t durable = nexus__wal_durable(b->wal), first = nexus__wal_first(b->wal);
    nexus__wal_select select = {.wants_type = wants_type, .user_data = c};
    nexus__wal_reader *reader;
    nexus__wal_record r;
    *more = false;
    if (c->upto >= durable)
        return NEXUS_OK;
    nexus_status status = nexus__wal_reader_open(&reader, b->wal, c->upto + 1 > first ? c->upto + 1 : first);
    if (status != NEXUS_OK)
        return status;
    nexus__wal_reader_select(reader, &select);
    for (int i = 0; i < CHUNK && (status = nexus__wal_reader_next(reader, &r)) != NEXUS_EDONE; i++) {
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
            continue;
        if (status != NEXUS_OK)
            break;
        if (!(r.flags & NEXUS__WAL_INTERNAL))
            learn_record(c, &r);
    }
    uint64_t pos = nexus__wal_reader_pos(reader);
    c->upto = pos > c->upto ? pos : c->upto;
    *more = status == NEXUS_OK;
    nexus__wal_reader_close(reader);
    return status == NEXUS_EDONE || status == NEXUS_ECORRUPT || status == NEXUS_EMISSING ? NEXUS_OK : status;
}

/* The files of the moment, each with what is known of it. */
static nexus_status take_files(nexus__compaction *c, const nexus__wal_file *files, size_t n)
{
    dirt *now = nexus__calloc(c->alloc, n + 1, sizeof *now);
    if (!now)
        return nexus__nomem();
    for (size_t i = 0, k = 0; i < n; i++) {
        while (k < c->count && c->files[k].generation < files[i].generation)
            k++;
        bool seen = k < c->count && c->files[k].generation == files[i].generation;
        now[i] = (dirt){files[i].generation, i + 1 < n ? files[i].end_pos : UINT64_MAX, seen ? c->files[k].bytes : 0};
    }
    nexus__free(c->alloc, c->files);
    c->files = now;
    c->count = n;
    return NEXUS_OK;
}

/* --- taking out --------------------------------------------------------------------------------------------------- */

typedef struct sweep {
    nexus__broker *b;
    int64_t now_ns;
    nexus__buf meta;
} sweep;

static bool is_last_of_stream(nexus__broker *b, const nexus_event *e, int64_t version)
{
    return e->stream.n && nexus__broker_stream_version(b, e->stream) <= version;
}

/* What is left of an event: who asks for a type and tags stored since (fail_types) must still find it. */
static void put_rest(nexus__buf *out, const nexus_event *e, nexus_slice stream)
{
    nexus_event rest = NEXUS_EVENT_INIT;
    nexus_pair tags;
    rest.type = e->type;
    for (size_t i = 0; i < e->ext_count; i++)
        if (nexus__slice_eq_c(e->ext[i].name, "tags")) {
            tags = e->ext[i];
            rest.ext = &tags;
            rest.ext_count = 1;
        }
    nexus__buf_clear(out);
    nexus__event_encode(out, &rest, stream);
}

static bool edit(nexus__wal_record *r, void *user_data)
{
    sweep *s = user_data;
    nexus__compaction *c = s->b->compaction;
    nexus__event_view view;
    nexus__key128 key;
    if (!has_key(c, r, &view, &key))
        return false;
    const nexus__table_entry *e = nexus__table_get(&c->last, key);
    if (!e || !nexus__compact_drops(r, e->value, s->now_ns, c->grace_ns))
        return false;
    put_rest(&s->meta, &view.event,
             is_last_of_stream(s->b, &view.event, r->version) ? view.event.stream : NEXUS_S(""));
    if (s->meta.status != NEXUS_OK)
        return false;
    r->flags |= NEXUS__WAL_COMPACTED;
    r->meta = nexus__buf_slice(&s->meta);
    r->payload = NEXUS_S("");
    return true;
}

static nexus_status sweep_file(nexus__broker *b, dirt *file, uint64_t *events)
{
    sweep s = {.b = b, .now_ns = nexus__real_ns()};
    nexus__buf_init(&s.meta, b->alloc, 0);
    nexus_status status = nexus__wal_sync(b->wal); /* what supersedes is on the disk before what it supersedes goes */
    if (status == NEXUS_OK)
        status = nexus__wal_rewrite(b->wal, file->generation, edit, &s, events);
    if (status == NEXUS_OK)
        file->bytes = 0;
    nexus__buf_free(&s.meta);
    return status;
}

static nexus__compact_file describe(const nexus__compaction *c, const nexus__wal_file *files, size_t n, size_t i)
{
    return (nexus__compact_file){.end_pos = files[i].end_pos,
                                 .end_seq = files[i].end_seq,
                                 .bytes = files[i].bytes,
                                 .dead_bytes = c->files[i].bytes,
                                 .last = i + 1 == n};
}

static uint64_t saved(nexus__broker *b)
{
    return nexus__wal_is_durable(b->wal) ? nexus__state_saved(b) : UINT64_MAX;
}

static nexus_status round_once(nexus__broker *b, const nexus__wal_file *files, size_t n, bool *more)
{
    nexus__compaction *c = b->compaction;
    nexus_status status = take_files(c, files, n);
    if (status == NEXUS_OK)
        status = learn(b, more);
    uint64_t needed = nexus__state_needs(b), events;
    for (size_t i = 0; i < n && status == NEXUS_OK && !*more; i++) {
        nexus__compact_file f = describe(c, files, n, i);
        if (!nexus__compact_should(&f, needed, saved(b)))
            continue;
        *more = true;
        status = sweep_file(b, &c->files[i], &events);
        c->files[i].bytes = 0; /* damaged, say: it waits until more of it is superseded */
    }
    return status;
}

int64_t nexus__compaction_round(nexus__broker *b)
{
    nexus__wal_file *files;
    size_t n;
    bool more = false;
    int64_t begun = nexus__mono_ns();
    if (!b->compaction || b->read_only || nexus__wal_files(b->wal, &files, &n) != NEXUS_OK)
        return INT64_MAX;
    if (round_once(b, files, n, &more) != NEXUS_OK)
        atomic_fetch_add(&b->keep.failed, 1);
    nexus__free(b->alloc, files);
    int64_t now = nexus__mono_ns();
    return more ? now + 10 * (now - begun) : INT64_MAX;
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

/* What was published just now can go as well, when something in it can. */
static nexus_status prepare(nexus__broker *b)
{
    const nexus__compaction *c = b->compaction;
    nexus_status status = c->count && c->files[c->count - 1].bytes ? nexus__wal_seal_active(b->wal) : NEXUS_OK;
    for (int i = 0; i < 2 && status == NEXUS_OK && nexus__wal_is_durable(b->wal); i++)
        status = nexus__state_write(b);
    return status;
}

/* The next file behind step->after that may be touched. */
static nexus_status next_file(nexus__broker *b, const nexus__wal_file *files, size_t n, nexus__compact_step *step)
{
    nexus__compaction *c = b->compaction;
    uint64_t needed = nexus__state_needs(b), events;
    for (size_t i = 0; i < n; i++) {
        nexus__compact_file f = describe(c, files, n, i);
        if (files[i].generation <= step->after || !nexus__compact_may(&f, needed, saved(b)))
            continue;
        step->after = files[i].generation;
        step->more = i + 1 < n;
        nexus_status status = sweep_file(b, &c->files[i], &events);
        if (status == NEXUS_OK) {
            step->events += events;
            step->files += events > 0;
        }
        return status == NEXUS_ECORRUPT || status == NEXUS_ENOTFOUND ? NEXUS_OK : status; /* damaged, or dropped: the next */
    }
    return NEXUS_OK;
}

static nexus_status look_around(nexus__broker *b, nexus__wal_file **files, size_t *n, bool *more)
{
    nexus_status status = nexus__wal_files(b->wal, files, n);
    if (status != NEXUS_OK)
        return status;
    status = take_files(b->compaction, *files, *n);
    return status == NEXUS_OK ? learn(b, more) : status;
}

static nexus_status compact(nexus__broker *b, nexus__compact_step *step)
{
    nexus__wal_file *files = NULL;
    size_t n = 0;
    bool more = false;
    step->bytes_before = nexus__wal_bytes(b->wal);
    nexus_status status = look_around(b, &files, &n, &more);
    if (status == NEXUS_OK && !more && !step->after) {
        nexus__free(b->alloc, files);
        files = NULL;
        status = prepare(b);
        if (status == NEXUS_OK)
            status = look_around(b, &files, &n, &more);
    }
    step->more = more;
    if (status == NEXUS_OK && !more)
        status = next_file(b, files, n, step);
    step->bytes_after = nexus__wal_bytes(b->wal);
    nexus__free(b->alloc, files);
    return status;
}

nexus_status nexus__broker_compact(nexus__broker *b, nexus__compact_step *step)
{
    *step = (nexus__compact_step){.after = step->after};
    if (!b->compaction)
        return nexus__fail(NEXUS_EINVAL, "the owner of the bus compacts no type: open it with compact_types "
                                         "(NEXUS_BUS_COMPACT_TYPES)");
    pthread_mutex_lock(&b->keep.work);
    nexus_status status = compact(b, step);
    pthread_mutex_unlock(&b->keep.work);
    return status;
}

static nexus_status ask(nexus_bus *bus, nexus__compact_step *step)
{
    nexus__broker *broker;
    nexus__buf answer;
    nexus__buf_init(&answer, bus->alloc, 0);
    nexus_status status =
        nexus__bus_ask(bus, WIRE_COMPACT, nexus__slice(&step->after, sizeof step->after), &broker, &answer);
    if (status == NEXUS_OK && broker)
        status = nexus__broker_compact(broker, step);
    else if (status == NEXUS_OK && answer.len != sizeof *step)
        status = nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    else if (status == NEXUS_OK)
        memcpy(step, answer.p, sizeof *step);
    nexus__buf_free(&answer);
    return status;
}

nexus_status nexus_bus_compact(nexus_bus *bus, nexus_compact_result *result)
{
    nexus__compact_step step = {.more = 1};
    nexus_compact_result all = {.size = sizeof all};
    nexus_status status = NEXUS_OK;
    for (bool first = true; step.more && status == NEXUS_OK; first = false) {
        status = ask(bus, &step);
        if (first)
            all.bytes_before = step.bytes_before;
        all.events += step.events;
        all.files += step.files;
        all.bytes_after = step.bytes_after;
    }
    if (result) {
        size_t size = result->size && result->size < sizeof all ? result->size : sizeof all;
        memcpy(result, &all, size);
        result->size = size;
    }
    return status;
}
