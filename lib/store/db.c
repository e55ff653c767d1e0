/* The one caller of database drivers: opening, pooling, and running statements on whatever a handle stands for. */
#include "store/db.h"

#include "base/status.h"
#include "runtime/loop.h"

static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

void nexus_db_opts_init(nexus_db_opts *opts)
{
    *opts = (nexus_db_opts)NEXUS_DB_OPTS_INIT;
}

static const struct {
    const char *scheme;
    const nexus__db_ops *ops; /* NULL: left out of this build */
    bool whole;               /* the driver reads the URL itself */
} drivers[] = {
    {"sqlite:", &nexus__sqlite_ops, false},
#if NEXUS_HAVE_POSTGRES
    {"postgresql://", &nexus__postgres_ops, true},
    {"postgres://", &nexus__postgres_ops, true},
#else
    {"postgresql://", NULL, true},
    {"postgres://", NULL, true},
#endif
};

static nexus_status find_driver(const char *url, const nexus__db_ops **ops, const char **address)
{
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) {
        size_t n = strlen(drivers[i].scheme);
        if (strncmp(url, drivers[i].scheme, n) != 0)
            continue;
        if (!drivers[i].ops)
            return nexus__fail(NEXUS_ENOTSUP, "this build has no driver for %s databases: build with the library",
                               drivers[i].scheme);
        *ops = drivers[i].ops;
        *address = drivers[i].whole ? url : url + n;
        return **address ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "%s needs a path behind it", drivers[i].scheme);
    }
    /* Not the URL itself: it may hold a password. */
    return nexus__fail(NEXUS_EINVAL, "not a database URL: use sqlite:PATH or postgresql://…");
}

/* The engine's name may become part of a statement (SET search_path), so it is held to an identifier. */
static bool is_identifier(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789");
    return n > 0 && n < 64 && name[n] == '\0' && !(name[0] >= '0' && name[0] <= '9');
}

static nexus_status copy_texts(nexus_db *db, const char *address, const char *schema)
{
    const nexus_alloc *alloc = db->config.alloc;
    if (schema && !is_identifier(schema))
        return nexus__fail(NEXUS_EINVAL, "schema \"%s\": use a-z, 0-9 and _, at most 63", schema);
    db->config.address = nexus__strndup(alloc, nexus__slice_c(address));
    if (!db->config.address)
        return nexus__nomem();
    if (schema && !(db->config.schema = nexus__strndup(alloc, nexus__slice_c(schema))))
        return nexus__nomem();
    return NEXUS_OK;
}

static nexus_db *db_new(const nexus__db_ops *ops, const nexus_db_opts *o)
{
    nexus_db *db = nexus__calloc(o->alloc, 1, sizeof *db);
    if (!db)
        return NULL;
    db->ops = ops;
    db->acquire_timeout_ms = or_default(o->acquire_timeout_ms, 30000);
    db->config = (nexus__db_config){
        .alloc = o->alloc,
        .connect_timeout_ms = or_default(o->connect_timeout_ms, 5000),
        .busy_timeout_ms = or_default(o->busy_timeout_ms, 10000),
        .statements = or_default(o->statements, 128),
        .rows_max_bytes = o->rows_max_bytes ? o->rows_max_bytes : 64 << 20,
    };
    return db;
}

/* SQLite: one writer, and readers beside it; a private database in memory is one connection for both. */
static nexus_status init_pools(nexus_db *db, uint32_t connections)
{
    bool sqlite = db->ops == &nexus__sqlite_ops;
    db->split = sqlite && strcmp(db->config.address, ":memory:") != 0;
    nexus_status status = nexus__pool_init(&db->writers, db->config.alloc, sqlite ? 1 : connections);
    if (status == NEXUS_OK && db->split)
        status = nexus__pool_init(&db->readers, db->config.alloc, connections);
    return status;
}

nexus_status nexus_db_open(nexus_db **out, const char *url, const nexus_db_opts *opts)
{
    nexus_db_opts o = NEXUS_DB_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    const nexus__db_ops *ops = NULL;
    const char *address = NULL;
    if (!url)
        return nexus__fail(NEXUS_EINVAL, "a database URL is missing");
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "opening a database blocks: not on a loop thread");
    nexus_status status = find_driver(url, &ops, &address);
    if (status != NEXUS_OK)
        return status;
    nexus_db *db = db_new(ops, &o);
    if (!db)
        return nexus__nomem();
    void *link = NULL;
    status = copy_texts(db, address, o.schema);
    if (status == NEXUS_OK)
        status = init_pools(db, or_default(o.connections, 8));
    if (status == NEXUS_OK)
        status = nexus__db_acquire(db, true, &link);
    if (status != NEXUS_OK) {
        nexus_db_close(db);
        return status;
    }
    nexus__db_release(db, true, link);
    *out = db;
    return NEXUS_OK;
}

nexus_status nexus_db_adopt(nexus_db **out, const char *kind, void *native)
{
    const nexus__db_ops *ops = NULL;
    for (size_t i = 0; kind && i < sizeof drivers / sizeof drivers[0]; i++)
        if (drivers[i].ops && strcmp(drivers[i].ops->kind, kind) == 0)
            ops = drivers[i].ops;
    if (!ops)
        return nexus__fail(NEXUS_ENOTSUP, "no driver \"%s\" in this build: \"sqlite\" or \"postgres\"",
                           kind ? kind : "");
    if (!native)
        return nexus__fail(NEXUS_EINVAL, "the connection to adopt is NULL");
    nexus_db_opts o = NEXUS_DB_OPTS_INIT;
    nexus_db *db = db_new(ops, &o);
    if (!db)
        return nexus__nomem();
    nexus_status status = ops->adopt(&db->link, &db->config, native);
    if (status != NEXUS_OK) {
        nexus__free(NULL, db);
        return status;
    }
    *out = db;
    return NEXUS_OK;
}

