/*
 * One thread a connection: it reads frames, answers what it can at once, and keeps what has to wait (a fetch on an
 * empty group, a publish on its way to the disk). Whoever has news for it (the flush thread, a group) leaves it in the
 * connection's outgoing bytes or sets a flag, and wakes the thread through an eventfd. So a slow client holds up
 * nobody: its thread waits for its socket, the flush thread never does.
 */
#include "bus/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/status.h"
#include "base/thread.h"
#include "bus/compact.h"
#include "bus/wire.h"
#include <stdatomic.h>

#define HELLO_MS 5000       /* a peer that says nothing is closed */
#define OUT_MAX (64u << 20) /* answers that a client does not read: closed */
#define IN_MAX (NEXUS__WIRE_BODY_MAX + 65536)
#define GROUPS_MAX 256
#define FETCH_MAX 1024

typedef struct conn conn;

typedef struct joined {
    conn *conn;
    nexus__bgroup *group;
    nexus__member *member;
    nexus__watch_group watch;
    bool watching; /* the client wants WAKE frames */
    atomic_bool fresh;
} joined;

typedef struct waiting { /* a fetch or a read that found nothing yet */
    struct waiting *next;
    uint64_t id;
    int64_t until_ns;
    uint32_t group, max;
    nexus__buf read; /* the request's body; empty = a fetch */
} waiting;

enum { BUNDLE_MAX = 64, BUNDLE_PAIRS = 128 };

/* Publishes of one event each that one read has brought: they go to the log together. */
typedef struct bundle {
    uint32_t n, pairs_used;
    uint64_t ids[BUNDLE_MAX];
    nexus_slice bodies[BUNDLE_MAX]; /* into conn.in */
    nexus_event events[BUNDLE_MAX]; /* slices into bodies */
    nexus_pair pairs[BUNDLE_PAIRS]; /* their extensions */
    nexus__event_view view;
} bundle;

struct conn {
    nexus__list node;
    nexus__bus_server *server;
    int fd, wake_fd;
    bool greeted;
    nexus__buf in;
    bundle *bundle;
    waiting *waits;
    atomic_bool hungry;   /* waits is not empty */
    atomic_bool answered; /* publishes of the run that the log reports now */
    joined *groups[GROUPS_MAX];
    uint32_t group_count;
    nexus__watch_group grown;
    atomic_uint refs; /* the thread, and each publish on its way */
    atomic_bool over;
    pthread_mutex_t lock;
    nexus__buf out; /* locked */
    bool woken;     /* locked */
};

struct nexus__bus_server {
    const nexus_alloc *alloc;
    nexus__broker *broker;
    int dir_fd, fd, wake_fd;
    uint32_t max;
    uint64_t caps;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    nexus__list conns; /* locked */
    uint32_t count;
    atomic_bool closing;
};

/* --- outgoing ---- */

static void poke(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0)
        return; /* already set: somebody else woke it */
}


static void group_wake(void *user_data)
{
    joined *j = user_data;
    atomic_store(&j->fresh, true);
    poke(j->conn->wake_fd);
}

static void reply_begin(conn *c, uint16_t op, nexus_status status, uint64_t id, size_t *begin)
{
    pthread_mutex_lock(&c->lock);
    *begin = nexus__wire_begin(&c->out, op | NEXUS__WIRE_REPLY, status, id);
}

static void reply_end(conn *c, size_t begin)
{
    nexus__wire_end(&c->out, begin);
    bool first = !c->woken;
    c->woken = true;
    pthread_mutex_unlock(&c->lock);
    if (first)
        poke(c->wake_fd);
}

/* Sends what it can; false when the peer is gone or reads nothing. */
static bool send_some(conn *c, bool *left)
{
    bool good = true;
    pthread_mutex_lock(&c->lock);
    c->woken = false;
    while (c->out.len) {
        ssize_t n = send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            good = errno == EAGAIN && c->out.len < OUT_MAX;
            break;
        }
        nexus__buf_consume(&c->out, (size_t)n);
    }
    *left = c->out.len > 0;
    good = good && c->out.status == NEXUS_OK;
    pthread_mutex_unlock(&c->lock);
    return good;
}

/* The log has grown, on its flush thread, after everything in this run has been answered: the answers leave from here, all
 * of a connection's at once, since waking its thread for them would cost more. Whoever begins to wait for events looks
 * once more after saying so. */
