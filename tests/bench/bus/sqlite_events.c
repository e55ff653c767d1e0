/* SQLite as an event store: WAL, synchronous=FULL, unique (stream, version) and unique time-ordered ids.
 *     sqlite-events FILE BATCH SECONDS */
#include "load.h"

#include <sqlite3.h>
#include <unistd.h>

static sqlite3 *db;

static void run(const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL))
        die(sqlite3_errmsg(db));
}

static double replay(void)
{
    sqlite3_stmt *s;
    uint64_t n = 0, sum = 0, word;
    double start = now_s();
    sqlite3_prepare_v2(db, "SELECT pos, stream, version, type, data FROM events ORDER BY pos", -1, &s, NULL);
    for (; sqlite3_step(s) == SQLITE_ROW; n++) {
        memcpy(&word, sqlite3_column_blob(s, 4), 8);
        sum += word;
    }
    sqlite3_finalize(s);
    return sum ? (double)n / (now_s() - start) : 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: sqlite-events FILE BATCH SECONDS");
    int batch = atoi(argv[2]);
    double limit = atof(argv[3]);
    static uint32_t versions[STREAMS];
    if (sqlite3_open(argv[1], &db))
        die("sqlite-events: cannot open the file");
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-65536;"
        "DROP TABLE IF EXISTS events;"
        "CREATE TABLE events(pos INTEGER PRIMARY KEY, stream INTEGER, version INTEGER, type INTEGER, time INTEGER, id "
        "BLOB, data BLOB);"
        "CREATE UNIQUE INDEX by_version ON events(stream, version); CREATE UNIQUE INDEX by_id ON events(id)");
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, "INSERT INTO events(stream, version, type, time, id, data) VALUES(?,?,?,?,?,?)", -1, &s,
                           NULL))
        die(sqlite3_errmsg(db));
    unsigned char data[EVENT_BYTES];
    latencies times = {0};
    uint64_t n = 0;
    double start = now_s(), last = start;
    while (last - start < limit) {
        run("BEGIN IMMEDIATE");
        for (int i = 0; i < batch; i++, n++) {
            fill(data, n);
            uint32_t stream = (uint32_t)(next_random() % STREAMS);
            uint64_t id[2] = {__builtin_bswap64(n), next_random()};
            sqlite3_bind_int64(s, 1, stream);
            sqlite3_bind_int64(s, 2, versions[stream]++);
            sqlite3_bind_int(s, 3, (int)(n & 7));
            sqlite3_bind_int64(s, 4, (sqlite3_int64)n);
            sqlite3_bind_blob(s, 5, id, sizeof id, SQLITE_STATIC);
            sqlite3_bind_blob(s, 6, data, sizeof data, SQLITE_STATIC);
            if (sqlite3_step(s) != SQLITE_DONE)
                die(sqlite3_errmsg(db));
            sqlite3_reset(s);
        }
        run("COMMIT");
        double now = now_s();
        latencies_add(&times, now - last);
        last = now;
    }
    sqlite3_finalize(s);
    report(n, last - start, replay(), &times);
    sqlite3_close(db);
    return 0;
}
