/*
 * Connections between processes that share nothing but a PostgreSQL database: the bytes of each travel as rows of the
 * unlogged table nexus_bus_wire, a NOTIFY wakes the other side. To the owner's server and to the client they look like
 * the socket of a `file:` bus, so everything that works there works across machines.
 *
 * A line is one connection: a socket pair whose far end belongs to the server or the client. Its number is also an
 * advisory lock that the client holds: when the client's session ends, for whatever reason, the owner sees the lock gone
 * and hangs up. The client sees in the same way that the owner is gone, or that another epoch has begun. A row without
 * bytes means that the sender has hung up. Nothing here has to survive: what was lost on the way is asked again.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nexus/db.h>

#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "bus/engines/engine.h"
#include "store/session.h"

#define CHUNK (256u << 10)
#define CHECK_MS 400 /* how often each side looks whether the other one lives */
#define LINES_MAX 512

typedef struct line {
    int fd;
    int64_t number;
    nexus__buf out;  /* towards fd */
    bool over;
} line;

struct nexus__bus_porter {
    const nexus_alloc *alloc;
    nexus_db *session;
    nexus__bus_server *server; /* NULL: the client's side, with one line */
    uint64_t key;
    int64_t epoch, checked_ns;
    int wake_fd;
    line lines[LINES_MAX];
    size_t count;
    pthread_t thread;
    bool started;
    atomic_bool closing;
};

#define OWNER_LIVES                                                                                                    \
    "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted"                          \
    " AND (CAST(classid AS BIGINT) << 32) + CAST(objid AS BIGINT) = $1"                                                \
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"

static void channel(char out[static 40], uint64_t number)
{
    snprintf(out, 40, "nexus_bus_%016llx", (unsigned long long)number);
}

static nexus_status listen_to(nexus_db *session, uint64_t number)
{
    char name[40], sql[64];
    channel(name, number);
    snprintf(sql, sizeof sql, "LISTEN %s", name);
    nexus_status status = nexus_db_exec(session, sql, NULL, 0, NULL);
    /* What travels here need not survive, so its commits need not wait for the disk. */
    return status == NEXUS_OK ? nexus_db_exec(session, "SET synchronous_commit = off", NULL, 0, NULL) : status;
}

/* --- lines ---------------------------------------------------------------------------------------------------------- */

static line *line_find(nexus__bus_porter *p, int64_t number)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->lines[i].number == number)
            return &p->lines[i];
    return NULL;
}

