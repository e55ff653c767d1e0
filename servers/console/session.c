/*
 * Sessions: a random id in a cookie that scripts cannot read; tokens, user and expiry here, in memory. A session is
 * reference counted, since a pass-through may be under way while its user signs out. Its own mutex serialises the
 * refreshing of tokens: a refresh token is good for one use, and a second use ends all of them.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "console.h"

#define ID_BYTES 32
#define SESSIONS_MAX 4096
#define IDLE_NS (12ll * 3600 * 1000000000)
#define REFRESH_AHEAD_NS (30ll * 1000000000)
#define TIMEOUT_MS 20000
#define REPLY_MAX (32u * 1024 * 1024)

struct console_session {
    struct console_session *next; /* of the list; guarded by the list's mutex */
    char id[2 * ID_BYTES + 1];
    _Atomic uint32_t refs;
    _Atomic int64_t used_ns;
    char *user; /* JSON; never changes */
    struct {
        pthread_mutex_t mutex;
        char *access, *refresh;
        int64_t expires_ns;
    } locked;
};

struct console_sessions {
    console *c;
    struct {
        pthread_mutex_t mutex;
        console_session *list;
        size_t count;
    } locked;
};

/* --- life of a session ----------------------------------------------------------------------- */

static char *copy_text(nexus_slice text)
{
    char *copy = malloc(text.n + 1);
    if (copy) {
        memcpy(copy, text.p, text.n);
        copy[text.n] = '\0';
    }
    return copy;
}

/* Tokens do not stay behind in freed memory. */
static void forget(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void console_session_free(console_session *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    forget(s->locked.access);
    forget(s->locked.refresh);
    free(s->user);
    pthread_mutex_destroy(&s->locked.mutex);
    free(s);
}

/* Takes the tokens of a login's or refresh's answer. */
static bool take_tokens(console_session *s, nexus_json *doc)
{
    nexus_slice access, refresh;
    int64_t seconds = 600;
    if (!nexus_json_text(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "access_token"), &access) ||
        !nexus_json_text(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "refresh_token"), &refresh))
        return false;
    (void)nexus_json_int(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "expires_in"), &seconds);
    char *a = copy_text(access), *r = copy_text(refresh);
    if (!a || !r) {
        forget(a);
        forget(r);
        return false;
    }
    forget(s->locked.access);
    forget(s->locked.refresh);
    s->locked.access = a;
    s->locked.refresh = r;
    s->locked.expires_ns = nexus_time_now_ns() + seconds * 1000000000;
    return true;
}

static console_session *session_new(nexus_json *tokens)
{
    unsigned char random[ID_BYTES];
    console_session *s = calloc(1, sizeof *s);
    if (!s || getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        free(s);
        return NULL;
    }
    for (size_t i = 0; i < ID_BYTES; i++)
        snprintf(s->id + 2 * i, 3, "%02x", random[i]);
    pthread_mutex_init(&s->locked.mutex, NULL);
    atomic_init(&s->refs, 1);
    atomic_init(&s->used_ns, nexus_time_now_ns());
    if (!take_tokens(s, tokens)) {
        console_session_free(s);
        return NULL;
    }
    return s;
}

/* --- the list -------------------------------------------------------------------------------- */

static bool same_id(const char *a, const char *b)
{
    unsigned char differ = 0;
    for (size_t i = 0; i < 2 * ID_BYTES; i++)
        differ |= (unsigned char)(a[i] ^ b[i]);
    return differ == 0;
}

static void end_session(console_sessions *all, const console_session *session)
{
    console_session *out = NULL;
    pthread_mutex_lock(&all->locked.mutex);
    for (console_session **at = &all->locked.list; *at; at = &(*at)->next)
        if (*at == session) {
            out = *at;
            *at = out->next;
            all->locked.count--;
            break;
        }
    pthread_mutex_unlock(&all->locked.mutex);
    console_session_free(out);
}

static void expire(void *user_data)
{
    console_sessions *all = user_data;
    int64_t now = nexus_time_now_ns();
    console_session *old = NULL;
    pthread_mutex_lock(&all->locked.mutex);
    for (console_session **at = &all->locked.list; *at;) {
        console_session *s = *at;
        if (now - atomic_load(&s->used_ns) < IDLE_NS) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        s->next = old;
        old = s;
        all->locked.count--;
    }
    pthread_mutex_unlock(&all->locked.mutex);
    while (old) {
        console_session *next = old->next;
        console_session_free(old);
        old = next;
    }
}

