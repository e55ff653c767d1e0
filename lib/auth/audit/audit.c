/*
 * Writing the trail. One writer at a time leads: it chains the records that wait, its own among them, writes them with one
 * durable call and tells the others. The chain goes on from them only then, so that what fails leaves it where it was. After
 * a failure of the device the log takes nothing more.
 */
#include "auth/audit/audit.h"

#include <stdio.h>

#include "base/status.h"
#include "json/read.h"
#include "json/write.h"

enum { TEXT_MAX = 1024, LIST_BYTES_MAX = 4 * 1024 * 1024, TOGETHER_MAX = 64 };

/* A record on its writer's stack. */
typedef struct nexus__audit_entry {
    struct nexus__audit_entry *next;
    const nexus_audit_record *record;
    uint64_t seq;
    bool done;
    nexus_status status;
    char message[256];
} entry;

void nexus_audit_opts_init(nexus_audit_opts *opts)
{
    *opts = (nexus_audit_opts)NEXUS_AUDIT_OPTS_INIT;
}

void nexus_audit_record_init(nexus_audit_record *record)
{
    *record = (nexus_audit_record)NEXUS_AUDIT_RECORD_INIT;
}

void nexus_audit_filter_init(nexus_audit_filter *filter)
{
    *filter = (nexus_audit_filter)NEXUS_AUDIT_FILTER_INIT;
}

static int64_t now_of(const nexus_audit *a)
{
    return a->opts.now_fn ? a->opts.now_fn(a->opts.user_data) : nexus__real_ns();
}

/* --- opening ------------------------------------------------------------------------------------------------------- */

/* The last record's hash. */
static nexus_status find_end(nexus_audit *a)
{
    nexus__wal_reader *reader;
    nexus__wal_record record;
    memset(a->chain.hash, '0', 64);
    a->chain.seq = nexus__wal_durable(a->wal);
    if (a->chain.seq == 0)
        return NEXUS_OK;
    nexus_status status = nexus__wal_reader_open(&reader, a->wal, a->chain.seq);
    if (status != NEXUS_OK)
        return status;
    while ((status = nexus__wal_reader_next(reader, &record)) == NEXUS_OK)
        if (record.kind == NEXUS__AUDIT_RECORD && record.pos == a->chain.seq)
            break;
    if (status == NEXUS_OK)
        status = nexus__audit_hash(record.payload, a->chain.hash);
    nexus__wal_reader_close(reader);
    return status == NEXUS_EDONE ? nexus__fail(NEXUS_ECORRUPT, "%s: the last record cannot be read", a->dir) : status;
}

/* A log that ends before its head was cut or is an old copy: going on would hide that. */
static nexus_status compare_head(nexus_audit *a)
{
    nexus__audit_head head;
    nexus_status status = nexus__audit_head_load(&head, a->dir, a->key);
    if (status == NEXUS_ENOTFOUND)
        return NEXUS_OK;
    if (status != NEXUS_OK)
        return status;
    if (head.seq > a->chain.seq)
        return nexus__fail(NEXUS_EMISSING,
                           "%s ends at record %llu, its head says %llu: an old copy? Keep it for evidence, move it and "
                           "its head away to begin anew",
                           a->dir, (unsigned long long)a->chain.seq, (unsigned long long)head.seq);
    a->chain.signed_seq = head.seq;
    return NEXUS_OK;
}

static nexus_status open_parts(nexus_audit *a)
{
    nexus__wal_opts opts = {.alloc = a->alloc, .name = "audit", .segment_bytes = 16u << 20};
    nexus_status status = a->dir ? nexus__wal_open(&a->wal, a->dir, &opts, NULL) : nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus__audit_key(&a->key, a->dir);
    if (status == NEXUS_OK)
        status = find_end(a);
    return status == NEXUS_OK ? compare_head(a) : status;
}

