/* HTTP over libcurl: from nexus_fetch to an easy handle, and from its end to a status and a reply. */
#include <netdb.h>
#include <stdio.h>

#include "base/status.h"
#include "transfer/dispatch.h"
#include "transfer/transfer.h"

enum { TIMEOUT_MS = 15000, CONNECT_TIMEOUT_MS = 2000, REDIRECTS_MAX = 5, HEAD_MAX = 64 * 1024 };

void nexus_fetch_init(nexus_fetch *fetch)
{
    *fetch = (nexus_fetch)NEXUS_FETCH_INIT;
}

/* --- callbacks of libcurl --------------------------------------------------------------------------------------- */

static curl_socket_t open_socket(void *user_data, curlsocktype purpose, struct curl_sockaddr *address)
{
    nexus__transfer *t = user_data;
    nexus__ip ip;
    (void)purpose;
    if (t->guard && (!nexus__address_ip(&address->addr, &ip) || !nexus__guard_allows(&t->client->guard, &ip))) {
        t->refused = true;
        getnameinfo(&address->addr, address->addrlen, t->refused_address, sizeof t->refused_address, NULL, 0,
                    NI_NUMERICHOST);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* A kept connection did not pass open_socket for this transfer; judge the peer it really has. */
static int before_request(void *user_data, char *peer, char *local, int peer_port, int local_port)
{
    nexus__transfer *t = user_data;
    (void)local;
    (void)peer_port;
    (void)local_port;
    t->connected = true;
    if (!t->guard || nexus__guard_allows_text(&t->client->guard, peer))
        return CURL_PREREQFUNC_OK;
    t->refused = true;
    snprintf(t->refused_address, sizeof t->refused_address, "%s", peer);
    return CURL_PREREQFUNC_ABORT;
}

static size_t on_head(char *data, size_t size, size_t n, void *user_data)
{
    nexus__transfer *t = user_data;
    n *= size;
    if (n > 5 && memcmp(data, "HTTP/", 5) == 0) /* after 1xx and redirects a new head begins */
        nexus__buf_clear(&t->reply->head);
    else
        nexus__buf_append(&t->reply->head, data, n);
    return t->reply->head.status ? 0 : n;
}

static size_t on_body(char *data, size_t size, size_t n, void *user_data)
{
    nexus__transfer *t = user_data;
    nexus__buf_append(&t->reply->body, data, size * n);
    return t->reply->body.status ? 0 : size * n;
}

/* --- set-up ----------------------------------------------------------------------------------------------------- */

nexus_status nexus__transfer_new(nexus__transfer **out, nexus_client *client)
{
    nexus__transfer *t = nexus__calloc(client->alloc, 1, sizeof *t);
    if (!t)
        return nexus__nomem();
    t->client = client;
    t->alloc = client->alloc;
    nexus__list_init(&t->node);
    nexus__buf_init(&t->body, client->alloc, 0);
    t->report.size = sizeof t->report;
    if (!(t->easy = curl_easy_init())) {
        nexus__free(client->alloc, t);
        return nexus__nomem();
    }
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_PROXY, ""); /* the host's http_proxy would lead around the guard */
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
    if (client->ca_file)
        curl_easy_setopt(t->easy, CURLOPT_CAINFO, client->ca_file);
    if (client->insecure) {
        curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    *out = t;
    return NEXUS_OK;
}

void nexus__transfer_free(nexus__transfer *t)
{
    if (!t)
        return;
    if (t->easy)
        curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->list);
    curl_slist_free_all(t->connect_to);
    nexus__buf_free(&t->body);
    nexus_reply_free(t->reply);
    nexus__free(t->alloc, t);
}

static bool field_ok(const nexus_pair *field)
{
    for (size_t i = 0; i < field->name.n; i++)
        if ((uint8_t)field->name.p[i] <= ' ' || (uint8_t)field->name.p[i] >= 0x7f || field->name.p[i] == ':')
            return false;
    for (size_t i = 0; i < field->value.n; i++)
        if (field->value.p[i] == '\r' || field->value.p[i] == '\n' || field->value.p[i] == 0)
            return false;
    return field->name.n > 0;
}

static nexus_status add_line(nexus__transfer *t, const char *line)
{
    struct curl_slist *list = line ? curl_slist_append(t->list, line) : NULL;
    if (!list)
        return nexus__nomem();
    t->list = list;
    return NEXUS_OK;
}

static nexus_status add_fields(nexus__transfer *t, const nexus_fetch *f)
{
    nexus__buf line;
    nexus_status status = NEXUS_OK;
    nexus__buf_init(&line, t->client->alloc, 0);
    for (size_t i = 0; i < f->header_count && !status; i++) {
        const nexus_pair *h = &f->headers[i];
        if (!field_ok(h)) {
            status = nexus__fail(NEXUS_EINVAL, "fetch: header \"%.*s\" has bytes that no header may hold",
                                 (int)h->name.n, h->name.p);
            break;
        }
        nexus__buf_clear(&line);
        nexus__buf_slice_append(&line, h->name);
        nexus__buf_text(&line, h->value.n > 0 ? ": " : ";"); /* ";" is how libcurl spells an empty field */
        nexus__buf_slice_append(&line, h->value);
        nexus__buf_char(&line, 0);
        status = line.status ? nexus__nomem() : add_line(t, line.p);
    }
    nexus__buf_free(&line);
    return status ? status : add_line(t, "Expect:");
}

static nexus_status set_method(nexus__transfer *t, const nexus_fetch *f)
{
    const char *method = f->method ? f->method : f->body.n > 0 ? "POST" : "GET";
    bool body = f->body.n > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
    for (const char *c = method; *c; c++)
        if (*c < 'A' || *c > 'Z')
            return nexus__fail(NEXUS_EINVAL, "fetch: method \"%s\": upper case letters only", method);
    if (body) {
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body.len);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->body.p ? t->body.p : "");
    }
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    return curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK ? NEXUS_OK : nexus__nomem();
}

