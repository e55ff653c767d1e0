/*
 * c-ares on a loop: one channel, its sockets watched by libevent events of their own, its timeouts by one timer. Results
 * are copied and handed over by a posted task, so that no callback runs inside the call that asked, nor inside c-ares.
 */
#include "runtime/resolve.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>

#include "base/status.h"
#include "runtime/internal.h"

enum { ADDRESSES_MAX = 64, SRV_MAX = 64, QUERY_TIMEOUT_MS = 2000, QUERY_TRIES = 2, TTL_NUMERIC_S = 300 };

typedef struct socket_watch {
    nexus__list node;
    struct event event;
    nexus__resolver *resolver;
    ares_socket_t fd;
} socket_watch;

struct nexus__resolver {
    nexus_loop *loop;
    ares_channel channel;
    struct event timer;
    nexus__list sockets;
};

typedef struct query {
    nexus__task task;
    nexus_loop *loop; /* NULL: somebody waits for it, see nexus__resolve_wait */
    const nexus_alloc *alloc;
    bool done;
    nexus__resolve_fn *fn;
    nexus__resolve_srv_fn *srv_fn;
    void *user_data;
    nexus_status status;
    size_t n;
    union {
        nexus__address addresses[ADDRESSES_MAX];
        nexus__srv srv[SRV_MAX];
    } u;
} query;

/* --- the channel on the loop ------------------------------------------------------------------------------------- */

static void rearm(nexus__resolver *r)
{
    struct timeval tv, *next = ares_timeout(r->channel, NULL, &tv);
    if (next)
        event_add(&r->timer, next);
    else
        event_del(&r->timer);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    nexus__resolver *r = ((socket_watch *)arg)->resolver;
    ares_process_fd(r->channel, (what & EV_READ) ? fd : ARES_SOCKET_BAD, (what & EV_WRITE) ? fd : ARES_SOCKET_BAD);
    rearm(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    nexus__resolver *r = arg;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rearm(r);
}

static socket_watch *watch_of(nexus__resolver *r, ares_socket_t fd)
{
    for (nexus__list *n = r->sockets.next; n != &r->sockets; n = n->next) {
        socket_watch *w = NEXUS__CONTAINER(n, socket_watch, node);
        if (w->fd == fd)
            return w;
    }
    return NULL;
}

static void drop_watch(socket_watch *w)
{
    event_del(&w->event);
    nexus__list_remove(&w->node);
    nexus__free(w->resolver->loop->runtime->alloc, w);
}

static void on_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    nexus__resolver *r = arg;
    socket_watch *w = watch_of(r, fd);
    if (!readable && !writable) {
        if (w)
            drop_watch(w);
        return;
    }
    if (!w) {
        w = nexus__calloc(r->loop->runtime->alloc, 1, sizeof *w);
        if (!w)
            return; /* the query runs into its timeout */
        w->resolver = r;
        w->fd = fd;
        nexus__list_push(&r->sockets, &w->node);
    } else {
        event_del(&w->event);
    }
    short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0) | EV_PERSIST);
    if (event_assign(&w->event, r->loop->base, fd, what, on_socket, w) == 0)
        event_add(&w->event, NULL);
}

