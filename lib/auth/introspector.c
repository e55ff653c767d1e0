/*
 * Answers of an introspection endpoint. A table of four places for each hash holds what is known, under the token's HMAC
 * with a key of this process: no token is kept. A list holds what is being asked; whoever wants the same waits with the
 * first.
 */
#include <nexus/client.h>
#include <nexus/introspector.h>
#include <pthread.h>

#include "auth/basic.h"
#include "auth/jose.h"
#include "auth/jwks.h"
#include "auth/principal.h"
#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hmac.h"
#include "crypto/wipe.h"

enum { WAYS = 4, LOCKS = 64, DIGEST = 32, ASKED_MAX = 1024, TOKEN_MAX = 8192 };

typedef struct slot {
    uint8_t digest[DIGEST];
    nexus_principal *principal; /* NULL: not active */
    int64_t until_ns;           /* 0 = free */
} slot;

typedef struct waiter {
    struct waiter *next;
    nexus_verifier_fn *done;
    void *user_data;
} waiter;

typedef struct asking {
    struct asking *next;
    nexus_introspector *owner;
    uint8_t digest[DIGEST];
    waiter *waiters;
} asking;

struct nexus_introspector {
    const nexus_alloc *alloc;
    nexus_client *client;
    char *url, *audience, *client_id;
    const nexus_secret *client_secret;
    uint32_t timeout_ms, keep_s, refused_s;
    int64_t (*now_fn)(void *user_data);
    void *user_data;
    nexus__hmac *names;
    uint32_t sets; /* a power of two */
    slot *slots;   /* WAYS a set; set i under places[i % LOCKS] */
    pthread_mutex_t places[LOCKS], lock;
    pthread_cond_t idle;
    struct {
        asking *asked;
        uint32_t count; /* of askings, until their last word is said */
    } locked;
};

void nexus_introspector_opts_init(nexus_introspector_opts *opts)
{
    *opts = (nexus_introspector_opts)NEXUS_INTROSPECTOR_OPTS_INIT;
}

static int64_t now_of(const nexus_introspector *v)
{
    return v->now_fn ? v->now_fn(v->user_data) : nexus__real_ns();
}

/* --- opening --------------------------------------------------------------------------------------------------------- */

static uint32_t or_default(uint32_t value, uint32_t initial)
{
    return value ? value : initial;
}

static nexus_status open_parts(nexus_introspector *v, const nexus_introspector_opts *o)
{
    uint8_t key[DIGEST];
    uint32_t wanted = or_default(o->cache_tokens, 8192);
    v->timeout_ms = or_default(o->timeout_ms, 2000);
    v->keep_s = or_default(o->keep_s, 60);
    v->refused_s = or_default(o->refused_s, 10);
    v->url = nexus__strndup(v->alloc, nexus__slice_c(o->url));
    v->audience = o->audience ? nexus__strndup(v->alloc, nexus__slice_c(o->audience)) : NULL;
    for (v->sets = 1; v->sets < wanted / WAYS && v->sets < 1u << 18;)
        v->sets *= 2;
    v->slots = nexus__calloc(v->alloc, (size_t)v->sets * WAYS, sizeof *v->slots);
    v->client_id = nexus__strndup(v->alloc, nexus__slice_c(o->client_id));
    if (!v->url || !v->client_id || (o->audience && !v->audience) || !v->slots)
        return nexus__nomem();
    nexus__random(key, sizeof key);
    nexus_status status = nexus__hmac_new(&v->names, NEXUS__SHA256, key, sizeof key);
    nexus__wipe(key, sizeof key);
    return status;
}

