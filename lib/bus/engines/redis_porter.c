/*
 * Connections between processes that share nothing but a Redis server: their bytes travel as messages of PUBLISH, which
 * are in no file and take no memory of the server's once they are read (lines.h). The owner listens at a channel that
 * bears its token, which is also what the lease says; a client at one with a number of its own, which each of its messages
 * begins with. Redis tells how many were listening: nobody means that the process, or its connection, is gone.
 *
 * Each side has two connections: one that listens, since such a one can do nothing else, and one that speaks. What a turn
 * of the thread has to say goes out in one go.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "bus/engines/lines.h"
#include "bus/engines/redis.h"

#define CHUNK (64u << 10)
#define WINDOW (256u << 10) /* of a hundred clients, less than what Redis keeps for one that listens (32 MiB) */
#define CALL_MS 3000

enum { NAME_DIGITS = 16, CHANNEL_MAX = NEXUS__REDIS_KEY_MAX + 40 };

struct nexus__bus_porter {
    const nexus_alloc *alloc;
    nexus__redis_place place;
    nexus__redis *ear, *mouth;
    nexus__lines lines;
    char own[NAME_DIGITS + 1]; /* a client's number */
    char owner[CHANNEL_MAX];   /* where the owner listens */
    nexus__buf out;            /* commands to be sent, */
    nexus__buf asked;          /* and the line of each */
    nexus_status heard; /* in this turn */
    int wake_fd;
    pthread_t thread;
    bool started;
    atomic_bool closing;
};

static int64_t deadline(void)
{
    return nexus__mono_ns() + CALL_MS * NEXUS__NS_PER_MS;
}

static void channel_of(const nexus__bus_porter *p, const char *what, const char *name, char out[static CHANNEL_MAX])
{
    snprintf(out, CHANNEL_MAX, "nexus:bus:{%s}:%s:%.40s", p->place.name, what, name);
}

/* --- speaking ------------------------------------------------------------------------------------------------------- */

/* The owner's channel serves every client, so a client's message begins with its number. */
static bool say(void *user_data, const nexus__line *line, nexus_slice message)
{
    nexus__bus_porter *p = user_data;
    char channel[CHANNEL_MAX];
    nexus__buf text;
    nexus__buf_init(&text, p->alloc, 0);
    if (p->lines.server)
        channel_of(p, "client", line->name, channel);
    else
        nexus__buf_append(&text, p->own, NAME_DIGITS);
    nexus__buf_slice_append(&text, message);
    nexus_slice words[] = {NEXUS_S("PUBLISH"), nexus__slice_c(p->lines.server ? channel : p->owner),
                           nexus__buf_slice(&text)};
    if (text.status == NEXUS_OK) {
        nexus__redis_encode(&p->out, words, 3);
        nexus__buf_append(&p->asked, &line->id, sizeof line->id);
    }
    bool done = text.status == NEXUS_OK && p->out.status == NEXUS_OK && p->asked.status == NEXUS_OK;
    nexus__buf_free(&text);
    return done;
}

/* Sends what was said, and hears who was there for it. */
static nexus_status flush(nexus__bus_porter *p)
{
    nexus_status status = p->out.status == NEXUS_OK ? p->asked.status : p->out.status;
    if (status == NEXUS_OK && p->out.len)
        status = nexus__redis_send(p->mouth, nexus__buf_slice(&p->out), deadline());
    for (size_t at = 0; at < p->asked.len && status == NEXUS_OK; at += sizeof(uint64_t)) {
        nexus__redis_reply reply;
        uint64_t id;
        memcpy(&id, p->asked.p + at, sizeof id);
        status = nexus__redis_receive(p->mouth, deadline(), &reply);
        if (status != NEXUS_OK)
            break;
        if (reply.type == NEXUS__REDIS_ERROR)
            status = nexus__redis_fail(reply.text);
        else if (reply.number == 0)
            nexus__lines_nobody(&p->lines, id);
        nexus__redis_reply_free(&reply);
    }
    nexus__buf_clear(&p->out);
    nexus__buf_clear(&p->asked);
    return status;
}

/* --- listening ------------------------------------------------------------------------------------------------------ */