nexus_status nexus_audit_open(nexus_audit **out, const nexus_audit_opts *opts)
{
    if (!opts || opts->size != sizeof *opts || !opts->dir || !*opts->dir || strlen(opts->dir) > 4000)
        return nexus__fail(NEXUS_EINVAL, "nexus_audit_opts: size and dir are required");
    nexus_audit *a = nexus__calloc(opts->alloc, 1, sizeof *a);
    if (!a)
        return nexus__nomem();
    a->alloc = opts->alloc;
    a->opts = *opts;
    a->opts.checkpoint_records = opts->checkpoint_records ? opts->checkpoint_records : 1000;
    a->opts.checkpoint_ms = opts->checkpoint_ms ? opts->checkpoint_ms : 60000;
    a->dir = nexus__strndup(a->alloc, nexus__slice_c(opts->dir));
    a->opts.dir = NULL;
    a->chain.signed_ns = now_of(a);
    a->last = &a->first;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->turn, NULL);
    nexus_status status = open_parts(a);
    if (status == NEXUS_OK) {
        *out = a;
        return NEXUS_OK;
    }
    nexus__wal_close(a->wal);
    a->wal = NULL;
    nexus_audit_close(a);
    return status;
}

/* --- checkpoints --------------------------------------------------------------------------------------------------- */

static nexus_status sign(nexus_audit *a)
{
    nexus__buf line;
    nexus__audit_head head = {.seq = a->chain.seq};
    memcpy(head.hash, a->chain.hash, sizeof head.hash);
    nexus__buf_init(&line, a->alloc, 0);
    nexus_status status = nexus__audit_head_sign(&line, a->key, &head);
    nexus__wal_record record = {
        .kind = NEXUS__AUDIT_CHECKPOINT, .flags = NEXUS__WAL_INTERNAL, .payload = nexus__buf_slice(&line)};
    if (status == NEXUS_OK)
        status = nexus__wal_append(a->wal, &record, 1, NULL);
    if (status == NEXUS_OK)
        status = nexus__audit_head_store(a->dir, nexus__buf_slice(&line));
    nexus__buf_free(&line);
    if (status == NEXUS_OK) {
        a->chain.signed_seq = a->chain.seq;
        a->chain.signed_ns = now_of(a);
    }
    return status;
}

static bool is_due(const nexus_audit *a)
{
    uint64_t behind = a->chain.seq - a->chain.signed_seq;
    return behind >= a->opts.checkpoint_records ||
           (behind > 0 && now_of(a) - a->chain.signed_ns >= a->opts.checkpoint_ms * NEXUS__NS_PER_MS);
}

/* With the lock held. */
static void end_leading(nexus_audit *a)
{
    a->led = false;
    pthread_cond_broadcast(&a->turn);
}

nexus_status nexus_audit_upkeep(nexus_audit *a)
{
    pthread_mutex_lock(&a->lock);
    while (a->led)
        pthread_cond_wait(&a->turn, &a->lock);
    a->led = true;
    pthread_mutex_unlock(&a->lock);
    nexus_status status = is_due(a) ? sign(a) : NEXUS_OK;
    pthread_mutex_lock(&a->lock);
    end_leading(a);
    pthread_mutex_unlock(&a->lock);
    return status;
}

void nexus_audit_close(nexus_audit *a)
{
    if (!a)
        return;
    if (a->wal && a->chain.seq > a->chain.signed_seq && sign(a) != NEXUS_OK)
        a->chain.signed_seq = 0; /* the records are there, only unsigned */
    nexus__wal_close(a->wal);
    nexus__pkey_free(a->key);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->turn);
    nexus__free(a->alloc, a->dir);
    nexus__free(a->alloc, a);
}

/* --- records ------------------------------------------------------------------------------------------------------- */

/* As RFC 8785 writes a string: as others do, but DEL stands for itself. */
static void put_text(nexus__buf *out, const char *name, nexus_slice text)
{
    nexus_slice rest = nexus__slice(text.p, text.n > TEXT_MAX ? TEXT_MAX : text.n);
    if (text.n == 0)
        return;
    nexus__buf_printf(out, "%s\"%s\":\"", out->len > 1 ? "," : "", name);
    while (rest.n) {
        size_t run = nexus__slice_find(rest, 0x7f);
        nexus__json_escape_append(out, nexus__slice(rest.p, run));
        if (run < rest.n)
            nexus__buf_char(out, rest.p[run++]);
        rest = nexus__slice_from(rest, run);
    }
    nexus__buf_char(out, '"');
}

