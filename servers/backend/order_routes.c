/* /api/v1/orders, /api/v1/payments */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/private.h"

#define MONEY                                                                                                          \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"amount\",\"currency\"],\"properties\":{"      \
    "\"amount\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9007199254740992},"                                    \
    "\"currency\":{\"type\":\"string\",\"pattern\":\"^[A-Z]{3}$\"}}}"
#define ITEMS                                                                                                          \
    "{\"type\":\"array\",\"minItems\":1,\"maxItems\":100,\"items\":{\"type\":\"object\",\"additionalProperties\":"     \
    "false,"                                                                                                           \
    "\"required\":[\"sku\",\"quantity\",\"unit_price\"],\"properties\":{"                                              \
    "\"sku\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":100},"                                                 \
    "\"quantity\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000},\"unit_price\":" MONEY "}}}"
#define ORDER_REQUEST                                                                                                  \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"items\",\"payment\"],\"properties\":{"        \
    "\"items\":" ITEMS ",\"payment\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"token\"],"    \
    "\"properties\":{\"token\":{\"enum\":[\"tok_ok\",\"tok_declined\",\"tok_timeout\"]}}}}}"
#define ORDER                                                                                                          \
    "{\"type\":\"object\",\"required\":[\"id\",\"status\",\"total\",\"items\",\"history\",\"notifications\"],"         \
    "\"properties\":{\"id\":{\"type\":\"string\",\"format\":\"uuid\"},"                                                \
    "\"status\":{\"enum\":[\"pending\",\"confirmed\",\"cancelled\"]},\"total\":" MONEY ",\"items\":" ITEMS ","         \
    "\"created_at\":{\"type\":\"string\",\"format\":\"date-time\"},"                                                   \
    "\"history\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"at\":{\"type\":\"string\"},"     \
    "\"status\":{\"type\":\"string\"},\"reason\":{\"type\":[\"string\",\"null\"]}}}},"                                 \
    "\"notifications\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}"
#define ORDER_LIST                                                                                                     \
    "{\"type\":\"object\",\"required\":[\"items\",\"next_cursor\"],\"properties\":{\"items\":{\"type\":\"array\","     \
    "\"items\":" ORDER "},\"next_cursor\":{\"type\":[\"string\",\"null\"]}}}"
#define PAYMENT                                                                                                        \
    "{\"type\":\"object\",\"required\":[\"order_id\",\"status\",\"amount\",\"currency\"],\"properties\":{"             \
    "\"order_id\":{\"type\":\"string\"},\"status\":{\"enum\":[\"requested\",\"captured\",\"declined\",\"timed_out\","  \
    "\"refunded\"]},\"amount\":{\"type\":\"integer\"},\"currency\":{\"type\":\"string\"},"                             \
    "\"updated_at\":{\"type\":\"string\",\"format\":\"date-time\"}}}"

static bool sees_all(const nexus_request *request)
{
    return nexus_service_may(request, "orders:read");
}

/* Whose orders the request may see: its own, or anybody's (empty). False: none, which has been answered. */
static bool whose(nexus_request *request, nexus_slice *user)
{
    *user = NEXUS_S("");
    nexus_service_subject(request, user);
    if (sees_all(request)) {
        *user = NEXUS_S("");
        return true;
    }
    if (nexus_service_authorize(request, "orders:read", NEXUS_S(""), *user) == NEXUS_OK)
        return true;
    nexus_request_problem_text(request, 403, "role-missing", "Your roles do not allow orders:read.");
    return false;
}

/* --- POST /orders ------------------------------------------------------------------------------------------------------- */

/* One transaction: key, order, outbox record, stored answer. */
static nexus_status create(backend *b, const idempotency *i, nexus_slice user, nexus_slice text, nexus_json *body,
                           const order_total *total, char **reply, uint16_t *status, bool *replayed)
{
    nexus_db *tx;
    nexus_json_writer *w = NULL;
    nexus_slice answer;
    char id[NEXUS_ID_LEN + 1];
    nexus_status st = nexus_db_begin(&tx, b->db);
    if (st != NEXUS_OK)
        return st;
    st = idempotency_claim(i, tx, text, reply, status);
    *replayed = *reply != NULL;
    if (st != NEXUS_OK || *replayed) {
        nexus_db_rollback(tx);
        return st;
    }
    st = order_insert(b, tx, user, body, total, id);
    if (st == NEXUS_OK)
        st = nexus_json_writer_new(&w);
    if (st == NEXUS_OK)
        st = order_write(tx, (nexus_slice){id, NEXUS_ID_LEN}, user, w, NULL);
    if (st == NEXUS_OK && (!writer_text(w, &answer) || !(*reply = strndup(answer.p, answer.n))))
        st = NEXUS_ENOMEM;
    if (st == NEXUS_OK)
        st = idempotency_store(i, tx, 201, answer);
    nexus_json_writer_free(w);
    *status = 201;
    if (st == NEXUS_OK)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return st;
}

