/* auth/: the verifier on given keys and on keys fetched from a real HTTP server. */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <nexus/client.h>
#include <nexus/verifier.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "base/time.h"

#define ISS "https://id.example"

static int64_t fixed_now = 1800000000 * NEXUS__NS_PER_S;

static int64_t test_now(void *user_data)
{
    (void)user_data;
    return fixed_now;
}

static char *token_of(const nexus_key *key, const char *more, size_t *n)
{
    char claims[512], *token;
    int64_t now = fixed_now / NEXUS__NS_PER_S;
    snprintf(claims, sizeof claims,
             "{\"iss\":\"" ISS
             "\",\"aud\":\"nexus\",\"sub\":\"u1\",\"jti\":\"j1\",\"roles\":[\"customer\",\"operator\"],"
             "\"iat\":%ld,\"exp\":%ld%s}",
             (long)now, (long)now + 600, more);
    cr_assert_eq(nexus_jwt_sign(&token, n, key, NULL, claims, strlen(claims)), NEXUS_OK);
    return token;
}

static nexus_key *fresh(const char *kid)
{
    nexus_key *key;
    cr_assert_eq(nexus_key_generate(&key, "ES256", kid), NEXUS_OK);
    return key;
}

static nexus_verifier_opts options(void)
{
    nexus_verifier_opts opts = NEXUS_VERIFIER_OPTS_INIT;
    opts.issuer = ISS;
    opts.now_fn = test_now;
    return opts;
}

/* A verifier over one key; the set is the caller's to free. */
static nexus_verifier *given(nexus_key *key, nexus_keyset **set)
{
    cr_assert_eq(nexus_keyset_new(set, NULL), NEXUS_OK);
    cr_assert_eq(nexus_keyset_add(*set, key), NEXUS_OK);
    nexus_verifier_opts opts = options();
    opts.keys = *set;
    nexus_verifier *v;
    cr_assert_eq(nexus_verifier_open(&v, &opts), NEXUS_OK, "%s", nexus_error_message());
    return v;
}

static nexus_status check(nexus_verifier *v, const char *token, size_t n)
{
    nexus_principal *p;
    nexus_status status = nexus_verifier_check(v, token, n, &p);
    if (status == NEXUS_OK)
        nexus_principal_free(p);
    return status;
}

Test(verifier, tells_who_calls)
{
    nexus_keyset *set;
    nexus_key *key = fresh("k1");
    nexus_verifier *v = given(key, &set);
    size_t n, roles;
    char *token = token_of(key, "", &n);
    for (int round = 0; round < 3; round++) {
        nexus_principal *p;
        nexus_slice s;
        cr_assert_eq(nexus_verifier_check(v, token, n, &p), NEXUS_OK, "%s", nexus_error_message());
        nexus_principal_subject(p, &s);
        cr_assert(nexus__slice_eq_c(s, "u1"));
        nexus_principal_roles(p, &roles);
        cr_assert_eq(roles, 2);
        cr_assert(nexus_principal_has_role(p, "operator"));
        cr_assert_not(nexus_principal_has_role(p, "admin"));
        nexus_principal_free(p);
    }
    nexus_free(token);
    nexus_verifier_close(v);
    nexus_keyset_free(set);
}

Test(verifier, a_remembered_token_still_expires_and_is_revoked)
{
    nexus_keyset *set;
    nexus_key *key = fresh("k1");
    nexus_verifier *v = given(key, &set);
    size_t n;
    char *token = token_of(key, "", &n);
    cr_assert_eq(check(v, token, n), NEXUS_OK);
    int64_t start = fixed_now;
    fixed_now = start + 629 * NEXUS__NS_PER_S;
    cr_expect_eq(check(v, token, n), NEXUS_OK);
    fixed_now = start + 630 * NEXUS__NS_PER_S;
    cr_expect_eq(check(v, token, n), NEXUS_EAUTH);
    fixed_now = start;
    cr_assert_eq(nexus_verifier_revoke_subject(v, NEXUS_S("u1"), start / NEXUS__NS_PER_S), NEXUS_OK);
    cr_expect_eq(check(v, token, n), NEXUS_OK, "issued at that moment, not before");
    cr_assert_eq(nexus_verifier_revoke_subject(v, NEXUS_S("u1"), start / NEXUS__NS_PER_S + 1), NEXUS_OK);
    cr_expect_eq(check(v, token, n), NEXUS_EAUTH);
    nexus_free(token);
    fixed_now = start + 2 * NEXUS__NS_PER_S;
    token = token_of(key, ",\"x\":1", &n);
    cr_expect_eq(check(v, token, n), NEXUS_OK, "a later token of the same subject");
    cr_assert_eq(nexus_verifier_revoke_token(v, NEXUS_S("j1"), start / NEXUS__NS_PER_S + 602), NEXUS_OK);
    cr_expect_eq(check(v, token, n), NEXUS_EAUTH);
    fixed_now = start;
    nexus_free(token);
    nexus_verifier_close(v);
    nexus_keyset_free(set);
}

