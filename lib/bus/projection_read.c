/* What is live, read from outside: by a join with the row that says so, so a swap is seen whole or not at all. */
#include "base/status.h"
#include "bus/projection.h"
#include "json/write.h"

nexus_status nexus_projection_get(char **out, size_t *n, nexus_projection *p, nexus_slice key)
{
    nexus_rows *rows;
    nexus_slice value;
    nexus__buf copy;
    const nexus_value args[] = {NEXUS_TEXT_C(p->name), NEXUS_BLOB(key)};
    nexus_status status =
        nexus_db_query_one(&rows, p->db,
                           "SELECT kv.v FROM nexus_projection_kv kv JOIN nexus_projection live ON live.name = kv.name"
                           " AND live.generation = kv.generation AND live.role = 'live'"
                           " WHERE kv.name = $1 AND kv.k = $2",
                           args, 2);
    if (status != NEXUS_OK)
        return status;
    nexus_rows_text(rows, 0, &value);
    nexus__buf_init(&copy, NULL, 0);
    nexus__buf_slice_append(&copy, value);
    nexus_rows_free(rows);
    status = nexus__buf_hand_over(&copy, out, n);
    nexus__buf_free(&copy);
    return status;
}

static nexus_status write_rows(nexus_rows *rows, nexus_slice prefix, char **out, size_t *n)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '[');
    while (nexus_rows_next(rows)) {
        nexus_slice key, value;
        nexus_rows_text(rows, 0, &key);
        nexus_rows_text(rows, 1, &value);
        if (!nexus__slice_starts(key, prefix))
            break; /* they come in order */
        nexus__json_open(&w, '{');
        nexus__json_put_text(&w, "key", key);
        nexus__json_put_text(&w, "value", value);
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
    nexus_status status = nexus__buf_hand_over(&text, out, n);
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus_projection_list(char **out, size_t *n, nexus_projection *p, nexus_slice prefix, nexus_slice after,
                                   uint32_t limit)
{
    nexus_rows *rows;
    bool past = nexus__slice_cmp(after, prefix) >= 0 && after.n; /* else the prefix itself is the first */
    const nexus_value args[] = {NEXUS_TEXT_C(p->name), NEXUS_BLOB(past ? after : prefix),
                                NEXUS_INT(limit ? limit : 100)};
    nexus_status status = nexus_db_query(
        &rows, p->db,
        past ? "SELECT kv.k, kv.v FROM nexus_projection_kv kv JOIN nexus_projection live ON live.name = kv.name"
               " AND live.generation = kv.generation AND live.role = 'live'"
               " WHERE kv.name = $1 AND kv.k > $2 ORDER BY kv.k LIMIT $3"
             : "SELECT kv.k, kv.v FROM nexus_projection_kv kv JOIN nexus_projection live ON live.name = kv.name"
               " AND live.generation = kv.generation AND live.role = 'live'"
               " WHERE kv.name = $1 AND kv.k >= $2 ORDER BY kv.k LIMIT $3",
        args, 3);
    if (status != NEXUS_OK)
        return status;
    status = write_rows(rows, prefix, out, n);
    nexus_rows_free(rows);
    return status;
}