static void grown(void *user_data)
{
    conn *c = user_data;
    bool left = false, good = true;
    if (atomic_exchange(&c->answered, false))
        good = send_some(c, &left);
    if (left || !good || atomic_load(&c->hungry))
        poke(c->wake_fd);
}

static void reply(conn *c, uint16_t op, nexus_status status, uint64_t id, nexus_slice body)
{
    size_t begin;
    if (status != NEXUS_OK && !body.n)
        body = nexus__slice_c(nexus_error_message());
    reply_begin(c, op, status, id, &begin);
    nexus__buf_slice_append(&c->out, body);
    reply_end(c, begin);
}

static void conn_unref(conn *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    const nexus_alloc *alloc = c->server->alloc;
    close(c->wake_fd);
    nexus__buf_free(&c->in);
    nexus__buf_free(&c->out);
    nexus__free(alloc, c->bundle);
    pthread_mutex_destroy(&c->lock);
    nexus__free(alloc, c);
}

/* --- operations ---- */

typedef struct publishing {
    conn *conn;
    uint64_t id;
    uint16_t op;
} publishing;

static void append_result(nexus__buf *out, const nexus_publish_result *r)
{
    nexus__wire_u64(out, r->first);
    nexus__wire_u64(out, r->last);
    nexus__wire_u64(out, (uint64_t)r->version);
    nexus__wire_u64(out, (uint64_t)r->actual_version);
    nexus__wire_u32(out, (uint32_t)r->dup | (uint32_t)r->durable << 1 | r->durability << 8);
}

static void reply_result(conn *c, uint16_t op, nexus_status status, uint64_t id, const nexus_publish_result *r)
{
    size_t begin;
    reply_begin(c, op, status, id, &begin);
    append_result(&c->out, r);
    if (status != NEXUS_OK)
        nexus__buf_text(&c->out, nexus_error_message());
    reply_end(c, begin);
}

/* What was stored is answered when the run is done (grown). */
static void answer_later(conn *c, uint16_t op, uint64_t id, const nexus_publish_result *result)
{
    size_t begin;
    reply_begin(c, op, NEXUS_OK, id, &begin);
    append_result(&c->out, result);
    nexus__wire_end(&c->out, begin);
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->answered, true);
}

static void publish_done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    publishing *p = user_data;
    conn *c = p->conn;
    if (!atomic_load(&c->over) && status == NEXUS_OK)
        answer_later(c, p->op, p->id, result);
    else if (!atomic_load(&c->over))
        reply_result(c, p->op, status, p->id, result);
    nexus__free(c->server->alloc, p);
    conn_unref(c);
}

static joined *group_of(conn *c, uint32_t index)
{
    return index < c->group_count ? c->groups[index] : NULL;
}

static nexus_status take_acks(conn *c, nexus__wire_in *in, nexus__commit_ack **out, uint32_t *n)
{
    enum { ACK_BYTES = 20 };
    *n = nexus__wire_take_u32(in);
    if (in->bad || *n > in->rest.n / ACK_BYTES)
        return nexus__fail(NEXUS_EPROTO, "a commit of %u acks in %zu bytes", *n, in->rest.n);
    *out = nexus__malloc(c->server->alloc, (*n + 1) * sizeof **out);
    if (!*out)
        return nexus__nomem();
    for (uint32_t i = 0; i < *n; i++) {
        const joined *j = group_of(c, nexus__wire_take_u32(in));
        uint64_t pos = nexus__wire_take_u64(in), token = nexus__wire_take_u64(in);
        if (!j)
            return nexus__fail(NEXUS_EPROTO, "no such group on this connection");
        (*out)[i] = (nexus__commit_ack){j->group, pos, token};
    }
    return NEXUS_OK;
}

/* A publish, or a commit, which has acks in front of it. */
static void on_publish(conn *c, uint16_t op, uint64_t id, nexus_slice body)
{
    nexus__commit_ack *acks = NULL;
    nexus__wire_in in = {.rest = body};
    uint32_t n_acks = 0;
    nexus_publish_result result = {.size = sizeof result, .version = -1, .actual_version = -1};
    publishing *p = nexus__malloc(c->server->alloc, sizeof *p);
    nexus_status status = p ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK && op == WIRE_COMMIT)
        status = take_acks(c, &in, &acks, &n_acks);
    if (status == NEXUS_OK) {
        *p = (publishing){c, id, op};
        atomic_fetch_add(&c->refs, 1);
        status = nexus__publish_body(c->server->broker, c->server->alloc, in.rest, acks, n_acks, publish_done, p, &result);
        if (status != NEXUS_OK)
            conn_unref(c);
    }
    if (status != NEXUS_OK) {
        nexus__free(c->server->alloc, p);
        reply_result(c, op, status, id, &result);
    }
    nexus__free(c->server->alloc, acks);
}

