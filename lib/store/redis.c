#include "store/redis.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"

struct nexus__redis {
    const nexus__redis_config *config;
    redisReader *reader;
    int fd;
    bool broken;
};

/* --- the URL --------------------------------------------------------------------------------- */

static nexus_status decode(char **out, const nexus_alloc *alloc, nexus_slice text)
{
    *out = nexus__strndup(alloc, text);
    if (!*out)
        return nexus__nomem();
    size_t n = 0;
    if (!nexus__percent_decode(text, false, *out, &n))
        return nexus__fail(NEXUS_EINVAL, "a %%-escape in the user or password of the redis URL is broken");
    (*out)[n] = '\0';
    return NEXUS_OK;
}

static nexus_status parse_login(nexus__redis_config *c, nexus_slice login)
{
    size_t colon = nexus__slice_find(login, ':');
    nexus_status status = NEXUS_OK;
    if (colon > 0)
        status = decode(&c->user, c->alloc, nexus__slice(login.p, colon));
    if (status == NEXUS_OK && colon < login.n)
        status = decode(&c->password, c->alloc, nexus__slice_from(login, colon + 1));
    return status;
}

static nexus_status parse_host(nexus__redis_config *c, nexus_slice host)
{
    nexus_slice port = NEXUS_S("6379");
    uint64_t number = 0;
    size_t end = host.n;
    if (host.n > 0 && host.p[0] == '[') { /* an IPv6 address */
        end = nexus__slice_find(host, ']');
        if (end == host.n)
            return nexus__fail(NEXUS_EINVAL, "the redis URL has '[' without ']'");
        if (end + 1 < host.n && host.p[end + 1] == ':')
            port = nexus__slice_from(host, end + 2);
        host = nexus__slice(host.p + 1, end - 1);
    } else if ((end = nexus__slice_find(host, ':')) < host.n) {
        port = nexus__slice_from(host, end + 1);
        host.n = end;
    }
    if (host.n == 0)
        host = NEXUS_S("127.0.0.1");
    if (!nexus__parse_u64(port, &number) || number == 0 || number > 65535)
        return nexus__fail(NEXUS_EINVAL, "the port of the redis URL is not 1 to 65535");
    snprintf(c->port, sizeof c->port, "%u", (unsigned)number);
    c->host = nexus__strndup(c->alloc, host);
    return c->host ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__redis_config_parse(nexus__redis_config *c, const char *address)
{
    nexus_slice rest = nexus__slice_c(address);
    nexus_slice place = nexus__slice_cut(&rest, '/');
    uint64_t database = 0;
    if (rest.n > 0 && (!nexus__parse_u64(rest, &database) || database > 65535))
        return nexus__fail(NEXUS_EINVAL, "the redis URL ends in /DB, the number of a database, or in nothing");
    c->database = (uint32_t)database;
    nexus_status status = NEXUS_OK;
    size_t at = nexus__slice_find(place, '@');
    if (at < place.n) {
        status = parse_login(c, nexus__slice(place.p, at));
        place = nexus__slice_from(place, at + 1);
    }
    return status == NEXUS_OK ? parse_host(c, place) : status;
}

void nexus__redis_config_free(nexus__redis_config *c)
{
    nexus__free(c->alloc, c->host);
    nexus__free(c->alloc, c->user);
    nexus__free(c->alloc, c->password);
}

/* --- the socket ------------------------------------------------------------------------------ */

/* Whether the socket became ready before the deadline. */
static bool wait_ready(int fd, short events, int64_t deadline_ns)
{
    for (;;) {
        int64_t left = deadline_ns - nexus__mono_ns();
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left <= 0 ? 0 : (int)((left + NEXUS__NS_PER_MS - 1) / NEXUS__NS_PER_MS));
        if (n != 0 && !(n < 0 && errno == EINTR))
            return n > 0;
        if (left <= 0)
            return false;
    }
}

static int connect_one(const struct addrinfo *a, int64_t deadline_ns)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    int error = 0;
    socklen_t size = sizeof error;
    if (fd < 0)
        return -1;
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0)
        error = errno;
    if (error == EINPROGRESS) {
        if (!wait_ready(fd, POLLOUT, deadline_ns))
            error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = errno;
    }
    if (error == 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        return fd;
    }
    close(fd);
    errno = error;
    return -1;
}

static nexus_status dial(const nexus__redis_config *c, int *fd)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int64_t deadline = nexus__mono_ns() + (int64_t)c->connect_timeout_ms * NEXUS__NS_PER_MS;
    int code = getaddrinfo(c->host, c->port, &hints, &found);
    if (code != 0)
        return nexus__fail(NEXUS_EUNREACH, "redis at %s: %s", c->host, gai_strerror(code));
    *fd = -1;
    for (struct addrinfo *a = found; a && *fd < 0; a = a->ai_next)
        *fd = connect_one(a, deadline);
    int error = errno;
    freeaddrinfo(found);
    if (*fd >= 0)
        return NEXUS_OK;
    char reason[96];
    return nexus__fail(NEXUS_EUNREACH, "redis at %s:%s: %s", c->host, c->port, strerror_r(error, reason, sizeof reason));
}