/* The near end stays here; *far is the other one. */
static line *line_add(nexus__bus_porter *p, int64_t number, int *far)
{
    int pair[2];
    if (p->count == LINES_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return NULL;
    line *l = &p->lines[p->count++];
    *l = (line){.fd = pair[0], .number = number};
    nexus__buf_init(&l->out, p->alloc, 0);
    *far = pair[1];
    return l;
}

static void line_end(nexus__bus_porter *p, line *l)
{
    shutdown(l->fd, SHUT_RDWR);
    close(l->fd);
    nexus__buf_free(&l->out);
    *l = p->lines[--p->count];
}

static void end_those_over(nexus__bus_porter *p)
{
    for (size_t i = p->count; i-- > 0;)
        if (p->lines[i].over)
            line_end(p, &p->lines[i]);
}

static void push(line *l)
{
    while (l->out.len) {
        ssize_t n = send(l->fd, l->out.p, l->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            l->over |= errno != EAGAIN;
            return;
        }
        nexus__buf_consume(&l->out, (size_t)n);
    }
}

/* --- rows ----------------------------------------------------------------------------------------------------------- */

static nexus_status send_row(nexus__bus_porter *p, int64_t number, nexus_slice bytes)
{
    char name[40];
    channel(name, p->server ? (uint64_t)number : p->key);
    const nexus_value args[] = {NEXUS_INT(p->epoch), NEXUS_INT(number), NEXUS_INT(p->server == NULL), NEXUS_BLOB(bytes),
                                NEXUS_TEXT_C(name)};
    return nexus_db_exec(p->session,
                         "WITH sent AS (INSERT INTO nexus_bus_wire (epoch, conn, to_owner, bytes)"
                         " VALUES ($1, $2, $3, $4) RETURNING id) SELECT pg_notify($5, '') FROM sent",
                         args, 5, NULL);
}

/* What the far end has written goes out, some at a time. */
static nexus_status pull(nexus__bus_porter *p, line *l)
{
    nexus__buf bytes;
    nexus__buf_init(&bytes, p->alloc, 0);
    char *at = nexus__buf_reserve(&bytes, CHUNK);
    ssize_t n = at ? recv(l->fd, at, CHUNK, MSG_DONTWAIT) : 0;
    nexus_status status = NEXUS_OK;
    if (n > 0)
        status = send_row(p, l->number, nexus__slice(at, (size_t)n));
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        l->over = true;
    if (l->over)
        status = send_row(p, l->number, NEXUS_S(""));
    nexus__buf_free(&bytes);
    return status;
}

static void receive_row(nexus__bus_porter *p, int64_t number, nexus_slice bytes)
{
    line *l = line_find(p, number);
    if (!l && p->server && bytes.n) {
        int far;
        l = line_add(p, number, &far);
        if (l)
            nexus__bus_server_welcome(p->server, far);
    }
    if (!l)
        return;
    if (!bytes.n) {
        l->over = true;
        return;
    }
    nexus__buf_slice_append(&l->out, bytes);
    push(l);
}

static nexus_status receive_rows(nexus__bus_porter *p)
{
    static const char of_owner[] = "WITH taken AS (DELETE FROM nexus_bus_wire WHERE to_owner AND epoch = $1"
                                   " RETURNING id, conn, bytes) SELECT conn, bytes FROM taken ORDER BY id";
    static const char of_client[] =
        "WITH taken AS (DELETE FROM nexus_bus_wire WHERE NOT to_owner AND epoch = $1 AND conn = $2"
        " RETURNING id, conn, bytes) SELECT conn, bytes FROM taken ORDER BY id";
    nexus_rows *rows;
    nexus_slice bytes;
    const nexus_value args[] = {NEXUS_INT(p->epoch), NEXUS_INT(p->server ? 0 : p->lines[0].number)};
    nexus_status status =
        nexus_db_query(&rows, p->session, p->server ? of_owner : of_client, args, p->server ? 1 : 2);
    if (status != NEXUS_OK)
        return status;
    while (nexus_rows_next(rows)) {
        nexus_rows_text(rows, 1, &bytes);
        receive_row(p, nexus_rows_int(rows, 0), bytes);
    }
    nexus_rows_free(rows);
    return NEXUS_OK;
}

/* --- is the other side there? --------------------------------------------------------------------------------------- */

static nexus_status owner_epoch(nexus_db *db, uint64_t key, int64_t *epoch)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(
        &rows, db, "SELECT epoch FROM nexus_bus_head WHERE id = 1 AND serving = epoch AND " OWNER_LIVES,
        (nexus_value[]){NEXUS_INT(key)}, 1);
    if (status == NEXUS_OK) {
        *epoch = nexus_rows_int(rows, 0);
        nexus_rows_free(rows);
    }
    return status;
}

/* Lines whose client holds its lock no more are over. */
static nexus_status check_clients(nexus__bus_porter *p)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query(
        &rows, p->session,
        "SELECT (CAST(classid AS BIGINT) << 32) + CAST(objid AS BIGINT) FROM pg_locks"
        " WHERE locktype = 'advisory' AND objsubid = 1 AND granted",
        NULL, 0);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < p->count; i++)
        p->lines[i].over = true;
    while (nexus_rows_next(rows)) {
        line *l = line_find(p, nexus_rows_int(rows, 0));
        if (l)
            l->over = false;
    }
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static nexus_status check_owner(nexus__bus_porter *p)
{
    int64_t epoch = -1;
    nexus_status status = owner_epoch(p->session, p->key, &epoch);
    if (status == NEXUS_ENOTFOUND || (status == NEXUS_OK && epoch != p->epoch))
        return nexus__fail(NEXUS_ECLOSED, "the owner of the bus is gone");
    return status;
}

/* --- the thread ----------------------------------------------------------------------------------------------------- */

static nexus_status turn(nexus__bus_porter *p)
{
    struct pollfd fds[LINES_MAX + 2];
    size_t n = p->count;
    bool notified;
    for (size_t i = 0; i < n; i++)
        fds[i] = (struct pollfd){.fd = p->lines[i].fd, .events = POLLIN | (p->lines[i].out.len ? POLLOUT : 0)};
    fds[n] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
    nexus_status status = nexus__db_wait(p->session, fds, n + 1, CHECK_MS, &notified);
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        if (fds[i].revents & POLLOUT)
            push(&p->lines[i]);
        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
            status = pull(p, &p->lines[i]);
    }
    end_those_over(p);
    int64_t now = nexus__mono_ns();
    bool check = now - p->checked_ns > CHECK_MS * NEXUS__NS_PER_MS;
    if (status == NEXUS_OK && (notified || check) && (p->server || p->count))
        status = receive_rows(p);
    if (status == NEXUS_OK && check) {
        status = p->server ? check_clients(p) : check_owner(p);
        p->checked_ns = now;
    }
    end_those_over(p);
    return status;
}

static void hang_up(nexus__bus_porter *p)
{
    while (p->count)
        line_end(p, &p->lines[0]);
}

