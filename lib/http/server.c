/* A server: options, routes, listening, draining, the end. */
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"
#include "http/internal.h"
#include "runtime/resolve.h"

enum { BACKLOG = 1024, WAIT_MS = 20 };

void nexus_server_opts_init(nexus_server_opts *opts)
{
    *opts = (nexus_server_opts)NEXUS_SERVER_OPTS_INIT;
}

void nexus_route_init(nexus_route *route)
{
    *route = (nexus_route)NEXUS_ROUTE_INIT;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void shard_free(nexus__shard *shard)
{
    if (!shard)
        return;
    const nexus_alloc *alloc = shard->server->alloc;
    for (nexus_request *r = shard->free_requests, *next; r; r = next) {
        next = r->next;
        nexus__request_free(r);
    }
    for (char *buf = shard->free_bufs, *next; buf; buf = next) {
        memcpy(&next, buf, sizeof next);
        nexus__free(alloc, buf);
    }
    nexus__free(alloc, shard);
}

static void server_free(nexus_server *s)
{
    for (uint32_t i = 0; s->shards && i < s->shard_count; i++)
        shard_free(s->shards[i]);
    nexus__free(s->alloc, s->shards);
    nexus_router_free(s->router);
    nexus__tls_close(s->tls);
    nexus__h2_server_close(s);
    nexus__free(s->alloc, s->trusted);
    nexus__arena_free(&s->arena);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    nexus__free(s->alloc, s);
}

static void unref(nexus_server *s, uint32_t refs, uint32_t working)
{
    pthread_mutex_lock(&s->lock);
    s->locked.refs -= refs;
    s->locked.working -= working;
    bool last = s->locked.refs == 0 && s->locked.working == 0;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (last)
        server_free(s);
}

void nexus__server_working(nexus_server *s, int32_t by)
{
    if (by < 0) {
        unref(s, 0, 1);
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->locked.working++;
    pthread_mutex_unlock(&s->lock);
}

static void set_defaults(nexus_server_opts *o)
{
    static const struct {
        size_t offset;
        uint32_t value;
    } rows[] = {
        {offsetof(nexus_server_opts, line_max_bytes), 8192},     {offsetof(nexus_server_opts, head_max_bytes), 32768},
        {offsetof(nexus_server_opts, fields_max), 100},          {offsetof(nexus_server_opts, head_timeout_ms), 10000},
        {offsetof(nexus_server_opts, body_rate_min), 1024},      {offsetof(nexus_server_opts, body_window_ms), 5000},
        {offsetof(nexus_server_opts, idle_timeout_ms), 60000},   {offsetof(nexus_server_opts, drain_max_bytes), 262144},
        {offsetof(nexus_server_opts, drain_timeout_ms), 1000},   {offsetof(nexus_server_opts, connections_max), 10000},
        {offsetof(nexus_server_opts, stream_high_bytes), 262144},
        {offsetof(nexus_server_opts, http2_streams_max), 100},
        {offsetof(nexus_server_opts, http2_stream_window_bytes), 65536},
        {offsetof(nexus_server_opts, http2_window_bytes), 1048576},
        {offsetof(nexus_server_opts, http2_memory_max_bytes), 1048576},
        {offsetof(nexus_server_opts, http2_resets_max), 100},
        {offsetof(nexus_server_opts, http2_idle_frames_max), 1000},
        {offsetof(nexus_server_opts, http2_stall_timeout_ms), 30000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t *at = (uint32_t *)(void *)((char *)o + rows[i].offset);
        if (!*at)
            *at = rows[i].value;
    }
    if (!o->body_max_bytes)
        o->body_max_bytes = 1024 * 1024;
}

/* Behind those that are there already. */
static nexus_status copy_headers(nexus_server *s, const nexus_pair *headers, size_t n)
{
    nexus__buf lines;
    nexus__buf_init(&lines, s->alloc, 0);
    nexus__buf_slice_append(&lines, s->header_lines);
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < n && !status; i++) {
        if (!nexus__http_is_token(headers[i].name) || !nexus__http_is_value(headers[i].value))
            status = nexus__fail(NEXUS_EINVAL, "header %zu of the server is not one that HTTP allows", i);
        nexus__buf_slice_append(&lines, headers[i].name);
        nexus__buf_append(&lines, ": ", 2);
        nexus__buf_slice_append(&lines, headers[i].value);
        nexus__buf_append(&lines, "\r\n", 2);
    }
    if (!status && n) {
        s->header_lines = nexus__arena_copy(&s->arena, nexus__buf_slice(&lines));
        status = s->header_lines.p && !lines.status ? NEXUS_OK : nexus__nomem();
    }
    nexus__buf_free(&lines);
    return status;
}

nexus_status nexus__server_add_headers(nexus_server *s, const nexus_pair *headers, size_t n)
{
    if (s->fixed)
        return nexus__fail(NEXUS_ECONFLICT, "the server listens already: its headers are fixed");
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < n && !status; i++)
        if (!nexus__reply_has_line(s->header_lines, headers[i].name))
            status = copy_headers(s, &headers[i], 1);
    return status;
}

void nexus__server_ask_clients(nexus_server *s, nexus__tls_ask_fn *fn, void *user_data)
{
    if (s->tls)
        nexus__tls_ask_by(s->tls, fn, user_data);
}

static nexus_status copy_trusted(nexus_server *s, const char *text)
{
    nexus_slice list = nexus__slice_c(text);
    size_t max = 1;
    for (size_t i = 0; i < list.n; i++)
        max += list.p[i] == ',';
    s->trusted = nexus__calloc(s->alloc, max, sizeof *s->trusted);
    if (!s->trusted)
        return nexus__nomem();
    while (list.n) {
        nexus_slice item = nexus__slice_trim(nexus__slice_cut(&list, ','));
        if (item.n && !nexus__ip_block_parse(item, &s->trusted[s->trusted_count++]))
            return nexus__fail(NEXUS_EINVAL, "trusted proxy '%.*s' is not an address or CIDR block", (int)item.n,
                               item.p);
    }
    return NEXUS_OK;
}

static nexus_status open_shards(nexus_server *s)
{
    uint32_t n = nexus_runtime_loop_count(s->runtime);
    s->shards = nexus__calloc(s->alloc, n, sizeof *s->shards);
    if (!s->shards)
        return nexus__nomem();
    for (uint32_t i = 0; i < n; i++) {
        nexus__shard *shard = nexus__calloc(s->alloc, 1, sizeof *shard);
        if (!shard)
            return nexus__nomem();
        shard->server = s;
        shard->loop = nexus_runtime_loop(s->runtime, i);
        nexus__timeout_init(&shard->retry, nexus__shard_retry_accept);
        nexus__list_init(&shard->conns);
        nexus__list_init(&shard->listeners);
        s->shards[s->shard_count++] = shard;
    }
    s->locked.refs += s->shard_count;
    s->locked.open = s->shard_count;
    return NEXUS_OK;
}

nexus_status nexus_server_open(nexus_server **out, nexus_runtime *runtime, const nexus_server_opts *opts)
{
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    if (o.fields_max > NEXUS__HTTP_FIELDS_MAX)
        return nexus__fail(NEXUS_EINVAL, "fields_max is %u, at most %d are possible", o.fields_max,
                           NEXUS__HTTP_FIELDS_MAX);
    set_defaults(&o);
    nexus_server *s = nexus__calloc(o.alloc, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    s->runtime = runtime;
    s->alloc = o.alloc;
    s->opts = o;
    s->limits = (nexus__http_limits){o.line_max_bytes, o.head_max_bytes, o.fields_max, false};
    s->locked.refs = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    nexus__arena_init(&s->arena, o.alloc, 0);
    nexus_status status = nexus_router_new(&s->router, o.alloc);
    if (!status)
        status = copy_headers(s, o.headers, o.header_count);
    if (!status && o.trusted_proxies)
        status = copy_trusted(s, o.trusted_proxies);
    if (!status && o.tls_cert_file)
        status = nexus__tls_open(&s->tls, o.alloc, o.tls_cert_file, o.tls_key_file, !o.http2_off);
    if (!status && s->tls)
        status = nexus__tls_ask_all(s->tls, o.tls_client_cert, o.tls_client_ca_file, o.tls_client_crl_file);
    else if (!status && o.tls_client_cert != NEXUS_CLIENT_CERT_OFF)
        status = nexus__fail(NEXUS_EINVAL, "tls_client_cert: a server without TLS cannot ask for certificates");
    if (!status)
        status = nexus__h2_server_open(s);
    if (!status)
        status = open_shards(s);
    if (status) {
        server_free(s);
        return status;
    }
    *out = s;
    return NEXUS_OK;
}

/* --- routes, filters, loggers ------------------------------------------------------------------------------------ */

static bool copy_text(nexus__arena *arena, const char **text)
{
    if (*text)
        *text = nexus__arena_copy(arena, nexus__slice_c(*text)).p;
    return true;
}

static bool copy_texts(nexus__arena *arena, const char **texts[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool some = *texts[i] != NULL;
        copy_text(arena, texts[i]);
        if (some && !*texts[i])
            return false;
    }
    return true;
}

static nexus_route *copy_route(nexus__arena *arena, const nexus_route *from)
{
    nexus_route *r = nexus__arena_get(arena, sizeof *r);
    if (!r)
        return NULL;
    nexus_route_init(r);
    memcpy(r, from, from->size < sizeof *r ? from->size : sizeof *r);
    r->size = sizeof *r;
    const char **texts[] = {&r->method, &r->path,        &r->operation_id, &r->summary,   &r->tag,
                            &r->roles,  &r->body_schema, &r->body_types,   &r->permission};
    nexus_param *params = r->param_count ? nexus__arena_get(arena, r->param_count * sizeof *params) : NULL;
    nexus_reply_doc *replies = r->reply_count ? nexus__arena_get(arena, r->reply_count * sizeof *replies) : NULL;
    if (!copy_texts(arena, texts, sizeof texts / sizeof texts[0]) || (r->param_count && !params) ||
        (r->reply_count && !replies))
        return NULL;
    for (size_t i = 0; i < r->param_count; i++) {
        params[i] = from->params[i];
        const char **of[] = {&params[i].name, &params[i].in, &params[i].schema, &params[i].description};
        if (!copy_texts(arena, of, 4))
            return NULL;
    }
    for (size_t i = 0; i < r->reply_count; i++) {
        replies[i] = from->replies[i];
        const char **of[] = {&replies[i].description, &replies[i].schema};
        if (!copy_texts(arena, of, 2))
            return NULL;
    }
    r->params = params;
    r->replies = replies;
    return r;
}

/* One more element behind the n of an array in the arena, whose room is the next power of two. */
static void *grown(nexus__arena *arena, void *array, size_t n, size_t size)
{
    if (n & (n - 1) && n)
        return array;
    if (n == 1)
        return array; /* room for 2 was made */
    size_t room = n ? n * 2 : 2;
    void *more = nexus__arena_get(arena, room * size);
    if (more && n)
        memcpy(more, array, n * size);
    return more;
}

static nexus_status add_rule(nexus_server *s, nexus_route *route)
{
    bool any = !route->method || strcmp(route->method, "*") == 0;
    nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
    nexus__buf id;
    nexus__buf_init(&id, s->alloc, 0);
    nexus__buf_printf(&id, "%s %s", any ? "*" : route->method, route->path);
    nexus__buf_char(&id, '\0');
    rule.id = id.status ? NULL : id.p;
    rule.path = route->path;
    rule.methods = any ? NEXUS_METHOD_ANY : nexus_method_parse(nexus__slice_c(route->method));
    rule.value = route;
    nexus_status status = nexus_router_add(s->router, &rule);
    nexus__buf_free(&id);
    return status;
}

static nexus_status add_route(nexus_server *s, const nexus_route *from)
{
    if (!from->handler || (!from->path && !(from->flags & NEXUS_ROUTE_FALLBACK)))
        return nexus__fail(NEXUS_EINVAL, "route '%s' has no %s", from->path ? from->path : "",
                           from->handler ? "path" : "handler");
    if ((from->flags & NEXUS_ROUTE_STREAM_BODY) && !(from->flags & NEXUS_ROUTE_ON_LOOP))
        return nexus__fail(NEXUS_EINVAL, "route '%s' streams its body: it must be handled on the loop too", from->path);
    if ((from->flags & NEXUS_ROUTE_FALLBACK) && s->fallback)
        return nexus__fail(NEXUS_ECONFLICT, "there is a fallback route already");
    nexus_route *route = copy_route(&s->arena, from);
    nexus_route **routes = grown(&s->arena, s->routes, s->route_count, sizeof(nexus_route *));
    if (!route || !routes)
        return nexus__nomem();
    if (route->flags & NEXUS_ROUTE_FALLBACK) {
        s->fallback = route;
    } else {
        nexus_status status = add_rule(s, route);
        if (status)
            return status;
    }
    s->routes = routes;
    s->routes[s->route_count++] = route;
    return NEXUS_OK;
}

static nexus_status fixed(const nexus_server *s)
{
    return s->fixed ? nexus__fail(NEXUS_ECONFLICT,
                                  "the server listens already: routes, filters and loggers come before that")
                    : NEXUS_OK;
}

nexus_status nexus_server_route(nexus_server *s, const nexus_route *routes, size_t n)
{
    nexus_status status = fixed(s);
    for (size_t i = 0; i < n && !status; i++)
        status = add_route(s, (const nexus_route *)(const void *)((const char *)routes + i * routes->size));
    return status;
}

size_t nexus_server_route_count(const nexus_server *s)
{
    return s->route_count;
}

const nexus_route *nexus_server_route_at(const nexus_server *s, size_t i)
{
    return i < s->route_count ? s->routes[i] : NULL;
}

static nexus_status add_filter(nexus_server *s, nexus__filter **filters, size_t *n, nexus__filter filter)
{
    nexus_status status = fixed(s);
    if (status)
        return status;
    nexus__filter *more = grown(&s->arena, *filters, *n, sizeof *more);
    if (!more)
        return nexus__nomem();
    *filters = more;
    more[(*n)++] = filter;
    return NEXUS_OK;
}

nexus_status nexus_server_filter(nexus_server *s, nexus_filter_fn *fn, void *user_data)
{
    return add_filter(s, &s->filters, &s->filter_count, (nexus__filter){fn, user_data});
}

nexus_status nexus_server_body_filter(nexus_server *s, nexus_filter_fn *fn, void *user_data)
{
    return add_filter(s, &s->body_filters, &s->body_filter_count, (nexus__filter){fn, user_data});
}

nexus_status nexus_server_logger(nexus_server *s, nexus_logger_fn *fn, void *user_data)
{
    nexus_status status = fixed(s);
    if (status)
        return status;
    nexus__logger *more = grown(&s->arena, s->loggers, s->logger_count, sizeof *more);
    if (!more)
        return nexus__nomem();
    s->loggers = more;
    more[s->logger_count++] = (nexus__logger){fn, user_data};
    return NEXUS_OK;
}

nexus_status nexus_server_on_conn(nexus_server *s, nexus_conn_fn *fn, void *user_data)
{
    nexus_status status = fixed(s);
    if (status)
        return status;
    nexus__conn_hook *more = grown(&s->arena, s->conn_hooks, s->conn_hook_count, sizeof *more);
    if (!more)
        return nexus__nomem();
    s->conn_hooks = more;
    more[s->conn_hook_count++] = (nexus__conn_hook){fn, user_data};
    return NEXUS_OK;
}

/* --- doing something on a shard's loop --------------------------------------------------------------------------- */

typedef struct shard_call {
    nexus__task task;
    nexus__shard *shard;
    nexus_status (*fn)(nexus__shard *shard, int arg);
    int arg;
    nexus_status status;
    bool done;
} shard_call;

static void on_call(nexus__task *task)
{
    shard_call *call = NEXUS__CONTAINER(task, shard_call, task);
    nexus_server *s = call->shard->server;
    nexus_status status = call->fn(call->shard, call->arg);
    pthread_mutex_lock(&s->lock);
    call->status = status;
    call->done = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Waits for a change, a short while; a loop that does not run gets its turn here. Under the lock. */
static void wait_for_change(nexus_server *s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAIT_MS * NEXUS__NS_PER_MS;
    until.tv_sec += until.tv_nsec / NEXUS__NS_PER_S;
    until.tv_nsec %= NEXUS__NS_PER_S;
    pthread_cond_timedwait(&s->changed, &s->lock, &until);
    for (uint32_t i = 0; i < s->shard_count; i++)
        if (!nexus__loop_running(s->shards[i]->loop)) {
            pthread_mutex_unlock(&s->lock);
            nexus__loop_turn(s->shards[i]->loop);
            pthread_mutex_lock(&s->lock);
        }
}

static nexus_status call_shard(nexus__shard *shard, nexus_status (*fn)(nexus__shard *, int), int arg)
{
    nexus_server *s = shard->server;
    if (nexus_loop_is_current(shard->loop) || !nexus__loop_running(shard->loop))
        return fn(shard, arg);
    shard_call call = {.task.fn = on_call, .shard = shard, .fn = fn, .arg = arg};
    nexus__loop_post_task(shard->loop, &call.task);
    pthread_mutex_lock(&s->lock);
    while (!call.done)
        wait_for_change(s);
    pthread_mutex_unlock(&s->lock);
    return call.status;
}

/* --- listening --------------------------------------------------------------------------------------------------- */

static nexus_status start_listener(nexus__shard *shard, int fd)
{
    nexus__listener *l = nexus__calloc(shard->server->alloc, 1, sizeof *l);
    if (!l) {
        close(fd);
        return nexus__nomem();
    }
    l->shard = shard;
    nexus_status status = nexus__watch_start_level(&l->watch, shard->loop, fd, nexus__conn_accept);
    if (status) {
        nexus__free(shard->server->alloc, l);
        close(fd);
        return status;
    }
    nexus__list_push(&shard->listeners, &l->node);
    return NEXUS_OK;
}

/*
 * One socket per loop, so that the kernel spreads connections. The first is bound without SO_REUSEPORT, which finds a
 * port that somebody else has; the option is set on it afterwards and lets the others of ours join.
 */
static nexus_status bound_socket(const nexus__address *address, bool join, const char *host, int *out)
{
    int fd = socket(address->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return nexus__fail_errno(errno, "a socket for %s", host);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* inherited by what is accepted */
    if (address->sa.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (join)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, &address->sa.any, address->len) != 0) {
        int error = errno;
        uint16_t port = ntohs(address->sa.v4.sin_port);
        close(fd);
        return error == EADDRINUSE
                   ? nexus__fail(NEXUS_ECONFLICT, "port %u of %s is taken: stop what holds it, or choose another", port,
                                 host)
                   : nexus__fail_errno(error, "binding %s port %u", host, port);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    *out = fd;
    return NEXUS_OK;
}

nexus_status nexus_server_listen(nexus_server *s, const char *host, uint16_t port, uint16_t *bound)
{
    nexus__address address;
    host = host ? host : "127.0.0.1";
    if (!nexus__address_parse(host, port, &address))
        return nexus__fail(NEXUS_EINVAL, "'%s' is not a numeric address to listen on", host);
    s->fixed = true;
    for (uint32_t i = 0; i < s->shard_count; i++) {
        int fd = -1;
        nexus_status status = bound_socket(&address, i > 0, host, &fd);
        if (!status && i == 0)
            getsockname(fd, &address.sa.any, &address.len); /* the others join that port */
        if (!status && listen(fd, BACKLOG) != 0) {
            status = errno == EADDRINUSE ? nexus__fail(NEXUS_ECONFLICT, "port %u of %s is taken", port, host)
                                         : nexus__fail_errno(errno, "listening on %s", host);
            close(fd);
        }
        if (!status)
            status = call_shard(s->shards[i], start_listener, fd);
        if (status)
            return status;
    }
    if (bound)
        *bound = ntohs(address.sa.v4.sin_port); /* at the same place in sockaddr_in6 */
    return NEXUS_OK;
}

uint32_t nexus_server_connections(const nexus_server *s)
{
    return atomic_load(&((nexus_server *)s)->connections);
}

static void stop_listening(nexus__shard *shard)
{
    shard->paused = false;
    nexus__timeout_remove(&shard->retry, shard->loop);
    while (!nexus__list_empty(&shard->listeners)) {
        nexus__listener *l = NEXUS__CONTAINER(shard->listeners.next, nexus__listener, node);
        nexus__watch_stop(&l->watch);
        close(l->watch.fd);
        nexus__list_remove(&l->node);
        nexus__free(shard->server->alloc, l);
    }
}

/* --- draining and closing ---------------------------------------------------------------------------------------- */

static bool at_rest(const nexus__shard *shard)
{
    return nexus__list_empty(&shard->conns) && shard->requests == 0;
}

void nexus__shard_changed(nexus__shard *shard)
{
    nexus_server *s = shard->server;
    if (shard->paused)
        nexus__shard_retry_accept(&shard->retry);
    if (!atomic_load_explicit(&s->draining, memory_order_relaxed) || !at_rest(shard))
        return;
    if (!shard->quiet) {
        shard->quiet = true;
        pthread_mutex_lock(&s->lock);
        s->locked.quiet++;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
    if (shard->closing)
        unref(s, 1, 0); /* with it the shard may be gone */
}

static void each_conn(nexus__shard *shard, void (*fn)(nexus__conn *c))
{
    /* fn may end its own connection, and by a callback any other: so each is marked by moving it to a second list */
    nexus__list todo;
    nexus__list_init(&todo);
    while (!nexus__list_empty(&shard->conns)) {
        nexus__list *node = shard->conns.next;
        nexus__list_remove(node);
        nexus__list_push(&todo, node);
    }
    while (!nexus__list_empty(&todo)) {
        nexus__list *node = todo.next;
        nexus__list_remove(node);
        nexus__list_push(&shard->conns, node);
        fn(NEXUS__CONTAINER(node, nexus__conn, node));
    }
}

static void drain_conn(nexus__conn *c)
{
    nexus_request *r = c->request;
    if (c->h2) {
        nexus__h2_drain(c);
    } else if (c->state <= NEXUS__CONN_FIRST ||
        (c->state == NEXUS__CONN_HEAD && c->in_len == c->in_at && !nexus__conn_unsent(c))) {
        nexus__conn_close(c);
    } else if (r && r->phase == NEXUS__PHASE_REPLY && r->close_fn) {
        nexus_handler_fn *fn = r->close_fn;
        r->close_fn = NULL;
        fn(r, r->close_user_data);
    }
}

static void on_drain(nexus__task *task)
{
    nexus__shard *shard = NEXUS__CONTAINER(task, nexus__shard, drain_task);
    stop_listening(shard);
    each_conn(shard, drain_conn);
    nexus__shard_changed(shard);
}

static void on_close(nexus__task *task)
{
    nexus__shard *shard = NEXUS__CONTAINER(task, nexus__shard, close_task);
    nexus_server *s = shard->server;
    stop_listening(shard);
    each_conn(shard, nexus__conn_close);
    pthread_mutex_lock(&s->lock);
    s->locked.open--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    shard->closing = true; /* from here on only a request that is answered late can change it, and that is the last */
    nexus__shard_changed(shard);
}

static void post_all(nexus_server *s, size_t task_offset, void (*fn)(nexus__task *))
{
    for (uint32_t i = 0; i < s->shard_count; i++) {
        nexus__task *task = (nexus__task *)(void *)((char *)s->shards[i] + task_offset);
        task->fn = fn;
        nexus__loop_post_task(s->shards[i]->loop, task);
    }
}

nexus_status nexus_server_drain(nexus_server *s, uint32_t grace_ms)
{
    int64_t until = nexus__mono_ns() + (int64_t)grace_ms * NEXUS__NS_PER_MS;
    if (!atomic_exchange(&s->draining, true))
        post_all(s, offsetof(nexus__shard, drain_task), on_drain);
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "a loop thread cannot wait for requests that it serves");
    pthread_mutex_lock(&s->lock);
    while (s->locked.quiet < s->shard_count && nexus__mono_ns() < until)
        wait_for_change(s);
    bool done = s->locked.quiet == s->shard_count;
    pthread_mutex_unlock(&s->lock);
    return done ? NEXUS_OK : nexus__fail(NEXUS_ETIMEDOUT, "requests were still running after %u ms", grace_ms);
}

void nexus_server_close(nexus_server *s)
{
    if (!s)
        return;
    atomic_store(&s->draining, true);
    bool wait = !nexus__on_loop_thread() && !nexus__on_worker_thread();
    post_all(s, offsetof(nexus__shard, close_task), on_close);
    if (wait) {
        pthread_mutex_lock(&s->lock);
        while (s->locked.open || s->locked.working)
            wait_for_change(s);
        pthread_mutex_unlock(&s->lock);
    }
    unref(s, 1, 0);
}
