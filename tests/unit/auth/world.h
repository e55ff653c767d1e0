/* What the tests of people share: a database of its own (PostgreSQL when the runner started one), a clock that is moved by
 * hand, events as text, and Ann, who is registered. */
#ifndef TESTS_AUTH_WORLD_H
#define TESTS_AUTH_WORLD_H

#include <criterion/criterion.h>
#include <nexus/auth.h>
#include <nexus/db.h>
#include <nexus/verifier.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/auth_private.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/time.h"

#define MAIL NEXUS_S("ann@example.com")
#define GOOD NEXUS_S("correct horse battery")

#define UNUSED __attribute__((unused))

static char dir[64];
static nexus_db *db;
static nexus_auth *auth;
static int64_t now_s;
static nexus__buf events;
static bool refuse_events;

UNUSED static int64_t test_now(void *user_data)
{
    (void)user_data;
    return now_s * NEXUS__NS_PER_S;
}

UNUSED static nexus_status on_event(nexus_db *tx, const char *type, nexus_slice subject, nexus_slice data, void *user_data)
{
    (void)subject, (void)user_data;
    cr_expect(tx ? nexus_db_in_transaction(tx) : strcmp(type, "token.issued") == 0);
    if (refuse_events)
        return NEXUS_EIO;
    nexus__buf_printf(&events, "%s %.*s\n", type, (int)data.n, data.p);
    return NEXUS_OK;
}

UNUSED static void open_auth(void)
{
    nexus_auth_opts opts = NEXUS_AUTH_OPTS_INIT;
    opts.issuer = "https://id.example";
    opts.key_dir = dir;
    opts.hash_memory_kib = 64;
    opts.event_fn = on_event;
    opts.now_fn = test_now;
    opts.address_failures = 20;
    cr_assert_eq(nexus_auth_open(&auth, db, &opts), NEXUS_OK, "%s", nexus_error_message());
}

UNUSED static void set_up(void)
{
    strcpy(dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/nexus-auth-XXXXXX" : "/tmp/nexus-auth-XXXXXX"); /* no disk to wait for */
    cr_assert(mkdtemp(dir));
    const char *postgres = getenv("NEXUS_TEST_POSTGRES_URL");
    char url[96], schema[64];
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    snprintf(url, sizeof url, "sqlite:%s/a.db", dir);
    snprintf(schema, sizeof schema, "t%llx", (unsigned long long)nexus__random_u64());
    opts.schema = schema;
    cr_assert_eq(nexus_db_open(&db, postgres ? postgres : url, &opts), NEXUS_OK, "%s", nexus_error_message());
    now_s = 1800000000;
    refuse_events = false;
    nexus__buf_init(&events, NULL, 0);
    open_auth();
}

UNUSED static void tear_down(void)
{
    nexus_auth_close(auth);
    nexus_db_close(db);
    nexus__buf_free(&events);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}

UNUSED static void register_ann(void)
{
    nexus_user *user;
    cr_assert_eq(nexus_auth_register(auth, MAIL, GOOD, NEXUS_S("Ann"), &user), NEXUS_OK, "%s", nexus_error_message());
    nexus_user_free(user);
}

UNUSED static nexus_status login(nexus_slice email, nexus_slice password)
{
    nexus_grant *grant;
    nexus_status status = nexus_auth_login(auth, email, password, &grant);
    if (status == NEXUS_OK)
        nexus_grant_free(grant);
    return status;
}

UNUSED static nexus_grant *ann_in(void)
{
    nexus_grant *grant;
    cr_assert_eq(nexus_auth_login(auth, MAIL, GOOD, &grant), NEXUS_OK, "%s", nexus_error_message());
    return grant;
}

UNUSED static nexus_slice refresh_of(const nexus_grant *g)
{
    return nexus__slice_c(nexus_grant_refresh_token(g));
}

UNUSED static int count_events(const char *type)
{
    int n = 0;
    nexus_slice rest = nexus__buf_slice(&events);
    while (rest.n)
        n += nexus__slice_eq_c(nexus__slice_cut(&(nexus_slice){rest.p, rest.n}, ' '), type) ? 1 : 0,
            nexus__slice_cut(&rest, '\n');
    return n;
}

#endif