nexus_status nexus_introspector_open(nexus_introspector **out, const nexus_introspector_opts *o)
{
    if (!o || o->size != sizeof *o || !o->client || !o->url || !o->client_id || !o->client_secret)
        return nexus__fail(NEXUS_EINVAL, "an introspector takes size, client, url, client_id and client_secret");
    if (!nexus__issuer_url_allowed(o->url))
        return nexus__fail(NEXUS_EINVAL, "introspection: \"%s\" must be https, unless loopback", o->url);
    nexus_introspector *v = nexus__calloc(o->alloc, 1, sizeof *v);
    if (!v)
        return nexus__nomem();
    v->alloc = o->alloc;
    v->client = o->client;
    v->now_fn = o->now_fn;
    v->user_data = o->user_data;
    v->client_secret = o->client_secret;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->idle, NULL);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&v->places[i], NULL);
    nexus_status status = open_parts(v, o);
    if (status == NEXUS_OK)
        *out = v;
    else
        nexus_introspector_close(v);
    return status;
}

void nexus_introspector_close(nexus_introspector *v)
{
    if (!v)
        return;
    pthread_mutex_lock(&v->lock);
    while (v->locked.count)
        pthread_cond_wait(&v->idle, &v->lock);
    pthread_mutex_unlock(&v->lock);
    for (size_t i = 0; v->slots && i < (size_t)v->sets * WAYS; i++)
        nexus_principal_free(v->slots[i].principal);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&v->places[i]);
    pthread_cond_destroy(&v->idle);
    pthread_mutex_destroy(&v->lock);
    nexus__hmac_free(v->names);
    nexus__free(v->alloc, v->slots);
    nexus__free(v->alloc, v->url);
    nexus__free(v->alloc, v->audience);
    nexus__free(v->alloc, v->client_id);
    nexus__free(v->alloc, v);
}

/* --- what is known ----------------------------------------------------------------------------------------------------- */

static slot *places_of(nexus_introspector *v, const uint8_t digest[static DIGEST], pthread_mutex_t **lock)
{
    uint32_t index;
    memcpy(&index, digest, sizeof index);
    index &= v->sets - 1;
    *lock = &v->places[index % LOCKS];
    return &v->slots[(size_t)index * WAYS];
}

/* NEXUS_EAGAIN: nothing is known. */
static nexus_status look(nexus_introspector *v, const uint8_t digest[static DIGEST], nexus_principal **out)
{
    pthread_mutex_t *lock;
    slot *s = places_of(v, digest, &lock);
    int64_t now = now_of(v);
    nexus_status status = NEXUS_EAGAIN;
    pthread_mutex_lock(lock);
    for (int i = 0; i < WAYS; i++)
        if (now < s[i].until_ns && nexus__equal_ct(s[i].digest, digest, DIGEST)) {
            status = s[i].principal ? NEXUS_OK : NEXUS_EAUTH;
            if (s[i].principal)
                *out = nexus_principal_ref(s[i].principal);
            break;
        }
    pthread_mutex_unlock(lock);
    return status;
}

/* Takes the principal. The same token's place, or the one that is over first. */
static void remember(nexus_introspector *v, const uint8_t digest[static DIGEST], nexus_principal *principal,
                     int64_t until_ns)
{
    pthread_mutex_t *lock;
    slot *s = places_of(v, digest, &lock), *place = s;
    pthread_mutex_lock(lock);
    for (int i = 1; i < WAYS; i++)
        if (s[i].until_ns < place->until_ns)
            place = &s[i];
    for (int i = 0; i < WAYS; i++)
        if (nexus__equal_ct(s[i].digest, digest, DIGEST))
            place = &s[i];
    nexus_principal *old = place->principal;
    memcpy(place->digest, digest, DIGEST);
    place->principal = principal;
    place->until_ns = until_ns;
    pthread_mutex_unlock(lock);
    nexus_principal_free(old);
}

static nexus_status name_of(nexus_introspector *v, nexus_slice token, uint8_t digest[static NEXUS__DIGEST_MAX])
{
    if (token.n == 0 || token.n > TOKEN_MAX)
        return nexus__fail(NEXUS_EAUTH, "token refused: over 8 KiB");
    return nexus__hmac_compute(v->names, &token, 1, digest);
}