static void hear(nexus__bus_porter *p, const nexus__redis_reply *reply)
{
    char name[NAME_DIGITS + 1] = "";
    if (nexus__redis_reply_count(reply) < 3 ||
        !nexus__slice_eq_c(nexus__redis_reply_at(reply, 0).text, "message"))
        return;
    nexus_slice message = nexus__redis_reply_at(reply, 2).text;
    if (p->lines.server) {
        if (message.n < NAME_DIGITS)
            return;
        memcpy(name, message.p, NAME_DIGITS);
        message = nexus__slice_from(message, NAME_DIGITS);
    }
    nexus__lines_receive(&p->lines, name, message);
}

static nexus_status hear_all(nexus__bus_porter *p)
{
    for (;;) {
        nexus__redis_reply reply;
        nexus_status status = nexus__redis_poll(p->ear, &reply);
        if (status != NEXUS_OK)
            return status == NEXUS_EDONE ? NEXUS_OK : status;
        hear(p, &reply);
        nexus__redis_reply_free(&reply);
    }
}

static nexus_status listen_at(nexus__bus_porter *p, const char *channel)
{
    nexus__redis_reply reply;
    nexus_status status = nexus__redis_ask(p->ear, (nexus_slice[]){NEXUS_S("SUBSCRIBE"), nexus__slice_c(channel)}, 2,
                                           deadline(), &reply);
    if (status == NEXUS_OK)
        nexus__redis_reply_free(&reply);
    return status;
}

/* --- the thread ----------------------------------------------------------------------------------------------------- */

static void hear_from_redis(void *user_data)
{
    nexus__bus_porter *p = user_data;
    p->heard = hear_all(p);
}

static nexus_status turn(nexus__bus_porter *p)
{
    nexus__lines_turn(&p->lines, p->wake_fd, nexus__redis_fd(p->ear), hear_from_redis);
    return p->heard == NEXUS_OK ? flush(p) : p->heard;
}

static void disconnect(nexus__bus_porter *p)
{
    nexus__redis_close(p->ear);
    nexus__redis_close(p->mouth);
    p->ear = p->mouth = NULL;
    nexus__buf_clear(&p->out);
    nexus__buf_clear(&p->asked);
}

static nexus_status connect_both(nexus__bus_porter *p)
{
    nexus_status status = nexus__redis_open(&p->ear, &p->place.config);
    return status == NEXUS_OK ? nexus__redis_open(&p->mouth, &p->place.config) : status;
}

/* Redis was out of reach: the clients come again by themselves. */
static nexus_status serve_again(nexus__bus_porter *p)
{
    nexus__lines_hang_up(&p->lines, false);
    disconnect(p);
    nexus_status status = connect_both(p);
    if (status == NEXUS_OK)
        status = listen_at(p, p->owner);
    if (status != NEXUS_OK)
        disconnect(p);
    return status;
}

