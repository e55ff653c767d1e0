/* bus/: the owner's side of a connection, frame by frame: what one read brings is stored together and answered apart. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/handle.h"
#include "bus/publish.h"
#include "bus/server.h"
#include "wal/internal.h"

typedef struct peer {
    char *dir;
    nexus_bus *bus;
    int fd;
    nexus__buf out, in; /* frames to send at once; what has come */
    uint64_t sent;
} peer;

typedef struct answer {
    nexus_status status;
    nexus_publish_result result;
    nexus_slice text; /* valid until the next one */
} answer;

static void send_all(peer *p)
{
    cr_assert_eq(send(p->fd, p->out.p, p->out.len, MSG_NOSIGNAL), (ssize_t)p->out.len);
    nexus__buf_clear(&p->out);
}

/* The answer with this number; they come in any order. */
static answer answer_to(peer *p, uint64_t id)
{
    for (;;) {
        for (size_t at = 0, used = 0; at < p->in.len; at += used) {
            nexus__wire_head head;
            nexus__wire_in in = {0};
            if (nexus__wire_decode(p->in.p + at, p->in.len - at, &head, &in.rest, &used) != NEXUS_OK)
                break;
            if (head.id != id)
                continue;
            answer a = {.status = head.status};
            nexus__wire_take_result(&in, &a.result);
            a.text = in.rest;
            return a;
        }
        char *at = nexus__buf_reserve(&p->in, 65536);
        ssize_t n = recv(p->fd, at, 65536, 0);
        cr_assert(n > 0, "the owner closed the connection");
        p->in.len += (size_t)n;
    }
}

static void setup(peer *p)
{
    int pair[2];
    uint32_t version = NEXUS__WIRE_VERSION;
    *p = (peer){.dir = scratch_dir()};
    p->bus = bus_open(p->dir);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    cr_assert(fcntl(pair[1], F_SETFL, O_NONBLOCK) == 0);
    nexus__bus_server_welcome(p->bus->server, pair[1]);
    p->fd = pair[0];
    nexus__buf_init(&p->out, NULL, 0);
    nexus__buf_init(&p->in, NULL, 0);
    size_t begin = nexus__wire_begin(&p->out, WIRE_HELLO, 0, 0);
    nexus__wire_u32(&p->out, version);
    nexus__wire_end(&p->out, begin);
}

static void teardown(peer *p)
{
    close(p->fd);
    nexus_bus_close(p->bus);
    nexus__buf_free(&p->out);
    nexus__buf_free(&p->in);
    scratch_remove(p->dir);
}

/* Adds a publish to what is sent at once; returns its number. */
static uint64_t add(peer *p, const char *id, const char *subject, const char *data, int64_t expect)
{
    nexus__publish_terms terms = NEXUS__PUBLISH_TERMS;
    nexus_pair ext = {NEXUS_S("colour"), NEXUS_S("red")};
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text(id);
    e.source = text("/test");
    e.type = text("t");
    e.subject = text(subject);
    e.data = text(data);
    e.time_ns = 1;
    e.ext = &ext;
    e.ext_count = 1;
    terms.expect = expect;
    size_t begin = nexus__wire_begin(&p->out, WIRE_PUBLISH, 0, ++p->sent);
    nexus__publish_body_encode(&p->out, &e, 1, &terms);
    nexus__wire_end(&p->out, begin);
    return p->sent;
}

static uint64_t add_any(peer *p, const char *id, const char *subject)
{
    return add(p, id, subject, "1", NEXUS_EXPECT_ANY);
}

static uint64_t batches(const peer *p)
{
    nexus__wal_cursor now;
    nexus__wal_cursor_now(nexus__broker_wal(atomic_load(&p->bus->broker)), &now);
    return now.seq;
}

static void stored_at(peer *p, uint64_t id, uint64_t pos, int64_t version)
{
    answer a = answer_to(p, id);
    cr_assert(a.status == NEXUS_OK, "%llu: %d %.*s", (unsigned long long)id, a.status, (int)a.text.n, a.text.p);
    cr_assert(a.result.first == pos && a.result.last == pos && a.result.version == version && !a.result.dup &&
                  a.result.durable,
              "%llu: at %llu, version %lld", (unsigned long long)id, (unsigned long long)a.result.first,
              (long long)a.result.version);
}

Test(server, publishes_of_one_read_are_one_write_and_have_an_answer_each)
{
    peer p;
    setup(&p);
    uint64_t before = batches(&p);
    uint64_t a = add_any(&p, "a", "s-1"), b = add_any(&p, "b", "s-2"), c = add_any(&p, "c", "s-1"), d = add_any(&p, "d", NULL);
    send_all(&p);
    stored_at(&p, a, 1, 0);
    stored_at(&p, b, 2, 0);
    stored_at(&p, c, 3, 1);
    stored_at(&p, d, 4, -1);
    cr_assert_eq(batches(&p), before + 1);
    nexus_reader *reader;
    const nexus_event *e;
    cr_assert(nexus_reader_open(&reader, p.bus, NULL) == NEXUS_OK);
    for (uint64_t pos = 1; pos <= 4; pos++)
        cr_assert(nexus_reader_next(reader, &e, 0) == NEXUS_OK && e->pos == pos && e->ext_count == 1 &&
                  e->id.p[0] == 'a' + (char)pos - 1 && e->ext[0].value.n == 3 && memcmp(e->ext[0].value.p, "red", 3) == 0);
    nexus_reader_close(reader);
    teardown(&p);
}

