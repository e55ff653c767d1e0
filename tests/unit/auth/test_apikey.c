/* auth/: API keys (attack row 68 at the library); the same on SQLite and, when the runner started one, on a real
 * PostgreSQL. */
#include <criterion/criterion.h>
#include <nexus/apikey.h>
#include <nexus/db.h>
#include <nexus/runtime.h>
#include <nexus/secret.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/apikey.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/time.h"

static char dir[64], ann[64];
static nexus_db *db;
static nexus_auth *auth;
static nexus_apikeys *keys;
static _Atomic int64_t now_ms;
static nexus__buf events;
static bool refuse_events;

static int64_t test_now(void *user_data)
{
    (void)user_data;
    return now_ms * NEXUS__NS_PER_MS;
}

static nexus_status on_event(nexus_db *tx, const char *type, nexus_slice subject, nexus_slice data, void *user_data)
{
    (void)subject, (void)user_data;
    cr_expect(nexus_db_in_transaction(tx));
    if (refuse_events)
        return NEXUS_EIO;
    nexus__buf_printf(&events, "%s %.*s\n", type, (int)data.n, data.p);
    nexus__buf_char(&events, '\0'); /* a text, for strstr */
    events.len--;
    return NEXUS_OK;
}

static nexus_apikeys *opened(void)
{
    nexus_apikeys *k;
    nexus_apikeys_opts opts = NEXUS_APIKEYS_OPTS_INIT;
    opts.key_dir = dir;
    opts.event_fn = on_event;
    opts.now_fn = test_now;
    cr_assert_eq(nexus_apikeys_open(&k, db, &opts), NEXUS_OK, "%s", nexus_error_message());
    return k;
}

static void set_up(void)
{
    strcpy(dir, "/tmp/nexus-apikey-XXXXXX");
    cr_assert(mkdtemp(dir));
    const char *postgres = getenv("NEXUS_TEST_POSTGRES_URL");
    char url[96], schema[64];
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    snprintf(url, sizeof url, "sqlite:%s/a.db", dir);
    snprintf(schema, sizeof schema, "t%llx", (unsigned long long)nexus__random_u64());
    opts.schema = schema;
    cr_assert_eq(nexus_db_open(&db, postgres ? postgres : url, &opts), NEXUS_OK, "%s", nexus_error_message());
    now_ms = 1800000000000;
    refuse_events = false;
    nexus__buf_init(&events, NULL, 0);
    nexus_auth_opts a = NEXUS_AUTH_OPTS_INIT;
    a.issuer = "https://id.example";
    a.key_dir = dir;
    a.hash_memory_kib = 64;
    a.now_fn = test_now;
    cr_assert_eq(nexus_auth_open(&auth, db, &a), NEXUS_OK, "%s", nexus_error_message());
    nexus_user *user;
    cr_assert_eq(
        nexus_auth_register(auth, NEXUS_S("ann@example.com"), NEXUS_S("correct horse battery"), NEXUS_S("Ann"), &user),
        NEXUS_OK);
    snprintf(ann, sizeof ann, "%s", nexus_user_id(user));
    nexus_user_free(user);
    keys = opened();
}