static nexus_status set_url(nexus__transfer *t, nexus_slice url)
{
    char *text = nexus__strndup(t->client->alloc, url);
    if (!text)
        return nexus__nomem();
    bool scheme = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
    bool ok = scheme && strlen(text) == url.n && curl_easy_setopt(t->easy, CURLOPT_URL, text) == CURLE_OK;
    nexus__free(t->client->alloc, text);
    return ok ? NEXUS_OK
              : nexus__fail(NEXUS_EINVAL, "fetch: \"%.*s\" is no http or https URL", url.n > 200 ? 200 : (int)url.n,
                            url.p);
}

static nexus_status set_reply(nexus__transfer *t, uint64_t body_max)
{
    nexus_reply *r = nexus__calloc(t->client->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->alloc = t->client->alloc;
    nexus__buf_init(&r->head, r->alloc, HEAD_MAX);
    nexus__buf_init(&r->body, r->alloc, body_max ? body_max : 1024 * 1024);
    t->reply = r;
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    return NEXUS_OK;
}

static long version_of(const nexus_fetch *f)
{
    return f->http2_prior_knowledge ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
           : f->http2               ? CURL_HTTP_VERSION_2TLS
                                    : CURL_HTTP_VERSION_1_1;
}

/* Options that libcurl copies. */
static void set_tls(nexus__transfer *t, const nexus_fetch *f)
{
    CURL *e = t->easy;
    if (f->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, f->ca_file);
    if (f->cert_file) {
        curl_easy_setopt(e, CURLOPT_SSLCERT, f->cert_file);
        curl_easy_setopt(e, CURLOPT_SSLKEY, f->key_file);
    }
    if (f->insecure) {
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static nexus_status set_connect_to(nexus__transfer *t, const char *host_and_port)
{
    char text[300];
    if (!host_and_port)
        return NEXUS_OK;
    if (t->guard)
        return nexus__fail(NEXUS_EINVAL, "connect_to is the operator's, guard is for addresses of users");
    snprintf(text, sizeof text, "::%s", host_and_port);
    t->connect_to = curl_slist_append(NULL, text);
    return t->connect_to && curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, t->connect_to) == CURLE_OK ? NEXUS_OK
                                                                                                     : nexus__nomem();
}

nexus_status nexus__transfer_fetch(nexus__transfer **out, nexus_client *client, const nexus_fetch *fetch)
{
    nexus_fetch f = NEXUS_FETCH_INIT;
    memcpy(&f, fetch, fetch->size < sizeof f ? fetch->size : sizeof f);
    nexus__transfer *t;
    nexus_status status = nexus__transfer_new(&t, client);
    if (status)
        return status;
    nexus__buf_slice_append(&t->body, f.body);
    t->guard = f.guard;
    status = t->body.status ? nexus__nomem() : set_url(t, f.url);
    if (status || (status = set_method(t, &f)) || (status = add_fields(t, &f)) ||
        (status = set_reply(t, f.reply_max_bytes)) || (status = set_connect_to(t, f.connect_to))) {
        nexus__transfer_free(t);
        return status;
    }
    CURL *e = t->easy;
    set_tls(t, &f);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->list);
    curl_easy_setopt(e, CURLOPT_USERAGENT, client->user_agent);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, strncasecmp(f.url.p, "https", 5) == 0 ? "https" : "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, f.follow ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, version_of(&f));
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, f.http2_prior_knowledge ? 1L : 0L); /* libcurl 7.88 cannot use it twice */
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, f.http2_prior_knowledge ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, f.timeout_ms ? (long)f.timeout_ms : (long)TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     f.connect_timeout_ms ? (long)f.connect_timeout_ms : (long)CONNECT_TIMEOUT_MS);
    *out = t;
    return NEXUS_OK;
}

