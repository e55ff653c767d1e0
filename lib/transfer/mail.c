/*
 * SMTP over libcurl. What matters to a sender is where it ended: before the final dot nothing was handed over and a
 * retry is safe; after it, without a word from the server, nobody knows.
 */
#include "base/status.h"
#include "transfer/transfer.h"

enum { MAIL_TIMEOUT_MS = 30000, MAIL_CONNECT_TIMEOUT_MS = 5000 };

void nexus_mail_init(nexus_mail *mail)
{
    *mail = (nexus_mail)NEXUS_MAIL_INIT;
}

static size_t read_message(char *out, size_t size, size_t n, void *user_data)
{
    nexus__transfer *t = user_data;
    size_t left = t->body.len - t->sent, take = size * n < left ? size * n : left;
    t->report.stage = NEXUS_MAIL_DATA;
    if (take > 0)
        memcpy(out, t->body.p + t->sent, take);
    t->sent += take;
    if (take == 0) { /* libcurl sends the dot now; whatever was said before is no answer to it */
        t->report.stage = NEXUS_MAIL_FINAL;
        t->report.code = 0;
        t->report.text[0] = t->report.enhanced[0] = 0;
    }
    return take;
}

/* "5.1.1 " at the front of a reply's text. */
static void take_enhanced(nexus_mail_report *r, nexus_slice text)
{
    size_t n = 0;
    int dots = 0;
    while (n < text.n && ((text.p[n] >= '0' && text.p[n] <= '9') || text.p[n] == '.'))
        dots += text.p[n++] == '.';
    r->enhanced[0] = 0;
    if (dots != 2 || n >= sizeof r->enhanced || !strchr("245", text.p[0]))
        return;
    memcpy(r->enhanced, text.p, n);
    r->enhanced[n] = 0;
}

/* Every line the server says comes by here. */
static size_t on_line(char *data, size_t size, size_t n, void *user_data)
{
    nexus__transfer *t = user_data;
    nexus_mail_report *r = &t->report;
    uint64_t code;
    n *= size;
    if (t->quit) /* the answer to our QUIT is not what ended the dialogue */
        return n;
    if (n < 3 || !nexus__parse_u64(nexus__slice(data, 3), &code))
        return n;
    nexus_slice text = nexus__slice_trim(nexus__slice(data + (n > 4 ? 4 : 3), n > 4 ? n - 4 : 0));
    r->code = (uint16_t)code;
    take_enhanced(r, text);
    size_t len = 0;
    for (size_t i = 0; i < text.n && len + 1 < sizeof r->text; i++)
        if ((uint8_t)text.p[i] >= ' ' && text.p[i] != 0x7f)
            r->text[len++] = text.p[i];
    r->text[len] = 0;
    if (r->stage == NEXUS_MAIL_CONNECT)
        r->stage = NEXUS_MAIL_GREETING;
    return n;
}

/* What we say: the only sign of where in the dialogue a reply belongs. */
static int on_said(CURL *easy, curl_infotype type, char *data, size_t n, void *user_data)
{
    nexus__transfer *t = user_data;
    (void)easy;
    if (type == CURLINFO_HEADER_OUT)
        t->quit = n >= 4 && memcmp(data, "QUIT", 4) == 0;
    if (type == CURLINFO_HEADER_OUT && t->report.stage < NEXUS_MAIL_DATA) {
        if (n >= 5 && memcmp(data, "MAIL ", 5) == 0)
            t->report.stage = NEXUS_MAIL_ENVELOPE;
        else if (n >= 4 && memcmp(data, "DATA", 4) == 0)
            t->report.stage = NEXUS_MAIL_DATA;
    }
    return 0;
}

static bool address_ok(nexus_slice address)
{
    for (size_t i = 0; i < address.n; i++)
        if ((uint8_t)address.p[i] <= ' ' || address.p[i] == 0x7f || address.p[i] == '<' || address.p[i] == '>')
            return false;
    return address.n <= 320;
}

static void append_crlf(nexus__buf *out, nexus_slice text)
{
    for (size_t i = 0; i < text.n;) {
        const char *lf = memchr(text.p + i, '\n', text.n - i);
        size_t end = lf ? (size_t)(lf - text.p) : text.n;
        size_t line = end > i && lf && text.p[end - 1] == '\r' ? end - 1 : end;
        nexus__buf_append(out, text.p + i, line - i);
        nexus__buf_append(out, "\r\n", 2);
        i = end + 1;
    }
}

static bool loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
}

