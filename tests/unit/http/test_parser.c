/* http/: the parser, on llhttp's cases and on the attacks of its own. Everything also one byte at a time. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/codec.h"
#include "http/parser.h"

static const nexus__http_limits limits = {8192, 32768, 100, false};

typedef struct outcome {
    int complete; /* messages */
    enum nexus__http_error error;
    bool stopped; /* the last message ended the connection, or took it over, and more bytes follow */
    char body[256];
    size_t body_len;
} outcome;

/* Parses like a connection would. step 0 = all bytes at once, else that many more each time. */
static outcome run(nexus_slice all, size_t step, bool host_optional)
{
    nexus__http_limits l = limits;
    l.host_optional = host_optional;
    outcome o = {0};
    size_t from = 0, have = step ? step : all.n;
    static nexus__http_head head;
    while (from < all.n) {
        nexus__http_head_init(&head);
        int32_t n;
        while ((n = nexus__http_parse_request(&head, &l, all.p + from, (have < all.n ? have : all.n) - from)) == 0 &&
               have < all.n)
            have += step;
        if (n < 0)
            o.error = head.error;
        if (n <= 0)
            return o;
        from += (size_t)n;
        nexus__http_body body;
        nexus__http_body_init(&body, head.framing, head.length);
        while (!body.done) {
            if (have < from + 1)
                have = from + 1;
            size_t end = have < all.n ? have : all.n;
            nexus_slice data;
            int64_t used = from < end ? nexus__http_body_next(&body, all.p + from, end - from, &data) : 0;
            if (used < 0) {
                o.error = body.error;
                return o;
            }
            if (used && o.body_len + data.n <= sizeof o.body) {
                memcpy(o.body + o.body_len, data.p, data.n);
                o.body_len += data.n;
            }
            from += (size_t)used;
            if (!used && end == all.n)
                return o;
            have += step;
        }
        o.complete++;
        if (!head.keep_alive || head.upgrade || head.form == NEXUS__HTTP_AUTHORITY) {
            o.stopped = from < all.n;
            return o;
        }
    }
    return o;
}

static outcome both(nexus_slice all, bool host_optional)
{
    outcome whole = run(all, 0, host_optional), bytes = run(all, 1, host_optional);
    cr_assert_eq(whole.complete, bytes.complete, "%.*s", (int)all.n, all.p);
    /* which of two faults of a line is named may depend on how much of it is there; the answer may not */
    cr_assert_eq(nexus__http_error_info_get(whole.error)->status, nexus__http_error_info_get(bytes.error)->status,
                 "%.*s: %d, byte by byte %d", (int)all.n, all.p, whole.error, bytes.error);
    cr_assert_eq(whole.body_len, bytes.body_len);
    cr_assert_arr_eq(whole.body, bytes.body, whole.body_len);
    return whole;
}

/* --- llhttp ------------------------------------------------------------------------------------------------------ */

/* Whether the list of deviations has a line "INDEX VERDICT: reason". */
static bool listed(size_t index, const char *verdict)
{
    FILE *f = fopen(NEXUS_SOURCE_ROOT "/tests/unit/http/llhttp-deviations.txt", "r");
    cr_assert_not_null(f);
    char line[256], want[32];
    int n = snprintf(want, sizeof want, "%zu %s: ", index, verdict);
    bool found = false;
    while (!found && fgets(line, sizeof line, f))
        found = strncmp(line, want, (size_t)n) == 0 && strlen(line) > (size_t)n + 5;
    fclose(f);
    return found;
}

Test(parser, llhttp_cases_but_for_the_listed_deviations)
{
    const char *path = NEXUS_TEST_DATA "/http1/llhttp-requests.json";
    if (access(path, R_OK) != 0)
        cr_skip("no %s here", path);
    json_error_t error;
    json_t *cases = json_load_file(path, 0, &error), *row;
    cr_assert_eq(json_array_size(cases), 166);
    size_t i, deviations = 0;
    char bytes[8192];
    json_array_foreach(cases, i, row)
    {
        size_t n = 0;
        cr_assert(
            nexus__base64_decode(nexus__slice_c(json_string_value(json_object_get(row, "payload_b64"))), bytes, &n));
        const char *expect = json_string_value(json_object_get(row, "expect"));
        outcome o = both((nexus_slice){bytes, n}, true);
        bool pause = strcmp(expect, "pause") == 0;
        const char *ours = o.error ? "reject" : o.stopped && !pause ? "reject" : pause ? "pause" : "accept";
        int complete = (int)json_integer_value(json_object_get(row, "complete"));
        bool same = strcmp(ours, expect) == 0 && (strcmp(ours, "accept") != 0 || o.complete == complete);
        if (!same && !listed(i, ours)) {
            deviations++;
            fprintf(stderr, "%zu %s: %s (%d; expected %s %d) %s\n", i, ours, nexus__http_error_info_get(o.error)->code,
                    o.complete, expect, complete, json_string_value(json_object_get(row, "name")));
        }
        if (same)
            cr_assert_not(listed(i, ours), "case %zu is listed but agrees", i);
    }
    json_decref(cases);
    cr_assert_eq(deviations, 0, "%zu cases deviate and are not in llhttp-deviations.txt", deviations);
}

