/* One verifier, four threads that check tokens, one that replaces the keys, one that revokes: ThreadSanitizer clean. */
#include <nexus/verifier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"

#define ROUNDS 300

static nexus_verifier *verifier;
static nexus_key *keys[2];
static char *tokens[8];
static size_t lengths[8];
static char sets[2][4096];
static atomic_int accepted, refused;

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, nexus_error_message());
        exit(1);
    }
}

static void *check(void *user_data)
{
    (void)user_data;
    for (int i = 0; i < ROUNDS; i++) {
        nexus_principal *p;
        if (nexus_verifier_check(verifier, tokens[i % 8], lengths[i % 8], &p) == NEXUS_OK) {
            nexus_slice subject;
            nexus_principal_subject(p, &subject);
            require(subject.n == 2, "a subject");
            nexus_principal_free(p);
            atomic_fetch_add(&accepted, 1);
        } else {
            atomic_fetch_add(&refused, 1);
        }
    }
    return NULL;
}

static void *replace(void *user_data)
{
    (void)user_data;
    for (int i = 0; i < ROUNDS; i++)
        require(nexus_verifier_use(verifier, sets[i % 2], strlen(sets[i % 2])) == NEXUS_OK, "use");
    return NULL;
}

static void *revoke(void *user_data)
{
    (void)user_data;
    for (int i = 0; i < ROUNDS; i++) {
        char jti[16];
        int n = snprintf(jti, sizeof jti, "j%d", i + 7);
        require(nexus_verifier_revoke_token(verifier, (nexus_slice){jti, (size_t)n}, 1) == NEXUS_OK, "revoke");
    }
    return NULL;
}

int main(void)
{
    char *both[2];
    size_t n;
    for (int i = 0; i < 2; i++) {
        require(nexus_key_generate(&keys[i], "ES256", i ? "b" : "a") == NEXUS_OK, "key");
        require(nexus_key_print_jwk(keys[i], false, &both[i], &n) == NEXUS_OK, "jwk");
    }
    snprintf(sets[0], sizeof sets[0], "{\"keys\":[%s,%s]}", both[0], both[1]);
    snprintf(sets[1], sizeof sets[1], "{\"keys\":[%s,%s]}", both[1], both[0]);
    long now = (long)(nexus__real_ns() / NEXUS__NS_PER_S);
    for (int i = 0; i < 8; i++) {
        char claims[256];
        snprintf(claims, sizeof claims,
                 "{\"iss\":\"i\",\"aud\":\"nexus\",\"sub\":\"u%d\",\"jti\":\"j%d\",\"iat\":%ld,\"exp\":%ld}", i, i, now,
                 now + 600);
        require(nexus_jwt_sign(&tokens[i], &lengths[i], keys[i % 2], NULL, claims, strlen(claims)) == NEXUS_OK, "sign");
    }
    nexus_verifier_opts opts = NEXUS_VERIFIER_OPTS_INIT;
    opts.issuer = "i";
    opts.cache_tokens = 16;
    require(nexus_verifier_open(&verifier, &opts) == NEXUS_OK, "open");
    require(nexus_verifier_use(verifier, sets[0], strlen(sets[0])) == NEXUS_OK, "use");
    pthread_t threads[6];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, check, NULL);
    pthread_create(&threads[4], NULL, replace, NULL);
    pthread_create(&threads[5], NULL, revoke, NULL);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    require(atomic_load(&accepted) >= 4 * ROUNDS * 7 / 8, "all but the revoked token are accepted");
    printf("%d accepted, %d refused\n", atomic_load(&accepted), atomic_load(&refused));
    nexus_verifier_close(verifier);
    for (int i = 0; i < 8; i++)
        nexus_free(tokens[i]);
    for (int i = 0; i < 2; i++) {
        nexus_free(both[i]);
        nexus_key_free(keys[i]);
    }
    return 0;
}