/* The database was out of reach: the clients come again by themselves. */
static nexus_status serve_again(nexus__bus_porter *p)
{
    nexus_db *again;
    hang_up(p);
    nexus_status status = nexus__db_session(&again, p->session);
    if (status != NEXUS_OK)
        return status;
    nexus_db_close(p->session);
    p->session = again;
    return listen_to(p->session, p->key);
}

static void *porter_main(void *arg)
{
    nexus__bus_porter *p = arg;
    nexus_status status = NEXUS_OK;
    while (!atomic_load(&p->closing)) {
        if (status == NEXUS_OK)
            status = turn(p);
        if (status != NEXUS_OK && p->server) {
            struct pollfd pause = {.fd = p->wake_fd, .events = POLLIN};
            status = serve_again(p);
            if (status != NEXUS_OK)
                poll(&pause, 1, CHECK_MS);
        }
        if (!p->server && (status != NEXUS_OK || !p->count))
            break;
    }
    hang_up(p);
    return NULL;
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

void nexus__sql_porter_close(nexus__bus_porter *p)
{
    if (!p)
        return;
    uint64_t one = 1;
    atomic_store(&p->closing, true);
    if (p->wake_fd >= 0 && write(p->wake_fd, &one, sizeof one) < 0)
        atomic_store(&p->closing, true); /* it looks by itself before long */
    if (p->started)
        pthread_join(p->thread, NULL);
    hang_up(p);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    nexus_db_close(p->session);
    nexus__free(p->alloc, p);
}

static nexus_status porter_new(nexus__bus_porter **out, const char *url, const nexus_alloc *alloc)
{
    nexus__bus_porter *p = nexus__calloc(alloc, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    p->alloc = alloc;
    p->key = nexus__sql_key(url);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nexus_db *pool = NULL;
    nexus_status status = p->wake_fd >= 0 ? NEXUS_OK : nexus__fail_errno(errno, "make an eventfd");
    if (status == NEXUS_OK)
        status = nexus__sql_open(&pool, url, 1, alloc);
    if (status == NEXUS_OK)
        status = nexus__db_session(&p->session, pool);
    nexus_db_close(pool);
    if (status != NEXUS_OK) {
        nexus__sql_porter_close(p);
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

static nexus_status open_for_clients(nexus__bus_porter *p)
{
    nexus_rows *rows;
    nexus_status status = listen_to(p->session, p->key);
    if (status == NEXUS_OK)
        status = nexus_db_query_one(
            &rows, p->session, "UPDATE nexus_bus_head SET serving = epoch WHERE id = 1 RETURNING epoch", NULL, 0);
    if (status != NEXUS_OK)
        return status;
    p->epoch = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return nexus_db_exec(p->session, "DELETE FROM nexus_bus_wire WHERE epoch <> $1", (nexus_value[]){NEXUS_INT(p->epoch)},
                         1, NULL);
}

nexus_status nexus__sql_serve(nexus__bus_porter **out, const char *url, nexus__bus_server *server,
                              const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    nexus_status status = porter_new(&p, url, alloc);
    if (status != NEXUS_OK)
        return status;
    p->server = server;
    status = open_for_clients(p);
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        nexus__sql_porter_close(p);
        return status;
    }
    *out = p;
    return NEXUS_OK;
}

static nexus_status call_owner(nexus__bus_porter *p, int *far)
{
    int64_t number = (int64_t)(nexus__random_u64() >> 2);
    nexus_status status = owner_epoch(p->session, p->key, &p->epoch);
    if (status == NEXUS_ENOTFOUND || status == NEXUS_EINVAL) /* nobody, or no tables yet */
        return nexus__fail(NEXUS_EUNREACH, "nobody owns the bus of this database");
    if (status == NEXUS_OK)
        status = listen_to(p->session, (uint64_t)number);
    if (status == NEXUS_OK)
        status = nexus_db_exec(p->session, "SELECT pg_advisory_lock($1)", (nexus_value[]){NEXUS_INT(number)}, 1, NULL);
    if (status == NEXUS_OK && !line_add(p, number, far))
        status = nexus__fail_errno(errno, "make a socket pair");
    return status;
}

nexus_status nexus__sql_dial(nexus__bus_porter **out, int *fd, const char *url, const nexus_alloc *alloc)
{
    nexus__bus_porter *p;
    int far = -1;
    nexus_status status = porter_new(&p, url, alloc);
    if (status != NEXUS_OK)
        return status;
    status = call_owner(p, &far);
    if (status == NEXUS_OK)
        status = start(p);
    if (status != NEXUS_OK) {
        if (far >= 0)
            close(far);
        nexus__sql_porter_close(p);
        return status;
    }
    *out = p;
    *fd = far;
    return NEXUS_OK;
}