static void answer_created(backend *b, nexus_request *request, nexus_status st, const char *reply, uint16_t status,
                           bool replayed)
{
    if (st == NEXUS_ECONFLICT) {
        const nexus_problem_error error = {"Idempotency-Key", "reused",
                                           "was sent before with another body; use a new key"};
        nexus_request_problem_errors(request, 422, "idempotency-key-reused",
                                     "This Idempotency-Key belongs to a request with another body.", &error, 1);
    } else if (st == NEXUS_ENOTFOUND) {
        nexus_request_problem_text(request, 401, "token-invalid", "The account of this token is gone; log in again.");
    } else if (st != NEXUS_OK) {
        reply_failure(b, request, st);
    } else {
        if (replayed)
            (void)nexus_request_set_header(request, "Idempotency-Replayed", NEXUS_S("true"));
        nexus_request_reply(request, status, "application/json", (nexus_slice){reply, strlen(reply)});
    }
}

static void create_order(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice user = {"", 0}, text;
    nexus_json *body;
    idempotency i;
    order_total total;
    char pointer[64], *reply = NULL;
    const char *detail;
    uint16_t status = 201;
    bool replayed = false;
    nexus_service_subject(request, &user);
    if (!read_body(request, &body))
        return;
    nexus_request_body(request, &text);
    if (!order_add_up(body, &total, pointer, &detail)) {
        reply_invalid(request, pointer, detail);
    } else if (idempotency_begin(&i, b, request, "createOrder", user)) {
        current_request = request;
        nexus_status st = create(b, &i, user, text, body, &total, &reply, &status, &replayed);
        current_request = NULL;
        idempotency_end(&i, b);
        if (st == NEXUS_OK && !replayed) {
            const nexus_slice label = NEXUS_S("created");
            nexus_metric_add(nexus_metric_series(b->orders_total, &label, 1), 1);
            nexus_outbox_relay_wake(b->relay);
        }
        answer_created(b, request, st, reply, status, replayed);
    }
    free(reply);
    nexus_json_free(body);
}

/* --- GET ------------------------------------------------------------------------------------------------------------------ */

static void answer_read(backend *b, nexus_request *request, nexus_status status, nexus_json_writer *w)
{
    if (status == NEXUS_OK) {
        reply_json(request, 200, w);
        return;
    }
    nexus_json_writer_free(w);
    if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", "There is no such order of yours.");
    else
        reply_failure(b, request, status);
}

static void get_order(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice user, id = {"", 0};
    nexus_json_writer *w = NULL;
    if (!whose(request, &user))
        return;
    nexus_request_param(request, "id", &id);
    nexus_status status = nexus_json_writer_new(&w);
    if (status == NEXUS_OK)
        status = order_write(b->db, id, user, w, NULL);
    answer_read(b, request, status, w);
}