Test(verifier, a_token_needs_a_subject)
{
    nexus_keyset *set;
    nexus_key *key = fresh("k1");
    nexus_verifier *v = given(key, &set);
    static const char claims[] = "{\"iss\":\"" ISS "\",\"aud\":\"nexus\",\"iat\":1800000000,\"exp\":1800000600}";
    char *token;
    size_t n;
    cr_assert_eq(nexus_jwt_sign(&token, &n, key, NULL, claims, sizeof claims - 1), NEXUS_OK);
    cr_expect_eq(check(v, token, n), NEXUS_EAUTH);
    nexus_free(token);
    nexus_verifier_close(v);
    nexus_keyset_free(set);
}

Test(verifier, keys_come_over_https_unless_loopback)
{
    nexus_verifier_opts opts = options();
    nexus_verifier *v;
    nexus_client *client;
    cr_assert_eq(nexus_client_open(&client, NULL, NULL), NEXUS_OK);
    opts.client = client;
    opts.jwks_url = "http://id.example/jwks.json";
    cr_expect_eq(nexus_verifier_open(&v, &opts), NEXUS_EINVAL);
    opts.jwks_url = NULL;
    cr_expect_eq(nexus_verifier_open(&v, &opts), NEXUS_EINVAL, "a client without an address");
    nexus_client_close(client);
}

/* --- an issuer --------------------------------------------------------------------------------------------------- */

typedef struct issuer {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int requests, status;
    pthread_mutex_t lock;
    char *jwks; /* under lock */
} issuer;

static void *serve(void *user_data)
{
    issuer *s = user_data;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0; close(fd)) {
        char request[4096], reply[8192];
        if (recv(fd, request, sizeof request, 0) <= 0)
            continue;
        atomic_fetch_add(&s->requests, 1);
        pthread_mutex_lock(&s->lock);
        int n = snprintf(reply, sizeof reply,
                         "HTTP/1.1 %d X\r\nCache-Control: public, max-age=300\r\nContent-Length: %zu\r\n"
                         "Connection: close\r\n\r\n%s",
                         atomic_load(&s->status), strlen(s->jwks), s->jwks);
        pthread_mutex_unlock(&s->lock);
        send(fd, reply, (size_t)n, MSG_NOSIGNAL);
    }
    return NULL;
}

static void publish(issuer *s, const nexus_key *key)
{
    char *jwk, set[4096];
    size_t n;
    cr_assert_eq(nexus_key_print_jwk(key, false, &jwk, &n), NEXUS_OK);
    snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk);
    nexus_free(jwk);
    pthread_mutex_lock(&s->lock);
    free(s->jwks);
    s->jwks = strdup(set);
    pthread_mutex_unlock(&s->lock);
}