static nexus_status resolver_get(nexus_loop *loop, nexus__resolver **out)
{
    if (loop->on_loop.resolver) {
        *out = loop->on_loop.resolver;
        return NEXUS_OK;
    }
    nexus__resolver *r = nexus__calloc(loop->runtime->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->loop = loop;
    nexus__list_init(&r->sockets);
    evtimer_assign(&r->timer, loop->base, on_timer, r);
    struct ares_options options = {
        .sock_state_cb = on_state, .sock_state_cb_data = r, .timeout = QUERY_TIMEOUT_MS, .tries = QUERY_TRIES};
    int error = ares_init_options(&r->channel, &options, ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (error != ARES_SUCCESS) {
        nexus__free(loop->runtime->alloc, r);
        return nexus__fail(NEXUS_EIO, "name resolution cannot start: %s", ares_strerror(error));
    }
    loop->on_loop.resolver = r;
    *out = r;
    return NEXUS_OK;
}

void nexus__resolver_close(nexus_loop *loop)
{
    nexus__resolver *r = loop->on_loop.resolver;
    if (!r)
        return;
    ares_destroy(r->channel); /* ends what is under way, with ARES_EDESTRUCTION */
    while (!nexus__list_empty(&r->sockets))
        drop_watch(NEXUS__CONTAINER(r->sockets.next, socket_watch, node));
    event_del(&r->timer);
    nexus__free(loop->runtime->alloc, r);
    loop->on_loop.resolver = NULL;
}

nexus_status nexus__resolve_servers(nexus_loop *loop, const char *servers)
{
    nexus__resolver *r;
    nexus_status status = resolver_get(loop, &r);
    if (status)
        return status;
    int error = ares_set_servers_ports_csv(r->channel, servers);
    return error == ARES_SUCCESS ? NEXUS_OK
                                 : nexus__fail(NEXUS_EINVAL, "name servers '%s': %s", servers, ares_strerror(error));
}

/* --- queries ----------------------------------------------------------------------------------------------------- */

static nexus_status status_of(int error)
{
    switch (error) {
    case ARES_SUCCESS:
        return NEXUS_OK;
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
        return NEXUS_ENOTFOUND;
    case ARES_ETIMEOUT:
        return NEXUS_ETIMEDOUT;
    case ARES_ENOMEM:
        return NEXUS_ENOMEM;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return NEXUS_ECANCELED;
    default:
        return NEXUS_EUNREACH;
    }
}

static void free_srv(query *q)
{
    for (size_t i = 0; q->srv_fn && i < q->n; i++)
        nexus__free(q->alloc, (char *)q->u.srv[i].host);
}

static void deliver(nexus__task *task)
{
    query *q = NEXUS__CONTAINER(task, query, task);
    nexus_status status = q->status;
    if (!status && !q->n)
        status = NEXUS_ENOTFOUND;
    if (q->srv_fn)
        q->srv_fn(status, q->u.srv, status ? 0 : q->n, q->user_data);
    else
        q->fn(status, q->u.addresses, status ? 0 : q->n, q->user_data);
    free_srv(q);
    nexus__free(q->alloc, q);
}

static void finish(query *q, nexus_status status)
{
    q->status = status;
    q->task.fn = deliver;
    q->done = true;
    if (q->loop)
        nexus__loop_post_task(q->loop, &q->task);
}

static void add_address(query *q, const struct ares_addrinfo_node *node)
{
    if (q->n == ADDRESSES_MAX || node->ai_addrlen > sizeof q->u.addresses[0].sa ||
        (node->ai_family != AF_INET && node->ai_family != AF_INET6))
        return;
    nexus__address *a = &q->u.addresses[q->n++];
    memcpy(&a->sa, node->ai_addr, node->ai_addrlen);
    a->len = node->ai_addrlen;
    a->ttl_s = node->ai_ttl > 0 ? (uint32_t)node->ai_ttl : 0;
}

static void on_addresses(void *arg, int error, int timeouts, struct ares_addrinfo *result)
{
    (void)timeouts;
    query *q = arg;
    for (const struct ares_addrinfo_node *n = result ? result->nodes : NULL; n; n = n->ai_next)
        add_address(q, n);
    if (result)
        ares_freeaddrinfo(result);
    finish(q, status_of(error));
}

static query *query_new(nexus_loop *loop, void *user_data)
{
    const nexus_alloc *alloc = loop ? loop->runtime->alloc : NULL;
    query *q = nexus__calloc(alloc, 1, sizeof *q);
    if (q) {
        q->loop = loop;
        q->alloc = alloc;
        q->user_data = user_data;
    }
    return q;
}

bool nexus__address_parse(const char *host, uint16_t port, nexus__address *out)
{
    memset(out, 0, sizeof *out);
    out->ttl_s = TTL_NUMERIC_S;
    if (inet_pton(AF_INET, host, &out->sa.v4.sin_addr) == 1) {
        out->sa.v4.sin_family = AF_INET;
        out->sa.v4.sin_port = htons(port);
        out->len = sizeof out->sa.v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &out->sa.v6.sin6_addr) == 1) {
        out->sa.v6.sin6_family = AF_INET6;
        out->sa.v6.sin6_port = htons(port);
        out->len = sizeof out->sa.v6;
        return true;
    }
    return false;
}

static void ask_addresses(ares_channel channel, const char *host, uint16_t port, query *q)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(channel, host, service, &hints, on_addresses, q);
}

