/*
 * Sessions as the console sees them. They are the backend's: a random id in a cookie that scripts cannot read, known there
 * by its hash. Here stands what is needed between two requests of a browser: the access token of the last minute and who
 * the user is. So a console that starts anew, or another one, goes on with the same sessions; and each minute the backend
 * is asked again, which counts the use, gives a new id when it is due, and says no to what has ended.
 *
 * An entry is reference counted, since a pass-through may be under way while its user signs out. Its own mutex lets one
 * request renew the token while the others wait for it.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define ENTRIES_MAX 4096 /* the one unused for longest goes */
#define REST_NS (30ll * 60 * 1000000000)
#define RENEW_NS (60ll * 1000000000)  /* a token is used so long before the backend is asked again */
#define OLD_ID_NS (10ll * 1000000000) /* the id before the last is still found, as at the backend */
#define TIMEOUT_MS 20000
#define REPLY_MAX (32u * 1024 * 1024)

struct console_session {
    struct console_session *next; /* this and the ids: of the list, guarded by its mutex */
    char id[SESSION_ID_LEN + 1], previous[SESSION_ID_LEN + 1];
    int64_t renamed_ns;
    _Atomic uint32_t refs;
    _Atomic int64_t used_ns;
    char *user; /* JSON; never changes */
    struct {
        pthread_mutex_t mutex;
        char *access;
        int64_t renew_ns;
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

/* --- life of an entry ------------------------------------------------------------------------ */

char *console_copy(nexus_slice text)
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
    free(s->user);
    pthread_mutex_destroy(&s->locked.mutex);
    explicit_bzero(s, sizeof *s);
    free(s);
}

const char *console_session_user(const console_session *s)
{
    return s->user;
}

static bool take_access(console_session *s, nexus_json *doc)
{
    nexus_slice access;
    if (!nexus_json_text(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "access_token"), &access))
        return false;
    char *copy = console_copy(access);
    if (!copy)
        return false;
    forget(s->locked.access);
    s->locked.access = copy;
    s->locked.renew_ns = nexus_time_now_ns() + RENEW_NS;
    return true;
}

static console_session *entry_new(nexus_slice id, nexus_json *doc)
{
    console_session *s = id.n == SESSION_ID_LEN ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return NULL;
    memcpy(s->id, id.p, id.n);
    pthread_mutex_init(&s->locked.mutex, NULL);
    atomic_init(&s->refs, 1);
    atomic_init(&s->used_ns, nexus_time_now_ns());
    if (take_access(s, doc))
        return s;
    console_session_free(s);
    return NULL;
}

/* --- the list -------------------------------------------------------------------------------- */

static bool same_id(const char *a, const char *b)
{
    unsigned char differ = 0;
    for (size_t i = 0; i < SESSION_ID_LEN; i++)
        differ |= (unsigned char)(a[i] ^ b[i]);
    return differ == 0;
}

/* Under the list's mutex. */
static console_session *unlink_entry(console_sessions *all, const console_session *session)
{
    for (console_session **at = &all->locked.list; *at; at = &(*at)->next)
        if (*at == session) {
            console_session *out = *at;
            *at = out->next;
            all->locked.count--;
            return out;
        }
    return NULL;
}

static void drop(console_sessions *all, const console_session *session)
{
    pthread_mutex_lock(&all->locked.mutex);
    console_session *out = unlink_entry(all, session);
    pthread_mutex_unlock(&all->locked.mutex);
    console_session_free(out);
}

static console_session *longest_unused(console_sessions *all)
{
    console_session *found = all->locked.list;
    for (console_session *s = found; s; s = s->next)
        if (atomic_load(&s->used_ns) < atomic_load(&found->used_ns))
            found = s;
    return found;
}

