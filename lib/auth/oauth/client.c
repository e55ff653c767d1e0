/* Clients: what is kept of them, and how they are shown, given another secret, removed. */
#include "auth/oauth/certificate.h"
#include "crypto/wipe.h"

#define COLUMNS                                                                                                        \
    "id, name, method, secret, previous, previous_until, jwks, redirect_uris, grants, scopes, roles, first_party,"     \
    " resource_server, created_at, tls_name, certs, cert_bound"

/* --- loading ------------------------------------------------------------------------------------------------------- */

/* Takes the current row. */
static void read_row(nexus__oauth_client *c, nexus_rows *rows)
{
    nexus_slice *const texts[] = {&c->id,   &c->name,          &c->method, &c->secret, &c->previous, NULL,
                                  &c->jwks, &c->redirect_uris, &c->grants, &c->scopes, &c->roles};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i])
            nexus_rows_text(rows, i, texts[i]);
    c->previous_until = nexus_rows_int(rows, 5);
    c->first_party = nexus_rows_int(rows, 11) != 0;
    c->resource_server = nexus_rows_int(rows, 12) != 0;
    c->created_at = nexus_rows_int(rows, 13);
    nexus_rows_text(rows, 14, &c->tls_name);
    nexus_rows_text(rows, 15, &c->certs);
    c->cert_bound = nexus_rows_int(rows, 16) != 0;
}

nexus_status nexus__oauth_client_load(nexus__oauth_client *out, nexus_db *db, nexus_slice id)
{
    nexus_rows *rows;
    if (id.n == 0 || id.n > 64 || memchr(id.p, 0, id.n))
        return nexus__fail(NEXUS_ENOTFOUND, "no such client");
    nexus_status status = nexus_db_query_one(&rows, db, "SELECT " COLUMNS " FROM oauth_clients WHERE id = $1",
                                             (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__fail(status, "no such client") : status;
    *out = (nexus__oauth_client){.rows = rows};
    read_row(out, rows);
    return NEXUS_OK;
}

void nexus__oauth_client_end(nexus__oauth_client *client)
{
    nexus_rows_free(client->rows);
    *client = (nexus__oauth_client){0};
}

/* --- showing ------------------------------------------------------------------------------------------------------- */

static void put_list(nexus__json_writer *w, const char *name, nexus_slice list, char sep)
{
    nexus__json_key(w, name);
    nexus__json_open(w, '[');
    while (list.n)
        nexus__json_text_value(w, nexus__slice_cut(&list, sep));
    nexus__json_close(w, ']');
}

static void put_client(nexus__json_writer *w, const nexus__oauth_client *c, const char *secret)
{
    char at[32];
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "client_id", c->id);
    if (secret)
        nexus__json_put_text_c(w, "client_secret", secret);
    nexus__json_put_text(w, "client_name", c->name);
    nexus__json_put_text(w, "token_endpoint_auth_method", c->method);
    put_list(w, "grant_types", c->grants, ' ');
    put_list(w, "redirect_uris", c->redirect_uris, '\n');
    nexus__json_put_text(w, "scope", c->scopes);
    put_list(w, "roles", c->roles, ' ');
    nexus__json_put_bool(w, "first_party", c->first_party);
    nexus__json_put_bool(w, "resource_server", c->resource_server);
    if (c->jwks.n)
        nexus__json_put_raw(w, "jwks", c->jwks);
    nexus__oauth_put_certificate(w, c);
    nexus__json_put_text(w, "created_at", nexus__slice(at, nexus__format_rfc3339(c->created_at, at)));
    nexus__json_close(w, '}');
}

nexus_status nexus__oauth_client_show(nexus_oauth *o, nexus_slice id, const char *secret, char **json, size_t *n)
{
    nexus__oauth_client c;
    nexus__buf text;
    nexus_status status = nexus__oauth_client_load(&c, o->auth->db, id);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    put_client(&w, &c, secret);
    nexus__oauth_client_end(&c);
    status = nexus__buf_hand_over(&text, json, n);
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus_oauth_client(nexus_oauth *o, nexus_slice id, char **json, size_t *n)
{
    return nexus__oauth_client_show(o, id, NULL, json, n);
}

nexus_status nexus_oauth_clients(nexus_oauth *o, nexus_slice cursor, uint32_t limit, char **json, size_t *n)
{
    nexus_rows *rows;
    nexus__buf text;
    int64_t most = limit ? limit : 50;
    if (most > 200 || cursor.n > 64)
        return nexus__fail(NEXUS_EINVAL, "limit: at most 200; cursor: as it was given");
    nexus_status status =
        nexus_db_query(&rows, o->auth->db, "SELECT " COLUMNS " FROM oauth_clients WHERE id > $1 ORDER BY id LIMIT $2",
                       (nexus_value[]){NEXUS_TEXT(cursor.n ? cursor : NEXUS_S("")), NEXUS_INT(most + 1)}, 2);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__oauth_client c = {0};
    char last[64] = "";
    int64_t seen = 0;
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "items");
    nexus__json_open(&w, '[');
    while (nexus_rows_next(rows) && seen++ < most) {
        read_row(&c, rows);
        put_client(&w, &c, NULL);
        snprintf(last, sizeof last, "%.*s", (int)c.id.n, c.id.p);
    }
    nexus__json_close(&w, ']');
    nexus__json_put_text_c(&w, "next_cursor", seen > most ? last : NULL);
    nexus__json_close(&w, '}');
    nexus_rows_free(rows);
    status = nexus__buf_hand_over(&text, json, n);
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus__oauth_client_tell(nexus_oauth *o, nexus_db *tx, const char *type, const char *id)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "client_id", id);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(o->auth, tx, type, id, &data);
    nexus__buf_free(&data);
    return status;
}