nexus_status nexus_introspector_check(nexus_introspector *v, const char *token, size_t n, nexus_principal **out)
{
    return nexus_introspector_check_bound(v, token, n, NULL, out);
}

nexus_status nexus_introspector_check_bound(nexus_introspector *v, const char *token, size_t n,
                                            const uint8_t *cert_sha256, nexus_principal **out)
{
    nexus_principal *p = NULL;
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_status status = name_of(v, nexus__slice(token, n), digest);
    if (status == NEXUS_OK)
        status = look(v, digest, &p);
    if (status == NEXUS_EAUTH)
        return nexus__fail(status, "token refused: its issuer says it is not active");
    if (status != NEXUS_OK)
        return status == NEXUS_EAGAIN ? nexus__fail(status, "the token's issuer must be asked") : status;
    status = nexus__confirmation_check(&p->confirmation, cert_sha256);
    if (status == NEXUS_OK)
        *out = p;
    else
        nexus_principal_free(p);
    return status;
}

/* --- an answer --------------------------------------------------------------------------------------------------------- */

static bool is_active(nexus_slice body)
{
    nexus__json doc;
    bool active = false;
    nexus__json_init(&doc, NULL);
    bool fine = nexus__json_scan(&doc, body, NULL) == NEXUS_OK && nexus__json_get_bool(&doc, 0, "active", &active);
    nexus__json_free(&doc);
    return fine && active;
}

static bool is_for_us(const nexus_introspector *v, const nexus_claims *claims)
{
    nexus_slice audience;
    for (size_t i = 0; v->audience && nexus_claims_item(claims, "aud", i, &audience); i++)
        if (nexus__slice_eq_c(audience, v->audience))
            return true;
    return !v->audience;
}

/* Who it is; NULL: nobody. */
static nexus_principal *principal_of(const nexus_introspector *v, nexus_slice body)
{
    nexus_claims *claims;
    nexus_principal *p = NULL;
    if (!is_active(body) || nexus__claims_parse(&claims, body) != NEXUS_OK)
        return NULL;
    if (!is_for_us(v, claims) || nexus__principal_new(&p, v->alloc, claims, NEXUS_S("")) != NEXUS_OK)
        nexus_claims_free(claims);
    return p;
}

static void take_answer(nexus_introspector *v, const uint8_t digest[static DIGEST], nexus_slice body)
{
    int64_t now = now_of(v), until = now + v->keep_s * NEXUS__NS_PER_S;
    nexus_principal *p = principal_of(v, body);
    int64_t exp = p && p->expires_s > 0 ? p->expires_s * NEXUS__NS_PER_S : INT64_MAX;
    if (p && now < exp) {
        remember(v, digest, p, until < exp ? until : exp);
        return;
    }
    nexus_principal_free(p);
    remember(v, digest, NULL, now + v->refused_s * NEXUS__NS_PER_S);
}

/* The last thing that is done for this asking: a close may be waiting. */
static void leave(nexus_introspector *v)
{
    pthread_mutex_lock(&v->lock);
    if (--v->locked.count == 0)
        pthread_cond_broadcast(&v->idle);
    pthread_mutex_unlock(&v->lock);
}

static void end(asking *a, nexus_status status)
{
    nexus_introspector *v = a->owner;
    pthread_mutex_lock(&v->lock);
    asking **at = &v->locked.asked;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    pthread_mutex_unlock(&v->lock);
    for (waiter *w = a->waiters, *next; w; w = next) {
        next = w->next;
        w->done(status, w->user_data);
        nexus__free(v->alloc, w);
    }
    nexus__free(v->alloc, a);
    leave(v);
}

static void on_reply(nexus_status status, nexus_reply *reply, void *user_data)
{
    asking *a = user_data;
    nexus_slice body;
    if (status == NEXUS_OK && nexus_reply_status(reply) != 200)
        status = nexus__fail(NEXUS_EPROTO, "%s answered %u", a->owner->url, nexus_reply_status(reply));
    if (status == NEXUS_OK) {
        nexus_reply_body(reply, &body);
        take_answer(a->owner, a->digest, body);
    }
    nexus_reply_free(reply);
    end(a, status);
}