static bool add_session(console_sessions *all, console_session *s)
{
    pthread_mutex_lock(&all->locked.mutex);
    bool room = all->locked.count < SESSIONS_MAX;
    if (room) {
        s->next = all->locked.list;
        all->locked.list = s;
        all->locked.count++;
    }
    pthread_mutex_unlock(&all->locked.mutex);
    return room;
}

/* The cookie's value; false when it is not there or no id. */
static bool cookie_id(const nexus_request *request, nexus_slice *id)
{
    nexus_slice all;
    const size_t name_n = sizeof CONSOLE_SESSION_COOKIE; /* "=" stands where the NUL is */
    if (!nexus_request_header(request, "cookie", &all))
        return false;
    for (size_t at = 0; at + name_n + 2 * ID_BYTES <= all.n; at++) {
        bool starts = at == 0 || all.p[at - 1] == ' ' || all.p[at - 1] == ';';
        if (starts && memcmp(all.p + at, CONSOLE_SESSION_COOKIE "=", name_n) == 0) {
            *id = (nexus_slice){all.p + at + name_n, 2 * ID_BYTES};
            return true;
        }
    }
    return false;
}

console_session *console_session_of(console *c, const nexus_request *request)
{
    nexus_slice id;
    console_session *found = NULL;
    if (!cookie_id(request, &id))
        return NULL;
    pthread_mutex_lock(&c->sessions->locked.mutex);
    for (console_session *s = c->sessions->locked.list; s; s = s->next)
        if (same_id(s->id, id.p))
            found = s;
    if (found)
        atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&c->sessions->locked.mutex);
    if (found)
        atomic_store(&found->used_ns, nexus_time_now_ns());
    return found;
}

/* --- calling the gateway --------------------------------------------------------------------- */

#define HEADERS_MAX 16

static nexus_status call(nexus_reply **out, console *c, const char *method, nexus_slice path_query, const char *token,
                         const nexus_pair *extra, size_t extra_count, nexus_slice body)
{
    nexus_client *client = nexus_service_client(c->service);
    nexus_pair headers[HEADERS_MAX];
    size_t n = 0, base = strlen(c->gateway_url);
    char bearer[8192];
    char *url = malloc(base + path_query.n + 1);
    if (!url || !client || extra_count > HEADERS_MAX - 2) {
        free(url);
        return NEXUS_ENOMEM;
    }
    memcpy(url, c->gateway_url, base);
    memcpy(url + base, path_query.p, path_query.n);
    for (; n < extra_count; n++)
        headers[n] = extra[n];
    headers[n++] = (nexus_pair){NEXUS_S("Console-Pass"), NEXUS_S("1")};
    if (token) {
        int len = snprintf(bearer, sizeof bearer, "Bearer %s", token);
        headers[n++] = (nexus_pair){NEXUS_S("Authorization"), {bearer, (size_t)len}};
    }
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    fetch.method = method;
    fetch.url = (nexus_slice){url, base + path_query.n};
    fetch.headers = headers;
    fetch.header_count = n;
    fetch.body = body;
    fetch.timeout_ms = TIMEOUT_MS;
    fetch.reply_max_bytes = REPLY_MAX;
    nexus_status st = nexus_client_fetch(client, &fetch, out);
    explicit_bzero(bearer, sizeof bearer);
    free(url);
    return st;
}

static const nexus_pair json_type = {{"Content-Type", 12}, {"application/json", 16}};

/* Posts {"refresh_token"} and takes what comes. Under the session's mutex: others wait for the new token. */
static bool refresh_locked(console *c, console_session *s)
{
    nexus_json_writer *w;
    nexus_reply *reply = NULL;
    nexus_json *doc = NULL;
    nexus_slice body, answer;
    bool ok = false;
    if (!s->locked.refresh || nexus_json_writer_new(&w) != NEXUS_OK)
        return false;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "refresh_token", s->locked.refresh);
    nexus_json_close(w);
    body.p = nexus_json_writer_text(w, &body.n);
    if (body.p && call(&reply, c, "POST", NEXUS_S("/api/v1/auth/refresh"), NULL, &json_type, 1, body) == NEXUS_OK) {
        nexus_reply_body(reply, &answer);
        ok = nexus_reply_status(reply) == 200 && nexus_json_parse(&doc, answer) == NEXUS_OK && take_tokens(s, doc);
    }
    nexus_json_free(doc);
    nexus_reply_free(reply);
    nexus_json_writer_free(w);
    return ok;
}

