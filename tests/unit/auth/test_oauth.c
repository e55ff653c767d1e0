/* auth/oauth/: clients, codes, tokens, revocation, introspection; the same on SQLite and, when the runner started one, on
 * a real PostgreSQL. Attack rows 57 to 61 and 63 are named in the tests. */
#include <criterion/criterion.h>
#include <nexus/auth.h>
#include <nexus/db.h>
#include <nexus/json.h>
#include <nexus/jwt.h>
#include <nexus/oauth.h>
#include <nexus/verifier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/oauth/form.h"
#include "base/buf.h"
#include "base/codec.h"
#include "base/id.h"
#include "base/time.h"
#include "crypto/hash.h"

#define ISSUER "https://id.example"
#define CALLBACK "https://shop.example/cb"
#define VERIFIER "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define CHALLENGE "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" /* RFC 7636, appendix B */

static char dir[64], url[96], schema[64];
static nexus_db *db;
static nexus_auth *auth;
static nexus_oauth *oauth;
static int64_t now_s;
static nexus__buf events;
static char user_id[NEXUS__UUID_LEN + 1];

static int64_t test_now(void *user_data)
{
    (void)user_data;
    return now_s * NEXUS__NS_PER_S;
}

static nexus_status on_event(nexus_db *tx, const char *type, nexus_slice subject, nexus_slice data, void *user_data)
{
    (void)subject, (void)user_data;
    cr_expect(tx ? nexus_db_in_transaction(tx) : strcmp(type, "token.issued") == 0);
    nexus__buf_printf(&events, "%s %.*s\n", type, (int)data.n, data.p);
    return NEXUS_OK;
}

static void open_all(void)
{
    const char *postgres = getenv("NEXUS_TEST_POSTGRES_URL");
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    opts.schema = schema;
    cr_assert_eq(nexus_db_open(&db, postgres ? postgres : url, &opts), NEXUS_OK, "%s", nexus_error_message());
    nexus_auth_opts auth_opts = NEXUS_AUTH_OPTS_INIT;
    auth_opts.issuer = ISSUER;
    auth_opts.key_dir = dir;
    auth_opts.hash_memory_kib = 64;
    auth_opts.event_fn = on_event;
    auth_opts.now_fn = test_now;
    cr_assert_eq(nexus_auth_open(&auth, db, &auth_opts), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_oauth_open(&oauth, auth, NULL), NEXUS_OK, "%s", nexus_error_message());
}

static void close_all(void)
{
    nexus_oauth_close(oauth);
    nexus_auth_close(auth);
    nexus_db_close(db);
}