static nexus_status write_list(backend *b, nexus_slice user, bool all, nexus_slice cursor, int64_t limit,
                               nexus_json_writer *w)
{
    nexus_rows *rows;
    nexus_slice id = {0}, last = {0};
    int64_t n = 0;
    nexus_status status = nexus_db_query(
        &rows, b->db,
        all ? "SELECT id FROM orders WHERE $1 <> '' AND id < $2 ORDER BY id DESC LIMIT $3"
            : "SELECT id FROM orders WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        (nexus_value[]){NEXUS_TEXT(user), NEXUS_TEXT(cursor.n ? cursor : NEXUS_S("~")), NEXUS_INT(limit + 1)}, 3);
    if (status != NEXUS_OK)
        return status;
    nexus_json_open_object(w, NULL);
    nexus_json_open_array(w, "items");
    while (nexus_rows_next(rows) && status == NEXUS_OK && n++ < limit) {
        nexus_rows_text(rows, 0, &id);
        last = id;
        status = order_write(b->db, id, (nexus_slice){0}, w, NULL);
    }
    nexus_json_close(w);
    if (n > limit)
        nexus_json_put_text(w, "next_cursor", last);
    else
        nexus_json_put_null(w, "next_cursor");
    nexus_json_close(w);
    nexus_rows_free(rows);
    return status;
}

static void list_orders(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice user = {"", 0}, cursor = {"", 0}, text;
    int64_t limit = 20;
    nexus_json_writer *w = NULL;
    nexus_service_subject(request, &user);
    nexus_request_query_param(request, "cursor", &cursor);
    if (nexus_request_query_param(request, "limit", &text)) {
        limit = 0;
        for (size_t k = 0; k < text.n && k < 4; k++)
            limit = text.p[k] >= '0' && text.p[k] <= '9' ? limit * 10 + text.p[k] - '0' : 1000;
        if (text.n == 0 || text.n > 3 || limit < 1 || limit > 100) {
            reply_invalid(request, "limit", "must be a whole number from 1 to 100");
            return;
        }
    }
    bool all = nexus_request_query_param(request, "all", &text) && text.n == 4 && memcmp(text.p, "true", 4) == 0;
    if (all && !sees_all(request)) {
        nexus_request_problem_text(request, 403, "role-missing", "all=true needs orders:read for everybody's orders.");
        return;
    }
    if (!all && !whose(request, &(nexus_slice){"", 0}))
        return;
    nexus_status status = nexus_json_writer_new(&w);
    if (status == NEXUS_OK)
        status = write_list(b, user, all, cursor, limit, w);
    answer_read(b, request, status, w);
}

static nexus_status write_payment(backend *b, nexus_slice id, nexus_slice user, nexus_json_writer *w)
{
    nexus_rows *rows;
    nexus_slice text;
    char at[32];
    nexus_status status =
        nexus_db_query_one(&rows, b->db,
                           "SELECT p.order_id, p.status, p.amount, p.currency, p.updated_at FROM payments p"
                           " JOIN orders o ON o.id = p.order_id WHERE p.order_id = $1 AND ($2 = '' OR o.user_id = $2)",
                           (nexus_value[]){NEXUS_TEXT(id), NEXUS_TEXT(user)}, 2);
    if (status != NEXUS_OK)
        return status;
    nexus_json_open_object(w, NULL);
    nexus_rows_text(rows, 0, &text);
    nexus_json_put_text(w, "order_id", text);
    nexus_rows_text(rows, 1, &text);
    nexus_json_put_text(w, "status", text);
    nexus_json_put_int(w, "amount", nexus_rows_int(rows, 2));
    nexus_rows_text(rows, 3, &text);
    nexus_json_put_text(w, "currency", text);
    nexus_time_format(nexus_rows_int(rows, 4), at);
    nexus_json_put_text_c(w, "updated_at", at);
    nexus_json_close(w);
    nexus_rows_free(rows);
    return NEXUS_OK;
}

static void get_payment(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice user, id = {"", 0};
    nexus_json_writer *w = NULL;
    if (!whose(request, &user))
        return;
    nexus_request_param(request, "order_id", &id);
    nexus_status status = nexus_json_writer_new(&w);
    if (status == NEXUS_OK)
        status = write_payment(b, id, user, w);
    answer_read(b, request, status, w);
}

/* --- rows ------------------------------------------------------------------------------------------------------------------- */

static const nexus_param idempotency_param[] = {
    {"Idempotency-Key", "header", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":64}",
     "Any text of yours; the same key gives the same answer for a day.", false}};
static const nexus_param list_params[] = {
    {"cursor", "query", "{\"type\":\"string\",\"maxLength\":64}", "next_cursor of the page before.", false},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":100}", "Orders a page; 20.", false},
    {"all", "query", "{\"type\":\"boolean\"}", "Everybody's orders, with orders:read.", false}};
static const nexus_reply_doc created[] = {{201, "The order, pending.", ORDER}, {422, "A value is not allowed.", NULL}};
static const nexus_reply_doc one[] = {{200, "The order.", ORDER}, {404, "No such order of yours.", NULL}};
static const nexus_reply_doc many[] = {{200, "Newest first.", ORDER_LIST}};
static const nexus_reply_doc payment[] = {{200, "The payment of an order.", PAYMENT}, {404, "None.", NULL}};

nexus_status order_routes(backend *b)
{
    nexus_route rows[] = {
        {.method = "POST",
         .path = "/api/v1/orders",
         .handler = create_order,
         .operation_id = "createOrder",
         .summary = "Orders. Sandbox: the prices are the client's.",
         .permission = "orders:create",
         .body_schema = ORDER_REQUEST,
         .body_max = 65536,
         .params = idempotency_param,
         .param_count = 1,
         .replies = created,
         .reply_count = 2},
        {.method = "GET",
         .path = "/api/v1/orders",
         .handler = list_orders,
         .operation_id = "listOrders",
         .summary = "Lists your orders.",
         .params = list_params,
         .param_count = 3,
         .replies = many,
         .reply_count = 1},
        {.method = "GET",
         .path = "/api/v1/orders/{id}",
         .handler = get_order,
         .operation_id = "getOrder",
         .summary = "Shows an order with its history.",
         .replies = one,
         .reply_count = 2},
        {.method = "GET",
         .path = "/api/v1/payments/{order_id}",
         .handler = get_payment,
         .operation_id = "getPayment",
         .summary = "Shows the payment of an order.",
         .replies = payment,
         .reply_count = 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows[i].size = sizeof rows[i];
        rows[i].user_data = b;
        rows[i].tag = i == 3 ? "payments" : "orders";
    }
    return nexus_service_route(b->service, rows, sizeof rows / sizeof rows[0]);
}