nexus_status nexus__resolve(nexus_loop *loop, const char *host, uint16_t port, nexus__resolve_fn *fn, void *user_data)
{
    nexus__address numeric;
    bool is_numeric = nexus__address_parse(host, port, &numeric);
    nexus__resolver *r = NULL;
    nexus_status status = is_numeric ? NEXUS_OK : resolver_get(loop, &r);
    if (status)
        return status;
    query *q = query_new(loop, user_data);
    if (!q)
        return nexus__nomem();
    q->fn = fn;
    if (is_numeric) {
        q->u.addresses[q->n++] = numeric;
        finish(q, NEXUS_OK);
        return NEXUS_OK;
    }
    ask_addresses(r->channel, host, port, q);
    rearm(r);
    return NEXUS_OK;
}

/* --- SRV --------------------------------------------------------------------------------------------------------- */

static uint32_t srv_ttl(const unsigned char *p, int n) /* the least TTL of the answers; c-ares does not tell it */
{
    if (n < HFIXEDSZ)
        return 0;
    int questions = p[4] << 8 | p[5], answers = p[6] << 8 | p[7];
    const unsigned char *at = p + HFIXEDSZ, *end = p + n;
    uint32_t least = UINT32_MAX;
    for (int i = 0; i < questions + answers; i++) {
        char *name;
        long used;
        if (ares_expand_name(at, p, n, &name, &used) != ARES_SUCCESS)
            break;
        ares_free_string(name);
        at += used;
        if (i < questions) {
            at += QFIXEDSZ;
            continue;
        }
        if (end - at < RRFIXEDSZ)
            break;
        uint32_t ttl = (uint32_t)at[4] << 24 | (uint32_t)at[5] << 16 | (uint32_t)at[6] << 8 | at[7];
        least = ttl < least ? ttl : least;
        at += RRFIXEDSZ + (at[8] << 8 | at[9]);
        if (at > end)
            break;
    }
    return least == UINT32_MAX ? 0 : least;
}

static void on_srv(void *arg, int error, int timeouts, unsigned char *bytes, int n)
{
    (void)timeouts;
    query *q = arg;
    struct ares_srv_reply *reply = NULL;
    if (error == ARES_SUCCESS)
        error = ares_parse_srv_reply(bytes, n, &reply);
    uint32_t ttl = error == ARES_SUCCESS ? srv_ttl(bytes, n) : 0;
    for (const struct ares_srv_reply *r = reply; r && q->n < SRV_MAX; r = r->next) {
        char *host = nexus__strndup(q->alloc, nexus__slice_c(r->host));
        if (!host) {
            error = ARES_ENOMEM;
            break;
        }
        q->u.srv[q->n++] = (nexus__srv){host, r->port, r->priority, r->weight, ttl};
    }
    if (reply)
        ares_free_data(reply);
    finish(q, status_of(error));
}

nexus_status nexus__resolve_srv(nexus_loop *loop, const char *name, nexus__resolve_srv_fn *fn, void *user_data)
{
    nexus__resolver *r;
    nexus_status status = resolver_get(loop, &r);
    if (status)
        return status;
    query *q = query_new(loop, user_data);
    if (!q)
        return nexus__nomem();
    q->srv_fn = fn;
    ares_query(r->channel, name, ns_c_in, ns_t_srv, on_srv, q);
    rearm(r);
    return NEXUS_OK;
}

