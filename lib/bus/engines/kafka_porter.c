/*
 * Connections between processes that share nothing but a Kafka cluster: their bytes travel as messages of the topic
 * NAME-wire (lines.h). The key of a message says for whom it is: the owner, by the number in its note, or a client, by one
 * of its own; it begins with the number of who sent it. Everybody reads all of the topic from when he came, so it is for
 * some tens of processes. Kafka does not know who listens: whoever says nothing for three seconds is gone.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "bus/engines/engine.h"
#include "bus/engines/kafka.h"
#include "bus/engines/lines.h"

#define CHUNK (256u << 10)
#define WINDOW (1u << 20)

enum { NAME_DIGITS = 16 };

struct nexus__bus_porter {
    const nexus_alloc *alloc;
    nexus__kafka *kafka;
    nexus__kafka_reader wire;
    char own[NAME_DIGITS + 1]; /* for whom messages are ours */
    int wake_fd;
    nexus__lines lines;
    pthread_t thread;
    bool started;
    atomic_bool closing;
};

static void name_of(char out[static NAME_DIGITS + 1], uint64_t number)
{
    snprintf(out, NAME_DIGITS + 1, "%016llx", (unsigned long long)number);
}

static bool say(void *user_data, const nexus__line *line, nexus_slice message)
{
    nexus__bus_porter *p = user_data;
    nexus__buf body;
    nexus__buf_init(&body, p->alloc, 0);
    nexus__buf_append(&body, p->own, NAME_DIGITS);
    nexus__buf_slice_append(&body, message);
    bool sent = body.status == NEXUS_OK && nexus__kafka_send(p->kafka, p->kafka->wire_topic,
                                                             nexus__slice_c(line->name), nexus__buf_slice(&body));
    nexus__buf_free(&body);
    return sent;
}

static void hear(nexus__bus_porter *p, const rd_kafka_message_t *m)
{
    char name[NAME_DIGITS + 1] = "";
    nexus_slice message = nexus__kafka_value(m);
    if (!nexus__slice_eq(nexus__slice(m->key, m->key_len), nexus__slice_c(p->own)) || message.n < NAME_DIGITS)
        return;
    memcpy(name, message.p, NAME_DIGITS);
    nexus__lines_receive(&p->lines, name, nexus__slice_from(message, NAME_DIGITS));
}

static void hear_all(void *user_data)
{
    nexus__bus_porter *p = user_data;
    rd_kafka_message_t *m;
    while ((m = nexus__kafka_arrived(&p->wire)) != NULL) {
        hear(p, m);
        rd_kafka_message_destroy(m);
    }
    nexus__kafka_poll(p->kafka);
}

static void *porter_main(void *arg)
{
    nexus__bus_porter *p = arg;
    while (!atomic_load(&p->closing) && (p->lines.server || p->lines.count))
        nexus__lines_turn(&p->lines, p->wake_fd, -1, hear_all);
    nexus__lines_hang_up(&p->lines, true);
    return NULL;
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

void nexus__kafka_porter_close(nexus__bus_porter *p)
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
    if (p->kafka)
        rd_kafka_flush(p->kafka->notes, 200); /* so that the others need not find out */
    nexus__kafka_reader_close(&p->wire);
    nexus__kafka_close(p->kafka);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    nexus__free(p->alloc, p);
}

/* Listens from now on. */
static nexus_status listen_now(nexus__bus_porter *p)
{
    int64_t first, behind;
    nexus_status status = nexus__kafka_reader_open(&p->wire, p->kafka, p->kafka->wire_topic);
    if (status == NEXUS_OK)
        status = nexus__kafka_range(&p->wire, &first, &behind);
    if (status == NEXUS_OK)
        status = nexus__kafka_seek(&p->wire, behind);
    return status == NEXUS_OK ? nexus__kafka_wake_by(&p->wire, p->wake_fd) : status;
}

static nexus_status find_owner(nexus__bus_porter *p, char name[static NAME_DIGITS + 1])
{
    nexus__kafka_reader owners;
    nexus__kafka_owner_note note;
    nexus__parcel mark;
    nexus_status status = nexus__kafka_reader_open(&owners, p->kafka, p->kafka->owner_topic);
    if (status != NEXUS_OK)
        return status;
    status = nexus__kafka_last_note(p->kafka, &owners, &mark, &note);
    nexus__kafka_reader_close(&owners);
    if (status == NEXUS_ENOTFOUND || (status == NEXUS_OK && note.released))
        return nexus__fail(NEXUS_EUNREACH, "nobody owns the bus of the topic %s", p->kafka->log_topic);
    if (status == NEXUS_OK)
        name_of(name, note.owner);
    return status;
}

static nexus_status porter_new(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                               const nexus_alloc *alloc)
{
    nexus__bus_porter *p = nexus__calloc(alloc, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    p->alloc = alloc;
    p->lines = (nexus__lines){
        .alloc = alloc, .server = server, .send = say, .user_data = p, .chunk = CHUNK, .window = WINDOW};
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nexus_status status = p->wake_fd >= 0 ? NEXUS_OK : nexus__fail_errno(errno, "make an eventfd");
    if (status == NEXUS_OK)
        status = nexus__kafka_open(&p->kafka, url, alloc);
    if (status == NEXUS_OK)
        status = listen_now(p);
    if (status != NEXUS_OK) {
        nexus__kafka_porter_close(p);
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

nexus_status nexus__kafka_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                                const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    nexus_status status = porter_new(&p, url, server, alloc);
    if (status != NEXUS_OK)
        return status;
    status = find_owner(p, p->own);
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        nexus__kafka_porter_close(p);
        return status;
    }
    *out = p;
    return NEXUS_OK;
}

nexus_status nexus__kafka_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    char owner[NAME_DIGITS + 1];
    int far = -1;
    nexus_status status = porter_new(&p, url, NULL, alloc);
    if (status != NEXUS_OK)
        return status;
    name_of(p->own, nexus__random_u64());
    status = find_owner(p, owner);
    if (status == NEXUS_OK && !nexus__lines_add(&p->lines, owner, &far))
        status = nexus__fail_errno(errno, "make a socket pair");
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        if (far >= 0)
            close(far);
        nexus__kafka_porter_close(p);
        return status;
    }
    *out = p;
    *fd = far;
    return NEXUS_OK;
}