/* Members in the order of their names, as RFC 8785 wants them. */
static void write_record(nexus__buf *out, int64_t now_ns, const nexus_audit_record *r, const char *prev, uint64_t seq)
{
    char at[32];
    nexus__format_rfc3339(now_ns, at);
    nexus__buf_char(out, '{');
    put_text(out, "action", r->action);
    put_text(out, "actor", r->actor);
    put_text(out, "at", nexus__slice_c(at));
    put_text(out, "detail", r->detail);
    put_text(out, "ip", r->ip);
    put_text(out, "object", r->object);
    put_text(out, "outcome", r->outcome.n ? r->outcome : NEXUS_S("done"));
    put_text(out, "prev", nexus__slice_c(prev));
    put_text(out, "request_id", r->request_id);
    nexus__buf_printf(out, ",\"seq\":%llu", (unsigned long long)seq);
    put_text(out, "tenant", r->tenant);
    nexus__buf_char(out, '}');
}

/* Records under construction: each goes on from the hash of the one before. */
typedef struct chained {
    size_t n;
    char hash[TOGETHER_MAX + 1][NEXUS__AUDIT_HASH_TEXT];
    nexus__buf text[TOGETHER_MAX];
    nexus__wal_record record[TOGETHER_MAX];
} chained;

static nexus_status chain_one(const nexus_audit *a, chained *c, const nexus_audit_record *r, uint64_t seq)
{
    nexus__buf *text = &c->text[c->n];
    nexus__buf_init(text, a->alloc, 0);
    write_record(text, now_of(a), r, c->hash[c->n], seq);
    char *hash = c->hash[++c->n];
    if (text->status != NEXUS_OK)
        return nexus__nomem();
    c->record[c->n - 1] = (nexus__wal_record){
        .kind = NEXUS__AUDIT_RECORD, .meta = nexus__slice(hash, 64), .payload = nexus__buf_slice(text)};
    return nexus__audit_hash(nexus__buf_slice(text), hash);
}

/* All of them, or none. */
static nexus_status append(nexus_audit *a, entry *list)
{
    chained *c = nexus__calloc(a->alloc, 1, sizeof *c);
    if (!c)
        return nexus__nomem();
    memcpy(c->hash[0], a->chain.hash, sizeof c->hash[0]);
    nexus_status status = NEXUS_OK;
    for (entry *e = list; e && status == NEXUS_OK; e = e->next) {
        e->seq = a->chain.seq + c->n + 1;
        status = chain_one(a, c, e->record, e->seq);
    }
    if (status == NEXUS_OK)
        status = nexus__wal_append(a->wal, c->record, c->n, NULL);
    if (status == NEXUS_OK) {
        a->chain.seq += c->n;
        memcpy(a->chain.hash, c->hash[c->n], sizeof a->chain.hash);
    }
    for (size_t i = 0; i < c->n; i++)
        nexus__buf_free(&c->text[i]);
    nexus__free(a->alloc, c);
    return status;
}

/* --- together ------------------------------------------------------------------------------------------------------- */

static void wait_in_line(nexus_audit *a, entry *e)
{
    *a->last = e;
    a->last = &e->next;
    while (!e->done && a->led)
        pthread_cond_wait(&a->turn, &a->lock);
}

/* As many as go together, from the head of the line. */
static entry *take_some(nexus_audit *a)
{
    entry *list = a->first, **end = &a->first;
    for (size_t n = 0; n < TOGETHER_MAX && *end; n++)
        end = &(*end)->next;
    a->first = *end;
    *end = NULL;
    if (!a->first)
        a->last = &a->first;
    return list;
}