typedef struct bundled {
    conn *conn;
    uint32_t n, told;
    uint64_t ids[];
} bundled;

static void bundled_done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    bundled *u = user_data;
    conn *c = u->conn;
    uint64_t id = u->ids[u->told++];
    if (!atomic_load(&c->over) && status == NEXUS_OK)
        answer_later(c, WIRE_PUBLISH, id, result);
    else if (!atomic_load(&c->over))
        reply_result(c, WIRE_PUBLISH, status, id, result);
    if (u->told < u->n)
        return;
    nexus__free(c->server->alloc, u);
    conn_unref(c);
}

static bool publish_each(conn *c, const bundle *b)
{
    bundled *u = nexus__malloc(c->server->alloc, sizeof *u + b->n * sizeof u->ids[0]);
    if (!u)
        return false;
    *u = (bundled){.conn = c, .n = b->n};
    memcpy(u->ids, b->ids, b->n * sizeof u->ids[0]);
    atomic_fetch_add(&c->refs, 1);
    if (nexus__broker_publish_each(c->server->broker, b->events, b->n, bundled_done, u) == NEXUS_OK)
        return true;
    conn_unref(c);
    nexus__free(c->server->alloc, u);
    return false;
}

/* Publishes what has been bundled; one by one, when together it does not go. */
static void unbundle(conn *c)
{
    bundle *b = c->bundle;
    if (!b || !b->n)
        return;
    if (b->n < 2 || !publish_each(c, b))
        for (uint32_t i = 0; i < b->n; i++)
            on_publish(c, WIRE_PUBLISH, b->ids[i], b->bodies[i]);
    b->n = b->pairs_used = 0;
}