/* A copy of a token that is good for a while; NULL when there is none to be had. stale: the one that was refused. */
static char *good_token(console *c, console_session *s, const char *stale)
{
    pthread_mutex_lock(&s->locked.mutex);
    bool old = s->locked.expires_ns - nexus_time_now_ns() < REFRESH_AHEAD_NS ||
               (stale && strcmp(stale, s->locked.access) == 0);
    bool usable = !old || refresh_locked(c, s) || (!stale && s->locked.expires_ns > nexus_time_now_ns());
    char *copy = usable ? strdup(s->locked.access) : NULL;
    pthread_mutex_unlock(&s->locked.mutex);
    return copy;
}

nexus_status console_session_call(nexus_reply **out, console *c, console_session *s, const char *method,
                                  nexus_slice path_query, const nexus_pair *extra, size_t extra_count, nexus_slice body)
{
    char *token = good_token(c, s, NULL);
    nexus_status st = call(out, c, method, path_query, token, extra, extra_count, body);
    if (st == NEXUS_OK && nexus_reply_status(*out) == 401) {
        char *again = token ? good_token(c, s, token) : NULL;
        if (again) {
            nexus_reply_free(*out);
            *out = NULL;
            st = call(out, c, method, path_query, again, extra, extra_count, body);
            forget(again);
        } else {
            end_session(c->sessions, s);
        }
    }
    forget(token);
    return st;
}

/* --- signing in and out ---------------------------------------------------------------------- */

static void set_cookie(nexus_request *request, const char *id, int64_t seconds)
{
    char cookie[256];
    int n = snprintf(cookie, sizeof cookie, CONSOLE_SESSION_COOKIE "=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=%lld%s",
                     id, (long long)seconds, nexus_request_is_tls(request) ? "; Secure" : "");
    nexus_request_set_header(request, "Set-Cookie", (nexus_slice){cookie, (size_t)n});
}

static void answer_user(nexus_request *request, const char *user)
{
    nexus_json_writer *w;
    nexus_slice text = {NULL, 0};
    nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    if (nexus_json_writer_new(&w) != NEXUS_OK) {
        nexus_request_problem_text(request, 503, "out-of-memory", "Try again.");
        return;
    }
    nexus_json_open_object(w, NULL);
    if (user)
        nexus_json_put_raw(w, "user", (nexus_slice){user, strlen(user)});
    else
        nexus_json_put_null(w, "user");
    nexus_json_close(w);
    text.p = nexus_json_writer_text(w, &text.n);
    nexus_request_reply(request, 200, "application/json", text);
    nexus_json_writer_free(w);
}

static void relay_problem(nexus_request *request, const nexus_reply *reply)
{
    nexus_slice body, after;
    nexus_reply_body(reply, &body);
    if (nexus_reply_header(reply, "retry-after", &after))
        nexus_request_set_header(request, "Retry-After", after);
    nexus_request_reply(request, nexus_reply_status(reply), "application/problem+json", body);
}

/* Asks who the fresh tokens belong to and puts the session into the list. */
static bool admit(console *c, nexus_request *request, console_session *s)
{
    nexus_reply *me = NULL;
    nexus_slice user;
    nexus_status st = console_session_call(&me, c, s, "GET", NEXUS_S("/api/v1/users/me"), NULL, 0, NEXUS_S(""));
    bool ok = st == NEXUS_OK && nexus_reply_status(me) == 200;
    if (ok) {
        nexus_reply_body(me, &user);
        s->user = copy_text(user);
        atomic_fetch_add(&s->refs, 1); /* the list's own */
        ok = s->user && add_session(c->sessions, s);
        if (!ok)
            atomic_fetch_sub(&s->refs, 1);
    }
    nexus_reply_free(me);
    if (!ok)
        nexus_request_problem_text(request, 503, "sign-in-failed", "The sign-in could not be finished; try again.");
    return ok;
}

