/* PostgreSQL as an event store: synchronous_commit=on, binary COPY, unique (stream, version) and unique ids.
 *     postgres-events CONNINFO BATCH SECONDS */
#include "load.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libpq-fe.h>

static PGconn *db;

static void run(const char *sql)
{
    PGresult *r = PQexec(db, sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_COPY_IN)
        die(PQerrorMessage(db));
    PQclear(r);
}

static char *put(char *at, const void *value, uint32_t n)
{
    uint32_t bytes = htonl(n);
    memcpy(at, &bytes, 4);
    memcpy(at + 4, value, n);
    return at + 4 + n;
}

static char *put_row(char *at, uint64_t n)
{
    static uint64_t versions[STREAMS];
    unsigned char data[EVENT_BYTES];
    uint16_t columns = htons(6);
    uint64_t stream = next_random() % STREAMS, big_stream = htobe64(stream), version = htobe64(versions[stream]++);
    uint64_t time = htobe64(n), id[2] = {htobe64(n), next_random()};
    uint32_t type = htonl((uint32_t)(n & 7));
    fill(data, n);
    memcpy(at, &columns, 2);
    at = put(put(put(at + 2, &big_stream, 8), &version, 8), &type, 4);
    return put(put(put(at, &time, 8), id, 16), data, EVENT_BYTES);
}

static void copy(char *buffer, int batch, uint64_t n)
{
    static const char head[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0"; /* with its last NUL: 19 bytes */
    memcpy(buffer, head, 19);
    char *at = buffer + 19;
    for (int i = 0; i < batch; i++)
        at = put_row(at, n + (uint64_t)i);
    memcpy(at, "\377\377", 2);
    run("COPY events(stream, version, type, time, id, data) FROM STDIN (FORMAT binary)");
    if (PQputCopyData(db, buffer, (int)(at + 2 - buffer)) != 1 || PQputCopyEnd(db, NULL) != 1)
        die(PQerrorMessage(db));
    for (PGresult *r; (r = PQgetResult(db)); PQclear(r))
        if (PQresultStatus(r) != PGRES_COMMAND_OK)
            die(PQerrorMessage(db));
}

static double replay(void)
{
    uint64_t n = 0, last = 0;
    double start = now_s();
    for (;;) {
        uint64_t after = htobe64(last);
        const char *values[1] = {(char *)&after};
        int lengths[1] = {8}, formats[1] = {1};
        PGresult *r = PQexecParams(
            db, "SELECT pos, stream, version, type, data FROM events WHERE pos > $1::bigint ORDER BY pos LIMIT 1000", 1,
            NULL, values, lengths, formats, 1);
        int rows = PQntuples(r);
        if (rows) {
            memcpy(&last, PQgetvalue(r, rows - 1, 0), 8);
            last = be64toh(last);
        }
        n += (uint64_t)rows;
        PQclear(r);
        if (!rows)
            return (double)n / (now_s() - start);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: postgres-events CONNINFO BATCH SECONDS");
    int batch = atoi(argv[2]);
    double limit = atof(argv[3]);
    db = PQconnectdb(argv[1]);
    if (PQstatus(db) != CONNECTION_OK)
        die(PQerrorMessage(db));
    run("SET client_min_messages=error");
    run("DROP TABLE IF EXISTS events");
    run("CREATE TABLE events(pos bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream bigint NOT NULL, version "
        "bigint NOT NULL,"
        " type int NOT NULL, time bigint NOT NULL, id uuid NOT NULL, data bytea NOT NULL)");
    run("CREATE UNIQUE INDEX ON events(stream, version)");
    run("CREATE UNIQUE INDEX ON events(id)");
    char *buffer = malloc((size_t)batch * 400 + 100);
    latencies times = {0};
    uint64_t n = 0;
    double start = now_s(), last = start;
    for (; last - start < limit; n += (uint64_t)batch) {
        copy(buffer, batch, n);
        double now = now_s();
        latencies_add(&times, now - last);
        last = now;
    }
    report(n, last - start, replay(), &times);
    PQfinish(db);
    return 0;
}
