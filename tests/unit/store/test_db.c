/* The contract of nexus/db.h: every case runs on SQLite and on a real PostgreSQL (see with_servers.py). */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nexus/db.h>
#include <nexus/version.h>

#include "base/id.h"
#include "base/str.h"
#include "base/time.h"

typedef struct place {
    char url[256];
    char schema[64];
    char folder[64];
} place;

static void place_sqlite(place *p)
{
    snprintf(p->folder, sizeof p->folder, "/tmp/nexus-store-XXXXXX");
    cr_assert(mkdtemp(p->folder));
    snprintf(p->url, sizeof p->url, "sqlite:%s/test.db", p->folder);
    p->schema[0] = '\0';
}

static void place_postgres(place *p)
{
    const char *url = getenv("NEXUS_TEST_POSTGRES_URL");
    if (!url)
        cr_skip("no PostgreSQL: run through tests/unit/store/with_servers.py --postgres");
    snprintf(p->url, sizeof p->url, "%s", url);
    snprintf(p->schema, sizeof p->schema, "t%llx", (unsigned long long)nexus__random_u64());
    p->folder[0] = '\0';
}

static nexus_db *open_at(const place *p, uint32_t connections)
{
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.schema = p->schema[0] ? p->schema : NULL;
    opts.connections = connections;
    opts.acquire_timeout_ms = 20000;
    nexus_db *db = NULL;
    cr_assert_eq(nexus_db_open(&db, p->url, &opts), NEXUS_OK, "%s", nexus_error_message());
    return db;
}

static void clear(const place *p)
{
    char command[128];
    if (p->folder[0]) {
        snprintf(command, sizeof command, "rm -rf %s", p->folder);
        cr_assert_eq(system(command), 0);
    }
}

/* A case takes the place, so that it may open it more than once. */
#define CONTRACT(name)                                                                                                 \
    static void contract_##name(const place *p);                                                                       \
    Test(sqlite, name)                                                                                                 \
    {                                                                                                                  \
        place p;                                                                                                       \
        place_sqlite(&p);                                                                                              \
        contract_##name(&p);                                                                                           \
        clear(&p);                                                                                                     \
    }                                                                                                                  \
    Test(postgres, name)                                                                                               \
    {                                                                                                                  \
        place p;                                                                                                       \
        place_postgres(&p);                                                                                            \
        contract_##name(&p);                                                                                           \
    }                                                                                                                  \
    static void contract_##name(const place *p)

#define OK(call) cr_assert_eq((call), NEXUS_OK, "%s", nexus_error_message())
#define EXEC(db, sql) OK(nexus_db_exec((db), (sql), NULL, 0, NULL))

static int64_t number(nexus_db *db, const char *sql)
{
    nexus_rows *rows = NULL;
    OK(nexus_db_query_one(&rows, db, sql, NULL, 0));
    int64_t value = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return value;
}

CONTRACT(values_come_back_as_they_went)
{
    nexus_db *db = open_at(p, 2);
    bool postgres = strcmp(nexus_db_kind(db), "postgres") == 0;
    EXEC(db, postgres ? "CREATE TABLE v (id BIGINT PRIMARY KEY, t TEXT, d DOUBLE PRECISION, b BYTEA)"
                      : "CREATE TABLE v (id BIGINT PRIMARY KEY, t TEXT, d DOUBLE PRECISION, b BLOB)");
    const char bytes[] = {0, 1, (char)0xff, '\\', 'x', 0};
    nexus_value args[] = {NEXUS_INT(INT64_MIN), NEXUS_TEXT_C("gr\xc3\xbc\xc3\x9f 'quoted'; DROP TABLE v"),
                          NEXUS_DOUBLE(0.1), NEXUS_BLOB(nexus__slice(bytes, sizeof bytes))};
    int64_t changes = 0;
    OK(nexus_db_exec(db, "INSERT INTO v (id,t,d,b) VALUES ($1,$2,$3,$4)", args, 4, &changes));
    cr_assert_eq(changes, 1);
    OK(nexus_db_exec(db, "INSERT INTO v (id) VALUES ($1)", (nexus_value[]){NEXUS_INT(7)}, 1, NULL));
    nexus_rows *rows = NULL;
    OK(nexus_db_query(&rows, db, "SELECT id, t, d, b FROM v ORDER BY id", NULL, 0));
    nexus_db_close(db); /* the rows do not need it */
    cr_assert_eq(nexus_rows_count(rows), 2);
    cr_assert_eq(nexus_rows_columns(rows), 4);
    cr_assert_str_eq(nexus_rows_column_name(rows, 2), "d");
    nexus_slice text;
    cr_assert(nexus_rows_next(rows));
    cr_assert_eq(nexus_rows_int(rows, 0), INT64_MIN);
    nexus_rows_text(rows, 0, &text);
    cr_assert(nexus__slice_eq_c(text, "-9223372036854775808"));
    nexus_rows_text(rows, 1, &text);
    cr_assert(nexus__slice_eq(text, args[1].s));
    cr_assert_eq(nexus_rows_double(rows, 2), 0.1);
    nexus_rows_text(rows, 3, &text);
    cr_assert(nexus__slice_eq(text, args[3].s));
    nexus_value value;
    nexus_rows_value(rows, 3, &value);
    cr_assert_eq(value.type, NEXUS_VALUE_BLOB);
    cr_assert(nexus_rows_next(rows));
    cr_assert(nexus_rows_is_null(rows, 1) && nexus_rows_is_null(rows, 3) && nexus_rows_is_null(rows, 99));
    nexus_rows_text(rows, 1, &text);
    cr_assert_eq(text.n, 0);
    cr_assert_not(nexus_rows_next(rows));
    cr_assert_not(nexus_rows_next(rows));
    nexus_rows_free(rows);
}