static void sign_in(nexus_request *request, void *user_data)
{
    console *c = user_data;
    nexus_slice body, answer;
    nexus_reply *reply = NULL;
    nexus_json *doc = NULL;
    if (!console_same_origin(request))
        return;
    nexus_request_body(request, &body);
    nexus_status st = call(&reply, c, "POST", NEXUS_S("/api/v1/auth/login"), NULL, &json_type, 1, body);
    if (st != NEXUS_OK) {
        nexus_request_problem_text(request, 503, "gateway-unreachable", nexus_error_message());
    } else if (nexus_reply_status(reply) != 200) {
        relay_problem(request, reply);
    } else {
        nexus_reply_body(reply, &answer);
        console_session *s = nexus_json_parse(&doc, answer) == NEXUS_OK ? session_new(doc) : NULL;
        if (!s) {
            nexus_request_problem_text(request, 502, "bad-answer", "The sign-in was answered without tokens.");
        } else if (admit(c, request, s)) {
            set_cookie(request, s->id, IDLE_NS / 1000000000);
            answer_user(request, s->user);
        }
        console_session_free(s);
    }
    nexus_json_free(doc);
    nexus_reply_free(reply);
}

static void sign_out(nexus_request *request, void *user_data)
{
    console *c = user_data;
    nexus_reply *reply = NULL;
    nexus_json_writer *w;
    nexus_slice body;
    if (!console_same_origin(request))
        return;
    console_session *s = console_session_of(c, request);
    if (s && nexus_json_writer_new(&w) == NEXUS_OK) {
        nexus_json_open_object(w, NULL);
        pthread_mutex_lock(&s->locked.mutex);
        nexus_json_put_text_c(w, "refresh_token", s->locked.refresh);
        pthread_mutex_unlock(&s->locked.mutex);
        nexus_json_close(w);
        body.p = nexus_json_writer_text(w, &body.n);
        if (body.p && /* best effort: the session here ends in any case */
            console_session_call(&reply, c, s, "POST", NEXUS_S("/api/v1/auth/logout"), &json_type, 1, body) == NEXUS_OK)
            nexus_reply_free(reply);
        nexus_json_writer_free(w);
        end_session(c->sessions, s);
    }
    console_session_free(s);
    set_cookie(request, "", 0);
    nexus_request_reply(request, 204, NULL, NEXUS_S(""));
}

static void show_session(nexus_request *request, void *user_data)
{
    console_session *s = console_session_of(user_data, request);
    answer_user(request, s ? s->user : NULL);
    console_session_free(s);
}

nexus_status console_session_routes(console *c)
{
    static const char schema[] = "{\"type\":\"object\",\"required\":[\"email\",\"password\"],\"properties\":{"
                                 "\"email\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":320},"
                                 "\"password\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024}}}";
    const nexus_route routes[] = {
        {.size = sizeof(nexus_route),
         .method = "GET",
         .path = "/session",
         .handler = show_session,
         .user_data = c,
         .operation_id = "consoleSession",
         .summary = "Who is signed in",
         .tag = "console",
         .roles = "public"},
        {.size = sizeof(nexus_route),
         .method = "POST",
         .path = "/session",
         .handler = sign_in,
         .user_data = c,
         .body_max = 8192,
         .operation_id = "consoleSignIn",
         .summary = "Sign in",
         .tag = "console",
         .roles = "public",
         .body_schema = schema},
        {.size = sizeof(nexus_route),
         .method = "DELETE",
         .path = "/session",
         .handler = sign_out,
         .user_data = c,
         .operation_id = "consoleSignOut",
         .summary = "Sign out",
         .tag = "console",
         .roles = "public"},
    };
    return nexus_service_route(c->service, routes, sizeof routes / sizeof routes[0]);
}

nexus_status console_sessions_open(console_sessions **out, console *c)
{
    console_sessions *all = calloc(1, sizeof *all);
    if (!all)
        return NEXUS_ENOMEM;
    all->c = c;
    pthread_mutex_init(&all->locked.mutex, NULL);
    *out = all;
    return nexus_service_every(c->service, "expire-sessions", 60000, expire, all);
}

void console_sessions_close(console_sessions *all)
{
    if (!all)
        return;
    while (all->locked.list)
        end_session(all, all->locked.list);
    pthread_mutex_destroy(&all->locked.mutex);
    free(all);
}
