/* Checks by a request: GET of the health path, or grpc.health.v1.Health/Check over HTTP/2 with prior knowledge. */
#include <nexus/client.h>
#include <stdio.h>

#include "base/status.h"
#include "gateway/health.h"

enum { REPLY_MAX = 64 * 1024 };

/* Of ours, not of the target's. */
static bool could_not(nexus_status status)
{
    return status == NEXUS_ENOMEM || status == NEXUS_EAGAIN || status == NEXUS_ECANCELED || status == NEXUS_EINVAL ||
           status == NEXUS_ENOTSUP;
}

static const char *text_or_null(nexus_slice text)
{
    return text.n ? text.p : NULL;
}

/* As the requests of the upstream are: with its authorities, its certificate, and the name that it is verified by. */
static int address(const nexus__target *t, const char *path, char *url, size_t cap, nexus_fetch *fetch)
{
    const nexus__gw_tls_conf *tls = &t->upstream->conf->tls;
    nexus_slice secure = NEXUS_S("https://");
    if (!nexus__slice_starts(t->url, secure))
        return snprintf(url, cap, "%s%s", t->url.p, path);
    fetch->ca_file = text_or_null(tls->ca_file);
    fetch->cert_file = text_or_null(tls->cert_file);
    fetch->key_file = text_or_null(tls->key_file);
    fetch->insecure = tls->insecure;
    if (!tls->server_name.n)
        return snprintf(url, cap, "%s%s", t->url.p, path);
    fetch->connect_to = t->url.p + secure.n;
    return snprintf(url, cap, "https://%s%s", tls->server_name.p, path);
}

static nexus_status start(nexus_gateway *g, nexus__target *t, const char *path, nexus_fetch *fetch, nexus_fetch_fn *done)
{
    char url[600];
    int n = address(t, path, url, sizeof url, fetch);
    if ((size_t)n >= sizeof url)
        return nexus__fail(NEXUS_EINVAL, "health check: the URL is too long");
    fetch->url = nexus__slice(url, (size_t)n);
    fetch->timeout_ms = fetch->connect_timeout_ms = t->upstream->conf->health.timeout_ms;
    fetch->reply_max_bytes = REPLY_MAX;
    return nexus_client_fetch_async(g->client, fetch, done, t);
}

/* No answer came. */
static void no_answer(nexus__target *t, nexus_status status)
{
    char reason[200];
    snprintf(reason, sizeof reason, "%.180s", nexus_error_message());
    nexus__check_done(t, could_not(status) ? NEXUS__CHECK_UNKNOWN : NEXUS__CHECK_BAD, reason);
}

/* --- HTTP --------------------------------------------------------------------------------------------------------- */

static void on_http(nexus_status status, nexus_reply *reply, void *user_data)
{
    nexus__target *t = user_data;
    const nexus__gw_health *rule = &t->upstream->conf->health;
    char reason[40];
    if (!reply) {
        no_answer(t, status);
        return;
    }
    uint16_t code = nexus_reply_status(reply);
    nexus_reply_free(reply);
    snprintf(reason, sizeof reason, "answered %u", code);
    nexus__check_done(t, code >= rule->status_min && code <= rule->status_max ? NEXUS__CHECK_GOOD : NEXUS__CHECK_BAD,
                      reason);
}

nexus_status nexus__check_http(nexus_gateway *g, nexus__target *t)
{
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    return start(g, t, t->upstream->conf->health.path.p, &fetch, on_http);
}

/* --- gRPC --------------------------------------------------------------------------------------------------------- */

/* HealthCheckResponse{status: SERVING} as a message: not compressed, two bytes long, field 1 is 1. */
static const char serving[] = "\0\0\0\0\2\x08\1";

static const char *judge(const nexus_reply *reply)
{
    nexus_slice code, body;
    nexus_reply_body(reply, &body);
    if (nexus_reply_status(reply) != 200 || !nexus_reply_header(reply, "grpc-status", &code))
        return "does not speak gRPC";
    if (!nexus__slice_eq_c(code, "0"))
        return "answered with a gRPC status other than OK";
    return nexus__slice_eq(body, nexus__slice(serving, sizeof serving - 1)) ? NULL : "is not serving";
}

static void on_grpc(nexus_status status, nexus_reply *reply, void *user_data)
{
    nexus__target *t = user_data;
    if (!reply) {
        no_answer(t, status);
        return;
    }
    const char *wrong = judge(reply);
    nexus_reply_free(reply);
    nexus__check_done(t, wrong ? NEXUS__CHECK_BAD : NEXUS__CHECK_GOOD, wrong ? wrong : "is serving");
}

nexus_status nexus__check_grpc(nexus_gateway *g, nexus__target *t)
{
    static const nexus_pair fields[] = {{{"Content-Type", 12}, {"application/grpc", 16}}, {{"TE", 2}, {"trailers", 8}}};
    nexus_slice service = t->upstream->conf->health.service; /* up to 255 bytes: a length of one or two bytes */
    char message[5 + 3 + 255] = {0};
    size_t n = 0;
    if (service.n > 0) {
        message[5] = 0x0a;
        message[6] = (char)(service.n < 128 ? service.n : 0x80 | (service.n & 127));
        n = 2;
        if (service.n >= 128)
            message[5 + n++] = (char)(service.n >> 7);
        memcpy(message + 5 + n, service.p, service.n);
        n += service.n;
    }
    message[3] = (char)(n >> 8);
    message[4] = (char)n;
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    fetch.method = "POST";
    fetch.headers = fields;
    fetch.header_count = 2;
    fetch.body = nexus__slice(message, 5 + n);
    fetch.http2_prior_knowledge = true;
    return start(g, t, "/grpc.health.v1.Health/Check", &fetch, on_grpc);
}
