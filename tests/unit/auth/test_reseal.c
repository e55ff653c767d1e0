/* auth/: sealing again with a new key of the ring, and letting go of an old one. */
#include "world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "auth/ring.h"

TestSuite(reseal, .init = set_up, .fini = tear_down);

static void first_kid(char out[static NEXUS__KID_TEXT])
{
    cr_assert_eq(nexus__ring_sealing_kid(auth->secrets, out), NEXUS_OK);
}

static int64_t sealed_with(const char *kid)
{
    char *json, part[64], *at;
    size_t n;
    cr_assert_eq(nexus_auth_secrets(auth, &json, &n), NEXUS_OK, "%s", nexus_error_message());
    snprintf(part, sizeof part, "\"kid\":\"%s\"", kid);
    at = strstr(json, part);
    cr_assert(at, "%s", json);
    int64_t values = strtoll(strstr(at, "\"values\":") + 9, NULL, 10);
    nexus_free(json);
    return values;
}

static uint32_t reseal(uint32_t batch)
{
    uint32_t done = 0;
    cr_assert_eq(nexus_auth_reseal(auth, batch, &done), NEXUS_OK, "%s", nexus_error_message());
    return done;
}

/* Ann, and some refresh tokens that were spent: each holds a sealed successor. */
static void seal_some(int n)
{
    register_ann();
    for (int i = 0; i < n; i++) {
        nexus_grant *g = ann_in(), *next;
        cr_assert_eq(nexus_auth_refresh(auth, refresh_of(g), &next), NEXUS_OK, "%s", nexus_error_message());
        nexus_grant_free(g);
        nexus_grant_free(next);
    }
}

