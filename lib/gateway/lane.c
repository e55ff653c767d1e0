#include "gateway/lane.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/status.h"
#include "gateway/dial.h"
#include "http/h2_client.h"

enum { WAITING_MAX = 100 };

typedef struct lane {
    nexus__uplink up; /* first: an uplink with a carrier is a lane */
    nexus__list node; /* of its carrier's lanes */
    nexus__h2c_stream stream;
    bool asked; /* its request may leave, or has left */
} lane;

struct nexus__carrier {
    nexus__list node; /* in at->carriers */
    nexus__watch watch;
    nexus__timeout timeout; /* to come up; later, of resting */
    nexus__pool *pool;
    nexus__pool_target *at;
    nexus__dial *dial;
    nexus__tls_conn *tls;
    nexus__h2c *session; /* once it is up */
    nexus__list lanes, closed, spare;
    uint32_t lane_count, waiting; /* waiting: of them, those that were not asked */
    int64_t born;
    bool used;    /* an answer came on it */
    bool running; /* inside one of its events: what was closed is freed afterwards */
    bool ending;  /* takes no lanes; closed with the last one */
};

static nexus_loop *loop_of(const nexus__carrier *c)
{
    return c->pool->home->loop;
}

static const nexus__gw_upstream_conf *conf_of(const nexus__carrier *c)
{
    return c->pool->upstream->conf;
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

static void free_lanes(const nexus_alloc *alloc, nexus__list *list)
{
    while (!nexus__list_empty(list)) {
        lane *l = NEXUS__CONTAINER(list->next, lane, node);
        nexus__list_remove(&l->node);
        nexus__h2c_stream_free(&l->stream);
        nexus__free(alloc, l);
    }
}

static void carrier_free(nexus__carrier *c)
{
    const nexus_alloc *alloc = c->at->alloc;
    nexus__list_remove(&c->node);
    nexus__watch_stop(&c->watch);
    nexus__timeout_remove(&c->timeout, loop_of(c));
    nexus__dial_cancel(c->dial);
    nexus__tls_conn_close(c->tls);
    nexus__pool *pool = c->pool;
    if (c->watch.fd >= 0)
        close(c->watch.fd);
    nexus__h2c_free(c->session);
    free_lanes(alloc, &c->closed);
    free_lanes(alloc, &c->spare);
    atomic_fetch_sub(&c->at->target->shared.connections, 1);
    nexus__waiting_freed(pool);
    nexus__pool_target_unref(c->at);
    nexus__free(alloc, c);
}

/* Events begin and end so: what they tell may close lanes, and with the last of them pool and carrier. */
static void enter(nexus__carrier *c)
{
    c->running = true;
    c->pool->refs++;
}

static void leave(nexus__carrier *c)
{
    nexus__pool *pool = c->pool;
    c->running = false;
    while (!nexus__list_empty(&c->closed)) {
        lane *l = NEXUS__CONTAINER(c->closed.next, lane, node);
        nexus__list_remove(&l->node);
        nexus__list_push(&c->spare, &l->node);
    }
    if (c->ending && c->lane_count == 0)
        carrier_free(c);
    nexus__pool_unref(pool);
}

/* What it carries is lost. */
static void fail(nexus__carrier *c, enum nexus__lost how)
{
    c->ending = true;
    if (c->session)
        nexus__h2c_fail(c->session);
    while (!nexus__list_empty(&c->lanes)) /* those that had not begun */
        nexus__call_lost(&NEXUS__CONTAINER(c->lanes.next, lane, node)->up, how);
}

void nexus__carriers_retire(nexus__pool_target *at)
{
    for (nexus__list *n = at->carriers.next, *next = n->next; n != &at->carriers; n = next, next = n->next) {
        nexus__carrier *c = NEXUS__CONTAINER(n, nexus__carrier, node);
        c->ending = true;
        if (c->lane_count == 0 && !c->running)
            carrier_free(c);
    }
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static ssize_t send_bytes(nexus__carrier *c, const char *p, size_t n)
{
    if (c->tls)
        return nexus__tls_write(c->tls, p, n);
    ssize_t sent;
    do
        sent = send(c->watch.fd, p, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 ? sent : errno == EAGAIN ? -1 : -2;
}

/* Sends what the session has to say. A broken socket shows when it is read. */
static void flush(nexus__carrier *c)
{
    for (;;) {
        nexus__buf *out = nexus__h2c_output(c->session);
        if (out->len == 0)
            break;
        ssize_t n = send_bytes(c, out->p, out->len);
        if (n == -1)
            break;
        nexus__buf_consume(out, n < 0 ? out->len : (size_t)n);
    }
    if (nexus__h2c_has_news(c->session) && !c->running)
        nexus__watch_again(&c->watch, NEXUS__WATCH_WRITE); /* is told from there */
}

static ssize_t receive_bytes(nexus__carrier *c, char *p, size_t n)
{
    if (c->tls)
        return nexus__tls_read(c->tls, p, n);
    ssize_t got;
    do
        got = recv(c->watch.fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    return got >= 0 ? got : errno == EAGAIN ? -1 : -2;
}

static void receive(nexus__carrier *c)
{
    char *buffer = c->pool->home->buffer;
    for (;;) {
        ssize_t n = receive_bytes(c, buffer, NEXUS__GW_BUFFER);
        if (n == -1)
            break;
        if (n <= 0 || !nexus__h2c_receive(c->session, buffer, (size_t)n)) {
            flush(c); /* why we give it up */
            fail(c, NEXUS__LOST_CLOSED);
            return;
        }
    }
    if (nexus__h2c_draining(c->session))
        c->ending = true;
}

/* --- coming up ---------------------------------------------------------------------------------------------------- */

static void lane_free(nexus__carrier *c, lane *l);

/* In place of the lane, its call gets another uplink; conn NULL = none could be opened. */
static void exchange_lane(nexus__carrier *c, lane *l, nexus__uplink *conn)
{
    nexus__call *call = l->up.call;
    if (!conn) {
        nexus__call_lost(&l->up, NEXUS__LOST_CONNECT);
        return;
    }
    conn->call = call;
    call->conn = conn;
    lane_free(c, l);
    nexus__call_limit_time(call, conf_of(c)->timeouts.connect_ms);
    if (conn->state == NEXUS__UPLINK_BUSY)
        nexus__call_connected(conn);
}

static lane *first_waiting(nexus__carrier *c)
{
    for (nexus__list *n = c->lanes.next; n != &c->lanes; n = n->next)
        if (!NEXUS__CONTAINER(n, lane, node)->asked)
            return NEXUS__CONTAINER(n, lane, node);
    return NULL;
}

/* Lanes that came while the connection was coming up; those for which there is no room go to another one. */
static void ask_waiting(nexus__carrier *c)
{
    while (c->waiting > 0 && !c->ending) {
        lane *l = first_waiting(c);
        nexus__uplink *other = NULL;
        if (nexus__h2c_room(c->session) > 0) {
            l->asked = true;
            c->waiting--;
            l->up.state = NEXUS__UPLINK_BUSY;
            nexus__call_connected(&l->up);
        } else if (!nexus__h2c_settled(c->session)) {
            return;
        } else {
            exchange_lane(c, l, nexus__lane_open(&other, c->pool, c->at) ? NULL : other);
        }
    }
}

/* The server speaks HTTP/1.1: the socket goes to the first call, the others get their own. */
static void fall_back(nexus__carrier *c)
{
    nexus__uplink *conn = NULL;
    c->ending = true;
    if (nexus__list_empty(&c->lanes))
        return;
    nexus__watch_stop(&c->watch);
    if (nexus__uplink_adopt(&conn, c->pool, c->at, c->watch.fd, c->tls) == NEXUS_OK) {
        c->watch.fd = -1;
        c->tls = NULL;
    }
    exchange_lane(c, NEXUS__CONTAINER(c->lanes.next, lane, node), conn);
    while (!nexus__list_empty(&c->lanes)) {
        conn = NULL;
        nexus_status status = nexus__uplink_open(&conn, c->pool, c->at, true);
        exchange_lane(c, NEXUS__CONTAINER(c->lanes.next, lane, node), status ? NULL : conn);
    }
}

static const nexus__h2c_ops ops;

static void come_up(nexus__carrier *c)
{
    uint32_t protocol = c->tls ? nexus__tls_protocol(c->tls) : NEXUS__TLS_H2;
    c->at->spoken = protocol;
    if (protocol == NEXUS__TLS_HTTP1 && conf_of(c)->protocol != NEXUS__PROTOCOL_H2) {
        fall_back(c);
    } else if (protocol == NEXUS__TLS_HTTP1 || nexus__h2c_new(&c->session, c->at->alloc, &ops, c->tls != NULL)) {
        fail(c, NEXUS__LOST_CONNECT);
    } else {
        nexus__timeout_clear(&c->timeout);
        ask_waiting(c);
    }
}

static void handshake(nexus__carrier *c)
{
    int done = nexus__tls_handshake(c->tls);
    if (done > 0) {
        come_up(c);
    } else if (done < 0) {
        fail(c, nexus__tls_untrusted(c->tls) ? NEXUS__LOST_CERTIFICATE : NEXUS__LOST_TLS);
    }
}

static void on_ready(nexus__watch *watch, uint32_t ready)
{
    nexus__carrier *c = NEXUS__CONTAINER(watch, nexus__carrier, watch);
    enter(c);
    if (!c->session)
        handshake(c);
    if (c->session) {
        flush(c);
        nexus__h2c_tell(c->session);
        if (ready & (NEXUS__WATCH_READ | NEXUS__WATCH_HANGUP))
            receive(c);
        ask_waiting(c);
        flush(c);
        nexus__h2c_tell(c->session);
        flush(c);
    }
    leave(c);
}

static void on_dialed(void *user_data, int fd)
{
    nexus__carrier *c = user_data;
    c->dial = NULL;
    enter(c);
    c->watch.fd = fd < 0 ? -1 : fd;
    for (nexus__list *n = c->lanes.next; n != &c->lanes; n = n->next)
        NEXUS__CONTAINER(n, lane, node)->up.call->fault = fd < 0 ? -fd : 0;
    if (fd >= 0 && c->at->target->tls)
        c->tls = nexus__tls_client_conn(c->pool->upstream->tls, fd, c->at->target->server_name.p,
                                        nexus__uplink_protocols(c->pool, c->at->target), &c->at->session);
    if (fd < 0 || (c->at->target->tls && !c->tls) || nexus__watch_start(&c->watch, loop_of(c), fd, on_ready))
        fail(c, NEXUS__LOST_CONNECT);
    else if (!c->tls)
        come_up(c);
    if (c->session)
        flush(c);
    leave(c);
}

static void on_timeout(nexus__timeout *timeout)
{
    nexus__carrier *c = NEXUS__CONTAINER(timeout, nexus__carrier, timeout);
    enter(c);
    if (c->session)
        c->ending = true; /* it rested long enough */
    else
        fail(c, NEXUS__LOST_TIMEOUT);
    leave(c);
}

static nexus_status carrier_new(nexus__carrier **out, nexus__pool *pool, nexus__pool_target *at)
{
    nexus__target *t = at->target;
    if (atomic_fetch_add(&t->shared.connections, 1) >= pool->upstream->conf->max_connections) {
        atomic_fetch_sub(&t->shared.connections, 1);
        return NEXUS_ELIMIT;
    }
    nexus__carrier *c = nexus__calloc(at->alloc, 1, sizeof *c);
    if (!c) {
        atomic_fetch_sub(&t->shared.connections, 1);
        return nexus__nomem();
    }
    c->pool = pool;
    c->at = at;
    at->refs++;
    c->watch.fd = -1;
    c->born = nexus_loop_now_ns(pool->home->loop);
    nexus__list_init(&c->lanes);
    nexus__list_init(&c->closed);
    nexus__list_init(&c->spare);
    nexus__list_push(&at->carriers, &c->node);
    nexus__timeout_init(&c->timeout, on_timeout);
    nexus_status status = nexus__dial_start(&c->dial, at->alloc, loop_of(c), &t->address,
                                            t->alternate.len > 0 ? &t->alternate : NULL, on_dialed, c);
    if (status) {
        carrier_free(c);
        return status;
    }
    nexus__timeout_set(&c->timeout, loop_of(c), conf_of(c)->timeouts.connect_ms);
    *out = c;
    return NEXUS_OK;
}

/* --- lanes -------------------------------------------------------------------------------------------------------- */

static lane *lane_get(nexus__carrier *c)
{
    if (!nexus__list_empty(&c->spare)) {
        lane *l = NEXUS__CONTAINER(c->spare.prev, lane, node);
        nexus__list_remove(&l->node);
        nexus__h2c_stream_reuse(&l->stream);
        return l;
    }
    lane *l = nexus__calloc(c->at->alloc, 1, sizeof *l);
    if (l)
        nexus__h2c_stream_init(&l->stream, c->at->alloc);
    return l;
}

static nexus__uplink *lane_add(nexus__carrier *c, bool asked)
{
    lane *l = lane_get(c);
    if (!l)
        return NULL;
    l->up = (nexus__uplink){.pool = c->pool, .at = c->at, .carrier = c, .used = c->used};
    l->up.state = asked ? NEXUS__UPLINK_BUSY : NEXUS__UPLINK_CONNECTING;
    l->up.watch.fd = -1;
    l->asked = asked;
    c->waiting += !asked;
    nexus__list_init(&l->up.node);
    nexus__list_init(&l->node);
    nexus__timeout_init(&l->up.timeout, nexus__uplink_on_timeout);
    nexus__list_push(&c->lanes, &l->node);
    c->lane_count++;
    c->pool->refs++;
    c->at->refs++;
    return &l->up;
}

static bool too_old(const nexus__carrier *c)
{
    return nexus_loop_now_ns(loop_of(c)) - c->born > (int64_t)conf_of(c)->pool_max_age_ms * NEXUS__NS_PER_MS;
}

nexus__uplink *nexus__lane_take(nexus__pool *pool, nexus__pool_target *at)
{
    (void)pool;
    for (nexus__list *n = at->carriers.next, *next = n->next; n != &at->carriers; n = next, next = n->next) {
        nexus__carrier *c = NEXUS__CONTAINER(n, nexus__carrier, node);
        if (c->session && !c->ending && too_old(c)) {
            c->ending = true;
            if (c->lane_count == 0 && !c->running)
                carrier_free(c);
        } else if (c->session && !c->ending && nexus__h2c_room(c->session) > 0) {
            nexus__timeout_clear(&c->timeout);
            return lane_add(c, true);
        }
    }
    return NULL;
}

nexus_status nexus__lane_open(nexus__uplink **out, nexus__pool *pool, nexus__pool_target *at)
{
    nexus__carrier *c = NULL;
    for (nexus__list *n = at->carriers.next; n != &at->carriers && !c; n = n->next) {
        c = NEXUS__CONTAINER(n, nexus__carrier, node);
        bool coming = !c->session || !nexus__h2c_settled(c->session);
        if (!coming || c->ending || c->lane_count >= WAITING_MAX)
            c = NULL;
    }
    nexus_status status = c ? NEXUS_OK : carrier_new(&c, pool, at);
    if (status)
        return status;
    nexus__uplink *conn = lane_add(c, false);
    if (!conn)
        return nexus__nomem();
    nexus__timeout_set(&conn->timeout, loop_of(c), conf_of(c)->timeouts.connect_ms);
    *out = conn;
    return NEXUS_OK;
}

/* Its call knows it no more. Memory that was told to the call stays until the carrier's event is over. */
static void lane_free(nexus__carrier *c, lane *l)
{
    nexus__pool *pool = c->pool;
    if (l->up.paused) /* the call's request outlives the lane */
        (void)nexus__exchange_on_drained(l->up.call->request, NULL, NULL);
    nexus__list_remove(&l->node);
    c->lane_count--;
    c->waiting -= !l->asked;
    nexus__timeout_remove(&l->up.timeout, loop_of(c));
    if (c->session)
        nexus__h2c_stream_close(c->session, &l->stream);
    nexus__list_push(c->running ? &c->closed : &c->spare, &l->node);
    nexus__pool_target_unref(c->at);
    nexus__waiting_freed(pool); /* there is room for another */
    if (c->lane_count == 0 && !c->ending)
        nexus__timeout_set(&c->timeout, loop_of(c), conf_of(c)->pool_idle_ms);
    if (c->session && !c->running)
        flush(c);
    if (c->ending && c->lane_count == 0 && !c->running)
        carrier_free(c);
    nexus__pool_unref(pool);
}

void nexus__lane_close(nexus__uplink *conn)
{
    lane_free(conn->carrier, (lane *)conn);
}

bool nexus__lane_send(nexus__uplink *conn, struct iovec *iov, int n)
{
    lane *l = (lane *)conn;
    nexus__carrier *c = conn->carrier;
    bool end = conn->call->whole && n == 1;
    nexus_status status = nexus__h2c_request(c->session, &l->stream, iov[0].iov_base, iov[0].iov_len, end);
    if (!status && n > 1) { /* a whole body, however large: it stands in the client's buffer, which goes on */
        nexus__h2c_write_all(&l->stream, iov[1].iov_base, iov[1].iov_len);
        nexus__h2c_end(&l->stream, (nexus_slice){0});
    }
    if (!c->running)
        flush(c);
    return status == NEXUS_OK;
}

ssize_t nexus__lane_send_some(nexus__uplink *conn, nexus_slice data)
{
    size_t taken = nexus__h2c_write(&((lane *)conn)->stream, data.p, data.n);
    if (!conn->carrier->running)
        flush(conn->carrier);
    return (ssize_t)taken;
}

void nexus__lane_end(nexus__uplink *conn, nexus_slice trailers)
{
    nexus__h2c_end(&((lane *)conn)->stream, trailers);
    if (!conn->carrier->running)
        flush(conn->carrier);
}

void nexus__lane_taken(nexus__uplink *conn)
{
    nexus__h2c_taken(&((lane *)conn)->stream);
    if (!conn->carrier->running)
        flush(conn->carrier);
}

/* --- what a session tells ----------------------------------------------------------------------------------------- */

static void on_news(nexus__h2c_stream *stream, const nexus__h2c_news *news)
{
    lane *l = NEXUS__CONTAINER(stream, lane, stream);
    l->up.carrier->used = true;
    nexus__reply_message(&l->up, news);
}

static void on_lost(nexus__h2c_stream *stream, enum nexus__h2c_loss how)
{
    static const enum nexus__lost meaning[] = {[NEXUS__H2C_REFUSED] = NEXUS__LOST_REFUSED,
                                               [NEXUS__H2C_CLOSED] = NEXUS__LOST_CLOSED,
                                               [NEXUS__H2C_RESET] = NEXUS__LOST_CLOSED,
                                               [NEXUS__H2C_INVALID] = NEXUS__LOST_INVALID};
    lane *l = NEXUS__CONTAINER(stream, lane, stream);
    if (how != NEXUS__H2C_CLOSED)
        l->up.used = false; /* the server speaks: this is not a connection that was closed while it rested */
    nexus__call_lost(&l->up, meaning[how]);
}

static void on_writable(nexus__h2c_stream *stream)
{
    nexus__call_writable(&NEXUS__CONTAINER(stream, lane, stream)->up);
}

static const nexus__h2c_ops ops = {on_news, on_lost, on_writable};