static void issuer_start(issuer *s, const nexus_key *key)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    *s = (issuer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    cr_assert_eq(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(listen(s->fd, 64), 0);
    getsockname(s->fd, (struct sockaddr *)&a, &n);
    s->port = ntohs(a.sin_port);
    atomic_store(&s->status, 200);
    pthread_mutex_init(&s->lock, NULL);
    publish(s, key);
    pthread_create(&s->thread, NULL, serve, s);
}

static void issuer_stop(issuer *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    free(s->jwks);
}

static void post(nexus_status status, void *user_data)
{
    (void)status;
    sem_post(user_data);
}

/* Asks until the answer is not "wait"; every wait is for a real fetch. */
static nexus_status settle(nexus_verifier *v, const char *token, size_t n)
{
    sem_t done;
    sem_init(&done, 0, 0);
    nexus_status status, waited = NEXUS_OK;
    while ((status = check(v, token, n)) == NEXUS_EAGAIN && (waited == NEXUS_OK || waited == NEXUS_EDONE)) {
        waited = nexus_verifier_wait_async(v, post, &done);
        if (waited == NEXUS_OK)
            sem_wait(&done);
    }
    sem_destroy(&done);
    return status;
}

Test(verifier, what_ended_is_refused_by_session_and_by_client)
{
    nexus_key *key = fresh("k1");
    nexus_keyset *set;
    nexus_verifier *v;
    size_t n, m;
    cr_assert_eq(nexus_keyset_new(&set, NULL), NEXUS_OK);
    nexus_verifier_opts opts = options();
    opts.keys = set;
    char *one = token_of(key, ",\"sid\":\"s-1\",\"client_id\":\"c-1\"", &n), *two = token_of(key, ",\"sid\":\"s-2\",\"client_id\":\"c-2\"", &m);
    cr_assert_eq(nexus_keyset_add(set, key), NEXUS_OK);
    cr_assert_eq(nexus_verifier_open(&v, &opts), NEXUS_OK);
    cr_expect(check(v, one, n) == NEXUS_OK && check(v, two, m) == NEXUS_OK);
    cr_expect_eq(nexus_verifier_revoke_session(v, NEXUS_S("s-1")), NEXUS_OK);
    cr_expect(check(v, one, n) == NEXUS_EAUTH && check(v, two, m) == NEXUS_OK);
    cr_expect_eq(nexus_verifier_revoke_client(v, NEXUS_S("s-2")), NEXUS_OK);
    cr_expect_eq(check(v, two, m), NEXUS_OK, "a client's id is no session's");
    cr_expect_eq(nexus_verifier_revoke_client(v, NEXUS_S("c-2")), NEXUS_OK);
    cr_expect_eq(check(v, two, m), NEXUS_EAUTH);
    nexus_verifier_close(v);
    nexus_keyset_free(set);
    nexus_free(one);
    nexus_free(two);
}

Test(verifier, row_48_unknown_kids_fetch_twice_a_minute_at_most)
{
    nexus_key *first = fresh("k1"), *second = fresh("k2"), *alien = fresh("alien");
    issuer s;
    issuer_start(&s, first);
    nexus_client *client;
    cr_assert_eq(nexus_client_open(&client, NULL, NULL), NEXUS_OK);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/jwks", s.port);
    nexus_verifier_opts opts = options();
    opts.jwks_url = url;
    opts.client = client;
    nexus_verifier *v;
    cr_assert_eq(nexus_verifier_open(&v, &opts), NEXUS_OK);

    size_t n1, n2, n3;
    char *t1 = token_of(first, "", &n1), *t2 = token_of(second, "", &n2), *t3 = token_of(alien, "", &n3);
    cr_expect_eq(settle(v, t1, n1), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(atomic_load(&s.requests), 1);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(settle(v, t3, n3), NEXUS_EAUTH);
    cr_expect_eq(atomic_load(&s.requests), 2);

    publish(&s, second); /* rotated: found at the next fetch, the old key is gone then */
    cr_expect_eq(settle(v, t2, n2), NEXUS_EAUTH);
    fixed_now += 31 * NEXUS__NS_PER_S;
    cr_assert_eq(settle(v, t3, n3), NEXUS_EAUTH);
    cr_expect_eq(atomic_load(&s.requests), 2, "it was asked for half a minute ago, and leaves the turn to others");
    cr_expect_eq(settle(v, t2, n2), NEXUS_OK);
    cr_expect_eq(atomic_load(&s.requests), 3);
    cr_expect_eq(settle(v, t1, n1), NEXUS_EAUTH, "a token in the cache does not outlive its key");

    atomic_store(&s.status, 500); /* the issuer fails: the keys are used on */
    fixed_now += 290 * NEXUS__NS_PER_S;
    cr_expect_eq(check(v, t2, n2), NEXUS_OK);
    nexus_verifier_close(v);
    nexus_client_close(client);
    issuer_stop(&s);
    nexus_free(t1), nexus_free(t2), nexus_free(t3);
    nexus_key_free(first), nexus_key_free(second), nexus_key_free(alien);
}

Test(verifier, without_an_issuer_it_says_so)
{
    nexus_client *client;
    cr_assert_eq(nexus_client_open(&client, NULL, NULL), NEXUS_OK);
    nexus_verifier_opts opts = options();
    opts.jwks_url = "http://127.0.0.1:1/jwks";
    opts.client = client;
    nexus_verifier *v;
    cr_assert_eq(nexus_verifier_open(&v, &opts), NEXUS_OK);
    nexus_key *key = fresh("k1");
    size_t n;
    char *token = token_of(key, "", &n);
    cr_expect_eq(settle(v, token, n), NEXUS_EAGAIN); /* and the next fetch has to wait */
    cr_expect_not(nexus_verifier_ready(v));
    cr_expect_eq(nexus_verifier_refresh(v), NEXUS_EUNREACH);
    nexus_free(token);
    nexus_key_free(key);
    nexus_verifier_close(v);
    nexus_client_close(client);
}

Test(verifier, an_issuer_hands_its_own_keys_over)
{
    nexus_key *key = fresh("k1"), *next = fresh("k2");
    nexus_verifier_opts opts = options();
    nexus_verifier *v;
    char *jwk, set[2048];
    size_t n, jwk_n;
    cr_assert_eq(nexus_verifier_open(&v, &opts), NEXUS_OK);
    char *token = token_of(key, "", &n);
    cr_expect_eq(check(v, token, n), NEXUS_EAGAIN);
    nexus_key *const order[] = {key, next};
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(nexus_key_print_jwk(order[i], false, &jwk, &jwk_n), NEXUS_OK);
        snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk);
        nexus_free(jwk);
        cr_assert_eq(nexus_verifier_use(v, set, strlen(set)), NEXUS_OK);
        cr_expect_eq(check(v, token, n), i == 0 ? NEXUS_OK : NEXUS_EAUTH);
    }
    nexus_free(token);
    nexus_verifier_close(v);
    nexus_key_free(key), nexus_key_free(next);
}