/* What rested too long here is only forgotten: whether it is over is the backend's to say. */
static void expire(void *user_data)
{
    console_sessions *all = user_data;
    int64_t limit = nexus_time_now_ns() - REST_NS;
    for (;;) {
        pthread_mutex_lock(&all->locked.mutex);
        console_session *s = longest_unused(all);
        s = s && atomic_load(&s->used_ns) < limit ? unlink_entry(all, s) : NULL;
        pthread_mutex_unlock(&all->locked.mutex);
        if (!s)
            return;
        console_session_free(s);
    }
}

static void add_entry(console_sessions *all, console_session *s)
{
    console_session *out = NULL;
    atomic_fetch_add(&s->refs, 1);
    pthread_mutex_lock(&all->locked.mutex);
    if (all->locked.count == ENTRIES_MAX)
        out = unlink_entry(all, longest_unused(all));
    s->next = all->locked.list;
    all->locked.list = s;
    all->locked.count++;
    pthread_mutex_unlock(&all->locked.mutex);
    console_session_free(out);
}

static console_session *find(console_sessions *all, nexus_slice id)
{
    console_session *found = NULL;
    int64_t now = nexus_time_now_ns();
    pthread_mutex_lock(&all->locked.mutex);
    for (console_session *s = all->locked.list; s; s = s->next)
        if (same_id(s->id, id.p) || (*s->previous && now < s->renamed_ns + OLD_ID_NS && same_id(s->previous, id.p)))
            found = s;
    if (found)
        atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&all->locked.mutex);
    if (found)
        atomic_store(&found->used_ns, now);
    return found;
}

static void rename_entry(console_sessions *all, console_session *s, nexus_slice id)
{
    if (id.n != SESSION_ID_LEN)
        return;
    pthread_mutex_lock(&all->locked.mutex);
    memcpy(s->previous, s->id, sizeof s->previous);
    memcpy(s->id, id.p, id.n);
    s->renamed_ns = nexus_time_now_ns();
    pthread_mutex_unlock(&all->locked.mutex);
}

void console_session_id(console *c, console_session *s, char out[static SESSION_ID_LEN + 1])
{
    pthread_mutex_lock(&c->sessions->locked.mutex);
    memcpy(out, s->id, SESSION_ID_LEN + 1);
    pthread_mutex_unlock(&c->sessions->locked.mutex);
}

/* --- calling the gateway --------------------------------------------------------------------- */

#define HEADERS_MAX 16

nexus_status console_call(nexus_reply **out, console *c, const char *method, nexus_slice path_query, const char *token,
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

nexus_status console_call_json(nexus_reply **out, console *c, const char *path, const char *name, nexus_slice value)
{
    static const nexus_pair json_type = {{"Content-Type", 12}, {"application/json", 16}};
    nexus_json_writer *w;
    nexus_slice body;
    nexus_status status = nexus_json_writer_new(&w);
    if (status != NEXUS_OK)
        return status;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text(w, name, value);
    nexus_json_close(w);
    body.p = nexus_json_writer_text(w, &body.n);
    status = body.p ? console_call(out, c, "POST", (nexus_slice){path, strlen(path)}, NULL, &json_type, 1, body)
                    : NEXUS_ENOMEM;
    nexus_json_writer_free(w);
    return status;
}

/* --- asking the backend ------------------------------------------------------------------------ */

/* The answer to a use of the session; NULL: there was none. *over: it is not good any more. */
static nexus_json *use(console *c, nexus_slice id, bool *over)
{
    nexus_reply *reply = NULL;
    nexus_json *doc = NULL;
    nexus_slice answer;
    *over = false;
    if (console_call_json(&reply, c, "/api/v1/auth/session", "session", id) == NEXUS_OK) {
        nexus_reply_body(reply, &answer);
        *over = nexus_reply_status(reply) == 401;
        if (nexus_reply_status(reply) == 200 && nexus_json_parse(&doc, answer) != NEXUS_OK)
            doc = NULL;
    }
    nexus_reply_free(reply);
    return doc;
}

/* Under the entry's mutex: others wait for the new token. */
static bool renew_locked(console *c, console_session *s, bool *over)
{
    char id[SESSION_ID_LEN + 1];
    nexus_slice renamed;
    console_session_id(c, s, id);
    nexus_json *doc = use(c, (nexus_slice){id, SESSION_ID_LEN}, over);
    bool ok = doc && take_access(s, doc);
    if (ok && nexus_json_text(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "session"), &renamed))
        rename_entry(c->sessions, s, renamed);
    nexus_json_free(doc);
    explicit_bzero(id, sizeof id);
    return ok;
}