void nexus_db_close(nexus_db *db)
{
    if (!db)
        return;
    nexus__pool_free(&db->readers, db->ops->close);
    nexus__pool_free(&db->writers, db->ops->close);
    if (db->link)
        db->ops->close(db->link);
    nexus__free(db->config.alloc, (void *)db->config.address);
    nexus__free(db->config.alloc, (void *)db->config.schema);
    nexus__free(db->config.alloc, db);
}

const char *nexus_db_kind(const nexus_db *db)
{
    return db->ops->kind;
}

bool nexus_db_in_transaction(const nexus_db *db)
{
    return db->parent || (db->link && db->ops->in_transaction(db->link));
}

nexus_status nexus__db_acquire(nexus_db *db, bool writer, void **link)
{
    if (db->link) {
        *link = db->link;
        return NEXUS_OK;
    }
    bool reads = db->split && !writer;
    nexus__pool *pool = reads ? &db->readers : &db->writers;
    void *taken = NULL;
    nexus_status status = nexus__pool_take(pool, db->acquire_timeout_ms, &taken);
    if (status != NEXUS_OK)
        return status;
    if (taken && !db->ops->alive(taken)) {
        db->ops->close(taken);
        taken = NULL;
    }
    if (!taken)
        status = db->ops->open(&taken, &db->config, !reads);
    if (status != NEXUS_OK) {
        nexus__pool_give(pool, NULL);
        return status;
    }
    *link = taken;
    return NEXUS_OK;
}

void nexus__db_release(nexus_db *db, bool writer, void *link)
{
    bool failed = false;
    if (db->link)
        return;
    /* A transaction that a plain statement left open must not leak into the next caller's work. */
    if (db->ops->in_transaction(link) && db->ops->script(link, "ROLLBACK") != NEXUS_OK)
        failed = true;
    if (failed || !db->ops->alive(link)) {
        db->ops->close(link);
        link = NULL;
    }
    nexus__pool_give(db->split && !writer ? &db->readers : &db->writers, link);
}

nexus_status nexus__db_refuse(const nexus_db *db)
{
    if (!db)
        return nexus__fail(NEXUS_EINVAL, "the database is NULL");
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "a database call blocks: make it on a worker, not on a loop thread");
    if (db->parent && db->failed != NEXUS_OK)
        return nexus__fail(NEXUS_ECANCELED, "a statement of this transaction failed (%s): roll it back",
                           nexus_status_name(db->failed));
    return NEXUS_OK;
}

static nexus_status run_on(nexus_db *db, bool writer, const char *sql, const nexus_value *args, size_t n,
                           nexus_rows *rows, int64_t *changes)
{
    void *link = NULL;
    nexus_status status = nexus__db_acquire(db, writer, &link);
    if (status != NEXUS_OK)
        return status;
    status = db->ops->run(link, sql, args, n, rows, changes);
    if (!db->link && status == NEXUS_OK && db->ops->in_transaction(link))
        status = nexus__fail(NEXUS_EINVAL, "use nexus_db_begin: a transaction needs a connection of its own");
    nexus__db_release(db, writer, link);
    return status;
}

static nexus_status run(nexus_db *db, bool writer, const char *sql, const nexus_value *args, size_t n, nexus_rows *rows,
                        int64_t *changes)
{
    nexus_status status = nexus__db_refuse(db);
    if (status != NEXUS_OK)
        return status;
    status = sql ? run_on(db, writer, sql, args, n, rows, changes) : nexus__fail(NEXUS_EINVAL, "the SQL is NULL");
    if (status == NEXUS__DB_WANTS_WRITER)
        status = run_on(db, true, sql, args, n, rows, changes);
    if (status == NEXUS_OK && db->parent && !db->ops->in_transaction(db->link))
        status = nexus__fail(NEXUS_EINVAL, "end a transaction with nexus_db_commit or nexus_db_rollback, not by SQL");
    if (status != NEXUS_OK && db->parent)
        db->failed = status;
    return status;
}

nexus_status nexus_db_exec(nexus_db *db, const char *sql, const nexus_value *args, size_t n, int64_t *changes)
{
    return run(db, true, sql, args, n, NULL, changes);
}

nexus_status nexus_db_query(nexus_rows **out, nexus_db *db, const char *sql, const nexus_value *args, size_t n)
{
    nexus_status status = nexus__db_refuse(db);
    if (status != NEXUS_OK)
        return status;
    nexus_rows *rows = nexus__rows_new(db->config.alloc, db->config.rows_max_bytes);
    if (!rows)
        return nexus__nomem();
    status = run(db, false, sql, args, n, rows, NULL);
    if (status != NEXUS_OK) {
        nexus_rows_free(rows);
        return status;
    }
    *out = rows;
    return NEXUS_OK;
}

nexus_status nexus_db_query_one(nexus_rows **out, nexus_db *db, const char *sql, const nexus_value *args, size_t n)
{
    nexus_rows *rows = NULL;
    nexus_status status = nexus_db_query(&rows, db, sql, args, n);
    if (status != NEXUS_OK)
        return status;
    if (!nexus_rows_next(rows)) {
        nexus_rows_free(rows);
        return nexus__fail(NEXUS_ENOTFOUND, "no such row");
    }
    *out = rows;
    return NEXUS_OK;
}