static void *porter_main(void *arg)
{
    nexus__bus_porter *p = arg;
    nexus_status status = NEXUS_OK;
    while (!atomic_load(&p->closing)) {
        if (status == NEXUS_OK)
            status = turn(p);
        if (!p->lines.server && (status != NEXUS_OK || !p->lines.count))
            break;
        if (status != NEXUS_OK && (status = serve_again(p)) != NEXUS_OK) {
            struct pollfd pause = {.fd = p->wake_fd, .events = POLLIN};
            poll(&pause, 1, NEXUS__LINES_BEAT_MS / 4);
        }
    }
    nexus__lines_hang_up(&p->lines, p->mouth != NULL);
    if (p->mouth && flush(p) != NEXUS_OK)
        disconnect(p); /* the others find out */
    return NULL;
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

void nexus__redis_porter_close(nexus__bus_porter *p)
{
    if (!p)
        return;
    uint64_t one = 1;
    atomic_store(&p->closing, true);
    if (p->wake_fd >= 0 && write(p->wake_fd, &one, sizeof one) < 0)
        atomic_store(&p->closing, true); /* it looks by itself before long */
    if (p->started)
        pthread_join(p->thread, NULL);
    nexus__lines_hang_up(&p->lines, false);
    disconnect(p);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    nexus__buf_free(&p->out);
    nexus__buf_free(&p->asked);
    nexus__redis_place_free(&p->place);
    nexus__free(p->alloc, p);
}

static nexus_status porter_new(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                               const nexus_alloc *alloc)
{
    nexus__bus_porter *p = nexus__calloc(alloc, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    p->alloc = alloc;
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nexus__buf_init(&p->out, alloc, 0);
    nexus__buf_init(&p->asked, alloc, 0);
    p->lines.alloc = alloc;
    p->lines.server = server;
    p->lines.send = say;
    p->lines.user_data = p;
    p->lines.chunk = CHUNK;
    p->lines.window = WINDOW;
    nexus_status status = p->wake_fd >= 0 ? NEXUS_OK : nexus__fail_errno(errno, "make an eventfd");
    if (status == NEXUS_OK)
        status = nexus__redis_place_parse(&p->place, url, alloc);
    if (status == NEXUS_OK)
        status = connect_both(p);
    if (status != NEXUS_OK) {
        nexus__redis_porter_close(p);
        return status;
    }
    *out = p;
    return NEXUS_OK;
}

static nexus_status start(nexus__bus_porter *p)
{
    nexus_status status = nexus__thread_start(&p->thread, "nexus-bus-port", porter_main, p);
    p->started = status == NEXUS_OK;
    return status;
}

/* The owner's channel, as its lease has it. NEXUS_EUNREACH: there is no owner. */
static nexus_status find_owner(nexus__bus_porter *p)
{
    nexus__redis_reply reply;
    nexus_status status = nexus__redis_ask(p->mouth, (nexus_slice[]){NEXUS_S("GET"), nexus__slice_c(p->place.owner)}, 2,
                                           deadline(), &reply);
    if (status != NEXUS_OK)
        return status;
    char token[41];
    bool there = reply.type == NEXUS__REDIS_TEXT && reply.text.n < sizeof token;
    if (there) {
        snprintf(token, sizeof token, "%.*s", (int)reply.text.n, reply.text.p);
        channel_of(p, "owner", token, p->owner);
    }
    nexus__redis_reply_free(&reply);
    return there ? NEXUS_OK : nexus__fail(NEXUS_EUNREACH, "nobody owns the bus %s of this redis", p->place.name);
}

nexus_status nexus__redis_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                                const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    nexus_status status = porter_new(&p, url, server, alloc);
    if (status != NEXUS_OK)
        return status;
    status = find_owner(p);
    if (status == NEXUS_OK)
        status = listen_at(p, p->owner);
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        nexus__redis_porter_close(p);
        return status;
    }
    *out = p;
    return NEXUS_OK;
}

/* Whether the owner listens yet: its first word comes before ours is lost. */
static nexus_status owner_listens(nexus__bus_porter *p)
{
    nexus__redis_reply reply;
    nexus_status status = nexus__redis_ask(
        p->mouth, (nexus_slice[]){NEXUS_S("PUBSUB"), NEXUS_S("NUMSUB"), nexus__slice_c(p->owner)}, 3, deadline(), &reply);
    if (status != NEXUS_OK)
        return status;
    bool listens = nexus__redis_reply_count(&reply) >= 2 && nexus__redis_reply_at(&reply, 1).number > 0;
    nexus__redis_reply_free(&reply);
    return listens ? NEXUS_OK : nexus__fail(NEXUS_EUNREACH, "the owner of the bus %s does not listen", p->place.name);
}

static nexus_status call_owner(nexus__bus_porter *p, int *far)
{
    uint8_t number[NAME_DIGITS / 2];
    char channel[CHANNEL_MAX];
    nexus__random(number, sizeof number);
    nexus__hex_write(p->own, number, sizeof number);
    channel_of(p, "client", p->own, channel);
    nexus_status status = find_owner(p);
    if (status == NEXUS_OK)
        status = owner_listens(p);
    if (status == NEXUS_OK)
        status = listen_at(p, channel);
    if (status == NEXUS_OK && !nexus__lines_add(&p->lines, "owner", far))
        status = nexus__fail_errno(errno, "make a socket pair");
    return status;
}

nexus_status nexus__redis_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    int far = -1;
    nexus_status status = porter_new(&p, url, NULL, alloc);
    if (status != NEXUS_OK)
        return status;
    status = call_owner(p, &far);
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        if (far >= 0)
            close(far);
        nexus__redis_porter_close(p);
        return status == NEXUS_ECLOSED || status == NEXUS_ETIMEDOUT ? NEXUS_EUNREACH : status;
    }
    *out = p;
    *fd = far;
    return NEXUS_OK;
}