Test(server, what_was_stored_before_is_a_duplicate_among_new_ones)
{
    peer p;
    setup(&p);
    uint64_t a = add_any(&p, "a", "s");
    send_all(&p);
    stored_at(&p, a, 1, 0);
    uint64_t b = add_any(&p, "b", "s"), again = add_any(&p, "a", "s"), twin = add_any(&p, "b", "s"), c = add_any(&p, "c", "s"),
             other = add(&p, "a", "s", "2", NEXUS_EXPECT_ANY);
    send_all(&p);
    stored_at(&p, b, 2, 1);
    cr_assert(answer_to(&p, again).status == NEXUS_OK && answer_to(&p, again).result.dup);
    cr_assert(answer_to(&p, again).result.first == 1);
    cr_assert(answer_to(&p, twin).status == NEXUS_OK && answer_to(&p, twin).result.dup);
    cr_assert(answer_to(&p, twin).result.first == 2);
    stored_at(&p, c, 3, 2);
    cr_assert(answer_to(&p, other).status == NEXUS_ECONFLICT, "the same id with other content");
    teardown(&p);
}

Test(server, calls_of_a_connection_are_done_in_their_order)
{
    peer p;
    setup(&p);
    uint64_t a = add_any(&p, "a", "s"), b = add(&p, "b", "s", "1", 0), c = add_any(&p, "c", "s"),
             late = add(&p, "d", "s", "1", 0), e = add_any(&p, "e", "s");
    size_t begin = nexus__wire_begin(&p.out, WIRE_VERSION, 0, ++p.sent);
    nexus__wire_text(&p.out, NEXUS_S("s"));
    nexus__wire_end(&p.out, begin);
    uint64_t version = p.sent, f = add_any(&p, "f", "s");
    send_all(&p);
    stored_at(&p, a, 1, 0);
    stored_at(&p, b, 2, 1);
    stored_at(&p, c, 3, 2);
    cr_assert(answer_to(&p, late).status == NEXUS_ECONFLICT && answer_to(&p, late).result.actual_version == 2);
    stored_at(&p, e, 4, 3);
    cr_assert_eq(answer_to(&p, version).result.first, 3u, "the version is the first word of its answer");
    stored_at(&p, f, 5, 4);
    teardown(&p);
}

Test(server, a_bad_event_fails_alone)
{
    peer p;
    setup(&p);
    char big[70000];
    memset(big, 'x', sizeof big);
    big[0] = big[sizeof big - 2] = '"';
    big[sizeof big - 1] = 0;
    uint64_t a = add_any(&p, "a", "s"), bad = add_any(&p, "", "s"), b = add_any(&p, "b", "s"),
             large = add(&p, "l", "s", big, NEXUS_EXPECT_ANY), c = add_any(&p, "c", "s");
    send_all(&p);
    stored_at(&p, a, 1, 0);
    answer refused = answer_to(&p, bad);
    cr_assert(refused.status == NEXUS_EINVAL, "%d", refused.status);
    stored_at(&p, b, 2, 1);
    stored_at(&p, large, 3, 2);
    stored_at(&p, c, 4, 3);
    teardown(&p);
}

Test(server, a_read_may_bring_more_than_one_bundle_holds)
{
    enum { MANY = 300 };
    peer p;
    setup(&p);
    uint64_t first = p.sent + 1;
    for (int i = 0; i < MANY; i++) {
        char id[16];
        snprintf(id, sizeof id, "id-%d", i);
        add_any(&p, id, "s");
    }
    send_all(&p);
    for (int i = 0; i < MANY; i++)
        stored_at(&p, first + (uint64_t)i, (uint64_t)i + 1, i);
    teardown(&p);
}

static ssize_t full(void *user_data, int fd, const void *data, size_t n, off_t at)
{
    static const char zeros[1 << 16];
    (void)user_data;
    if (n <= sizeof zeros && memcmp(data, zeros, n) == 0)
        return pwrite(fd, data, n, at);
    errno = ENOSPC;
    return -1;
}

/* As long as it tells of failed writes, the log asks everybody to come again. */
static void wait_until_told(nexus__wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    while (wal->refusing)
        pthread_cond_wait(&wal->room, &wal->lock);
    pthread_mutex_unlock(&wal->lock);
}

Test(server, a_refused_write_fails_each_of_them_and_takes_their_ids_and_versions_back)
{
    static const nexus__wal_io no_room = {.pwrite_fn = full};
    peer p;
    setup(&p);
    nexus__wal *wal = nexus__broker_wal(atomic_load(&p.bus->broker));
    wal->io = &no_room; /* nothing is written yet */
    uint64_t a = add_any(&p, "a", "s"), b = add_any(&p, "b", "s");
    send_all(&p);
    cr_assert(answer_to(&p, a).status == NEXUS_ENOSPC && answer_to(&p, b).status == NEXUS_ENOSPC);
    wait_until_told(wal);
    wal->io = NULL;
    cr_assert(nexus__wal_append(wal, NULL, 0, NULL) == NEXUS_OK, "waits until the failure has been reported");
    a = add_any(&p, "a", "s"), b = add_any(&p, "b", "s");
    send_all(&p);
    stored_at(&p, a, 1, 0);
    stored_at(&p, b, 2, 1);
    teardown(&p);
}