/* --- the end ---------------------------------------------------------------------------------------------------- */

static nexus_status failed(nexus__transfer *t, CURLcode code)
{
    const char *why = t->error[0] ? t->error : curl_easy_strerror(code);
    char *url = NULL;
    curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (t->refused)
        return nexus__fail(NEXUS_EPERM, "%s leads to %s, which is not a public address", url, t->refused_address);
    if (t->reply->body.status == NEXUS_ETOOBIG || t->reply->head.status == NEXUS_ETOOBIG)
        return nexus__fail(NEXUS_ETOOBIG, "%s: the reply is over its limit", url);
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return nexus__nomem();
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        return nexus__fail(NEXUS_EAUTH, "%s: %s", url, why);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return nexus__fail(NEXUS_EINVAL, "%s: %s", url, why);
    case CURLE_OPERATION_TIMEDOUT:
        return nexus__fail(t->connected ? NEXUS_EUNKNOWN : NEXUS_ETIMEDOUT, "%s: %s", url, why);
    default:
        return nexus__fail(t->connected ? NEXUS_EUNKNOWN : NEXUS_EUNREACH, "%s: %s", url, why);
    }
}

nexus_status nexus__fetch_result(nexus__transfer *t, CURLcode code)
{
    long status = 0;
    curl_off_t us = 0;
    if (code != CURLE_OK)
        return failed(t, code);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &us);
    t->reply->status = (uint16_t)status;
    t->reply->ms = (uint32_t)(us / 1000);
    return NEXUS_OK;
}

uint16_t nexus_reply_status(const nexus_reply *reply)
{
    return reply->status;
}

void nexus_reply_body(const nexus_reply *reply, nexus_slice *out)
{
    *out = nexus__buf_slice(&reply->body);
}

uint32_t nexus_reply_ms(const nexus_reply *reply)
{
    return reply->ms;
}

bool nexus_reply_header(const nexus_reply *reply, const char *name, nexus_slice *out)
{
    nexus_slice rest = nexus__buf_slice(&reply->head);
    while (rest.n > 0) {
        nexus_slice value = nexus__slice_cut(&rest, '\n');
        nexus_slice field = nexus__slice_cut(&value, ':');
        if (!nexus__slice_ieq(field, nexus__slice_c(name)))
            continue;
        if (nexus__slice_ends(value, NEXUS_S("\r")))
            value.n--;
        *out = nexus__slice_trim(value);
        return true;
    }
    return false;
}

void nexus_reply_free(nexus_reply *reply)
{
    if (!reply)
        return;
    nexus__buf_free(&reply->head);
    nexus__buf_free(&reply->body);
    nexus__free(reply->alloc, reply);
}

/* --- user-given URLs -------------------------------------------------------------------------------------------- */

static nexus_status check_host(nexus_client *c, const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(host, NULL, &hints, &list) != 0)
        return nexus__fail(NEXUS_EUNREACH, "%s does not resolve", host);
    nexus_status status = NEXUS_OK;
    for (struct addrinfo *a = list; a && !status; a = a->ai_next) {
        nexus__ip ip;
        if (!nexus__address_ip(a->ai_addr, &ip) || !nexus__guard_allows(&c->guard, &ip))
            status = nexus__fail(NEXUS_EPERM, "%s leads to an address that is not public", host);
    }
    freeaddrinfo(list);
    return status;
}

nexus_status nexus_client_check_url(nexus_client *client, nexus_slice url)
{
    nexus_status status = nexus__client_may_block(client);
    if (status)
        return status;
    char *text = nexus__strndup(client->alloc, url), *scheme = NULL, *host = NULL;
    CURLU *u = curl_url();
    if (!text || !u) {
        status = nexus__nomem();
        goto out;
    }
    if (strlen(text) != url.n || curl_url_set(u, CURLUPART_URL, text, 0) ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) || curl_url_get(u, CURLUPART_HOST, &host, 0) ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
        status = nexus__fail(NEXUS_EINVAL, "\"%.*s\" is no http or https URL", url.n > 200 ? 200 : (int)url.n, url.p);
        goto out;
    }
    size_t n = strlen(host);
    if (n > 1 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = 0;
        status = check_host(client, host + 1);
    } else {
        status = check_host(client, host);
    }
out:
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    nexus__free(client->alloc, text);
    return status;
}