nexus_status nexus__redis_send(nexus__redis *redis, nexus_slice bytes, int64_t deadline_ns)
{
    while (bytes.n > 0) {
        ssize_t n = send(redis->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n >= 0) {
            bytes = nexus__slice_from(bytes, (size_t)n);
        } else if (errno == EAGAIN) {
            if (wait_ready(redis->fd, POLLOUT, deadline_ns))
                continue;
            redis->broken = true;
            return nexus__fail(NEXUS_ETIMEDOUT, "redis took no more bytes in time");
        } else if (errno != EINTR) {
            redis->broken = true;
            return nexus__fail(NEXUS_ECLOSED, "redis closed the connection");
        }
    }
    return NEXUS_OK;
}

/* One recv; NEXUS_OK when something was fed to the reader. */
static nexus_status feed(nexus__redis *redis, int64_t deadline_ns)
{
    char bytes[16384];
    if (!wait_ready(redis->fd, POLLIN, deadline_ns))
        return nexus__fail(NEXUS_ETIMEDOUT, "redis did not answer in time");
    ssize_t n = recv(redis->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return NEXUS_OK;
    if (n <= 0)
        return nexus__fail(NEXUS_ECLOSED, "redis closed the connection");
    if (redisReaderFeed(redis->reader, bytes, (size_t)n) != REDIS_OK)
        return nexus__fail(NEXUS_EPROTO, "redis: %s", redis->reader->errstr);
    return NEXUS_OK;
}

static void describe(nexus__redis_reply *out, redisReply *r)
{
    *out = (nexus__redis_reply){.type = NEXUS__REDIS_OTHER, .native = r};
    switch (r->type) {
    case REDIS_REPLY_NIL:
        out->type = NEXUS__REDIS_NIL;
        break;
    case REDIS_REPLY_INTEGER:
        out->type = NEXUS__REDIS_INT;
        out->number = r->integer;
        break;
    case REDIS_REPLY_ERROR:
        out->type = NEXUS__REDIS_ERROR;
        out->text = nexus__slice(r->str, (size_t)r->len);
        break;
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_STRING:
        out->type = NEXUS__REDIS_TEXT;
        out->text = nexus__slice(r->str, (size_t)r->len);
        break;
    default:
        break;
    }
}

nexus_status nexus__redis_receive(nexus__redis *redis, int64_t deadline_ns, nexus__redis_reply *reply)
{
    for (;;) {
        void *native = NULL;
        nexus_status status = NEXUS_OK;
        if (redisReaderGetReply(redis->reader, &native) != REDIS_OK)
            status = nexus__fail(NEXUS_EPROTO, "redis: %s", redis->reader->errstr);
        if (native) {
            describe(reply, native);
            return NEXUS_OK;
        }
        if (status == NEXUS_OK)
            status = feed(redis, deadline_ns);
        if (status != NEXUS_OK) {
            redis->broken = true;
            return status;
        }
    }
}

nexus_status nexus__redis_poll(nexus__redis *redis, nexus__redis_reply *reply)
{
    for (;;) {
        void *native = NULL;
        nexus_status status = NEXUS_OK;
        if (redisReaderGetReply(redis->reader, &native) != REDIS_OK)
            status = nexus__fail(NEXUS_EPROTO, "redis: %s", redis->reader->errstr);
        if (native) {
            describe(reply, native);
            return NEXUS_OK;
        }
        if (status == NEXUS_OK && !wait_ready(redis->fd, POLLIN, 0))
            return NEXUS_EDONE;
        if (status == NEXUS_OK)
            status = feed(redis, 0);
        if (status != NEXUS_OK) {
            redis->broken = true;
            return status;
        }
    }
}

int nexus__redis_fd(const nexus__redis *redis)
{
    return redis->fd;
}

void nexus__redis_reply_free(nexus__redis_reply *reply)
{
    freeReplyObject(reply->native);
    reply->native = NULL;
}

size_t nexus__redis_reply_count(const nexus__redis_reply *reply)
{
    const redisReply *r = reply->native;
    return r && r->type == REDIS_REPLY_ARRAY ? r->elements : 0;
}

nexus__redis_reply nexus__redis_reply_at(const nexus__redis_reply *reply, size_t i)
{
    nexus__redis_reply part;
    const redisReply *r = reply->native;
    describe(&part, r->element[i]);
    return part;
}

/* --- words ----------------------------------------------------------------------------------- */

void nexus__redis_encode(nexus__buf *out, const nexus_slice *words, size_t n)
{
    nexus__buf_char(out, '*');
    nexus__buf_u64(out, n);
    nexus__buf_text(out, "\r\n");
    for (size_t i = 0; i < n; i++) {
        nexus__buf_char(out, '$');
        nexus__buf_u64(out, words[i].n);
        nexus__buf_text(out, "\r\n");
        nexus__buf_slice_append(out, words[i]);
        nexus__buf_text(out, "\r\n");
    }
}

static const struct {
    const char *prefix;
    nexus_status status;
} errors[] = {
    {"NOAUTH", NEXUS_EAUTH},   {"ERR AUTH", NEXUS_EAUTH}, {"WRONGPASS", NEXUS_EAUTH},   {"NOPERM", NEXUS_EPERM},
    {"OOM", NEXUS_ENOSPC},     {"LOADING", NEXUS_EAGAIN}, {"BUSY", NEXUS_EAGAIN},       {"TRYAGAIN", NEXUS_EAGAIN},
    {"READONLY", NEXUS_EROFS}, {"MISCONF", NEXUS_EROFS},  {"MASTERDOWN", NEXUS_EAGAIN}, {"MOVED", NEXUS_ENOTSUP},
};

nexus_status nexus__redis_fail(nexus_slice error)
{
    nexus_status status = NEXUS_EINVAL;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (nexus__slice_starts(error, nexus__slice_c(errors[i].prefix)))
            status = errors[i].status;
    if (nexus__slice_search(error, NEXUS_S("invalid password")) < error.n)
        status = NEXUS_EAUTH;
    return nexus__fail(status, "redis: %.*s", (int)error.n, error.p);
}

/* --- opening --------------------------------------------------------------------------------- */

static nexus_status greet(nexus__redis *redis)
{
    const nexus__redis_config *c = redis->config;
    nexus__buf out;
    nexus__buf_init(&out, c->alloc, 0);
    size_t replies = 0;
    if (c->password) {
        nexus_slice words[3] = {NEXUS_S("AUTH")};
        size_t n = 1;
        if (c->user)
            words[n++] = nexus__slice_c(c->user);
        words[n++] = nexus__slice_c(c->password);
        nexus__redis_encode(&out, words, n);
        replies++;
    }
    char number[16];
    size_t digits = (size_t)snprintf(number, sizeof number, "%u", c->database);
    nexus__redis_encode(&out, (nexus_slice[]){NEXUS_S("SELECT"), nexus__slice(number, digits)}, 2);
    replies++;
    int64_t deadline = nexus__mono_ns() + (int64_t)c->connect_timeout_ms * NEXUS__NS_PER_MS;
    nexus_status status =
        out.status == NEXUS_OK ? nexus__redis_send(redis, nexus__buf_slice(&out), deadline) : out.status;
    nexus__buf_free(&out);
    for (size_t i = 0; status == NEXUS_OK && i < replies; i++) {
        nexus__redis_reply reply = {0};
        status = nexus__redis_receive(redis, deadline, &reply);
        if (status == NEXUS_OK && reply.type == NEXUS__REDIS_ERROR)
            status = nexus__redis_fail(reply.text);
        nexus__redis_reply_free(&reply);
    }
    if (status == NEXUS_ECLOSED || status == NEXUS_ETIMEDOUT)
        status = nexus__fail(NEXUS_EUNREACH, "redis at %s:%s did not complete the greeting", c->host, c->port);
    return status;
}

nexus_status nexus__redis_open(nexus__redis **out, const nexus__redis_config *config)
{
    nexus__redis *redis = nexus__calloc(config->alloc, 1, sizeof *redis);
    if (!redis)
        return nexus__nomem();
    redis->config = config;
    redis->fd = -1;
    redis->reader = redisReaderCreate();
    nexus_status status = redis->reader ? dial(config, &redis->fd) : nexus__nomem();
    if (status == NEXUS_OK)
        status = greet(redis);
    if (status != NEXUS_OK) {
        nexus__redis_close(redis);
        return status;
    }
    *out = redis;
    return NEXUS_OK;
}

void nexus__redis_close(nexus__redis *redis)
{
    if (!redis)
        return;
    if (redis->fd >= 0)
        close(redis->fd);
    if (redis->reader)
        redisReaderFree(redis->reader);
    nexus__free(redis->config->alloc, redis);
}

bool nexus__redis_alive(nexus__redis *redis)
{
    /* Nothing is owed to us between calls, so a readable socket means a close or an error message. */
    return !redis->broken && !wait_ready(redis->fd, POLLIN, 0);
}

void nexus__redis_interrupt(nexus__redis *redis)
{
    shutdown(redis->fd, SHUT_RDWR);
}