static void on_plain_publish(conn *c, uint64_t id, nexus_slice body)
{
    if (!c->bundle)
        c->bundle = nexus__calloc(c->server->alloc, 1, sizeof *c->bundle);
    bundle *b = c->bundle;
    if (b && b->n == BUNDLE_MAX)
        unbundle(c);
    if (!b || !nexus__publish_body_plain(body, &b->view) || b->pairs_used + b->view.event.ext_count > BUNDLE_PAIRS) {
        unbundle(c);
        on_publish(c, WIRE_PUBLISH, id, body);
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

static void on_group(conn *c, uint64_t id, nexus__wire_in *in)
{
    nexus_slice name = nexus__wire_take_text(in), bytes = nexus__wire_take_text(in);
    nexus__group_config config;
    nexus__bgroup *g = NULL;
    nexus_status status = NEXUS_OK;
    uint32_t index = 0;
    while (index < c->group_count && c->groups[index])
        index++;
    if (in->bad || !nexus__group_config_decode(bytes, &config))
        status = nexus__fail(NEXUS_EPROTO, "an unreadable group configuration");
    else if (index == GROUPS_MAX)
        status = nexus__fail(NEXUS_ELIMIT, "a connection joins at most %d groups", GROUPS_MAX);
    else
        status = nexus__broker_group(c->server->broker, name, &config, &g);
    joined *j = status == NEXUS_OK ? nexus__calloc(c->server->alloc, 1, sizeof *j) : NULL;
    if (j)
        j->member = nexus__bgroup_join(g, true);
    if (status == NEXUS_OK && (!j || !j->member))
        status = nexus__nomem();
    if (status != NEXUS_OK) {
        nexus__free(c->server->alloc, j);
        reply(c, WIRE_GROUP, status, id, NEXUS_S(""));
        return;
    }
    j->conn = c;
    j->group = g;
    j->watch.fn = group_wake;
    j->watch.user_data = j;
    c->groups[index] = j;
    c->group_count += index == c->group_count;
    uint32_t answer[2] = {index, nexus__bgroup_config(g)->ack_wait_ms};
    nexus__bgroup_watch(g, &j->watch);
    reply(c, WIRE_GROUP, NEXUS_OK, id, nexus__slice(answer, sizeof answer));
}

static void leave(conn *c, uint32_t index)
{
    joined *j = c->groups[index];
    if (!j)
        return;
    nexus__bgroup_unwatch(j->group, &j->watch);
    nexus__bgroup_part(j->group, j->member);
    nexus__free(c->server->alloc, j);
    c->groups[index] = NULL;
}

static void on_leave(conn *c, uint64_t id, nexus__wire_in *in)
{
    uint32_t index = nexus__wire_take_u32(in);
    if (index < c->group_count)
        leave(c, index);
    reply(c, WIRE_LEAVE, NEXUS_OK, id, NEXUS_S(""));
}

static void reply_leases(conn *c, uint64_t id, nexus__lease *leases, size_t n)
{
    size_t begin;
    reply_begin(c, WIRE_FETCH, NEXUS_OK, id, &begin);
    nexus__wire_u32(&c->out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        nexus__wire_u64(&c->out, leases[i].token);
        nexus__wire_u32(&c->out, leases[i].attempt);
        nexus__wire_event(&c->out, &leases[i].stored->view.event, leases[i].stored->meta);
        nexus__stored_unref(c->server->alloc, leases[i].stored);
    }
    reply_end(c, begin);
}

/* False: nothing yet, and there is time left. Answers are kept under the frame cap by taking fewer at a time. */
static bool try_fetch(conn *c, uint64_t id, uint32_t group, uint32_t max, int64_t until_ns, int64_t *due_ns)
{
    nexus__lease leases[FETCH_MAX];
    size_t got = 0;
    joined *j = group_of(c, group);
    if (!j) {
        reply(c, WIRE_FETCH, nexus__fail(NEXUS_EPROTO, "no such group on this connection"), id, NEXUS_S(""));
        return true;
    }
    if (max > FETCH_MAX)
        max = FETCH_MAX;
    uint64_t bytes = 0;
    nexus_status status = NEXUS_OK;
    while (got < max && bytes < (1u << 20)) { /* a step at a time, since one event may be 16 MiB */
        size_t some = 0, step = max - got < 64 ? max - got : 64;
        if (bytes > (1u << 18))
            step = 1;
        status = nexus__bgroup_take(j->group, j->member, leases + got, got ? step : 1, &some, due_ns);
        if (!some)
            break;
        for (size_t i = got; i < got + some; i++)
            bytes += leases[i].stored->meta.n + leases[i].stored->view.event.data.n + 64;
        got += some;
    }
    if (got == 0 && status == NEXUS_OK && nexus__mono_ns() < until_ns && !atomic_load(&c->server->closing))
        return false;
    if (got == 0 && status != NEXUS_OK)
        reply(c, WIRE_FETCH, status, id, NEXUS_S(""));
    else
        reply_leases(c, id, leases, got);
    return true;
}

static bool try_read(conn *c, uint64_t id, nexus_slice body, int64_t until_ns)
{
    nexus__wire_in in = {.rest = body};
    nexus__read_request r;
    nexus__wire_take_read_request(&in, &r);
    if (in.bad) {
        reply(c, WIRE_READ, nexus__fail(NEXUS_EPROTO, "an unreadable read request"), id, NEXUS_S(""));
        return true;
    }
    nexus__buf page;
    uint32_t count = 0;
    uint64_t next = r.from;
    nexus__buf_init(&page, c->server->alloc, 0);
    nexus_status status = nexus__broker_read_page(c->server->broker, c->server->alloc, &r, &page, &count, &next);
    bool wait = status == NEXUS_OK && count == 0 && !(r.to && next > r.to) && nexus__mono_ns() < until_ns &&
                !atomic_load(&c->server->closing);
    if (!wait && status != NEXUS_OK) {
        nexus__buf_clear(&page); /* the message, and where the reader goes on */
        nexus__buf_append(&page, nexus_error_message(), strlen(nexus_error_message()) + 1);
        nexus__wire_u64(&page, next);
        reply(c, WIRE_READ, status, id, nexus__buf_slice(&page));
    } else if (!wait) {
        size_t begin;
        reply_begin(c, WIRE_READ, NEXUS_OK, id, &begin);
        nexus__wire_u64(&c->out, next);
        nexus__wire_u32(&c->out, count);
        nexus__buf_slice_append(&c->out, nexus__buf_slice(&page));
        reply_end(c, begin);
    }
    nexus__buf_free(&page);
    return !wait;
}

static void wait_for(conn *c, uint64_t id, uint32_t group, uint32_t max, int64_t until_ns, nexus_slice read)
{
    waiting *w = nexus__calloc(c->server->alloc, 1, sizeof *w);
    if (!w) {
        reply(c, read.n ? WIRE_READ : WIRE_FETCH, nexus__nomem(), id, NEXUS_S(""));
        return;
    }
    w->id = id;
    w->group = group;
    w->max = max;
    w->until_ns = until_ns;
    nexus__buf_init(&w->read, c->server->alloc, 0);
    nexus__buf_slice_append(&w->read, read);
    w->next = c->waits;
    c->waits = w;
    atomic_store(&c->hungry, true);
}

static int64_t retry_waits(conn *c)
{
    int64_t due = INT64_MAX;
    for (waiting **at = &c->waits; *at;) {
        waiting *w = *at;
        int64_t next = INT64_MAX;
        bool done = w->read.len ? try_read(c, w->id, nexus__buf_slice(&w->read), w->until_ns)
                                : try_fetch(c, w->id, w->group, w->max, w->until_ns, &next);
        next = next < w->until_ns ? next : w->until_ns;
        if (!done) {
            due = next < due ? next : due;
            at = &w->next;
            continue;
        }
        *at = w->next;
        nexus__buf_free(&w->read);
        nexus__free(c->server->alloc, w);
    }
    if (!c->waits)
        atomic_store(&c->hungry, false);
    return due;
}

static void on_settle(conn *c, uint64_t id, nexus__wire_in *in)
{
    joined *j = group_of(c, nexus__wire_take_u32(in));
    uint64_t pos = nexus__wire_take_u64(in), token = nexus__wire_take_u64(in);
    uint32_t how = nexus__wire_take_u32(in), ms = nexus__wire_take_u32(in);
    nexus_slice reason = nexus__wire_take_text(in);
    nexus_status status = in->bad || !j || how > NEXUS__SETTLE_LAST
                              ? nexus__fail(NEXUS_EPROTO, "an unreadable settlement")
                              : nexus__bgroup_settle(j->group, pos, token, how, ms, reason);
    reply(c, WIRE_SETTLE, status, id, NEXUS_S(""));
}

static nexus_status dead_letters(nexus__bgroup *g, uint16_t op, nexus__wire_in *in, nexus__buf *body)
{
    nexus__dead_query query;
    nexus__dead_report report = {0};
    nexus_status status;
    nexus__wire_take_dead_query(in, &query);
    nexus_slice data = op == WIRE_REDRIVE ? nexus__wire_take_text(in) : NEXUS_S("");
    uint32_t dry = op == WIRE_REDRIVE ? nexus__wire_take_u32(in) : 0;
    uint64_t expect = op == WIRE_PURGE ? nexus__wire_take_u64(in) : 0;
    if (in->bad)
        return nexus__fail(NEXUS_EPROTO, "an unreadable query of dead letters");
    if (op == WIRE_DEAD)
        return nexus__bgroup_dead(g, &query, body);
    if (op == WIRE_REDRIVE)
        status = nexus__bgroup_redrive(g, &query, data, dry != 0, &report);
    else
        status = nexus__bgroup_purge(g, &query, expect, &report);
    if (status == NEXUS_OK) /* else the body is the message */
        nexus__buf_append(body, &report, sizeof report);
    return status;
}

static nexus_status steer(nexus__bgroup *g, uint16_t op, nexus__wire_in *in, nexus__buf *body)
{
    nexus__seek seek;
    nexus__seek_report report;
    if (op == WIRE_EXPLAIN)
        return nexus__bgroup_explain(g, body);
    if (op == WIRE_AUDIT)
        return nexus__bgroup_audit(g, body);
    if (op == WIRE_PAUSE) {
        uint32_t pause = nexus__wire_take_u32(in);
        return in->bad ? nexus__fail(NEXUS_EPROTO, "an unreadable pause") : nexus__bgroup_pause(g, pause != 0);
    }
    nexus__wire_take(in, &seek, sizeof seek);
    nexus_status status = in->bad ? nexus__fail(NEXUS_EPROTO, "an unreadable seek") : nexus__bgroup_seek(g, &seek, &report);
    if (status == NEXUS_OK)
        nexus__buf_append(body, &report, sizeof report);
    return status;
}

static void on_group_report(conn *c, const nexus__wire_head *head, nexus__wire_in *in)
{
    joined *j = group_of(c, nexus__wire_take_u32(in));
    if (!j) {
        reply(c, head->op, nexus__fail(NEXUS_EPROTO, "no such group on this connection"), head->id, NEXUS_S(""));
        return;
    }
    nexus__buf body;
    nexus__buf_init(&body, c->server->alloc, NEXUS__WIRE_BODY_MAX);
    nexus_status status = NEXUS_OK;
    if (head->op == WIRE_SYNC) {
        status = nexus__bgroup_sync(j->group);
    } else if (head->op == WIRE_STATS) {
        nexus_group_stats stats = {.size = sizeof stats};
        nexus__bgroup_stats(j->group, &stats);
        nexus__buf_append(&body, &stats, sizeof stats);
    } else if (head->op == WIRE_WATCH) {
        j->watching = true;
        atomic_store(&j->fresh, true);
    } else if (head->op >= WIRE_EXPLAIN) {
        status = steer(j->group, head->op, in, &body);
    } else {
        status = dead_letters(j->group, head->op, in, &body);
    }
    reply(c, head->op, status, head->id, nexus__buf_slice(&body));
    nexus__buf_free(&body);
}

static void on_hello(conn *c, uint64_t id, nexus__wire_in *in)
{
    uint32_t version = nexus__wire_take_u32(in);
    uint64_t caps = c->server->caps;
    c->greeted = version == NEXUS__WIRE_VERSION;
    nexus_status status = c->greeted ? NEXUS_OK
                                     : nexus__fail(NEXUS_EREV, "the bus owner speaks version %u, the client %u",
                                                   NEXUS__WIRE_VERSION, version);
    reply(c, WIRE_HELLO, status, id, status == NEXUS_OK ? nexus__slice(&caps, sizeof caps) : NEXUS_S(""));
}

static void on_frame(conn *c, const nexus__wire_head *head, nexus_slice body)
{
    nexus__wire_in in = {.rest = body};
    int64_t due;
    if (!c->greeted && head->op != WIRE_HELLO) {
        atomic_store(&c->over, true);
        return;
    }
    if (head->op == WIRE_PUBLISH) {
        on_plain_publish(c, head->id, body);
        return;
    }
    unbundle(c); /* calls are done in their order */
    switch (head->op) {
    case WIRE_HELLO:
        on_hello(c, head->id, &in);
        break;
    case WIRE_COMMIT:
        on_publish(c, head->op, head->id, body);
        break;
    case WIRE_GROUP:
        on_group(c, head->id, &in);
        break;
    case WIRE_FETCH: {
        uint32_t group = nexus__wire_take_u32(&in), max = nexus__wire_take_u32(&in);
        int64_t until = nexus__mono_ns() + nexus__wire_take_u32(&in) * NEXUS__NS_PER_MS;
        if (!try_fetch(c, head->id, group, max, until, &due))
            wait_for(c, head->id, group, max, until, NEXUS_S(""));
        break;
    }
    case WIRE_READ: {
        nexus__read_request r = {0};
        nexus__wire_take_read_request(&in, &r);
        int64_t until = nexus__mono_ns() + r.wait_ms * NEXUS__NS_PER_MS;
        if (!try_read(c, head->id, body, until))
            wait_for(c, head->id, 0, 0, until, body);
        break;
    }
    case WIRE_LEAVE:
        on_leave(c, head->id, &in);
        break;
    case WIRE_SETTLE:
        on_settle(c, head->id, &in);
        break;
    case WIRE_GROUPS: {
        nexus__buf groups;
        nexus__buf_init(&groups, c->server->alloc, NEXUS__WIRE_BODY_MAX);
        nexus_status status = nexus__broker_groups(c->server->broker, &groups);
        reply(c, WIRE_GROUPS, status, head->id, nexus__buf_slice(&groups));
        nexus__buf_free(&groups);
        break;
    }
    case WIRE_HEAD: {
        uint64_t pos = nexus__wal_durable(nexus__broker_wal(c->server->broker));
        reply(c, WIRE_HEAD, NEXUS_OK, head->id, nexus__slice(&pos, sizeof pos));
        break;
    }
    case WIRE_REDACT: {
        uint64_t pos = nexus__wire_take_u64(&in);
        reply(c, WIRE_REDACT, nexus__broker_redact(c->server->broker, pos), head->id, NEXUS_S(""));
        break;
    }
    case WIRE_BUS_STATS: {
        nexus__buf stats;
        nexus__buf_init(&stats, c->server->alloc, NEXUS__WIRE_BODY_MAX);
        nexus_status status = nexus__broker_stats(c->server->broker, &stats);
        reply(c, WIRE_BUS_STATS, status, head->id, nexus__buf_slice(&stats));
        nexus__buf_free(&stats);
        break;
    }
    case WIRE_COMPACT: {
        nexus__compact_step step = {.after = nexus__wire_take_u64(&in)};
        nexus_status status = nexus__broker_compact(c->server->broker, &step);
        reply(c, WIRE_COMPACT, status, head->id, nexus__slice(&step, sizeof step));
        break;
    }
    case WIRE_VERSION: {
        int64_t version = nexus__broker_stream_version(c->server->broker, nexus__wire_take_text(&in));
        reply(c, WIRE_VERSION, NEXUS_OK, head->id, nexus__slice(&version, sizeof version));
        break;
    }
    case WIRE_SYNC:
    case WIRE_STATS:
    case WIRE_DEAD:
    case WIRE_REDRIVE:
    case WIRE_PURGE:
    case WIRE_WATCH:
    case WIRE_EXPLAIN:
    case WIRE_AUDIT:
    case WIRE_PAUSE:
    case WIRE_SEEK:
        on_group_report(c, head, &in);
        break;
    default:
        atomic_store(&c->over, true); /* a reply, or a wake: not for us */
    }
}

/* --- the connection's thread ---- */

static bool receive(conn *c)
{
    char *at = nexus__buf_reserve(&c->in, 65536);
    if (!at)
        return false;
    ssize_t n = recv(c->fd, at, 65536, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    c->in.len += (size_t)n;
    size_t done = 0;
    while (!atomic_load(&c->over)) {
        nexus__wire_head head;
        nexus_slice body;
        size_t used;
        nexus_status status = nexus__wire_decode(c->in.p + done, c->in.len - done, &head, &body, &used);
        if (status == NEXUS_EAGAIN)
            break;
        if (status != NEXUS_OK) {
            atomic_store(&c->over, true);
            break;
        }
        on_frame(c, &head, body);
        done += used;
    }
    unbundle(c); /* its slices end here */
    nexus__buf_consume(&c->in, done);
    return !atomic_load(&c->over);
}

static void push_wakes(conn *c)
{
    for (uint32_t i = 0; i < c->group_count; i++) {
        if (!c->groups[i] || !c->groups[i]->watching || !atomic_exchange(&c->groups[i]->fresh, false))
            continue;
        pthread_mutex_lock(&c->lock);
        size_t begin = nexus__wire_begin(&c->out, WIRE_WAKE, 0, 0);
        nexus__wire_u32(&c->out, i);
        nexus__wire_end(&c->out, begin);
        pthread_mutex_unlock(&c->lock);
    }
}

static int until_ms(int64_t due_ns)
{
    if (due_ns == INT64_MAX)
        return -1;
    int64_t left = due_ns - nexus__mono_ns();
    return left <= 0 ? 0 : left > 60000 * NEXUS__NS_PER_MS ? 60000 : (int)(left / NEXUS__NS_PER_MS + 1);
}

static void serve(conn *c)
{
    int64_t hello_by = nexus__mono_ns() + HELLO_MS * NEXUS__NS_PER_MS;
    for (;;) {
        int64_t due = retry_waits(c);
        bool left;
        push_wakes(c);
        if (!send_some(c, &left) || atomic_load(&c->server->closing))
            return;
        if (!c->greeted && nexus__mono_ns() >= hello_by)
            return;
        if (!c->greeted && hello_by < due)
            due = hello_by;
        struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN | (left ? POLLOUT : 0)},
                                {.fd = c->wake_fd, .events = POLLIN}};
        int rc = poll(fds, 2, until_ms(due));
        if (rc < 0 && errno != EINTR)
            return;
        uint64_t drained;
        if (fds[1].revents && read(c->wake_fd, &drained, sizeof drained) < 0 && errno != EAGAIN)
            return;
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR) && !receive(c))
            return;
    }
}