/* --- waiting: where there is no loop, on a channel of its own ----------------------------------------------------- */

static nexus_status open_channel(ares_channel *out, const char *servers)
{
    struct ares_options options = {.timeout = QUERY_TIMEOUT_MS, .tries = QUERY_TRIES};
    int error = ares_init_options(out, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (error != ARES_SUCCESS)
        return nexus__fail(NEXUS_EIO, "name resolution cannot start: %s", ares_strerror(error));
    if (servers && (error = ares_set_servers_ports_csv(*out, servers)) != ARES_SUCCESS) {
        ares_destroy(*out);
        return nexus__fail(NEXUS_EINVAL, "name servers '%s': %s", servers, ares_strerror(error));
    }
    return NEXUS_OK;
}

static void step(ares_channel channel)
{
    ares_socket_t fds[ARES_GETSOCK_MAXNUM];
    struct pollfd polled[ARES_GETSOCK_MAXNUM];
    struct timeval tv, *next = ares_timeout(channel, NULL, &tv);
    int bits = ares_getsock(channel, fds, ARES_GETSOCK_MAXNUM);
    nfds_t n = 0;
    for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        unsigned wants = (unsigned)bits >> i; /* the macros of c-ares shift into the sign */
        short events = (short)((wants & 1 ? POLLIN : 0) | (wants >> ARES_GETSOCK_MAXNUM & 1 ? POLLOUT : 0));
        if (events)
            polled[n++] = (struct pollfd){.fd = fds[i], .events = events};
    }
    poll(polled, n, next ? (int)(next->tv_sec * 1000 + next->tv_usec / 1000 + 1) : QUERY_TIMEOUT_MS);
    bool any = false;
    for (nfds_t i = 0; i < n; i++)
        if (polled[i].revents) {
            any = true;
            ares_process_fd(channel, polled[i].revents & ~POLLOUT ? polled[i].fd : ARES_SOCKET_BAD,
                            polled[i].revents & POLLOUT ? polled[i].fd : ARES_SOCKET_BAD);
        }
    if (!any)
        ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static nexus_status outcome(const query *q, const char *name)
{
    if (q->status == NEXUS_OK && q->n > 0)
        return NEXUS_OK;
    return nexus__fail(q->status ? q->status : NEXUS_ENOTFOUND, "%s: %s", name,
                       !q->status || q->status == NEXUS_ENOTFOUND ? "there is no such record"
                                                                  : "no name server answered");
}

nexus_status nexus__resolve_wait(const char *servers, const char *host, uint16_t port, nexus__address *out, size_t max,
                                 size_t *n)
{
    ares_channel channel;
    nexus_status status = open_channel(&channel, servers);
    if (status)
        return status;
    query *q = query_new(NULL, NULL);
    if (q)
        ask_addresses(channel, host, port, q);
    while (q && !q->done)
        step(channel);
    status = q ? outcome(q, host) : nexus__nomem();
    if (!status) {
        *n = q->n < max ? q->n : max;
        memcpy(out, q->u.addresses, *n * sizeof *out);
    }
    ares_destroy(channel);
    nexus__free(NULL, q);
    return status;
}

nexus_status nexus__resolve_srv_wait(const char *servers, const char *name, nexus__resolve_srv_fn *fn, void *user_data)
{
    ares_channel channel;
    nexus_status status = open_channel(&channel, servers);
    if (status)
        return status;
    query *q = query_new(NULL, user_data);
    if (!q) {
        ares_destroy(channel);
        return nexus__nomem();
    }
    q->srv_fn = fn;
    ares_query(channel, name, ns_c_in, ns_t_srv, on_srv, q);
    while (!q->done)
        step(channel);
    ares_destroy(channel);
    status = outcome(q, name);
    if (!status)
        fn(NEXUS_OK, q->u.srv, q->n, user_data);
    free_srv(q);
    nexus__free(NULL, q);
    return status;
}