static nexus_status set_url(nexus__transfer *t, const nexus_mail *m)
{
    char *text = nexus__strndup(t->client->alloc, m->url), *scheme = NULL, *host = NULL, *user = NULL;
    CURLU *u = curl_url();
    nexus_status status = NEXUS_OK;
    if (!text || !u)
        status = nexus__nomem();
    else if (strlen(text) != m->url.n || curl_url_set(u, CURLUPART_URL, text, 0) ||
             curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) || curl_url_get(u, CURLUPART_HOST, &host, 0) ||
             (strcmp(scheme, "smtp") != 0 && strcmp(scheme, "smtps") != 0))
        status =
            nexus__fail(NEXUS_EINVAL, "mail: the server's address must be smtp://host[:port] or smtps://host[:port]");
    else if (curl_easy_setopt(t->easy, CURLOPT_URL, text) != CURLE_OK)
        status = nexus__nomem();
    if (!status) {
        curl_url_get(u, CURLUPART_USER, &user, 0);
        bool tls = !m->plain && (user || !loopback(host));
        curl_easy_setopt(t->easy, CURLOPT_USE_SSL, tls ? (long)CURLUSESSL_ALL : (long)CURLUSESSL_NONE);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(u);
    nexus__free(t->client->alloc, text);
    return status;
}

static nexus_status set_envelope(nexus__transfer *t, const nexus_mail *m)
{
    char line[340];
    if (m->to_count == 0)
        return nexus__fail(NEXUS_EINVAL, "mail: no recipient");
    for (size_t i = 0; i <= m->to_count; i++) {
        nexus_slice address = i < m->to_count ? m->to[i] : m->from;
        if (!address_ok(address) || (i < m->to_count && address.n == 0))
            return nexus__fail(NEXUS_EINVAL, "mail: \"%.*s\" is no address", address.n > 100 ? 100 : (int)address.n,
                               address.p);
        snprintf(line, sizeof line, "<%.*s>", (int)address.n, address.p);
        struct curl_slist *list = i < m->to_count ? curl_slist_append(t->list, line) : t->list;
        if (!list || (i == m->to_count && curl_easy_setopt(t->easy, CURLOPT_MAIL_FROM, line)))
            return nexus__nomem();
        t->list = list;
    }
    curl_easy_setopt(t->easy, CURLOPT_MAIL_RCPT, t->list);
    return NEXUS_OK;
}

nexus_status nexus__transfer_mail(nexus__transfer **out, nexus_client *client, const nexus_mail *mail)
{
    nexus_mail m = NEXUS_MAIL_INIT;
    memcpy(&m, mail, mail->size < sizeof m ? mail->size : sizeof m);
    nexus__transfer *t;
    nexus_status status = nexus__transfer_new(&t, client);
    if (status)
        return status;
    t->mail = true;
    append_crlf(&t->body, m.message);
    status = t->body.status ? nexus__nomem() : set_url(t, &m);
    if (status || (status = set_envelope(t, &m))) {
        nexus__transfer_free(t);
        return status;
    }
    CURL *e = t->easy;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, read_message);
    curl_easy_setopt(e, CURLOPT_READDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_line);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, on_said);
    curl_easy_setopt(e, CURLOPT_DEBUGDATA, t);
    curl_easy_setopt(e, CURLOPT_VERBOSE, 1L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, m.timeout_ms ? (long)m.timeout_ms : (long)MAIL_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)MAIL_CONNECT_TIMEOUT_MS);
    *out = t;
    return NEXUS_OK;
}

static nexus_status no_answer(nexus__transfer *t, CURLcode code)
{
    nexus_mail_report *r = &t->report;
    const char *why = t->error[0] ? t->error : curl_easy_strerror(code);
    r->code = 0;
    r->enhanced[0] = 0;
    snprintf(r->text, sizeof r->text, "%s", why);
    if (r->stage == NEXUS_MAIL_FINAL)
        return nexus__fail(NEXUS_EUNKNOWN, "mail: lost after the message was sent: %s", why);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR || code == CURLE_LOGIN_DENIED ||
        code == CURLE_USE_SSL_FAILED)
        return nexus__fail(NEXUS_EAUTH, "mail: %s", why);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return nexus__fail(NEXUS_ETIMEDOUT, "mail: %s", why);
    return code == CURLE_OUT_OF_MEMORY ? nexus__nomem() : nexus__fail(NEXUS_EUNREACH, "mail: %s", why);
}

nexus_status nexus__mail_result(nexus__transfer *t, CURLcode code)
{
    nexus_mail_report *r = &t->report;
    curl_off_t us = 0;
    curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &us);
    r->ms = (uint32_t)(us / 1000);
    if (code == CURLE_OK) {
        r->stage = NEXUS_MAIL_FINAL;
        return NEXUS_OK;
    }
    if (r->code < 400 || r->code > 599)
        return no_answer(t, code);
    return nexus__fail(r->code >= 500 ? NEXUS_EPERM : NEXUS_EAGAIN, "mail: the server answered %u %s", r->code, r->text);
}