static void leave_groups(conn *c)
{
    for (uint32_t i = 0; i < c->group_count; i++)
        leave(c, i);
    c->group_count = 0;
}

static void *conn_main(void *arg)
{
    conn *c = arg;
    nexus__bus_server *s = c->server;
    nexus__broker_watch(s->broker, &c->grown);
    serve(c);
    atomic_store(&c->over, true);
    nexus__broker_unwatch(s->broker, &c->grown);
    leave_groups(c);
    while (c->waits) {
        waiting *w = c->waits;
        c->waits = w->next;
        nexus__buf_free(&w->read);
        nexus__free(s->alloc, w);
    }
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
    pthread_mutex_lock(&s->lock);
    nexus__list_remove(&c->node);
    s->count--;
    conn_unref(c);
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- listening ---- */

static bool same_user(int fd)
{
    struct ucred who;
    socklen_t n = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && (who.uid == geteuid() || who.uid == 0);
}

static void welcome(nexus__bus_server *s, int fd)
{
    conn *c = nexus__calloc(s->alloc, 1, sizeof *c);
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!c || wake_fd < 0) {
        nexus__free(s->alloc, c);
        if (wake_fd >= 0)
            close(wake_fd);
        close(fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->wake_fd = wake_fd;
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->lock, NULL);
    nexus__buf_init(&c->in, s->alloc, IN_MAX + 65536);
    nexus__buf_init(&c->out, s->alloc, 0);
    c->grown.fn = grown;
    c->grown.user_data = c;
    nexus__list_init(&c->grown.node);
    pthread_mutex_lock(&s->lock);
    nexus__list_push(&s->conns, &c->node);
    s->count++;
    pthread_mutex_unlock(&s->lock);
    pthread_t thread; /* not in c, which its thread may have freed by then */
    if (nexus__thread_start(&thread, "nexus-bus-conn", conn_main, c) == NEXUS_OK) {
        pthread_detach(thread);
        return;
    }
    pthread_mutex_lock(&s->lock);
    nexus__list_remove(&c->node);
    s->count--;
    pthread_mutex_unlock(&s->lock);
    close(fd);
    conn_unref(c);
}

void nexus__bus_server_welcome(nexus__bus_server *s, int fd)
{
    pthread_mutex_lock(&s->lock);
    bool full = s->count >= s->max;
    pthread_mutex_unlock(&s->lock);
    if (full)
        close(fd);
    else
        welcome(s, fd);
}

static void *accept_main(void *arg)
{
    nexus__bus_server *s = arg;
    for (;;) {
        struct pollfd fds[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = s->wake_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (atomic_load(&s->closing))
            return NULL;
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            continue;
        if (same_user(fd))
            nexus__bus_server_welcome(s, fd);
        else
            close(fd);
    }
}

static nexus_status listen_on(nexus__bus_server *s, const char *dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0)
        return nexus__fail_errno(errno, "open %s", dir);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd < 0 || s->wake_fd < 0)
        return nexus__fail_errno(errno, "make a socket");
    unlinkat(s->dir_fd, "bus.sock", 0); /* we hold the lock: whoever made it is gone */
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/bus.sock", s->dir_fd);
    if (bind(s->fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(s->fd, 128) != 0)
        return nexus__fail_errno(errno, "listen on %s/bus.sock", dir);
    fchmodat(s->dir_fd, "bus.sock", 0600, 0);
    return NEXUS_OK;
}

nexus_status nexus__bus_server_open(nexus__bus_server **out, nexus__broker *broker, const char *dir,
                                    const nexus_alloc *alloc, uint32_t connections_max, uint64_t caps)
{
    nexus__bus_server *s = nexus__calloc(alloc, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    s->alloc = alloc;
    s->broker = broker;
    s->caps = caps;
    s->max = connections_max ? connections_max : 256;
    s->dir_fd = s->fd = s->wake_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->ended, NULL);
    nexus__list_init(&s->conns);
    nexus_status status = dir ? listen_on(s, dir) : NEXUS_OK;
    if (status == NEXUS_OK && dir)
        status = nexus__thread_start(&s->thread, "nexus-bus-acc", accept_main, s);
    s->started = status == NEXUS_OK && dir;
    if (status != NEXUS_OK) {
        nexus__bus_server_close(s);
        return status;
    }
    *out = s;
    return NEXUS_OK;
}

void nexus__bus_server_close(nexus__bus_server *s)
{
    if (!s)
        return;
    atomic_store(&s->closing, true);
    if (s->started) {
        poke(s->wake_fd);
        pthread_join(s->thread, NULL);
    }
    pthread_mutex_lock(&s->lock);
    for (nexus__list *n = s->conns.next; n != &s->conns; n = n->next)
        poke(NEXUS__CONTAINER(n, conn, node)->wake_fd);
    while (s->count)
        pthread_cond_wait(&s->ended, &s->lock);
    pthread_mutex_unlock(&s->lock);
    /* Publishes of theirs that are still on their way hold references and use the allocator only: wait for them. */
    if (nexus__wal_append(nexus__broker_wal(s->broker), NULL, 0, NULL) != NEXUS_OK)
        s->started = false;
    if (s->dir_fd >= 0 && s->fd >= 0)
        unlinkat(s->dir_fd, "bus.sock", 0);
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? s->fd : i == 1 ? s->wake_fd : s->dir_fd;
        if (fd >= 0)
            close(fd);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->ended);
    nexus__free(s->alloc, s);
}