/* --- the attacks of spec/auth.md, rows 1 to 10 ------------------------------------------------------------------- */

#define HOST "Host: a\r\n"
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"

static const struct attack {
    const char *bytes;
    enum nexus__http_error error;
} attacks[] = {
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     NEXUS__HTTP_LENGTH_AND_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
     NEXUS__HTTP_LENGTH_AND_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", NEXUS__HTTP_TWO_LENGTHS},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", NEXUS__HTTP_TWO_LENGTHS},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", NEXUS__HTTP_TWO_LENGTHS},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", NEXUS__HTTP_BAD_LENGTH},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", NEXUS__HTTP_BAD_LENGTH},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", NEXUS__HTTP_BAD_LENGTH},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1e3\r\n\r\n", NEXUS__HTTP_BAD_LENGTH},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616\r\n\r\n", NEXUS__HTTP_BAD_LENGTH},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n", NEXUS__HTTP_BAD_LENGTH},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: \r\n\r\n", NEXUS__HTTP_BAD_LENGTH},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, gzip\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked,\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: ,chunked\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\t\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\tchunked\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     NEXUS__HTTP_BAD_FIELD},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", NEXUS__HTTP_UNKNOWN_ENCODING},
    {"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", NEXUS__HTTP_BAD_ENCODING},
    {"GET / HTTP/1.1\nHost: a\r\n\r\n", NEXUS__HTTP_BARE_CR_LF},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", NEXUS__HTTP_BARE_CR_LF},
    {"GET / HTTP/1.1\r\nHost: a\r\n\n", NEXUS__HTTP_BARE_CR_LF},
    {"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", NEXUS__HTTP_BARE_CR_LF},
    {"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BARE_CR_LF},
    {CHUNKED "5\nhello\r\n0\r\n\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5\rhello\r\n0\r\n\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5;a\nhello\r\n0\r\n\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5;a=\"\\\r\"\r\nhello\r\n0\r\n\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "10000000000000000\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "8000000000000000\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "00000000000000005\r\nhello\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "0x5\r\nhello\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5 \r\nhello\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED " 5\r\nhello\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "-5\r\nhello\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED ";a\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5\r\nhelloXX0\r\n\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5\r\nhello0\r\n\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "5 ;a\r\nhello\r\n", NEXUS__HTTP_BAD_CHUNK},
    {CHUNKED "0\r\nContent-Length: 5\r\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {CHUNKED "0\r\nAUTHORIZATION: x\r\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {CHUNKED "0\r\nhost: b\r\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {CHUNKED "0\r\nX : y\r\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {CHUNKED "0\r\nX: y\r\n folded\r\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {CHUNKED "0\r\nX: y\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {CHUNKED "0\r\n: y\r\n\r\n", NEXUS__HTTP_BAD_TRAILER},
    {"GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", NEXUS__HTTP_FOLDED},
    {"GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", NEXUS__HTTP_FOLDED},
    {"GET / HTTP/1.1\r\n X: a\r\n" HOST "\r\n", NEXUS__HTTP_FOLDED},
    {"GET / HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n" HOST "X\t: 5\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n" HOST ": 5\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n" HOST "X(y: 5\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n" HOST "X\xc3\xa9: 5\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n" HOST "X: \x7f\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n" HOST "X: 0123456789abcdef\x01\r\n\r\n", NEXUS__HTTP_BAD_FIELD},
    {"GET / HTTP/1.1\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: \r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_HOST},
    {"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET /\\a HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET /?\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_TARGET},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {"GET / http/1.1\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_LINE},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_VERSION},
    {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", NEXUS__HTTP_BAD_VERSION},
    {"GET /\r\n\r\n", NEXUS__HTTP_BAD_LINE},
};

Test(parser, attacks_are_refused_and_name_their_fault)
{
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        outcome o = both(nexus__slice_c(attacks[i].bytes), false);
        cr_assert_eq(run(nexus__slice_c(attacks[i].bytes), 0, false).error, attacks[i].error, "%s: %s, not %s",
                     attacks[i].bytes, nexus__http_error_info_get(o.error)->code,
                     nexus__http_error_info_get(attacks[i].error)->code);
        cr_assert_eq(o.complete, 0);
    }
    nexus_slice nul = NEXUS_S("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
                in_name = NEXUS_S("GET / HTTP/1.1\r\nX\0: a\r\n\r\n"), in_line = NEXUS_S("GET /\0 HTTP/1.1\r\n\r\n");
    cr_assert_eq(both(nul, false).error, NEXUS__HTTP_BAD_FIELD);
    cr_assert_eq(both(in_name, false).error, NEXUS__HTTP_BAD_FIELD);
    cr_assert_eq(both(in_line, false).error, NEXUS__HTTP_BAD_TARGET);
}

Test(parser, what_is_well_formed_is_taken)
{
    static const struct {
        const char *bytes, *body;
        int messages;
    } rows[] = {
        {"GET /a/b?c=d&e[]={f|g} HTTP/1.1\r\nHost: a:80\r\n\r\n", "", 1},
        {"\r\nGET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "", 1},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "", 1},
        {"GET http://A.b:80?x HTTP/1.1\r\nHost: a.B:80\r\n\r\n", "", 1},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n", "", 2},
        {CHUNKED "5\r\nhello\r\n6;a=b;c;d=\"e\\\"f\"\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n", "hello world", 1},
        {"POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING:CHUNKED\r\n\r\n00A\r\n0123456789\r\n0\r\n\r\n", "0123456789",
         1},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t3 \r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n", "abc", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        outcome o = both(nexus__slice_c(rows[i].bytes), false);
        cr_assert_eq(o.error, NEXUS__HTTP_OK, "%s: %s", rows[i].bytes, nexus__http_error_info_get(o.error)->code);
        cr_assert_eq(o.complete, rows[i].messages, "%s", rows[i].bytes);
        cr_assert(nexus__slice_eq_c((nexus_slice){o.body, o.body_len}, rows[i].body), "%s", rows[i].bytes);
    }
}

Test(parser, limits)
{
    static char big[70000];
    nexus__http_head h;
    static const struct {
        size_t target, field, fields;
        enum nexus__http_error error;
    } rows[] = {{8170, 10, 1, NEXUS__HTTP_OK},
                {8192, 10, 1, NEXUS__HTTP_LINE_TOO_LONG},
                {10, 32000, 1, NEXUS__HTTP_OK},
                {10, 32768, 1, NEXUS__HTTP_HEAD_TOO_BIG},
                {10, 1, 99, NEXUS__HTTP_OK}, /* and Host */
                {10, 1, 100, NEXUS__HTTP_TOO_MANY_FIELDS}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int n = sprintf(big, "GET /");
        memset(big + n, 'a', rows[i].target);
        n += (int)rows[i].target;
        n += sprintf(big + n, " HTTP/1.1\r\nHost: a\r\n");
        for (size_t k = 0; k < rows[i].fields; k++) {
            n += sprintf(big + n, "X: ");
            memset(big + n, 'b', rows[i].field);
            n += (int)rows[i].field;
            n += sprintf(big + n, "\r\n");
        }
        n += sprintf(big + n, "\r\n");
        nexus_slice all = {big, (size_t)n};
        outcome o = both(all, false);
        cr_assert_eq(o.error, rows[i].error, "row %zu: %s", i, nexus__http_error_info_get(o.error)->code);
        if (rows[i].error && rows[i].fields == 1) { /* seen before the line has ended */
            nexus__http_head_init(&h);
            all.n = (rows[i].target > 100 ? 8192 : 32800) + 30;
            cr_assert_eq(nexus__http_parse_request(&h, &limits, all.p, all.n), -1);
        }
    }
    char *p = big + sprintf(big, CHUNKED "5;a=");
    memset(p, 'x', 5000);
    sprintf(p + 5000, "\r\nhello\r\n0\r\n\r\n");
    cr_assert_eq(both(nexus__slice_c(big), false).error, NEXUS__HTTP_BAD_CHUNK);
    p = big + sprintf(big, CHUNKED "0\r\nX: ");
    memset(p, 'x', 9000);
    sprintf(p + 9000, "\r\n\r\n");
    cr_assert_eq(both(nexus__slice_c(big), false).error, NEXUS__HTTP_BAD_TRAILER);
}

Test(parser, fields_keep_their_place_and_are_found)
{
    nexus_slice all = NEXUS_S("\r\nPUT /p/q?r HTTP/1.1\r\nhOST: h\r\nX-Own:  v w\t\r\nConnection: Upgrade, "
                              "x-own\r\nUpgrade: ws\r\n\r\nrest");
    nexus__http_head h;
    nexus__http_head_init(&h);
    cr_assert_eq(nexus__http_parse_request(&h, &limits, all.p, all.n), (int32_t)all.n - 4);
    cr_assert(nexus__slice_eq_c((nexus_slice){all.p + h.start, h.method_len}, "PUT"));
    cr_assert(nexus__slice_eq_c((nexus_slice){all.p + h.path, h.path_len}, "/p/q"));
    cr_assert(nexus__slice_eq_c((nexus_slice){all.p + h.query, h.query_len}, "r"));
    cr_assert(h.upgrade && h.connection_names && h.keep_alive);
    cr_assert_eq(h.field_count, 4);
    cr_assert(nexus__slice_eq_c(nexus__http_field_value(nexus__http_first(&h, NEXUS__HTTP_HOST), all.p), "h"));
    const nexus__http_field *own = nexus__http_find(&h, all.p, NEXUS_S("x-own"));
    cr_assert(nexus__slice_eq_c(nexus__http_field_name(own, all.p), "X-Own"));
    cr_assert(nexus__slice_eq_c(nexus__http_field_value(own, all.p), "v w"));
    cr_assert_null(nexus__http_find(&h, all.p, NEXUS_S("x-other")));
    cr_assert_null(nexus__http_first(&h, NEXUS__HTTP_DATE));
}

/* --- responses: row 16 ------------------------------------------------------------------------------------------- */

static int32_t response(const char *bytes, bool to_head, nexus__http_head *h)
{
    int32_t n = 0;
    nexus__http_head_init(h);
    for (size_t i = 1; n == 0 && i <= strlen(bytes); i++)
        n = nexus__http_parse_response(h, &limits, to_head, bytes, i);
    nexus__http_head whole;
    nexus__http_head_init(&whole);
    int32_t at_once = nexus__http_parse_response(&whole, &limits, to_head, bytes, strlen(bytes));
    cr_assert_eq(n, at_once, "%s", bytes);
    cr_assert_eq(n < 0, h->error != 0);
    return n;
}

Test(parser, responses)
{
    static const struct {
        const char *bytes;
        bool to_head;
        int framing; /* -1 = refused */
        uint64_t length;
        bool keep_alive;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, NEXUS__HTTP_LENGTH_FIXED, 5, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, NEXUS__HTTP_LENGTH_NONE, 5, true},
        {"HTTP/1.1 204 No Content\r\n\r\n", false, NEXUS__HTTP_LENGTH_NONE, 0, true},
        {"HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n", false, NEXUS__HTTP_LENGTH_NONE, 9, true},
        {"HTTP/1.1 100 Continue\r\n\r\n", false, NEXUS__HTTP_LENGTH_NONE, 0, true},
        {"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false, NEXUS__HTTP_LENGTH_CHUNKED, 0, true},
        {"HTTP/1.1 200 OK\r\n\r\n", false, NEXUS__HTTP_LENGTH_CLOSE, 0, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false, NEXUS__HTTP_LENGTH_FIXED, 1, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 200 OK\r\nX: a\nb: c\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, -1, 0, false},
        {"HTTP/2 200 OK\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 2000 OK\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 099 OK\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 20x OK\r\n\r\n", false, -1, 0, false},
        {"HTTP/1.1 200OK\r\n\r\n", false, -1, 0, false},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", false, -1, 0, false},
        {"junk\r\n\r\n", false, -1, 0, false},
    };
    nexus__http_head h;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t n = response(rows[i].bytes, rows[i].to_head, &h);
        cr_assert_eq(n < 0, rows[i].framing < 0, "%s", rows[i].bytes);
        if (n < 0)
            continue;
        cr_assert_eq(n, (int32_t)strlen(rows[i].bytes));
        cr_assert_eq(h.framing, rows[i].framing, "%s", rows[i].bytes);
        cr_assert_eq(h.length, rows[i].length);
        cr_assert_eq(h.keep_alive, rows[i].keep_alive, "%s", rows[i].bytes);
    }
    response("HTTP/1.1 404 Not Here\r\n\r\n", false, &h);
    cr_assert_eq(h.status, 404);
    cr_assert_eq(h.reason_len, 8);
}