Test(reseal, goes_on_after_a_crash_and_only_then_lets_the_old_key_go)
{
    char old[NEXUS__KID_TEXT], fresh[NEXUS__KID_TEXT];
    seal_some(5);
    nexus_grant *g = ann_in(), *next;
    char token[NEXUS__TOKEN_TEXT];
    snprintf(token, sizeof token, "%s", nexus_grant_refresh_token(g));
    cr_assert_eq(nexus_auth_refresh(auth, nexus__slice_c(token), &next), NEXUS_OK);
    nexus_grant_free(g);
    first_kid(old);
    int64_t all = sealed_with(old);
    cr_assert_geq(all, 7);
    cr_expect_eq(nexus_auth_secrets_retire(auth, old), NEXUS_ECONFLICT);
    cr_assert_eq(nexus_auth_secrets_rotate(auth), NEXUS_OK, "%s", nexus_error_message());
    first_kid(fresh);
    cr_assert_str_neq(fresh, old);
    cr_expect_eq(sealed_with(old), all);
    cr_expect_eq(reseal(2), 1); /* the signing key; then refresh tokens */
    cr_expect_eq(reseal(2), 2);
    nexus_auth_close(auth); /* as after a crash: nothing but the database and the file is left */
    open_auth();
    cr_expect_eq(sealed_with(old), all - 3);
    cr_expect_eq(nexus_auth_secrets_retire(auth, old), NEXUS_ECONFLICT, "%s", nexus_error_message());
    while (reseal(2))
        ;
    cr_expect_eq(sealed_with(old), 0);
    cr_expect_eq(sealed_with(fresh), all);
    cr_expect_eq(nexus_auth_secrets_retire(auth, fresh), NEXUS_ECONFLICT);
    cr_assert_eq(nexus_auth_secrets_retire(auth, old), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(nexus_auth_secrets_retire(auth, old), NEXUS_ENOTFOUND);
    nexus_auth_close(auth);
    open_auth(); /* its signing key opens */
    nexus_grant *again;
    cr_assert_eq(nexus_auth_refresh(auth, nexus__slice_c(token), &again), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_eq(nexus_grant_refresh_token(again), nexus_grant_refresh_token(next));
    nexus_grant_free(again);
    nexus_grant_free(next);
}

Test(reseal, passes_over_values_that_do_not_open_and_keeps_their_key)
{
    char old[NEXUS__KID_TEXT];
    seal_some(4);
    first_kid(old);
    cr_assert_eq(nexus_db_exec(db, "UPDATE auth_refresh SET successor = successor || 'A' WHERE hash IN (SELECT hash FROM"
                                   " auth_refresh WHERE successor IS NOT NULL ORDER BY hash LIMIT 3)", NULL, 0, NULL), NEXUS_OK);
    cr_assert_eq(nexus_auth_secrets_rotate(auth), NEXUS_OK);
    while (reseal(1))
        ;
    cr_expect_eq(sealed_with(old), 3);
    cr_expect_eq(nexus_auth_secrets_retire(auth, old), NEXUS_ECONFLICT);
}

Test(reseal, another_ring_over_the_file_follows)
{
    char path[96], old[NEXUS__KID_TEXT], *sealed, *plain;
    size_t n, m;
    nexus_secrets *other;
    snprintf(path, sizeof path, "%s/secrets.key", dir);
    cr_assert_eq(nexus_secrets_open(&other, path, NULL), NEXUS_OK);
    first_kid(old);
    cr_assert_eq(nexus_auth_secrets_rotate(auth), NEXUS_OK);
    cr_assert_eq(nexus_secrets_seal(other, NEXUS_S("c"), NEXUS_S("v"), &sealed, &n), NEXUS_OK);
    cr_expect_not(nexus_secrets_is_stale(auth->secrets, nexus__slice(sealed, n)));
    cr_assert_eq(nexus_secrets_rotate(other), NEXUS_OK); /* neither loses the other's key */
    nexus_free(sealed);
    cr_assert_eq(nexus_secrets_seal(other, NEXUS_S("c"), NEXUS_S("v"), &sealed, &n), NEXUS_OK);
    cr_assert_eq(nexus_secrets_unseal(auth->secrets, NEXUS_S("c"), nexus__slice(sealed, n), &plain, &m), NEXUS_OK, "%s",
                 nexus_error_message());
    nexus_free_wiped(plain, m);
    nexus_free(sealed);
    cr_expect_eq(sealed_with(old), 1);
    nexus_secrets_close(other);
}

/* --- at use --------------------------------------------------------------------------------------------------------- */

Test(reseal, a_value_is_sealed_again_when_it_is_used)
{
    char old[NEXUS__KID_TEXT];
    nexus_key *key;
    register_ann();
    first_kid(old);
    int64_t before = sealed_with(old);
    cr_assert_geq(before, 1);
    cr_assert_eq(nexus_auth_secrets_rotate(auth), NEXUS_OK);
    cr_expect_eq(sealed_with(old), before);
    nexus_auth_close(auth);
    open_auth(); /* loads the signing key */
    cr_assert_eq(nexus__signing_key(auth, &key), NEXUS_OK, "%s", nexus_error_message());
    nexus_key_free(key);
    cr_expect_eq(sealed_with(old), before - 1);
    nexus_auth_close(auth);
    open_auth(); /* and it opens */
}

/* --- who seals while a key is retired --------------------------------------------------------------------------------- */

typedef struct retiring {
    char kid[NEXUS__KID_TEXT];
    nexus_status status;
    atomic_bool begun, done;
} retiring;

static void *retire(void *arg)
{
    retiring *r = arg;
    atomic_store(&r->begun, true);
    r->status = nexus_auth_secrets_retire(auth, r->kid);
    atomic_store(&r->done, true);
    return NULL;
}

Test(reseal, a_value_that_is_not_committed_yet_keeps_its_key)
{
    retiring r = {0};
    pthread_t thread;
    nexus_db *tx;
    char *sealed, *plain;
    size_t n, m;
    register_ann();
    first_kid(r.kid);
    while (reseal(100))
        ;
    cr_assert_eq(nexus_db_begin(&tx, db), NEXUS_OK);
    cr_assert_eq(nexus__sealed_enter(tx), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_secrets_seal(auth->secrets, NEXUS_S("auth_refresh/late/successor"), NEXUS_S("late"), &sealed, &n), NEXUS_OK);
    cr_assert_eq(nexus_auth_secrets_rotate(auth), NEXUS_OK);
    cr_assert_eq(nexus_db_exec(tx, "UPDATE auth_keys SET sealed = sealed WHERE kid = 'none'", NULL, 0, NULL), NEXUS_OK);
    cr_assert_eq(pthread_create(&thread, NULL, retire, &r), 0);
    for (int i = 0; i < 100 && !atomic_load(&r.done); i++) /* it waits for us: nothing happens, however long we look */
        usleep(1000);
    cr_expect_not(atomic_load(&r.done));
    cr_assert_eq(nexus_db_exec(tx, "DELETE FROM auth_keys", NULL, 0, NULL), NEXUS_OK); /* nothing else holds the key */
    cr_assert_eq(nexus_db_exec(tx,
                               "INSERT INTO auth_keys (kid, alg, state, sealed, public_jwk, created_at, changed_at)"
                               " VALUES ('late', 'ES256', 'retired', $1, '{}', 0, 0)",
                               (nexus_value[]){NEXUS_TEXT(nexus__slice(sealed, n))}, 1, NULL), NEXUS_OK, "%s",
                 nexus_error_message());
    cr_assert_eq(nexus_db_commit(tx), NEXUS_OK);
    pthread_join(thread, NULL);
    cr_expect_eq(r.status, NEXUS_ECONFLICT);
    cr_assert_eq(nexus_secrets_unseal(auth->secrets, NEXUS_S("auth_refresh/late/successor"), nexus__slice(sealed, n), &plain, &m),
                 NEXUS_OK, "%s", nexus_error_message());
    nexus_free_wiped(plain, m);
    nexus_free(sealed);
}