static void set_up(void)
{
    strcpy(dir, "/tmp/nexus-oauth-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(url, sizeof url, "sqlite:%s/a.db", dir);
    snprintf(schema, sizeof schema, "t%llx", (unsigned long long)nexus__random_u64());
    now_s = 1800000000;
    nexus__buf_init(&events, NULL, 0);
    open_all();
    nexus_user *user;
    cr_assert_eq(
        nexus_auth_register(auth, NEXUS_S("ann@example.com"), NEXUS_S("correct horse battery"), NEXUS_S("Ann"), &user),
        NEXUS_OK, "%s", nexus_error_message());
    snprintf(user_id, sizeof user_id, "%s", nexus_user_id(user));
    nexus_user_free(user);
}

static void tear_down(void)
{
    close_all();
    nexus__buf_free(&events);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(oauth, .init = set_up, .fini = tear_down);

/* --- small words -------------------------------------------------------------------------------------------------------- */

typedef struct client {
    char id[64], secret[64];
} client;

typedef struct reply {
    uint16_t status;
    nexus_json *json;
    char challenge[64];
    uint32_t retry_after;
} reply;

static bool text_at(nexus_json *json, const char *name, char *out, size_t cap)
{
    nexus_slice text;
    *out = 0;
    if (!nexus_json_text(json, nexus_json_get(json, NEXUS_JSON_ROOT, name), &text))
        return false;
    snprintf(out, cap, "%.*s", (int)text.n, text.p);
    return true;
}

static bool is(const reply *r, const char *name, const char *value)
{
    char text[4096];
    return r->json && text_at(r->json, name, text, sizeof text) && strcmp(text, value) == 0;
}

static client add_client(const char *metadata)
{
    client c = {0};
    char *text;
    size_t n;
    nexus_json *json;
    cr_assert_eq(nexus_oauth_client_add(oauth, nexus__slice_c(metadata), &text, &n), NEXUS_OK, "%s",
                 nexus_error_message());
    cr_assert_eq(nexus_json_parse(&json, nexus__slice(text, n)), NEXUS_OK);
    cr_assert(text_at(json, "client_id", c.id, sizeof c.id));
    text_at(json, "client_secret", c.secret, sizeof c.secret);
    nexus_json_free(json);
    nexus_free(text);
    return c;
}

#define WEB                                                                                                            \
    "{\"client_name\":\"Shop\",\"redirect_uris\":[\"" CALLBACK "\"],"                                                  \
    "\"grant_types\":[\"authorization_code\",\"refresh_token\"],\"scope\":\"openid profile email offline_access "      \
    "api\"}"
#define MACHINE                                                                                                        \
    "{\"client_name\":\"Cron\",\"grant_types\":[\"client_credentials\"],\"scope\":\"api "                              \
    "orders:read\",\"roles\":[\"operator\"]}"

typedef nexus_status endpoint_fn(nexus_oauth *o, const nexus_oauth_call *call, nexus_oauth_answer **out);

static reply finish(nexus_status status, nexus_oauth_answer *answer)
{
    reply r = {0};
    nexus_slice body;
    cr_assert_eq(status, NEXUS_OK, "%s", nexus_error_message());
    r.status = nexus_oauth_answer_status(answer);
    nexus_oauth_answer_body(answer, &body);
    if (body.n)
        cr_assert_eq(nexus_json_parse(&r.json, body), NEXUS_OK, "%.*s", (int)body.n, body.p);
    snprintf(r.challenge, sizeof r.challenge, "%s", nexus_oauth_answer_challenge(answer));
    r.retry_after = nexus_oauth_answer_retry_after(answer);
    nexus_oauth_answer_free(answer);
    return r;
}

static void basic(const client *c, char out[static 256])
{
    char plain[160];
    nexus__buf b;
    int n = snprintf(plain, sizeof plain, "%s:%s", c->id, c->secret);
    nexus__buf_init(&b, NULL, 0);
    nexus__base64_append(&b, plain, (size_t)n);
    snprintf(out, 256, "Basic %.*s", (int)b.len, b.p);
    nexus__buf_free(&b);
}

static nexus_slice caller_cert; /* the certificate of who calls */

static reply call(endpoint_fn *fn, const client *c, const char *format, ...)
{
    char form[4096], credentials[256] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(form, sizeof form, format, args);
    va_end(args);
    nexus_oauth_call request = NEXUS_OAUTH_CALL_INIT;
    nexus_oauth_answer *answer = NULL;
    if (c && c->secret[0])
        basic(c, credentials);
    request.form = nexus__slice_c(form);
    request.authorization = nexus__slice_c(credentials);
    request.address = NEXUS_S("192.0.2.7");
    request.client_cert = caller_cert;
    nexus_status status = fn(oauth, &request, &answer);
    return finish(status, answer);
}

static void expect_error(reply r, uint16_t status, const char *error)
{
    cr_expect_eq(r.status, status, "status is %u", r.status);
    char text[128] = "";
    if (r.json)
        text_at(r.json, "error", text, sizeof text);
    cr_expect_str_eq(text, error);
    nexus_json_free(r.json);
}

/* --- at the authorization endpoint ---------------------------------------------------------------------------------------- */

typedef struct step {
    uint32_t kind;
    char location[4096], text[256];
} step;

static step visit(const char *query, bool signed_in, uint32_t decision)
{
    nexus_oauth_visit v = NEXUS_OAUTH_VISIT_INIT;
    nexus_oauth_answer *answer = NULL;
    step s = {0};
    v.query = nexus__slice_c(query);
    v.user_id = signed_in ? nexus__slice_c(user_id) : (nexus_slice){0};
    v.signed_in_s = now_s;
    v.decision = decision;
    cr_assert_eq(nexus_oauth_authorize(oauth, &v, &answer), NEXUS_OK, "%s", nexus_error_message());
    s.kind = nexus_oauth_answer_kind(answer);
    snprintf(s.location, sizeof s.location, "%s", nexus_oauth_answer_location(answer));
    snprintf(s.text, sizeof s.text, "%s", nexus_oauth_answer_text(answer));
    nexus_oauth_answer_free(answer);
    return s;
}

static const char *query_of(const client *c, const char *scope, const char *more)
{
    static char query[2048];
    snprintf(query, sizeof query,
             "response_type=code&client_id=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb&scope=%s&state=s-1"
             "&nonce=n-1&code_challenge=" CHALLENGE "&code_challenge_method=S256%s",
             c->id, scope, more);
    return query;
}

static void code_of(const step *s, char out[static 64])
{
    const char *at = strstr(s->location, "code=");
    cr_assert(at, "no code in %s", s->location);
    snprintf(out, 64, "%.43s", at + 5);
}

static void get_code(const client *c, const char *scope, char out[static 64])
{
    step s = visit(query_of(c, scope, ""), true, NEXUS_OAUTH_ALLOW);
    cr_assert_eq(s.kind, NEXUS_OAUTH_REDIRECT, "%s", s.text);
    code_of(&s, out);
}

static reply redeem(const client *c, const char *code)
{
    return call(
        nexus_oauth_token,
        c, "grant_type=authorization_code&code=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb&code_verifier=" VERIFIER,
        code);
}

static reply tokens_of(const client *c, const char *scope)
{
    char code[64];
    get_code(c, scope, code);
    reply r = redeem(c, code);
    cr_assert_eq(r.status, 200);
    return r;
}

static nexus_claims *claims_of(const char *token, const char *typ, const char *audience)
{
    nexus_keyset *keys;
    nexus_claims *claims = NULL;
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = ISSUER, rules.audience = audience, rules.typ = typ, rules.now_s = now_s;
    cr_assert_eq(nexus_auth_keyset(auth, &keys), NEXUS_OK);
    nexus_status status = nexus_jwt_verify(keys, token, strlen(token), &rules, &claims);
    nexus_keyset_free(keys);
    return status == NEXUS_OK ? claims : NULL;
}

static bool claim_is(const nexus_claims *claims, const char *name, const char *value)
{
    nexus_slice text;
    return nexus_claims_text(claims, name, &text) && nexus__slice_eq_c(text, value);
}

static int count_events(const char *part)
{
    int n = 0;
    nexus__buf_append(&events, "", 1);
    events.len--;
    for (const char *at = events.p; (at = strstr(at, part)); at++)
        n++;
    return n;
}

/* --- clients ------------------------------------------------------------------------------------------------------------- */

Test(oauth, a_client_is_kept_with_the_hash_of_its_secret_only)
{
    client c = add_client(WEB);
    char *text;
    size_t n;
    nexus_rows *rows;
    cr_expect_eq(strlen(c.secret), 43);
    cr_assert_eq(nexus_oauth_client(oauth, nexus__slice_c(c.id), &text, &n), NEXUS_OK);
    cr_expect_not(strstr(text, "secret\":"));
    cr_expect(strstr(text, "\"scope\":\"openid profile email offline_access api\""));
    nexus_free(text);
    cr_assert_eq(nexus_db_query_one(&rows, db, "SELECT count(*) FROM oauth_clients WHERE secret = $1",
                                    (nexus_value[]){NEXUS_TEXT_C(c.secret)}, 1),
                 NEXUS_OK);
    cr_expect_eq(nexus_rows_int(rows, 0), 0);
    nexus_rows_free(rows);
    cr_expect_eq(count_events("client.created"), 1);
    add_client(MACHINE);
    cr_assert_eq(nexus_oauth_clients(oauth, (nexus_slice){0}, 1, &text, &n), NEXUS_OK);
    cr_expect(strstr(text, "Shop") && !strstr(text, "Cron") && !strstr(text, "\"next_cursor\":null"));
    nexus_free(text);
    cr_assert_eq(nexus_oauth_clients(oauth, nexus__slice_c(c.id), 5, &text, &n), NEXUS_OK);
    cr_expect(!strstr(text, "Shop") && strstr(text, "Cron") && strstr(text, "\"next_cursor\":null"));
    nexus_free(text);
}

Test(oauth, metadata_that_cannot_be_is_refused_by_its_member)
{
    static const char *const rows[][2] = {
        {"{}", "client_name"},
        {"[]", "client"},
        {"{\"client_name\":\"A\",\"color\":1}", "color"},
        {"{\"client_name\":\"A\",\"redirect_uris\":[\"http://shop.example/cb\"]}", "redirect_uris"},
        {"{\"client_name\":\"A\",\"redirect_uris\":[\"https://shop.example/*\"]}", "redirect_uris"},
        {"{\"client_name\":\"A\",\"redirect_uris\":[]}", "redirect_uris"},
        {"{\"client_name\":\"A\",\"grant_types\":[\"password\"]}", "grant_types"},
        {"{\"client_name\":\"A\",\"grant_types\":[\"implicit\"]}", "grant_types"},
        {"{\"client_name\":\"A\",\"grant_types\":[\"client_credentials\"],\"token_endpoint_auth_method\":\"none\"}",
         "grant_types"},
        {"{\"client_name\":\"A\",\"grant_types\":[\"client_credentials\"],\"scope\":\"a  b\"}", "scope"},
        {"{\"client_name\":\"A\",\"grant_types\":[\"client_credentials\"],\"roles\":[\"root\"]}", "roles"},
        {"{\"client_name\":\"A\",\"grant_types\":[\"client_credentials\"],\"token_endpoint_auth_method\":\"private_key_"
         "jwt\"}",
         "jwks"},
        {"{\"client_name\":\"A\",\"grant_types\":[\"client_credentials\"],\"token_endpoint_auth_method\":\"client_"
         "secret_post\"}",
         "token_endpoint_auth_method"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text;
        size_t n, m = strlen(rows[i][1]);
        cr_expect_eq(nexus_oauth_client_add(oauth, nexus__slice_c(rows[i][0]), &text, &n), NEXUS_EINVAL, "%s",
                     rows[i][0]);
        cr_expect(strncmp(nexus_error_message(), rows[i][1], m) == 0 && nexus_error_message()[m] == ':', "%s: %s",
                  rows[i][0], nexus_error_message());
    }
}

Test(oauth, a_rotated_secret_leaves_the_one_before_a_day)
{
    client old = add_client(MACHINE), c = old;
    char *text;
    size_t n;
    nexus_json *json;
    cr_assert_eq(nexus_oauth_client_rotate(oauth, nexus__slice_c(c.id), 0, &text, &n), NEXUS_OK);
    cr_assert_eq(nexus_json_parse(&json, nexus__slice(text, n)), NEXUS_OK);
    text_at(json, "client_secret", c.secret, sizeof c.secret);
    nexus_json_free(json);
    nexus_free(text);
    for (int i = 0; i < 2; i++) {
        reply r = call(nexus_oauth_token, i ? &c : &old, "grant_type=client_credentials");
        cr_expect_eq(r.status, 200);
        nexus_json_free(r.json);
    }
    now_s += 86401;
    expect_error(call(nexus_oauth_token, &old, "grant_type=client_credentials"), 401, "invalid_client");
    reply r = call(nexus_oauth_token, &c, "grant_type=client_credentials");
    cr_expect_eq(r.status, 200);
    nexus_json_free(r.json);
}

/* --- client credentials ---------------------------------------------------------------------------------------------------- */

Test(oauth, a_machine_gets_a_token_of_ten_minutes_in_its_roles_and_no_refresh)
{
    client c = add_client(MACHINE);
    char token[4096];
    reply r = call(nexus_oauth_token, &c, "grant_type=client_credentials&scope=api");
    cr_assert_eq(r.status, 200);
    cr_expect(is(&r, "token_type", "Bearer") && is(&r, "scope", "api"));
    cr_expect_eq(nexus_json_get(r.json, NEXUS_JSON_ROOT, "refresh_token"), NEXUS_JSON_NONE);
    text_at(r.json, "access_token", token, sizeof token);
    nexus_json_free(r.json);
    nexus_claims *claims = claims_of(token, NULL, "nexus");
    nexus_slice role;
    int64_t exp;
    cr_assert(claims);
    cr_expect(claim_is(claims, "sub", c.id) && claim_is(claims, "client_id", c.id));
    cr_expect(nexus_claims_int(claims, "exp", &exp) && exp == now_s + 600);
    cr_expect(nexus_claims_item(claims, "roles", 0, &role) && nexus__slice_eq_c(role, "operator"));
    nexus_claims_free(claims);
    expect_error(call(nexus_oauth_token, &c, "grant_type=client_credentials&scope=api+admin"), 400, "invalid_scope");
    expect_error(call(nexus_oauth_token, &c, "grant_type=password&username=a&password=b"), 400,
                 "unsupported_grant_type");
    expect_error(call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=x"), 400, "unauthorized_client");
    expect_error(call(nexus_oauth_token, &c, ""), 400, "invalid_request");
}

/* Row 61: a parameter that comes twice. */
Test(oauth, what_comes_twice_or_cannot_be_read_is_a_bad_request)
{
    client c = add_client(MACHINE);
    expect_error(call(nexus_oauth_token, &c, "grant_type=client_credentials&grant_type=client_credentials"), 400,
                 "invalid_request");
    expect_error(call(nexus_oauth_token, &c, "grant_type=client_credentials&scope=%%zz"), 400, "invalid_request");
    expect_error(call(nexus_oauth_token, &c, "grant_type=client_credentials&scope=%%00"), 400, "invalid_request");
    expect_error(call(nexus_oauth_token, &c, "grant_type=client_credentials&scope=%%ff"), 400, "invalid_request");
}

/* Row 63: guessing costs time; whoever knows the secret is not held up by it. */
Test(oauth, guesses_of_a_secret_are_slowed_down_and_hold_nobody_else_up)
{
    client c = add_client(MACHINE), wrong = c;
    wrong.secret[0] = wrong.secret[0] == 'a' ? 'b' : 'a';
    reply r = call(nexus_oauth_token, &wrong, "grant_type=client_credentials");
    cr_expect_str_eq(r.challenge, "Basic realm=\"nexus\"");
    expect_error(r, 401, "invalid_client");
    for (int i = 0; i < 4; i++)
        expect_error(call(nexus_oauth_token, &wrong, "grant_type=client_credentials"), 401, "invalid_client");
    r = call(nexus_oauth_token, &wrong, "grant_type=client_credentials");
    cr_expect(r.retry_after > 0);
    expect_error(r, 429, "slow_down");
    r = call(nexus_oauth_token, &c, "grant_type=client_credentials");
    cr_expect_eq(r.status, 200);
    nexus_json_free(r.json);
    client nobody = {"nobody", "x"};
    expect_error(call(nexus_oauth_token, &nobody, "grant_type=client_credentials"), 401, "invalid_client");
    c = add_client(MACHINE);
    expect_error(call(nexus_oauth_token, NULL, "grant_type=client_credentials&client_id=%s", c.id), 401,
                 "invalid_client");
    expect_error(
        call(nexus_oauth_token, NULL, "grant_type=client_credentials&client_id=%s&client_secret=%s", c.id, c.secret),
        401, "invalid_client");
}

/* --- private_key_jwt --------------------------------------------------------------------------------------------------------- */

static void assertion(char *out, size_t cap, const nexus_key *key, const char *id, const char *aud, const char *jti)
{
    char claims[512], *token;
    size_t n;
    snprintf(claims, sizeof claims,
             "{\"iss\":\"%s\",\"sub\":\"%s\",\"aud\":\"%s\",\"jti\":\"%s\",\"iat\":%lld,\"exp\":%lld}", id, id, aud,
             jti, (long long)now_s, (long long)now_s + 60);
    cr_assert_eq(nexus_jwt_sign(&token, &n, key, "JWT", claims, strlen(claims)), NEXUS_OK);
    snprintf(out, cap, "%s", token);
    nexus_free(token);
}

#define ASSERTED                                                                                                       \
    "grant_type=client_credentials&client_assertion_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Aclient-assertion-type%%"    \
    "3Ajwt-bearer"                                                                                                     \
    "&client_assertion=%s"

Test(oauth, a_private_key_proves_a_client_once_for_each_assertion)
{
    nexus_key *key, *other;
    char *jwk, metadata[1024], token[2048];
    size_t n;
    cr_assert_eq(nexus_key_generate(&key, "ES256", NULL), NEXUS_OK);
    cr_assert_eq(nexus_key_generate(&other, "ES256", nexus_key_id(key)), NEXUS_OK);
    cr_assert_eq(nexus_key_print_jwk(key, true, &jwk, &n), NEXUS_OK);
    snprintf(metadata, sizeof metadata,
             "{\"client_name\":\"Key\",\"grant_types\":[\"client_credentials\"],\"token_endpoint_auth_method\":"
             "\"private_key_jwt\",\"jwks\":{\"keys\":[%s]},\"scope\":\"api\"}",
             jwk);
    nexus_free(jwk);
    client c = add_client(metadata);
    cr_expect_eq(c.secret[0], 0);
    char *shown;
    cr_assert_eq(nexus_oauth_client(oauth, nexus__slice_c(c.id), &shown, &n), NEXUS_OK);
    cr_expect_not(strstr(shown, "\"d\":"), "a private part that was sent along is not kept");
    nexus_free(shown);
    assertion(token, sizeof token, key, c.id, ISSUER, "j-1");
    reply r = call(nexus_oauth_token, NULL, ASSERTED, token);
    cr_expect_eq(r.status, 200);
    nexus_json_free(r.json);
    expect_error(call(nexus_oauth_token, NULL, ASSERTED, token), 401, "invalid_client");
    assertion(token, sizeof token, key, c.id, ISSUER "/oauth/token", "j-2");
    expect_error(call(nexus_oauth_token, NULL, ASSERTED, token), 401, "invalid_client");
    assertion(token, sizeof token, other, c.id, ISSUER, "j-3");
    expect_error(call(nexus_oauth_token, NULL, ASSERTED, token), 401, "invalid_client");
    expect_error(call(nexus_oauth_token, NULL, ASSERTED, "x.y.z"), 401, "invalid_client");
    expect_error(call(nexus_oauth_token, NULL, "grant_type=client_credentials&client_id=%s", c.id), 401,
                 "invalid_client");
    nexus_key_free(key);
    nexus_key_free(other);
}

/* --- authorization code -------------------------------------------------------------------------------------------------------- */

Test(oauth, a_code_becomes_tokens_that_verify)
{
    client c = add_client(WEB);
    char access[4096], id[4096], hash[64];
    cr_expect_eq(visit(query_of(&c, "openid+profile", ""), false, 0).kind, NEXUS_OAUTH_LOGIN);
    cr_expect_eq(visit(query_of(&c, "openid+profile", ""), true, 0).kind, NEXUS_OAUTH_CONSENT);
    step s = visit(query_of(&c, "openid+profile+api+offline_access", ""), true, NEXUS_OAUTH_ALLOW);
    cr_expect(strncmp(s.location, CALLBACK "?code=", strlen(CALLBACK) + 6) == 0, "%s", s.location);
    cr_expect(strstr(s.location, "&state=s-1&iss=https%3A%2F%2Fid.example"), "RFC 9207: %s", s.location);
    char code[64];
    code_of(&s, code);
    reply r = redeem(&c, code);
    cr_assert_eq(r.status, 200);
    cr_expect(is(&r, "scope", "openid profile api offline_access"));
    cr_assert(text_at(r.json, "access_token", access, sizeof access) && text_at(r.json, "id_token", id, sizeof id));
    cr_expect_neq(nexus_json_get(r.json, NEXUS_JSON_ROOT, "refresh_token"), NEXUS_JSON_NONE);
    nexus_json_free(r.json);
    nexus_claims *claims = claims_of(access, NULL, "nexus");
    cr_assert(claims);
    nexus_slice role;
    cr_expect(claim_is(claims, "sub", user_id) && claim_is(claims, "client_id", c.id));
    cr_expect(nexus_claims_item(claims, "roles", 0, &role) && nexus__slice_eq_c(role, "customer"));
    nexus_claims_free(claims);
    claims = claims_of(id, "JWT", c.id);
    cr_assert(claims);
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    cr_assert_eq(nexus__hash(NEXUS__SHA256, nexus__slice_c(access), digest), NEXUS_OK);
    nexus__base64url_append(&b, digest, 16);
    snprintf(hash, sizeof hash, "%.*s", (int)b.len, b.p);
    nexus__buf_free(&b);
    cr_expect(claim_is(claims, "nonce", "n-1") && claim_is(claims, "at_hash", hash) && claim_is(claims, "name", "Ann"));
    nexus_claims_free(claims);
    /* Row 53: neither stands for the other. */
    cr_expect_null(claims_of(id, NULL, c.id));
    cr_expect_null(claims_of(access, "JWT", "nexus"));
    /* Consent was given for all of this: the next time nobody is asked, unless the client wants it. */
    cr_expect_eq(visit(query_of(&c, "openid+api", ""), true, 0).kind, NEXUS_OAUTH_REDIRECT);
    cr_expect_eq(visit(query_of(&c, "openid+api", "&prompt=consent"), true, 0).kind, NEXUS_OAUTH_CONSENT);
    cr_expect_eq(visit(query_of(&c, "openid+email", ""), true, 0).kind, NEXUS_OAUTH_CONSENT);
}

Test(oauth, a_token_that_says_only_who_somebody_is_opens_no_api)
{
    client c = add_client(WEB);
    char access[4096];
    reply r = tokens_of(&c, "openid+profile");
    text_at(r.json, "access_token", access, sizeof access);
    cr_expect_eq(nexus_json_get(r.json, NEXUS_JSON_ROOT, "refresh_token"), NEXUS_JSON_NONE,
                 "offline_access was not asked for");
    nexus_json_free(r.json);
    cr_expect_null(claims_of(access, NULL, "nexus"));
    nexus_claims *claims = claims_of(access, NULL, ISSUER);
    cr_assert(claims);
    nexus_slice role;
    cr_expect_not(nexus_claims_item(claims, "roles", 0, &role));
    nexus_claims_free(claims);
}

/* Row 57. */
Test(oauth, a_code_is_for_its_client_its_address_its_verifier_and_a_minute)
{
    client c = add_client(WEB), other = add_client(WEB);
    char code[64];
    get_code(&c, "openid", code);
    expect_error(redeem(&other, code), 400, "invalid_grant");
    expect_error(
        call(nexus_oauth_token,
             &c, "grant_type=authorization_code&code=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb2&code_verifier=" VERIFIER,
             code),
        400, "invalid_grant");
    expect_error(call(nexus_oauth_token, &c,
                      "grant_type=authorization_code&code=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb"
                      "&code_verifier=xBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
                      code),
                 400, "invalid_grant");
    expect_error(call(nexus_oauth_token, &c, /* row 58 */
                      "grant_type=authorization_code&code=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb", code),
                 400, "invalid_request");
    now_s += 60;
    expect_error(redeem(&c, code), 400, "invalid_grant");
    now_s -= 1;
    reply r = redeem(&c, code);
    cr_expect_eq(r.status, 200, "none of the tries has spent it");
    nexus_json_free(r.json);
    expect_error(redeem(&c, "A2345678901234567890123456789012345678901234"), 400, "invalid_grant");
}

/* Row 57. */
Test(oauth, a_code_that_comes_twice_ends_what_it_gave)
{
    client c = add_client(WEB);
    char code[64], refresh[64], access[4096];
    get_code(&c, "openid+offline_access", code);
    reply r = redeem(&c, code);
    cr_assert_eq(r.status, 200);
    text_at(r.json, "refresh_token", refresh, sizeof refresh);
    text_at(r.json, "access_token", access, sizeof access);
    nexus_json_free(r.json);
    expect_error(redeem(&c, code), 400, "invalid_grant");
    expect_error(call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s", refresh), 400,
                 "invalid_grant");
    r = call(nexus_oauth_introspect, &c, "token=%s", access);
    bool active = true;
    cr_expect(nexus_json_bool(r.json, nexus_json_get(r.json, NEXUS_JSON_ROOT, "active"), &active) && !active);
    nexus_json_free(r.json);
    cr_expect_eq(count_events("auth.code_reused"), 1);
    cr_expect_eq(count_events("auth.revoked {\"kind\":\"session\""), 1);
}

/* Row 58. */
Test(oauth, without_pkce_by_sha256_there_is_no_code)
{
    client c = add_client(WEB);
    static const char *const rows[] = {
        "", "&code_challenge=" CHALLENGE, "&code_challenge=" CHALLENGE "&code_challenge_method=plain",
        "&code_challenge=short&code_challenge_method=S256", "&code_challenge_method=S256"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char query[1024];
        snprintf(
            query, sizeof query,
            "response_type=code&client_id=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb&scope=openid&state=s%s",
            c.id, rows[i]);
        step s = visit(query, true, NEXUS_OAUTH_ALLOW);
        cr_expect_eq(s.kind, NEXUS_OAUTH_REDIRECT);
        cr_expect(strstr(s.location, "error=invalid_request") && !strstr(s.location, "code="), "%s: %s", rows[i],
                  s.location);
        cr_expect(strstr(s.location, "&iss="));
    }
}

/* Row 59. */
Test(oauth, a_wrong_address_is_a_page_and_never_a_redirect)
{
    client c = add_client(WEB);
    static const char *const rows[] = {"https%3A%2F%2Fshop.example%2Fcb%2F",
                                       "https%3A%2F%2Fshop.example%2F",
                                       "https%3A%2F%2Fshop.example%2Fcb%2F..%2Fcb",
                                       "https%3A%2F%2Fshop.example%40evil.example%2Fcb",
                                       "https%3A%2F%2Fuser%40shop.example%2Fcb",
                                       "https%3A%2F%2Fshop.example%2Fcb%23x",
                                       "https%3A%2F%2Fshop.example%3A8443%2Fcb",
                                       "http%3A%2F%2Fshop.example%2Fcb",
                                       "https%3A%2F%2Fshop.example%2Fcb%3Fx%3D1",
                                       "https%3A%2F%2Fshop.example.evil.example%2Fcb",
                                       "https%3A%2F%2FSHOP.example%2Fcb",
                                       "https%3A%2F%2Fshop.example%2Fcb%20",
                                       "",
                                       "%2Fcb"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char query[1024];
        snprintf(query, sizeof query,
                 "response_type=code&client_id=%s&redirect_uri=%s&scope=openid&code_challenge=" CHALLENGE
                 "&code_challenge_method=S256",
                 c.id, rows[i]);
        step s = visit(query, true, NEXUS_OAUTH_ALLOW);
        cr_expect_eq(s.kind, NEXUS_OAUTH_PAGE, "%s", rows[i]);
        cr_expect_str_eq(s.location, "");
    }
    cr_expect_eq(visit("response_type=code&client_id=nobody&redirect_uri=https%3A%2F%2Fevil.example", true, 0).kind,
                 NEXUS_OAUTH_PAGE);
    cr_expect_eq(visit("client_id=a&client_id=b", true, 0).kind, NEXUS_OAUTH_PAGE);
}

Test(oauth, what_else_is_wrong_is_told_to_the_client)
{
    client c = add_client(WEB);
    static const char *const rows[][2] = {
        {"response_type=token", "unsupported_response_type"},
        {"response_type=code&scope=admin", "invalid_scope"},
        {"response_type=code", "invalid_scope"},
        {"response_type=code&scope=openid&response_mode=fragment", "invalid_request"},
        {"response_type=code&scope=openid&request=x.y.z", "request_not_supported"},
        {"response_type=code&scope=openid&request_uri=https%3A%2F%2Fevil.example", "request_uri_not_supported"},
        {"response_type=code&scope=openid&prompt=none+login", "invalid_request"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char query[1024], wanted[64];
        snprintf(query, sizeof query,
                 "%s&client_id=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb&code_challenge=" CHALLENGE
                 "&code_challenge_method=S256",
                 rows[i][0], c.id);
        snprintf(wanted, sizeof wanted, "?error=%s&", rows[i][1]);
        step s = visit(query, true, NEXUS_OAUTH_ALLOW);
        cr_expect(s.kind == NEXUS_OAUTH_REDIRECT && strstr(s.location, wanted), "%s: %s", rows[i][0], s.location);
    }
    step s = visit(query_of(&c, "openid", ""), true, NEXUS_OAUTH_DENY);
    cr_expect(strstr(s.location, "error=access_denied"));
    s = visit(query_of(&c, "openid", "&prompt=none"), false, 0);
    cr_expect(strstr(s.location, "error=login_required"));
    s = visit(query_of(&c, "openid", "&prompt=none"), true, 0);
    cr_expect(strstr(s.location, "error=consent_required"));
}

Test(oauth, a_login_of_long_ago_is_not_recent_enough)
{
    client c = add_client(WEB);
    nexus_oauth_visit v = NEXUS_OAUTH_VISIT_INIT;
    nexus_oauth_answer *answer;
    static const char *const rows[] = {"&prompt=login", "&max_age=90"};
    for (int i = 0; i < 4; i++) {
        v.query = nexus__slice_c(query_of(&c, "openid", rows[i / 2]));
        v.user_id = nexus__slice_c(user_id);
        v.signed_in_s = now_s - (i % 2 ? 0 : 100);
        cr_assert_eq(nexus_oauth_authorize(oauth, &v, &answer), NEXUS_OK);
        cr_expect_eq(nexus_oauth_answer_kind(answer), i % 2 ? NEXUS_OAUTH_CONSENT : NEXUS_OAUTH_LOGIN, "%s",
                     rows[i / 2]);
        nexus_oauth_answer_free(answer);
    }
}

/* --- refresh --------------------------------------------------------------------------------------------------------------- */

/* Row 60. */
Test(oauth, a_refresh_belongs_to_its_client_and_asks_for_no_more)
{
    client c = add_client(WEB), other = add_client(WEB);
    char first[64], second[64], again[64];
    reply r = tokens_of(&c, "openid+api+offline_access");
    text_at(r.json, "refresh_token", first, sizeof first);
    nexus_json_free(r.json);
    expect_error(call(nexus_oauth_token, &other, "grant_type=refresh_token&refresh_token=%s", first), 400,
                 "invalid_grant");
    expect_error(call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s&scope=openid+email", first),
                 400, "invalid_scope");
    nexus_grant *grant;
    cr_expect_eq(nexus_auth_refresh(auth, nexus__slice_c(first), &grant), NEXUS_EAUTH,
                 "the first party's endpoint does not know it");
    r = call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s&scope=openid", first);
    cr_assert_eq(r.status, 200, "none of these has spent it");
    cr_expect(is(&r, "scope", "openid"));
    text_at(r.json, "refresh_token", second, sizeof second);
    nexus_json_free(r.json);
    now_s += 9;
    r = call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s", first);
    text_at(r.json, "refresh_token", again, sizeof again);
    cr_expect_str_eq(again, second, "a lost answer is given again");
    nexus_json_free(r.json);
    now_s += 9;
    expect_error(call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s", first), 400, "invalid_grant");
    expect_error(call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s", second), 400, "invalid_grant");
    cr_expect_eq(count_events("auth.revoked {\"kind\":\"session\""), 1);
}

Test(oauth, tokens_of_a_public_client_are_bound_to_the_certificate_that_got_them)
{
    client c = add_client("{\"client_name\":\"App\",\"redirect_uris\":[\"https://shop.example/cb\"],\"grant_types\":["
                          "\"authorization_code\",\"refresh_token\"],\"scope\":\"openid api offline_access\","
                          "\"token_endpoint_auth_method\":\"none\",\"tls_client_certificate_bound_access_tokens\":true}");
    char code[64], form[160], token[2048], first[64];
    nexus_slice sub;
    get_code(&c, "openid+api+offline_access", code);
    snprintf(form, sizeof form, "%s&client_id=%s", code, c.id);
    expect_error(redeem(&c, form), 400, "invalid_request"); /* no certificate: and the code is still good */
    caller_cert = NEXUS_S("a certificate");
    reply r = redeem(&c, form);
    cr_assert_eq(r.status, 200);
    text_at(r.json, "access_token", token, sizeof token);
    text_at(r.json, "refresh_token", first, sizeof first);
    nexus_json_free(r.json);
    nexus_claims *claims = claims_of(token, NULL, "nexus");
    cr_assert_not_null(claims);
    nexus_claims_json(claims, &sub);
    cr_expect(strstr(sub.p, "\"cnf\":{\"x5t#S256\":\""), "%s", sub.p);
    nexus_claims_free(claims);
    caller_cert = NEXUS_S("another");
    expect_error(call(nexus_oauth_token, NULL, "grant_type=refresh_token&refresh_token=%s&client_id=%s", first, c.id), 400,
                 "invalid_grant");
    caller_cert = NEXUS_S("a certificate");
    r = call(nexus_oauth_token, NULL, "grant_type=refresh_token&refresh_token=%s&client_id=%s", first, c.id);
    cr_expect_eq(r.status, 200, "the other has not spent it");
    nexus_json_free(r.json);
    caller_cert = (nexus_slice){0};
}

Test(oauth, the_first_partys_refresh_token_is_no_clients)
{
    client c = add_client(WEB);
    nexus_grant *grant, *next;
    cr_assert_eq(nexus_auth_login(auth, NEXUS_S("ann@example.com"), NEXUS_S("correct horse battery"), &grant), NEXUS_OK);
    expect_error(
        call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s", nexus_grant_refresh_token(grant)), 400,
        "invalid_grant");
    cr_expect_eq(nexus_auth_refresh(auth, nexus__slice_c(nexus_grant_refresh_token(grant)), &next), NEXUS_OK);
    nexus_grant_free(next);
    nexus_grant_free(grant);
}

/* --- eight at once --------------------------------------------------------------------------------------------------------- */

enum { RACERS = 8 };

/* Each racer is a process of its own with its own connections; what it got is written to a file of its number. */
static void race(const client *c, const char *format, const char *value, const char *member)
{
    close_all(); /* no connection is shared */
    for (int i = 0; i < RACERS; i++) {
        pid_t pid = fork();
        cr_assert(pid >= 0);
        if (pid > 0)
            continue;
        open_all();
        char path[128], text[128] = "!";
        reply r = call(nexus_oauth_token, c, format, value);
        if (r.status == 200)
            text_at(r.json, member, text, sizeof text);
        else
            snprintf(text, sizeof text, "!%d %s", r.status, nexus_error_message()); /* no token begins so */
        nexus_json_free(r.json);
        snprintf(path, sizeof path, "%s/racer-%d", dir, i);
        FILE *f = fopen(path, "w");
        fprintf(f, "%s", text);
        fclose(f);
        close_all();
        _exit(0);
    }
    for (int i = 0; i < RACERS; i++) {
        int code;
        cr_assert(wait(&code) > 0 && WIFEXITED(code) && WEXITSTATUS(code) == 0);
    }
    open_all();
}

static void read_racer(int i, char out[static 128])
{
    char path[128];
    snprintf(path, sizeof path, "%s/racer-%d", dir, i);
    FILE *f = fopen(path, "r");
    cr_assert(f);
    out[fread(out, 1, 127, f)] = 0;
    fclose(f);
}

Test(oauth, a_refresh_by_eight_processes_at_once_has_one_successor)
{
    client c = add_client(WEB);
    char token[64], one[128], other[128];
    reply r = tokens_of(&c, "openid+offline_access");
    text_at(r.json, "refresh_token", token, sizeof token);
    nexus_json_free(r.json);
    race(&c, "grant_type=refresh_token&refresh_token=%s", token, "refresh_token");
    read_racer(0, one);
    cr_expect_neq(one[0], '!', "%s", one);
    for (int i = 1; i < RACERS; i++) {
        read_racer(i, other);
        cr_expect_str_eq(one, other);
    }
}

Test(oauth, a_code_redeemed_by_eight_processes_at_once_gives_one)
{
    client c = add_client(WEB);
    char code[64], text[128];
    int won = 0;
    get_code(&c, "openid", code);
    race(&c, "grant_type=authorization_code&code=%s&redirect_uri=https%%3A%%2F%%2Fshop.example%%2Fcb&code_verifier=" VERIFIER,
         code, "token_type");
    for (int i = 0; i < RACERS; i++) {
        read_racer(i, text);
        won += strcmp(text, "Bearer") == 0;
    }
    cr_expect_eq(won, 1);
}

/* --- the gate ---------------------------------------------------------------------------------------------------------------- */

static bool is_active(const client *c, const char *token)
{
    bool active = false;
    reply r = call(nexus_oauth_introspect, c, "token=%s", token);
    cr_assert_eq(r.status, 200);
    cr_assert(nexus_json_bool(r.json, nexus_json_get(r.json, NEXUS_JSON_ROOT, "active"), &active));
    nexus_json_free(r.json);
    return active;
}

/* A person with tokens and a code in hand; then the account comes into a state, and nothing of it is worth anything. */
static void expect_closed(const char *change)
{
    char email[64], code[64], refresh[64], access[4096];
    nexus_user *user;
    client c = add_client(WEB);
    snprintf(email, sizeof email, "%s@example.com", change);
    cr_assert_eq(
        nexus_auth_register(auth, nexus__slice_c(email), NEXUS_S("correct horse battery"), NEXUS_S("Bob"), &user),
        NEXUS_OK);
    snprintf(user_id, sizeof user_id, "%s", nexus_user_id(user));
    nexus_user_free(user);
    reply r = tokens_of(&c, "openid+offline_access");
    text_at(r.json, "refresh_token", refresh, sizeof refresh);
    text_at(r.json, "access_token", access, sizeof access);
    nexus_json_free(r.json);
    get_code(&c, "openid", code);
    cr_assert(is_active(&c, access));
    if (strcmp(change, "unverified") == 0)
        cr_assert_eq(nexus_db_exec(db, "UPDATE auth_users SET unverified = 1 WHERE id = $1",
                                   (nexus_value[]){NEXUS_TEXT_C(user_id)}, 1, NULL),
                     NEXUS_OK);
    else
        cr_assert_eq(nexus_auth_change_user(auth, nexus__slice_c(user_id), change), NEXUS_OK, "%s",
                     nexus_error_message());
    expect_error(redeem(&c, code), 400, "invalid_grant");
    expect_error(call(nexus_oauth_token, &c, "grant_type=refresh_token&refresh_token=%s", refresh), 400,
                 "invalid_grant");
    cr_expect_eq(visit(query_of(&c, "openid", ""), true, NEXUS_OAUTH_ALLOW).kind, NEXUS_OAUTH_LOGIN, "%s", change);
    cr_expect_not(is_active(&c, access), "%s", change);
    cr_expect_not(is_active(&c, refresh), "%s", change);
}

Test(oauth, every_grant_asks_the_gate_at_redemption)
{
    static const char *const states[] = {"disable", "lock", "require-reset", "delete", "unverified"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        expect_closed(states[i]);
}

/* What was voided stays void although the account may go on. */
Test(oauth, what_was_voided_does_not_come_back)
{
    client c = add_client(WEB);
    char access[4096];
    reply r = tokens_of(&c, "openid");
    text_at(r.json, "access_token", access, sizeof access);
    nexus_json_free(r.json);
    cr_assert_eq(nexus_auth_change_user(auth, nexus__slice_c(user_id), "disable"), NEXUS_OK);
    cr_assert_eq(nexus_auth_change_user(auth, nexus__slice_c(user_id), "enable"), NEXUS_OK);
    cr_expect_not(is_active(&c, access));
    r = tokens_of(&c, "openid");
    text_at(r.json, "access_token", access, sizeof access);
    nexus_json_free(r.json);
    cr_expect(is_active(&c, access));
}

/* --- introspection, revocation, userinfo --------------------------------------------------------------------------------------- */

/* Row 61. */
Test(oauth, a_client_sees_and_ends_its_own_tokens_only)
{
    client a = add_client(WEB), b = add_client(WEB);
    client server =
        add_client("{\"client_name\":\"Gateway\",\"grant_types\":[\"client_credentials\"],\"resource_server\":true}");
    char access[4096], refresh[64];
    reply r = tokens_of(&a, "openid+offline_access");
    text_at(r.json, "access_token", access, sizeof access);
    text_at(r.json, "refresh_token", refresh, sizeof refresh);
    nexus_json_free(r.json);
    cr_expect(is_active(&a, access) && is_active(&a, refresh) && is_active(&server, access));
    cr_expect(!is_active(&b, access) && !is_active(&b, refresh) && !is_active(&server, refresh) &&
              !is_active(&a, "nonsense"));
    r = call(nexus_oauth_revoke, &b, "token=%s", access);
    cr_expect_eq(r.status, 200);
    r = call(nexus_oauth_revoke, &b, "token=%s", refresh);
    cr_expect_eq(r.status, 200);
    cr_expect(is_active(&a, access) && is_active(&a, refresh), "another client's call has no effect");
    r = call(nexus_oauth_revoke, &a, "token=%s", access);
    cr_expect_eq(r.status, 200);
    cr_expect(!is_active(&a, access) && is_active(&a, refresh));
    cr_expect_eq(count_events("auth.revoked {\"kind\":\"token\""), 1);
    r = call(nexus_oauth_revoke, &a, "token=%s", refresh);
    cr_expect_eq(r.status, 200);
    cr_expect_not(is_active(&a, refresh));
    r = call(nexus_oauth_revoke, &a, "token=nonsense");
    cr_expect_eq(r.status, 200);
    expect_error(call(nexus_oauth_introspect, NULL, "token=%s", access), 401, "invalid_client");
    expect_error(call(nexus_oauth_revoke, &a, "x=1"), 400, "invalid_request");
}

static reply userinfo(const char *token)
{
    char bearer[4200];
    nexus_oauth_call request = NEXUS_OAUTH_CALL_INIT;
    nexus_oauth_answer *answer = NULL;
    snprintf(bearer, sizeof bearer, "Bearer %s", token);
    request.authorization = nexus__slice_c(bearer);
    nexus_status status = nexus_oauth_userinfo(oauth, &request, &answer);
    return finish(status, answer);
}

Test(oauth, userinfo_says_what_was_granted)
{
    client c = add_client(WEB), machine = add_client(MACHINE);
    char access[4096];
    reply r = tokens_of(&c, "openid+email");
    text_at(r.json, "access_token", access, sizeof access);
    nexus_json_free(r.json);
    r = userinfo(access);
    cr_expect(r.status == 200 && is(&r, "sub", user_id) && is(&r, "email", "ann@example.com"));
    cr_expect_eq(nexus_json_get(r.json, NEXUS_JSON_ROOT, "name"), NEXUS_JSON_NONE);
    nexus_json_free(r.json);
    expect_error(userinfo("x.y.z"), 401, "invalid_token");
    r = call(nexus_oauth_token, &machine, "grant_type=client_credentials");
    text_at(r.json, "access_token", access, sizeof access);
    nexus_json_free(r.json);
    expect_error(userinfo(access), 403, "insufficient_scope");
}

Test(oauth, a_removed_client_takes_its_tokens_along)
{
    client c = add_client(WEB);
    client server =
        add_client("{\"client_name\":\"Gateway\",\"grant_types\":[\"client_credentials\"],\"resource_server\":true}");
    char access[4096];
    reply r = tokens_of(&c, "openid+offline_access");
    text_at(r.json, "access_token", access, sizeof access);
    nexus_json_free(r.json);
    cr_expect(is_active(&server, access));
    cr_assert_eq(nexus_oauth_client_delete(oauth, nexus__slice_c(c.id)), NEXUS_OK);
    cr_expect_not(is_active(&server, access));
    cr_expect_eq(nexus_oauth_client_delete(oauth, nexus__slice_c(c.id)), NEXUS_ENOTFOUND);
    cr_expect_eq(count_events("auth.revoked {\"kind\":\"client\""), 1);
}

Test(oauth, what_is_over_is_forgotten)
{
    client c = add_client(WEB);
    char code[64];
    nexus_rows *rows;
    get_code(&c, "openid", code);
    now_s += 61;
    cr_assert_eq(nexus_oauth_expire(oauth), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_db_query_one(&rows, db, "SELECT count(*) FROM oauth_codes", NULL, 0), NEXUS_OK);
    cr_expect_eq(nexus_rows_int(rows, 0), 0);
    nexus_rows_free(rows);
}

Test(oauth, the_metadata_names_what_there_is)
{
    char *text;
    size_t n;
    cr_assert_eq(nexus_oauth_metadata(oauth, &text, &n), NEXUS_OK);
    cr_expect(strstr(text, "\"issuer\":\"" ISSUER "\"") &&
              strstr(text, "\"token_endpoint\":\"" ISSUER "/oauth/token\""));
    cr_expect(strstr(text, "\"code_challenge_methods_supported\":[\"S256\"]"));
    cr_expect(strstr(text, "\"authorization_response_iss_parameter_supported\":true"));
    cr_expect(!strstr(text, "implicit") && !strstr(text, "password"));
    cr_expect(!strstr(text, "tls_client") && !strstr(text, "mtls"), "nobody is asked for certificates");
    nexus_free(text);
    cr_assert_eq(nexus_oauth_resource_metadata(oauth, &text, &n), NEXUS_OK);
    cr_expect(strstr(text, "\"authorization_servers\":[\"" ISSUER "\"]"));
    nexus_free(text);
}

/* --- redirect URIs -------------------------------------------------------------------------------------------------------------- */

Test(oauth_redirect, only_the_port_of_a_loopback_address_is_free)
{
    static const struct {
        const char *registered, *given;
        bool same;
    } rows[] = {
        {"http://127.0.0.1/cb", "http://127.0.0.1:51234/cb", true},
        {"http://127.0.0.1:80/cb", "http://127.0.0.1:51234/cb", true},
        {"http://[::1]/cb", "http://[::1]:5/cb", true},
        {"http://127.0.0.1/cb", "http://127.0.0.1:51234/cb/", false},
        {"http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false},
        {"http://127.0.0.1/cb", "http://127.0.0.1:5@evil.example/cb", false},
        {"http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", false},
        {"http://localhost/cb", "http://localhost:5/cb", false},
        {"https://a.example/cb", "https://a.example:444/cb", false},
        {"com.example.app:/cb", "com.example.app:/cb", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(nexus__oauth_redirect_is(nexus__slice_c(rows[i].registered), nexus__slice_c(rows[i].given)),
                     rows[i].same, "%s %s", rows[i].registered, rows[i].given);
}