CONTRACT(parameters_are_numbered_and_counted)
{
    nexus_db *db = open_at(p, 2);
    nexus_rows *rows = NULL;
    nexus_value two[] = {NEXUS_TEXT_C("a"), NEXUS_TEXT_C("b")};
    OK(nexus_db_query_one(&rows, db, "SELECT CAST($2 AS TEXT) || CAST($1 AS TEXT) || CAST($2 AS TEXT)", two, 2));
    nexus_slice text;
    nexus_rows_text(rows, 0, &text);
    cr_assert(nexus__slice_eq_c(text, "bab"));
    nexus_rows_free(rows);
    const char *one = "SELECT CAST($1 AS TEXT)";
    cr_assert_eq(nexus_db_query(&rows, db, one, two, 2), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_query(&rows, db, one, NULL, 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_exec(db, "SELECT 1; SELECT 2", NULL, 0, NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_exec(db, "", NULL, 0, NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_exec(db, "SELEC 1", NULL, 0, NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_query_one(&rows, db, "SELECT 1 WHERE 1 = 2", NULL, 0), NEXUS_ENOTFOUND);
    nexus_db_close(db);
}

CONTRACT(changes_count_only_what_this_statement_changed)
{
    nexus_db *db = open_at(p, 2);
    int64_t changes = -1;
    EXEC(db, "CREATE TABLE c (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)");
    EXEC(db, "INSERT INTO c VALUES (1,1),(2,2),(3,3)");
    OK(nexus_db_exec(db, "UPDATE c SET n = 0 WHERE id > 1", NULL, 0, &changes));
    cr_assert_eq(changes, 2);
    OK(nexus_db_exec(db, "DELETE FROM c WHERE id = 99", NULL, 0, &changes));
    cr_assert_eq(changes, 0);
    OK(nexus_db_exec(db, "INSERT INTO c VALUES (1,1) ON CONFLICT DO NOTHING", NULL, 0, &changes));
    cr_assert_eq(changes, 0);
    OK(nexus_db_exec(db, "CREATE TABLE c2 (id BIGINT)", NULL, 0, &changes));
    cr_assert_eq(changes, 0);
    nexus_rows *rows = NULL;
    OK(nexus_db_query(&rows, db, "UPDATE c SET n = n + 5 WHERE id = 1 RETURNING n", NULL, 0));
    cr_assert(nexus_rows_next(rows));
    cr_assert_eq(nexus_rows_int(rows, 0), 6);
    nexus_rows_free(rows);
    nexus_db_close(db);
}

CONTRACT(constraints_tell_conflicts_from_mistakes)
{
    nexus_db *db = open_at(p, 2);
    EXEC(db, "CREATE TABLE k (id BIGINT PRIMARY KEY, u TEXT UNIQUE, n BIGINT NOT NULL CHECK (n > 0))");
    EXEC(db, "INSERT INTO k VALUES (1,'a',1)");
    cr_assert_eq(nexus_db_exec(db, "INSERT INTO k VALUES (1,'b',1)", NULL, 0, NULL), NEXUS_ECONFLICT);
    cr_assert_eq(nexus_db_exec(db, "INSERT INTO k VALUES (2,'a',1)", NULL, 0, NULL), NEXUS_ECONFLICT);
    cr_assert_eq(nexus_db_exec(db, "INSERT INTO k VALUES (3,'c',0)", NULL, 0, NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_exec(db, "INSERT INTO k (id,u) VALUES (4,'d')", NULL, 0, NULL), NEXUS_EINVAL);
    cr_assert_eq(number(db, "SELECT count(*) FROM k"), 1);
    nexus_db_close(db);
}

CONTRACT(transactions_commit_whole_or_not_at_all)
{
    nexus_db *db = open_at(p, 4);
    EXEC(db, "CREATE TABLE t (id BIGINT PRIMARY KEY)");
    nexus_db *tx = NULL;
    OK(nexus_db_begin(&tx, db));
    cr_assert(nexus_db_in_transaction(tx) && !nexus_db_in_transaction(db));
    EXEC(tx, "INSERT INTO t VALUES (1)");
    cr_assert_eq(number(tx, "SELECT count(*) FROM t"), 1);
    cr_assert_eq(number(db, "SELECT count(*) FROM t"), 0, "others do not see it before the commit");
    OK(nexus_db_commit(tx));
    cr_assert_eq(number(db, "SELECT count(*) FROM t"), 1);

    OK(nexus_db_begin(&tx, db));
    EXEC(tx, "INSERT INTO t VALUES (2)");
    nexus_db_rollback(tx);
    cr_assert_eq(number(db, "SELECT count(*) FROM t"), 1);

    OK(nexus_db_begin(&tx, db));
    EXEC(tx, "INSERT INTO t VALUES (3)");
    cr_assert_eq(nexus_db_exec(tx, "INSERT INTO t VALUES (1)", NULL, 0, NULL), NEXUS_ECONFLICT);
    cr_assert_eq(nexus_db_exec(tx, "INSERT INTO t VALUES (4)", NULL, 0, NULL), NEXUS_ECANCELED);
    cr_assert_eq(nexus_db_commit(tx), NEXUS_ECANCELED);
    cr_assert_eq(number(db, "SELECT count(*) FROM t"), 1);
    cr_assert_eq(nexus_db_commit(db), NEXUS_EINVAL);
    nexus_db_close(db);
}

CONTRACT(savepoints_undo_their_part)
{
    nexus_db *db = open_at(p, 4), *tx = NULL, *inner = NULL;
    EXEC(db, "CREATE TABLE s (id BIGINT PRIMARY KEY)");
    OK(nexus_db_begin(&tx, db));
    EXEC(tx, "INSERT INTO s VALUES (1)");
    OK(nexus_db_begin(&inner, tx));
    EXEC(inner, "INSERT INTO s VALUES (2)");
    cr_assert_eq(nexus_db_exec(inner, "INSERT INTO s VALUES (1)", NULL, 0, NULL), NEXUS_ECONFLICT);
    nexus_db_rollback(inner);
    OK(nexus_db_begin(&inner, tx));
    EXEC(inner, "INSERT INTO s VALUES (3)");
    OK(nexus_db_commit(inner));
    OK(nexus_db_commit(tx));
    cr_assert_eq(number(db, "SELECT sum(id) FROM s"), 4);
    nexus_db_close(db);
}

CONTRACT(a_transaction_by_sql_text_is_refused)
{
    nexus_db *db = open_at(p, 2);
    EXEC(db, "CREATE TABLE b (id BIGINT)");
    cr_assert_eq(nexus_db_exec(db, "BEGIN", NULL, 0, NULL), NEXUS_EINVAL);
    EXEC(db, "INSERT INTO b VALUES (1)");
    nexus_db *tx = NULL;
    OK(nexus_db_begin(&tx, db));
    cr_assert_eq(nexus_db_exec(tx, "COMMIT", NULL, 0, NULL), NEXUS_EINVAL);
    nexus_db_rollback(tx);
    nexus_db_close(db);
    db = open_at(p, 2);
    cr_assert_eq(number(db, "SELECT count(*) FROM b"), 1);
    nexus_db_close(db);
}

static const nexus_migration steps[] = {
    {1, "orders", "CREATE TABLE orders (id BIGINT PRIMARY KEY); CREATE TABLE items (id BIGINT)", NULL},
    {2, "rows", "INSERT INTO orders VALUES (1)", NULL},
    {3, "kind", "CREATE TABLE kind (k TEXT); INSERT INTO kind VALUES ('other')",
     "CREATE TABLE kind (k TEXT); INSERT INTO kind VALUES ('postgres')"},
};

CONTRACT(migrations_apply_once_and_notice_edits)
{
    nexus_db *db = open_at(p, 2);
    OK(nexus_db_migrate(db, "shop", steps, 2));
    OK(nexus_db_migrate(db, "shop", steps, 3));
    OK(nexus_db_migrate(db, "shop", steps, 3));
    cr_assert_eq(number(db, "SELECT count(*) FROM orders"), 1);
    nexus_rows *rows = NULL;
    nexus_slice kind;
    OK(nexus_db_query_one(&rows, db, "SELECT k FROM kind", NULL, 0));
    nexus_rows_text(rows, 0, &kind);
    cr_assert(nexus__slice_eq_c(kind, p->folder[0] ? "other" : "postgres"));
    nexus_rows_free(rows);
    cr_assert_eq(nexus_db_migrate(db, "shop", steps, 2), NEXUS_EREV);
    nexus_migration edited[3] = {steps[0], steps[1], steps[2]};
    edited[1].sql = "INSERT INTO orders VALUES (2)";
    cr_assert_eq(nexus_db_migrate(db, "shop", edited, 3), NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "migration 2 of shop (rows)"));
    nexus_db_close(db);
}

CONTRACT(a_failing_migration_leaves_nothing)
{
    nexus_db *db = open_at(p, 2);
    const nexus_migration bad[] = {{1, "first", "CREATE TABLE m1 (id BIGINT)", NULL},
                                   {2, "broken", "CREATE TABLE m2 (id BIGINT); INSERT INTO nowhere VALUES (1)", NULL}};
    cr_assert_eq(nexus_db_migrate(db, "bad", bad, 2), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "broken"));
    OK(nexus_db_migrate(db, "bad", bad, 1));
    EXEC(db, "CREATE TABLE m2 (id BIGINT)");
    nexus_db_close(db);
}

CONTRACT(two_processes_migrate_once)
{
    int gate[2];
    cr_assert_eq(pipe(gate), 0);
    pid_t children[4];
    for (size_t i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] != 0)
            continue;
        char c;
        close(gate[1]);
        if (read(gate[0], &c, 1) != 0) /* until the parent closes its end */
            _exit(9);
        nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
        opts.schema = p->schema[0] ? p->schema : NULL;
        nexus_db *db = NULL;
        if (nexus_db_open(&db, p->url, &opts) != NEXUS_OK || nexus_db_migrate(db, "shop", steps, 3) != NEXUS_OK) {
            fprintf(stderr, "%s\n", nexus_error_message());
            _exit(1);
        }
        nexus_db_close(db);
        _exit(0);
    }
    close(gate[0]);
    close(gate[1]);
    for (size_t i = 0; i < 4; i++) {
        int status = 0;
        cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    nexus_db *db = open_at(p, 1);
    cr_assert_eq(number(db, "SELECT count(*) FROM orders"), 1);
    nexus_db_close(db);
}

typedef struct crowd {
    nexus_db *db;
    int rounds;
    int64_t longest_ns;
} crowd;

/* Counts in transactions that read before they write: a lost update would show. */
static void *count_up(void *user_data)
{
    crowd *c = user_data;
    for (int i = 0; i < c->rounds;) {
        int64_t start = nexus__mono_ns();
        nexus_db *tx = NULL;
        nexus_status status = nexus_db_begin(&tx, c->db);
        if (status == NEXUS_OK) {
            status = nexus_db_exec(tx, "UPDATE counter SET n = n + 1", NULL, 0, NULL);
            if (status == NEXUS_OK)
                status = nexus_db_commit(tx);
            else
                nexus_db_rollback(tx);
        }
        int64_t took = nexus__mono_ns() - start;
        c->longest_ns = took > c->longest_ns ? took : c->longest_ns;
        if (status == NEXUS_OK)
            i++;
        else if (status != NEXUS_EAGAIN)
            return "failed";
    }
    return NULL;
}

CONTRACT(many_threads_share_few_connections)
{
    nexus_db *db = open_at(p, 3);
    EXEC(db, "CREATE TABLE counter (n BIGINT)");
    EXEC(db, "INSERT INTO counter VALUES (0)");
    enum { THREADS = 8, ROUNDS = 25 };
    pthread_t threads[THREADS];
    crowd crowds[THREADS];
    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (crowd){.db = db, .rounds = ROUNDS};
        cr_assert_eq(pthread_create(&threads[i], NULL, count_up, &crowds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *why = NULL;
        pthread_join(threads[i], &why);
        cr_assert_null(why, "%s", (char *)why);
        cr_assert_lt(crowds[i].longest_ns, 15 * NEXUS__NS_PER_S, "nobody starves");
    }
    cr_assert_eq(number(db, "SELECT n FROM counter"), THREADS * ROUNDS);
    nexus_db_close(db);
}

CONTRACT(a_full_pool_times_out)
{
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.schema = p->schema[0] ? p->schema : NULL;
    opts.connections = 1;
    opts.acquire_timeout_ms = 20;
    nexus_db *db = NULL, *tx = NULL, *second = NULL;
    OK(nexus_db_open(&db, p->url, &opts));
    OK(nexus_db_begin(&tx, db));
    cr_assert_eq(nexus_db_begin(&second, db), NEXUS_ETIMEDOUT);
    cr_assert_null(second);
    nexus_db_rollback(tx);
    OK(nexus_db_begin(&second, db));
    nexus_db_rollback(second);
    nexus_db_close(db);
}

CONTRACT(a_result_over_the_limit_is_refused)
{
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.schema = p->schema[0] ? p->schema : NULL;
    opts.rows_max_bytes = 4096;
    nexus_db *db = NULL;
    OK(nexus_db_open(&db, p->url, &opts));
    nexus_rows *rows = NULL;
    cr_assert_eq(nexus_db_query(&rows, db,
                                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 1000)"
                                " SELECT n FROM r",
                                NULL, 0),
                 NEXUS_ETOOBIG);
    cr_assert_null(rows);
    nexus_db_close(db);
}

CONTRACT(statements_are_kept_within_bounds)
{
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.schema = p->schema[0] ? p->schema : NULL;
    opts.statements = 2;
    nexus_db *db = NULL;
    OK(nexus_db_open(&db, p->url, &opts));
    const char *texts[] = {"SELECT 1", "SELECT 2", "SELECT 3", "SELECT 4"};
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 4; i++)
            cr_assert_eq(number(db, texts[i]), i + 1);
    EXEC(db, "CREATE TABLE wide (a BIGINT)");
    EXEC(db, "INSERT INTO wide VALUES (1)");
    nexus_rows *rows = NULL;
    OK(nexus_db_query(&rows, db, "SELECT * FROM wide", NULL, 0));
    nexus_rows_free(rows);
    EXEC(db, "ALTER TABLE wide ADD COLUMN b BIGINT");
    OK(nexus_db_query(&rows, db, "SELECT * FROM wide", NULL, 0));
    cr_assert_eq(nexus_rows_columns(rows), 2, "a table that changed is asked anew");
    nexus_rows_free(rows);
    nexus_db_close(db);
}

/* --- what only one engine has ----------------------------------------------------------------- */

Test(open, wrong_addresses_are_told_apart)
{
    nexus_db *db = NULL;
    cr_assert_eq(nexus_db_open(&db, "mysql://x", NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_open(&db, "sqlite:", NULL), NEXUS_EINVAL);
    cr_assert_neq(nexus_db_open(&db, "sqlite:/nonexistent/x.db", NULL), NEXUS_OK);
    cr_assert(strstr(nexus_error_message(), "/nonexistent/x.db"));
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.schema = "x\"; DROP";
    cr_assert_eq(nexus_db_open(&db, "postgresql://127.0.0.1:1/x", &opts), NEXUS_EINVAL);
    if (nexus_has("postgres"))
        cr_assert_eq(nexus_db_open(&db, "postgresql://127.0.0.1:1/x", NULL), NEXUS_EUNREACH);
    cr_assert_null(db);
}

Test(sqlite, file_is_for_its_owner_only)
{
    place p;
    place_sqlite(&p);
    nexus_db *db = open_at(&p, 1);
    EXEC(db, "CREATE TABLE x (id BIGINT)");
    struct stat st;
    cr_assert_eq(stat(p.url + strlen("sqlite:"), &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    cr_assert_eq(number(db, "PRAGMA synchronous"), 2);
    nexus_db_close(db);
    clear(&p);
}

Test(sqlite, memory_is_one_private_database)
{
    nexus_db *db = NULL, *other = NULL;
    OK(nexus_db_open(&db, "sqlite::memory:", NULL));
    OK(nexus_db_open(&other, "sqlite::memory:", NULL));
    EXEC(db, "CREATE TABLE x (id BIGINT)");
    cr_assert_eq(number(db, "SELECT count(*) FROM x"), 0);
    cr_assert_eq(nexus_db_exec(other, "SELECT * FROM x", NULL, 0, NULL), NEXUS_EINVAL);
    nexus_db_close(db);
    nexus_db_close(other);
}

Test(sqlite, adopted_connection_takes_part_in_the_callers_transaction)
{
    sqlite3 *native = NULL;
    nexus_db *db = NULL, *tx = NULL;
    cr_assert_eq(sqlite3_open(":memory:", &native), SQLITE_OK);
    OK(nexus_db_adopt(&db, "sqlite", native));
    EXEC(db, "CREATE TABLE x (id BIGINT)");
    cr_assert_eq(sqlite3_exec(native, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    cr_assert(nexus_db_in_transaction(db));
    EXEC(db, "INSERT INTO x VALUES (1)");
    OK(nexus_db_begin(&tx, db)); /* a savepoint */
    EXEC(tx, "INSERT INTO x VALUES (2)");
    OK(nexus_db_commit(tx));
    cr_assert_eq(number(db, "SELECT count(*) FROM x"), 2);
    cr_assert_eq(sqlite3_exec(native, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    cr_assert_eq(number(db, "SELECT count(*) FROM x"), 0);
    nexus_db_close(db);
    cr_assert_eq(sqlite3_exec(native, "SELECT * FROM x", NULL, NULL, NULL), SQLITE_OK, "still open");
    sqlite3_close(native);
    cr_assert_eq(nexus_db_adopt(&db, "oracle", native), NEXUS_ENOTSUP);
}

Test(postgres, lost_connections_are_replaced)
{
    place p;
    place_postgres(&p);
    nexus_db *db = open_at(&p, 2), *killer = open_at(&p, 1), *tx = NULL;
    EXEC(db, "CREATE TABLE x (id BIGINT)");
    const char *kill_others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                              " WHERE pid <> pg_backend_pid() AND application_name = 'nexus'";
    OK(nexus_db_begin(&tx, db));
    EXEC(tx, "INSERT INTO x VALUES (1)");
    cr_assert_geq(number(killer, kill_others), 1);
    cr_assert_eq(nexus_db_exec(tx, "INSERT INTO x VALUES (2)", NULL, 0, NULL), NEXUS_EUNREACH);
    nexus_db_rollback(tx);
    cr_assert_eq(number(db, "SELECT count(*) FROM x"), 0, "a new connection was made");

    OK(nexus_db_begin(&tx, db));
    EXEC(tx, "INSERT INTO x VALUES (3)");
    cr_assert_geq(number(killer, kill_others), 1);
    cr_assert_eq(nexus_db_commit(tx), NEXUS_EUNKNOWN, "lost at the commit: nobody knows");
    EXEC(db, "INSERT INTO x VALUES (4)");
    nexus_db_close(db);
    nexus_db_close(killer);
}

Test(postgres, deadlock_asks_to_run_again)
{
    place p;
    place_postgres(&p);
    nexus_db *db = open_at(&p, 3), *tx = NULL, *rx = NULL;
    EXEC(db, "CREATE TABLE x (id BIGINT PRIMARY KEY, n BIGINT)");
    EXEC(db, "INSERT INTO x VALUES (1,0)");
    OK(nexus_db_begin(&tx, db));
    EXEC(tx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    cr_assert_eq(number(tx, "SELECT n FROM x"), 0);
    OK(nexus_db_begin(&rx, db));
    EXEC(rx, "UPDATE x SET n = 1");
    OK(nexus_db_commit(rx));
    cr_assert_eq(nexus_db_exec(tx, "UPDATE x SET n = 2", NULL, 0, NULL), NEXUS_EAGAIN);
    nexus_db_rollback(tx);
    nexus_db_close(db);
}