/* With the lock held, which is let go meanwhile. */
static void lead(nexus_audit *a)
{
    entry *list = take_some(a);
    a->led = true;
    pthread_mutex_unlock(&a->lock);
    nexus_status status = append(a, list);
    if (status == NEXUS_OK && is_due(a))
        status = sign(a);
    pthread_mutex_lock(&a->lock);
    for (entry *e = list; e; e = e->next) {
        e->status = status;
        if (status != NEXUS_OK)
            snprintf(e->message, sizeof e->message, "%s", nexus_error_message());
        e->done = true;
    }
    end_leading(a);
}

nexus_status nexus_audit_write(nexus_audit *a, const nexus_audit_record *r, uint64_t *seq)
{
    if (!r || r->size != sizeof *r || r->action.n == 0)
        return nexus__fail(NEXUS_EINVAL, "nexus_audit_record: size and action are required");
    entry e = {.record = r};
    pthread_mutex_lock(&a->lock);
    wait_in_line(a, &e);
    while (!e.done)
        lead(a);
    pthread_mutex_unlock(&a->lock);
    if (e.status != NEXUS_OK)
        return nexus__fail(e.status, "%s", e.message);
    if (seq)
        *seq = e.seq;
    return NEXUS_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

static bool member_is(nexus__json *doc, const char *name, nexus_slice wanted)
{
    nexus_slice value = {0};
    if (wanted.n == 0)
        return true;
    (void)nexus__json_get_text(doc, 0, name, &value);
    if (nexus__slice_ends(wanted, NEXUS_S(".*")))
        return nexus__slice_starts(value, nexus__slice(wanted.p, wanted.n - 1));
    return nexus__slice_eq(value, wanted);
}

static bool is_wanted(nexus__json *doc, nexus_slice record, const nexus_audit_filter *f)
{
    return nexus__json_scan(doc, record, NULL) == NEXUS_OK && member_is(doc, "actor", f->actor) &&
           member_is(doc, "action", f->action) && member_is(doc, "object", f->object) &&
           member_is(doc, "outcome", f->outcome);
}

static nexus_status collect(nexus__wal_reader *reader, const nexus_audit_filter *f, nexus__buf *out)
{
    nexus__json doc;
    nexus__wal_record record;
    uint32_t count = 0, limit = f->limit ? f->limit : 100;
    uint64_t last = 0;
    nexus_status status = NEXUS_OK;
    nexus__json_init(&doc, NULL);
    nexus__buf_text(out, "{\"items\":[");
    while (count < limit && out->len < LIST_BYTES_MAX && (status = nexus__wal_reader_next(reader, &record)) == NEXUS_OK) {
        if (record.kind != NEXUS__AUDIT_RECORD || !is_wanted(&doc, record.payload, f))
            continue;
        if (count++)
            nexus__buf_char(out, ',');
        nexus__buf_slice_append(out, record.payload);
        last = record.pos;
    }
    if (status == NEXUS_OK)
        nexus__buf_printf(out, "],\"next_after\":%llu}", (unsigned long long)last);
    else
        nexus__buf_text(out, "],\"next_after\":null}");
    nexus__json_free(&doc);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

nexus_status nexus_audit_list(nexus_audit *a, const nexus_audit_filter *f, char **json, size_t *n)
{
    nexus__wal_reader *reader;
    nexus__buf text;
    if (!f || f->size != sizeof *f || f->limit > 1000)
        return nexus__fail(NEXUS_EINVAL, "nexus_audit_filter: size, and limit at most 1000");
    nexus__buf_init(&text, NULL, 0);
    if (f->after >= nexus__wal_durable(a->wal)) {
        nexus__buf_text(&text, "{\"items\":[],\"next_after\":null}");
        return nexus__buf_hand_over(&text, json, n);
    }
    nexus_status status = nexus__wal_reader_open(&reader, a->wal, f->after + 1);
    if (status != NEXUS_OK)
        return status;
    status = collect(reader, f, &text);
    nexus__wal_reader_close(reader);
    if (status == NEXUS_OK)
        return nexus__buf_hand_over(&text, json, n);
    nexus__buf_free(&text);
    return status;
}