/* --- asking ------------------------------------------------------------------------------------------------------------ */

static nexus_status send_question(asking *a, nexus_slice token)
{
    nexus_introspector *v = a->owner;
    nexus__buf form, credentials;
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    nexus__buf_init(&credentials, v->alloc, 0);
    nexus_status status = nexus__basic_append(&credentials, v->client_id, v->client_secret);
    const nexus_pair headers[] = {{NEXUS_S("Content-Type"), NEXUS_S("application/x-www-form-urlencoded")},
                                  {NEXUS_S("Accept"), NEXUS_S("application/json")},
                                  {NEXUS_S("Authorization"), nexus__buf_slice(&credentials)}};
    nexus__buf_init(&form, v->alloc, 0);
    nexus__buf_text(&form, "token=");
    nexus__percent_append(&form, token);
    fetch.url = nexus__slice_c(v->url);
    fetch.body = nexus__buf_slice(&form);
    fetch.headers = headers;
    fetch.header_count = 3;
    fetch.timeout_ms = v->timeout_ms;
    fetch.reply_max_bytes = 65536;
    if (status == NEXUS_OK)
        status = form.status == NEXUS_OK ? nexus_client_fetch_async(v->client, &fetch, on_reply, a) : nexus__nomem();
    nexus__wipe(form.p, form.cap);
    nexus__wipe(credentials.p, credentials.cap);
    nexus__buf_free(&form);
    nexus__buf_free(&credentials);
    return status;
}

/* Under lock: who is asked for with that digest, or a new one (*fresh). NULL: too many, or out of memory. */
static asking *find_asking(nexus_introspector *v, const uint8_t digest[static DIGEST], bool *fresh)
{
    asking *a = v->locked.asked;
    while (a && !nexus__equal_ct(a->digest, digest, DIGEST))
        a = a->next;
    *fresh = !a;
    if (a || v->locked.count >= ASKED_MAX || !(a = nexus__calloc(v->alloc, 1, sizeof *a)))
        return a;
    a->owner = v;
    memcpy(a->digest, digest, DIGEST);
    a->next = v->locked.asked;
    v->locked.asked = a;
    v->locked.count++;
    return a;
}

/* The caller learns it from what is returned: its own waiter must not be called. */
static void take_back(asking *a, waiter *w)
{
    pthread_mutex_lock(&a->owner->lock);
    waiter **at = &a->waiters;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pthread_mutex_unlock(&a->owner->lock);
    nexus__free(a->owner->alloc, w);
}

nexus_status nexus_introspector_wait_async(nexus_introspector *v, const char *token, size_t n, nexus_verifier_fn *done,
                                           void *user_data)
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_principal *known = NULL;
    bool fresh = false;
    nexus_status status = name_of(v, nexus__slice(token, n), digest);
    if (status != NEXUS_OK)
        return status;
    waiter *w = nexus__malloc(v->alloc, sizeof *w);
    if (!w)
        return nexus__nomem();
    pthread_mutex_lock(&v->lock);
    bool answered = look(v, digest, &known) != NEXUS_EAGAIN; /* an asking ends only after its answer is known */
    asking *a = answered ? NULL : find_asking(v, digest, &fresh);
    if (a) {
        *w = (waiter){a->waiters, done, user_data};
        a->waiters = w;
    }
    pthread_mutex_unlock(&v->lock);
    nexus_principal_free(known);
    if (!a) {
        nexus__free(v->alloc, w);
        return answered ? NEXUS_EDONE : nexus__fail(NEXUS_EAGAIN, "too many tokens are being asked for");
    }
    status = fresh ? send_question(a, nexus__slice(token, n)) : NEXUS_OK;
    if (status == NEXUS_OK)
        return NEXUS_OK;
    take_back(a, w);
    end(a, status);
    return nexus__fail(NEXUS_EAGAIN, "the token's issuer cannot be asked now");
}
