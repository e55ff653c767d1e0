/*
 * Publishes of clients. What one read brings of publishes of one event each goes to the log as one batch: they were sent
 * together, wait for the same write anyway, and it saves everyone but the first a lock, a batch and a wake-up. When one of
 * them is a duplicate or is refused, each goes by itself, and each has its own answer.
 */
#include <string.h>

#include "base/status.h"
#include "bus/server_conn.h"

enum { BUNDLE_MAX = 64, BUNDLE_PAIRS = 128 };

/* Publishes of one event each that one read has brought: they go to the log together. */
typedef struct nexus__bundle {
    uint32_t n, pairs_used;
    uint64_t ids[BUNDLE_MAX];
    nexus_slice bodies[BUNDLE_MAX]; /* into conn.in */
    nexus_event events[BUNDLE_MAX]; /* slices into bodies */
    nexus_pair pairs[BUNDLE_PAIRS]; /* their extensions */
    nexus__event_view view;
} bundle;

/* On its way to the disk: one call, or a bundle of them, which are answered one after the other. */
typedef struct publishing {
    nexus__conn *conn;
    uint16_t op;
    uint32_t n, told;
    uint64_t ids[];
} publishing;

static void append_result(nexus__buf *out, const nexus_publish_result *r)
{
    nexus__wire_u64(out, r->first);
    nexus__wire_u64(out, r->last);
    nexus__wire_u64(out, (uint64_t)r->version);
    nexus__wire_u64(out, (uint64_t)r->actual_version);
    nexus__wire_u32(out, (uint32_t)r->dup | (uint32_t)r->durable << 1 | r->durability << 8);
}

static void reply_result(nexus__conn *c, uint16_t op, nexus_status status, uint64_t id, const nexus_publish_result *r)
{
    size_t begin = nexus__conn_reply_begin(c, op, status, id);
    append_result(&c->out, r);
    if (status != NEXUS_OK)
        nexus__buf_text(&c->out, nexus_error_message());
    nexus__conn_reply_end(c, begin);
}

/* What was stored is answered when the run is done (grown). */
static void answer_later(nexus__conn *c, uint16_t op, uint64_t id, const nexus_publish_result *result)
{
    size_t begin = nexus__conn_reply_begin(c, op, NEXUS_OK, id);
    append_result(&c->out, result);
    nexus__wire_end(&c->out, begin);
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->answered, true);
}

static publishing *publishing_new(nexus__conn *c, uint16_t op, const uint64_t *ids, uint32_t n)
{
    publishing *p = nexus__malloc(c->server->alloc, sizeof *p + n * sizeof p->ids[0]);
    if (!p)
        return NULL;
    *p = (publishing){.conn = c, .op = op, .n = n};
    memcpy(p->ids, ids, n * sizeof p->ids[0]);
    atomic_fetch_add(&c->refs, 1);
    return p;
}

static void publishing_free(publishing *p)
{
    nexus__conn *c = p->conn;
    nexus__free(c->server->alloc, p);
    nexus__conn_unref(c);
}

static void publish_done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    publishing *p = user_data;
    uint64_t id = p->ids[p->told++];
    if (!atomic_load(&p->conn->over) && status == NEXUS_OK)
        answer_later(p->conn, p->op, id, result);
    else if (!atomic_load(&p->conn->over))
        reply_result(p->conn, p->op, status, id, result);
    if (p->told == p->n)
        publishing_free(p);
}

static nexus_status take_acks(nexus__conn *c, nexus__wire_in *in, nexus__commit_ack **out, uint32_t *n)
{
    enum { ACK_BYTES = 20 };
    *n = nexus__wire_take_u32(in);
    if (in->bad || *n > in->rest.n / ACK_BYTES)
        return nexus__fail(NEXUS_EPROTO, "a commit of %u acks in %zu bytes", *n, in->rest.n);
    *out = nexus__malloc(c->server->alloc, (*n + 1) * sizeof **out);
    if (!*out)
        return nexus__nomem();
    for (uint32_t i = 0; i < *n; i++) {
        const nexus__joined *j = nexus__conn_group(c, nexus__wire_take_u32(in));
        uint64_t pos = nexus__wire_take_u64(in), token = nexus__wire_take_u64(in);
        if (!j)
            return nexus__fail(NEXUS_EPROTO, "no such group on this connection");
        (*out)[i] = (nexus__commit_ack){j->group, pos, token};
    }
    return NEXUS_OK;
}

/* A publish, or a commit, which has acks in front of it. */
static void publish_alone(nexus__conn *c, uint16_t op, uint64_t id, nexus_slice body)
{
    nexus__commit_ack *acks = NULL;
    nexus__wire_in in = {.rest = body};
    uint32_t n_acks = 0;
    nexus_publish_result result = {.size = sizeof result, .version = -1, .actual_version = -1};
    publishing *p = publishing_new(c, op, &id, 1);
    nexus_status status = p ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK && op == WIRE_COMMIT)
        status = take_acks(c, &in, &acks, &n_acks);
    if (status == NEXUS_OK)
        status = nexus__publish_body(c->server->broker, c->server->alloc, in.rest, acks, n_acks, publish_done, p, &result);
    if (status != NEXUS_OK)
        reply_result(c, op, status, id, &result);
    if (status != NEXUS_OK && p)
        publishing_free(p);
    nexus__free(c->server->alloc, acks);
}

static bool publish_each(nexus__conn *c, const bundle *b)
{
    publishing *p = publishing_new(c, WIRE_PUBLISH, b->ids, b->n);
    if (p && nexus__broker_publish_each(c->server->broker, b->events, b->n, publish_done, p) == NEXUS_OK)
        return true;
    if (p)
        publishing_free(p);
    return false;
}

/* Publishes what has been bundled; one by one, when together it does not go. */
void nexus__conn_unbundle(nexus__conn *c)
{
    bundle *b = c->bundle;
    if (!b || !b->n)
        return;
    if (b->n < 2 || !publish_each(c, b))
        for (uint32_t i = 0; i < b->n; i++)
            publish_alone(c, WIRE_PUBLISH, b->ids[i], b->bodies[i]);
    b->n = b->pairs_used = 0;
}

void nexus__conn_publish(nexus__conn *c, uint64_t id, nexus_slice body)
{
    if (!c->bundle)
        c->bundle = nexus__calloc(c->server->alloc, 1, sizeof *c->bundle);
    bundle *b = c->bundle;
    if (b && b->n == BUNDLE_MAX)
        nexus__conn_unbundle(c);
    if (!b || !nexus__publish_body_plain(body, &b->view) || b->pairs_used + b->view.event.ext_count > BUNDLE_PAIRS) {
        nexus__conn_unbundle(c);
        publish_alone(c, WIRE_PUBLISH, id, body);
        return;
    }
    nexus_event *e = &b->events[b->n];
    *e = b->view.event;
    e->ext = &b->pairs[b->pairs_used];
    memcpy(&b->pairs[b->pairs_used], b->view.ext, e->ext_count * sizeof b->pairs[0]);
    b->pairs_used += (uint32_t)e->ext_count;
    b->ids[b->n] = id;
    b->bodies[b->n++] = body;
}

void nexus__conn_commit(nexus__conn *c, uint64_t id, nexus_slice body)
{
    publish_alone(c, WIRE_COMMIT, id, body);
}