/* A copy of a token to be used; NULL when there is none to be had. stale: the one that was refused. */
static char *good_token(console *c, console_session *s, const char *stale)
{
    bool over = false;
    pthread_mutex_lock(&s->locked.mutex);
    bool old = s->locked.renew_ns <= nexus_time_now_ns() || (stale && strcmp(stale, s->locked.access) == 0);
    bool usable = !old || renew_locked(c, s, &over) || (!stale && !over);
    char *copy = usable ? strdup(s->locked.access) : NULL;
    pthread_mutex_unlock(&s->locked.mutex);
    return copy;
}

nexus_status console_session_call(nexus_reply **out, console *c, console_session *s, const char *method,
                                  nexus_slice path_query, const nexus_pair *extra, size_t extra_count, nexus_slice body)
{
    char *token = good_token(c, s, NULL);
    nexus_status st = console_call(out, c, method, path_query, token, extra, extra_count, body);
    if (st == NEXUS_OK && nexus_reply_status(*out) == 401) {
        char *again = token ? good_token(c, s, token) : NULL;
        if (again) {
            nexus_reply_free(*out);
            *out = NULL;
            st = console_call(out, c, method, path_query, again, extra, extra_count, body);
            forget(again);
        } else {
            drop(c->sessions, s);
        }
    }
    forget(token);
    return st;
}

/* --- entries from answers and cookies --------------------------------------------------------- */

console_session *console_session_new(console *c, nexus_slice id, nexus_json *doc)
{
    nexus_reply *me = NULL;
    nexus_slice user;
    console_session *s = entry_new(id, doc);
    if (!s)
        return NULL;
    nexus_status st = console_session_call(&me, c, s, "GET", NEXUS_S("/api/v1/users/me"), NULL, 0, NEXUS_S(""));
    if (st == NEXUS_OK && nexus_reply_status(me) == 200) {
        nexus_reply_body(me, &user);
        s->user = console_copy(user);
    }
    nexus_reply_free(me);
    if (s->user) {
        add_entry(c->sessions, s);
        return s;
    }
    console_session_free(s);
    return NULL;
}

/* One that this console has not seen yet: made by another, or by itself before it started anew. */
static console_session *adopt(console *c, nexus_slice id)
{
    bool over;
    nexus_slice now = id;
    nexus_json *doc = use(c, id, &over);
    if (!doc)
        return NULL;
    (void)nexus_json_text(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "session"), &now);
    console_session *s = console_session_new(c, now, doc);
    nexus_json_free(doc);
    return s;
}

console_session *console_session_of(console *c, const nexus_request *request)
{
    nexus_slice id;
    if (!console_session_cookie(c, request, &id))
        return NULL;
    console_session *s = find(c->sessions, id);
    return s ? s : adopt(c, id);
}

void console_session_end(console *c, const nexus_request *request)
{
    nexus_slice id;
    nexus_reply *reply = NULL;
    if (!console_session_cookie(c, request, &id))
        return;
    console_session *s = find(c->sessions, id);
    if (s)
        drop(c->sessions, s);
    console_session_free(s);
    if (console_call_json(&reply, c, "/api/v1/auth/session/end", "session", id) == NEXUS_OK)
        nexus_reply_free(reply);
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
        drop(all, all->locked.list);
    pthread_mutex_destroy(&all->locked.mutex);
    free(all);
}