/* x5t#S256 of 32 bytes of 'c'. */
#define CNF ",\"cnf\":{\"x5t#S256\":\"Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M\"}"

static nexus_status check_bound(nexus_verifier *v, const char *token, size_t n, const char *cert)
{
    nexus_principal *p;
    nexus_status status = nexus_verifier_check_bound(v, token, n, (const uint8_t *)cert, &p);
    if (status == NEXUS_OK)
        nexus_principal_free(p);
    return status;
}

Test(verifier, a_token_bound_to_a_certificate_is_good_with_it_alone)
{
    static const char ours[] = "cccccccccccccccccccccccccccccccc", *other = "ccccccccccccccccccccccccccccccccd" + 1;
    static const char *const unknown[] = {
        ",\"cnf\":{\"jkt\":\"Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M\"}", ",\"cnf\":{}", ",\"cnf\":null",
        ",\"cnf\":\"x5t#S256\"", ",\"cnf\":{\"x5t#S256\":\"Y2Nj\"}", ",\"cnf\":{\"x5t#S256\":1}",
        ",\"cnf\":{\"x5t#S256\":\"Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M\",\"jkt\":\"a\"}"};
    nexus_keyset *set;
    nexus_key *key = fresh("k1");
    nexus_verifier *v = given(key, &set);
    size_t n, plain_n;
    char *token = token_of(key, CNF, &n), *plain = token_of(key, "", &plain_n);
    for (int round = 0; round < 2; round++) { /* the second time from memory */
        cr_assert_eq(check_bound(v, token, n, ours), NEXUS_OK, "%s", nexus_error_message());
        cr_assert_eq(check_bound(v, token, n, other), NEXUS_EAUTH);
        cr_assert_eq(check_bound(v, token, n, NULL), NEXUS_EAUTH);
        cr_assert_eq(check(v, token, n), NEXUS_EAUTH, "who does not know of certificates takes no bound token");
        cr_assert_eq(check_bound(v, plain, plain_n, ours), NEXUS_OK);
        cr_assert_eq(check(v, plain, plain_n), NEXUS_OK);
    }
    nexus_free(token);
    nexus_free(plain);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        token = token_of(key, unknown[i], &n);
        cr_assert_eq(check_bound(v, token, n, ours), NEXUS_EAUTH, "%s", unknown[i]);
        nexus_free(token);
    }
    nexus_verifier_close(v);
    nexus_keyset_free(set);
}