/* --- changing ------------------------------------------------------------------------------------------------------- */

nexus_status nexus_oauth_client_rotate(nexus_oauth *o, nexus_slice id, uint32_t overlap_s, char **json, size_t *n)
{
    char secret[NEXUS__TOKEN_TEXT], hash[NEXUS__HASH_TEXT], name[65];
    nexus__oauth_client c;
    nexus_db *tx;
    nexus_status status = nexus__oauth_client_load(&c, o->auth->db, id);
    if (status != NEXUS_OK)
        return status;
    if (!nexus__slice_eq_c(c.method, "client_secret_basic"))
        status = nexus__fail(NEXUS_EINVAL, "this client has no secret: it uses %.*s", (int)c.method.n, c.method.p);
    snprintf(name, sizeof name, "%.*s", (int)c.id.n, c.id.p);
    nexus__oauth_client_end(&c);
    nexus__token_make(secret);
    if (status == NEXUS_OK)
        status = nexus__token_hash(nexus__slice_c(secret), hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, o->auth->db);
    if (status == NEXUS_OK) {
        int64_t now = nexus__auth_now_ns(o->auth), overlap = overlap_s == UINT32_MAX ? 0
                                                             : overlap_s             ? overlap_s
                                                                                     : 86400;
        status = nexus_db_exec(tx,
                               "UPDATE oauth_clients SET previous = secret, previous_until = $3, secret = $2,"
                               " updated_at = $4 WHERE id = $1",
                               (nexus_value[]){NEXUS_TEXT_C(name), NEXUS_TEXT_C(hash),
                                               NEXUS_INT(now + overlap * NEXUS__NS_PER_S), NEXUS_INT(now)},
                               4, NULL);
        if (status == NEXUS_OK)
            status = nexus__oauth_client_tell(o, tx, "client.rotated", name);
        status = nexus__finish(tx, status);
    }
    if (status == NEXUS_OK)
        status = nexus__oauth_client_show(o, nexus__slice_c(name), secret, json, n);
    nexus__wipe(secret, sizeof secret);
    return status;
}

static nexus_status remove_rows(nexus_oauth *o, nexus_db *tx, const char *id)
{
    static const char *const rows[] = {
        "DELETE FROM oauth_codes WHERE client_id = $1",
        "DELETE FROM oauth_consents WHERE client_id = $1",
        "DELETE FROM oauth_clients WHERE id = $1",
    };
    nexus_status status =
        nexus_db_exec(tx,
                      "UPDATE auth_families SET revoked_at = $2, reason = 'client deleted' WHERE revoked_at IS NULL"
                      " AND id IN (SELECT family FROM oauth_grants WHERE client_id = $1)",
                      (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_INT(nexus__auth_now_ns(o->auth))}, 2, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NEXUS_OK; i++)
        status = nexus_db_exec(tx, rows[i], (nexus_value[]){NEXUS_TEXT_C(id)}, 1, NULL);
    return status;
}

nexus_status nexus_oauth_client_delete(nexus_oauth *o, nexus_slice id)
{
    char name[65];
    nexus__oauth_client c;
    nexus_db *tx;
    nexus_status status = nexus__oauth_client_load(&c, o->auth->db, id);
    if (status != NEXUS_OK)
        return status;
    snprintf(name, sizeof name, "%.*s", (int)c.id.n, c.id.p);
    nexus__oauth_client_end(&c);
    status = nexus_db_begin(&tx, o->auth->db);
    if (status != NEXUS_OK)
        return status;
    status = remove_rows(o, tx, name);
    if (status == NEXUS_OK)
        status = nexus__auth_revoke(o->auth, tx, "client", name, 0);
    if (status == NEXUS_OK)
        status = nexus__oauth_client_tell(o, tx, "client.deleted", name);
    return nexus__finish(tx, status);
}