static void tear_down(void)
{
    nexus_apikeys_close(keys);
    nexus_auth_close(auth);
    nexus_db_close(db);
    nexus__buf_free(&events);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(apikey, .init = set_up, .fini = tear_down);

typedef struct key {
    char text[NEXUS_APIKEY_LEN + 1], id[NEXUS_APIKEY_ID_LEN + 1], json[2048];
} key;

static nexus_apikey_spec spec_of_ann(void)
{
    nexus_apikey_spec s = NEXUS_APIKEY_SPEC_INIT;
    s.owner = nexus__slice_c(ann);
    s.name = NEXUS_S("till");
    s.scopes = NEXUS_S("orders:read  orders:create");
    return s;
}

static void keep(key *k, char *text, char *json, size_t n)
{
    snprintf(k->text, sizeof k->text, "%s", text);
    snprintf(k->id, sizeof k->id, "%.*s", NEXUS_APIKEY_ID_LEN, text + 11);
    snprintf(k->json, sizeof k->json, "%.*s", (int)n, json);
    nexus_free_wiped(text, NEXUS_APIKEY_LEN);
    nexus_free(json);
}

static nexus_status create(const nexus_apikey_spec *s, key *k)
{
    char *text, *json;
    size_t n;
    nexus_status status = nexus_apikeys_create(keys, s, &text, &json, &n);
    if (status == NEXUS_OK)
        keep(k, text, json, n);
    return status;
}

static key created(void)
{
    key k;
    nexus_apikey_spec s = spec_of_ann();
    cr_assert_eq(create(&s, &k), NEXUS_OK, "%s", nexus_error_message());
    return k;
}

static nexus_status check(const char *text, const char *ip)
{
    nexus_principal *p;
    nexus_status status = nexus_apikeys_check(keys, text, strlen(text), nexus__slice_c(ip), &p);
    if (status == NEXUS_OK)
        nexus_principal_free(p);
    return status;
}

static void later_ms(int64_t ms)
{
    now_ms += ms;
}

Test(apikey, stands_for_its_owner_with_its_scopes)
{
    key k = created();
    nexus_principal *p;
    nexus_slice s;
    cr_assert_eq(strlen(k.text), NEXUS_APIKEY_LEN);
    cr_expect(strstr(k.json, "\"scopes\":[\"orders:read\",\"orders:create\"]"), "%s", k.json);
    cr_expect(strstr(k.json, "\"state\":\"active\""), "%s", k.json);
    cr_expect_not(strstr(k.json, k.text + 24), "%s", k.json);
    cr_assert_eq(nexus_apikeys_check(keys, k.text, NEXUS_APIKEY_LEN, NEXUS_S("192.0.2.1"), &p), NEXUS_OK, "%s",
                 nexus_error_message());
    nexus_principal_subject(p, &s);
    cr_expect(nexus__slice_eq_c(s, ann));
    nexus_principal_token_id(p, &s);
    cr_expect(nexus__slice_eq_c(s, k.id));
    cr_expect(nexus_principal_has_role(p, "customer"));
    cr_expect(nexus_claims_text(nexus_principal_claims(p), "scope", &s) &&
              nexus__slice_eq_c(s, "orders:read orders:create"));
    nexus_principal_free(p);
    cr_expect(strstr(events.p, "apikey.created"));
}

Test(apikey, nothing_of_the_secret_is_stored)
{
    key k = created();
    char secret[44];
    nexus_rows *rows;
    snprintf(secret, sizeof secret, "%.43s", k.text + 24);
    cr_assert_eq(nexus_db_query_one(&rows, db, "SELECT * FROM auth_apikeys", NULL, 0), NEXUS_OK);
    for (size_t i = 0; i < nexus_rows_columns(rows); i++) {
        nexus_slice cell;
        nexus_rows_text(rows, i, &cell);
        cr_expect_eq(nexus__slice_search(cell, nexus__slice_c(secret)), cell.n);
    }
    nexus_rows_free(rows);
}

Test(apikey, a_damaged_text_is_refused_without_a_look_up)
{
    key k = created();
    cr_assert_eq(nexus_db_exec(db, "DROP TABLE auth_apikeys", NULL, 0, NULL), NEXUS_OK);
    for (size_t i = 0; i < NEXUS_APIKEY_LEN; i++) {
        char text[NEXUS_APIKEY_LEN + 1];
        memcpy(text, k.text, sizeof text);
        text[i] = text[i] == 'x' ? 'y' : 'x';
        cr_expect_eq(check(text, "192.0.2.1"), NEXUS_EAUTH, "byte %zu", i);
        text[i] = 0;
        cr_expect_eq(nexus_apikeys_check(keys, text, i, NEXUS_S(""), &(nexus_principal *){0}), NEXUS_EAUTH);
    }
}

/* The checksum, done by others: python3 -c 'import zlib; …' */
Test(apikey, has_the_form_that_scanners_know)
{
    nexus_slice id;
    const char *good = "nexus_live_0123456789ab_0123456789abcdefghijABCDEFGHIJ0123456789abc0lpKpm";
    cr_assert(nexus_apikey_parse(good, NEXUS_APIKEY_LEN, &id));
    cr_expect(nexus__slice_eq_c(id, "0123456789ab"));
}

Test(apikey, a_wrong_secret_and_an_unknown_id_are_told_alike)
{
    key k = created();
    char wrong[NEXUS_APIKEY_LEN + 1], unknown[NEXUS_APIKEY_LEN + 1], said[256];
    nexus__apikey_make(k.id, wrong);
    nexus__apikey_make(NULL, unknown);
    cr_assert_eq(check(k.text, ""), NEXUS_OK);
    cr_expect_eq(check(wrong, ""), NEXUS_EAUTH);
    snprintf(said, sizeof said, "%s", nexus_error_message());
    cr_expect_eq(check(unknown, ""), NEXUS_EAUTH);
    cr_expect_str_eq(said, nexus_error_message());
    cr_expect_eq(check(k.text, ""), NEXUS_OK, "a wrong secret does not disturb the right one");
}

Test(apikey, is_good_for_90_days_and_warned_of_once)
{
    key k = created();
    later_ms(76LL * 86400000 - 1000);
    cr_assert_eq(nexus_apikeys_upkeep(keys), NEXUS_OK);
    cr_expect_not(strstr(events.p, "apikey.expiring"));
    later_ms(2000);
    cr_assert_eq(nexus_apikeys_upkeep(keys), NEXUS_OK);
    char *first = strstr(events.p, "apikey.expiring");
    cr_assert(first);
    cr_assert_eq(nexus_apikeys_upkeep(keys), NEXUS_OK);
    cr_expect_not(strstr(first + 1, "apikey.expiring"));
    cr_expect_eq(check(k.text, ""), NEXUS_OK);
    later_ms(14LL * 86400000 - 1000);
    cr_expect_eq(check(k.text, ""), NEXUS_EAUTH);
    char *json;
    size_t n;
    cr_assert_eq(nexus_apikeys_show(keys, nexus__slice_c(k.id), NEXUS_S(""), &json, &n), NEXUS_OK);
    cr_expect(strstr(json, "\"state\":\"expired\""), "%s", json);
    nexus_free(json);
}

/* It was remembered a moment ago: time is judged again all the same. */
Test(apikey, expires_although_it_is_remembered)
{
    key k;
    nexus_apikey_spec s = spec_of_ann();
    s.ttl_s = 1;
    cr_assert_eq(create(&s, &k), NEXUS_OK);
    later_ms(700);
    cr_expect_eq(check(k.text, ""), NEXUS_OK);
    later_ms(400);
    cr_expect_eq(check(k.text, ""), NEXUS_EAUTH);
}

Test(apikey, counts_from_its_addresses_only)
{
    key k;
    nexus_apikey_spec s = spec_of_ann();
    s.cidrs = NEXUS_S("10.0.0.0/8 2001:db8::/32");
    cr_assert_eq(create(&s, &k), NEXUS_OK);
    cr_expect_eq(check(k.text, "10.1.2.3"), NEXUS_OK);
    cr_expect_eq(check(k.text, "::ffff:10.1.2.3"), NEXUS_OK);
    cr_expect_eq(check(k.text, "2001:db8::7"), NEXUS_OK);
    cr_expect_eq(check(k.text, "11.1.2.3"), NEXUS_EPERM);
    cr_expect_eq(check(k.text, ""), NEXUS_EPERM);
    cr_expect_eq(check(k.text, "ten"), NEXUS_EPERM);
}

Test(apikey, two_secrets_live_for_a_day_after_a_rotation)
{
    key old = created(), fresh;
    char *text, *json;
    size_t n;
    cr_assert_eq(check(old.text, ""), NEXUS_OK);
    cr_assert_eq(nexus_apikeys_rotate(keys, nexus__slice_c(old.id), NEXUS_S(""), 0, &text, &json, &n), NEXUS_OK, "%s",
                 nexus_error_message());
    keep(&fresh, text, json, n);
    cr_expect_str_eq(fresh.id, old.id);
    cr_expect_str_neq(fresh.text, old.text);
    cr_expect_eq(check(old.text, ""), NEXUS_OK);
    cr_expect_eq(check(fresh.text, ""), NEXUS_OK);
    later_ms(86399000);
    cr_expect_eq(check(old.text, ""), NEXUS_OK);
    later_ms(2000);
    cr_expect_eq(check(old.text, ""), NEXUS_EAUTH);
    cr_expect_eq(check(fresh.text, ""), NEXUS_OK);
    cr_assert_eq(nexus_apikeys_rotate(keys, nexus__slice_c(old.id), NEXUS_S(""), UINT32_MAX, &text, &json, &n),
                 NEXUS_OK);
    keep(&old, text, json, n);
    cr_expect_eq(check(fresh.text, ""), NEXUS_EAUTH, "no overlap was asked for");
    cr_expect_eq(check(old.text, ""), NEXUS_OK);
}

Test(apikey, ends_at_once_where_it_is_revoked_and_within_a_second_elsewhere)
{
    key k = created();
    nexus_apikeys *other = opened();
    nexus_principal *p;
    cr_assert_eq(nexus_apikeys_check(other, k.text, NEXUS_APIKEY_LEN, NEXUS_S(""), &p), NEXUS_OK);
    nexus_principal_free(p);
    cr_assert_eq(check(k.text, ""), NEXUS_OK);
    cr_assert_eq(nexus_apikeys_revoke(keys, nexus__slice_c(k.id), nexus__slice_c("somebody-else")), NEXUS_ENOTFOUND);
    cr_assert_eq(nexus_apikeys_revoke(keys, nexus__slice_c(k.id), nexus__slice_c(ann)), NEXUS_OK);
    cr_expect_eq(check(k.text, ""), NEXUS_EAUTH);
    later_ms(999);
    cr_expect_eq(nexus_apikeys_check(other, k.text, NEXUS_APIKEY_LEN, NEXUS_S(""), &p), NEXUS_EAUTH);
    cr_assert_eq(nexus_apikeys_revoke(keys, nexus__slice_c(k.id), NEXUS_S("")), NEXUS_OK, "a second time is fine");
    char *text, *json;
    size_t n;
    cr_expect_eq(nexus_apikeys_rotate(keys, nexus__slice_c(k.id), NEXUS_S(""), 0, &text, &json, &n), NEXUS_ENOTFOUND);
    nexus_apikeys_close(other);
}

Test(apikey, stops_within_a_second_of_its_owners_end)
{
    key k = created();
    cr_assert_eq(check(k.text, ""), NEXUS_OK);
    cr_assert_eq(nexus_auth_set_disabled(auth, nexus__slice_c(ann), true), NEXUS_OK);
    later_ms(999);
    cr_expect_eq(check(k.text, ""), NEXUS_EAUTH);
    nexus_apikey_spec s = spec_of_ann();
    cr_expect_eq(create(&s, &k), NEXUS_EAUTH);
}

Test(apikey, grants_no_more_than_its_owner_holds)
{
    static const struct {
        const char *scopes;
        nexus_status status;
    } cases[] = {
        {"orders:read", NEXUS_OK},
        {"orders:*", NEXUS_EPERM},
        {"audit:read", NEXUS_EPERM},
        {"*:**", NEXUS_EPERM},
        {"", NEXUS_EINVAL},
        {"orders", NEXUS_EINVAL},
        {"orders:read ** ", NEXUS_EINVAL},
        {"Orders:read", NEXUS_EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        key k;
        nexus_apikey_spec s = spec_of_ann();
        s.scopes = nexus__slice_c(cases[i].scopes);
        cr_expect_eq(create(&s, &k), cases[i].status, "%s: %s", cases[i].scopes, nexus_error_message());
    }
    cr_assert_eq(nexus_auth_set_role(auth, nexus__slice_c(ann), "operator", true), NEXUS_OK);
    key k;
    nexus_apikey_spec s = spec_of_ann();
    s.scopes = NEXUS_S("analytics:* audit:read");
    cr_expect_eq(create(&s, &k), NEXUS_OK, "%s", nexus_error_message());
}

Test(apikey, a_spec_that_is_wrong_names_the_member)
{
    static const struct {
        const char *name, *cidrs, *plan, *begins;
        uint32_t ttl_s;
    } cases[] = {
        {"", "", "", "name:", 0},
        {"n", "ten/8", "", "cidrs:", 0},
        {"n", "", "two words", "plan:", 0},
        {"n", "", "", "ttl_s:", 400 * 86400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        key k;
        nexus_apikey_spec s = spec_of_ann();
        s.name = nexus__slice_c(cases[i].name);
        s.cidrs = nexus__slice_c(cases[i].cidrs);
        s.plan = nexus__slice_c(cases[i].plan);
        s.ttl_s = cases[i].ttl_s;
        cr_expect_eq(create(&s, &k), NEXUS_EINVAL);
        cr_expect_eq(strncmp(nexus_error_message(), cases[i].begins, strlen(cases[i].begins)), 0, "%s",
                     nexus_error_message());
    }
}

Test(apikey, is_not_made_when_its_event_cannot_be_written)
{
    key k;
    nexus_apikey_spec s = spec_of_ann();
    char *json;
    size_t n;
    refuse_events = true;
    cr_expect_eq(create(&s, &k), NEXUS_EIO);
    cr_assert_eq(nexus_apikeys_list(keys, NEXUS_S(""), NEXUS_S(""), 10, &json, &n), NEXUS_OK);
    cr_expect_str_eq(json, "{\"items\":[],\"next_cursor\":null}");
    nexus_free(json);
}

Test(apikey, its_last_use_is_known_to_the_minute)
{
    key k = created();
    char *json;
    size_t n;
    later_ms(90000);
    cr_assert_eq(check(k.text, ""), NEXUS_OK);
    cr_assert_eq(nexus_apikeys_upkeep(keys), NEXUS_OK);
    cr_assert_eq(nexus_apikeys_show(keys, nexus__slice_c(k.id), nexus__slice_c(ann), &json, &n), NEXUS_OK);
    cr_expect(strstr(json, "\"last_used_at\":\"2027-01-15T08:01:00.000Z\""), "%s", json);
    nexus_free(json);
    cr_expect_eq(nexus_apikeys_show(keys, nexus__slice_c(k.id), NEXUS_S("another"), &json, &n), NEXUS_ENOTFOUND);
}

Test(apikey, lists_page_by_page)
{
    char *json, cursor[16];
    size_t n;
    for (int i = 0; i < 5; i++)
        created();
    int seen = 0;
    strcpy(cursor, "");
    do {
        cr_assert_eq(nexus_apikeys_list(keys, nexus__slice_c(ann), nexus__slice_c(cursor), 2, &json, &n), NEXUS_OK);
        for (const char *p = json; (p = strstr(p, "\"id\":")); p++)
            seen++;
        const char *next = strstr(json, "\"next_cursor\":\"");
        snprintf(cursor, sizeof cursor, "%.12s", next ? next + 15 : "");
        nexus_free(json);
    } while (*cursor);
    cr_expect_eq(seen, 5);
}

Test(apikey, survives_a_restart_with_its_pepper)
{
    key k = created();
    nexus_apikeys_close(keys);
    keys = opened();
    cr_expect_eq(check(k.text, ""), NEXUS_OK);
}

/* --- without blocking ---------------------------------------------------------------------------------------------- */

typedef struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    nexus_status status;
    int count;
} told;

static void on_told(nexus_status status, nexus_principal *p, void *user_data)
{
    told *t = user_data;
    nexus_principal_free(p);
    pthread_mutex_lock(&t->lock);
    t->status = status;
    t->count++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static nexus_status wait_for(nexus_apikey_verifier *v, const char *text, const char *ip)
{
    told t = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    nexus_status status = nexus_apikey_verifier_wait_async(v, text, strlen(text), nexus__slice_c(ip), on_told, &t);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&t.lock);
    while (!t.count)
        pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
    return t.status;
}

static nexus_status peek(nexus_apikey_verifier *v, const char *text, const char *ip)
{
    nexus_principal *p;
    nexus_status status = nexus_apikey_verifier_check(v, text, strlen(text), nexus__slice_c(ip), &p);
    if (status == NEXUS_OK)
        nexus_principal_free(p);
    return status;
}

Test(apikey, a_verifier_knows_what_it_asked_for)
{
    nexus_runtime *runtime;
    nexus_apikey_verifier *v;
    cr_assert_eq(nexus_runtime_open(&runtime, NULL), NEXUS_OK);
    cr_assert_eq(nexus_runtime_start(runtime), NEXUS_OK);
    nexus_apikey_verifier_opts opts = NEXUS_APIKEY_VERIFIER_OPTS_INIT;
    opts.keys = keys;
    opts.runtime = runtime;
    opts.now_fn = test_now;
    cr_assert_eq(nexus_apikey_verifier_open(&v, &opts), NEXUS_OK, "%s", nexus_error_message());
    key k;
    nexus_apikey_spec s = spec_of_ann();
    s.cidrs = NEXUS_S("10.0.0.0/8");
    cr_assert_eq(create(&s, &k), NEXUS_OK);
    cr_expect_eq(peek(v, "nexus_live_no", ""), NEXUS_EAUTH);
    cr_expect_eq(peek(v, k.text, "10.0.0.1"), NEXUS_EAGAIN);
    cr_expect_eq(wait_for(v, k.text, "11.0.0.1"), NEXUS_EPERM);
    cr_expect_eq(peek(v, k.text, "10.0.0.1"), NEXUS_OK);
    later_ms(999);
    cr_expect_eq(peek(v, k.text, "10.0.0.1"), NEXUS_EAGAIN, "nothing is taken for good for longer than a second");
    cr_expect_eq(wait_for(v, k.text, "10.0.0.1"), NEXUS_OK);
    cr_assert_eq(nexus_apikeys_revoke(keys, nexus__slice_c(k.id), NEXUS_S("")), NEXUS_OK);
    nexus_apikey_verifier_forget(v, nexus__slice_c(k.id));
    cr_expect_eq(peek(v, k.text, "10.0.0.1"), NEXUS_EAGAIN);
    cr_expect_eq(wait_for(v, k.text, "10.0.0.1"), NEXUS_EAUTH);
    nexus_apikey_verifier_close(v);
    nexus_runtime_close(runtime);
}
