#include "observe/access.h"

#include "base/codec.h"
#include "base/time.h"
#include "json/write.h"
#include "observe/redact.h"

enum { TEXT_MAX = 4096, NAME_BYTES = 64 };

/* --- packing ------------------------------------------------------------------------------------------------------ */

static size_t cut(nexus_slice text)
{
    return text.n < TEXT_MAX ? text.n : TEXT_MAX;
}

void nexus__access_pack(nexus__buf *out, const nexus__access *a)
{
    uint16_t lengths[NEXUS__ACCESS_TEXTS];
    size_t total = 0;
    for (size_t i = 0; i < NEXUS__ACCESS_TEXTS; i++)
        total += lengths[i] = (uint16_t)cut(a->text[i]);
    char *at = nexus__buf_reserve(out, sizeof a->n + sizeof lengths + total);
    if (!at)
        return;
    memcpy(at, &a->n, sizeof a->n);
    memcpy(at + sizeof a->n, lengths, sizeof lengths);
    at += sizeof a->n + sizeof lengths;
    for (size_t i = 0; i < NEXUS__ACCESS_TEXTS; i++)
        if (lengths[i]) {
            memcpy(at, a->text[i].p, lengths[i]);
            at += lengths[i];
        }
    out->len += sizeof a->n + sizeof lengths + total;
}

bool nexus__access_unpack(nexus__access *out, nexus_slice packed)
{
    uint16_t lengths[NEXUS__ACCESS_TEXTS];
    if (packed.n < sizeof out->n + sizeof lengths)
        return false;
    memcpy(&out->n, packed.p, sizeof out->n);
    memcpy(lengths, packed.p + sizeof out->n, sizeof lengths);
    nexus_slice rest = nexus__slice_from(packed, sizeof out->n + sizeof lengths);
    for (size_t i = 0; i < NEXUS__ACCESS_TEXTS; i++) {
        if (lengths[i] > rest.n)
            return false;
        out->text[i] = nexus__slice(rest.p, lengths[i]);
        rest = nexus__slice_from(rest, lengths[i]);
    }
    return rest.n == 0;
}

/* --- a line ------------------------------------------------------------------------------------------------------- */

typedef struct line {
    nexus__buf *out;
    const nexus__log_style *style;
} line;

/* Names are literals without anything to escape. */
static void name(line *l, const char *text)
{
    if (l->style->logfmt) {
        nexus__buf_char(l->out, ' ');
        nexus__buf_text(l->out, text);
        nexus__buf_char(l->out, '=');
        return;
    }
    nexus__buf_append(l->out, ",\"", 2);
    nexus__buf_text(l->out, text);
    nexus__buf_append(l->out, "\":", 2);
}

/* What the library made itself: no byte of it needs an escape. */
static void plain(line *l, const char *key, nexus_slice text)
{
    name(l, key);
    nexus__buf_append(l->out, "\"", !l->style->logfmt);
    nexus__buf_slice_append(l->out, text);
    nexus__buf_append(l->out, "\"", !l->style->logfmt);
}

static void escaped(line *l, const char *key, nexus_slice text)
{
    name(l, key);
    nexus__buf_char(l->out, '"');
    nexus__json_escape_append(l->out, text);
    nexus__buf_char(l->out, '"');
}

static void number(line *l, const char *key, uint64_t value)
{
    name(l, key);
    nexus__buf_u64(l->out, value);
}

/* Milliseconds with three digits after the point. */
static void millis(line *l, const char *key, int64_t ns)
{
    uint64_t us = ns > 0 ? (uint64_t)ns / NEXUS__NS_PER_US : 0, rest = us % 1000;
    char digits[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10)};
    name(l, key);
    nexus__buf_u64(l->out, us / 1000);
    nexus__buf_append(l->out, digits, sizeof digits);
}

static void hex(line *l, const char *key, const uint8_t *bytes, size_t n)
{
    char digits[32];
    nexus__buf text = {.p = digits, .cap = sizeof digits, .max = sizeof digits};
    nexus__hex_append(&text, bytes, n);
    plain(l, key, nexus__buf_slice(&text));
}

static void flags(line *l, nexus_slice words)
{
    if (l->style->logfmt) {
        plain(l, "flags", words);
        return;
    }
    name(l, "flags");
    for (char open = '['; words.n > 0; open = ',') {
        nexus__buf_char(l->out, open);
        nexus__buf_char(l->out, '"');
        nexus__buf_slice_append(l->out, nexus__slice_cut(&words, ','));
        nexus__buf_char(l->out, '"');
    }
    nexus__buf_char(l->out, ']');
}

static void redacted(line *l, const char *key, nexus_slice text, void (*clean)(nexus__buf *out, nexus_slice text))
{
    char space[TEXT_MAX * 4];
    nexus__buf buf = {.p = space, .cap = sizeof space, .max = sizeof space};
    if (l->style->show_secrets)
        nexus__buf_slice_append(&buf, text);
    else
        clean(&buf, text);
    escaped(l, key, buf.status == NEXUS_OK ? nexus__buf_slice(&buf) : NEXUS_S(NEXUS__REDACTED));
}

static void begin(line *l, const nexus__access *a)
{
    char ts[32];
    size_t n = nexus__format_rfc3339(a->n.real_ns, ts);
    nexus__buf_text(l->out, l->style->logfmt ? "ts=" : "{\"ts\":\"");
    nexus__buf_append(l->out, ts, n);
    nexus__buf_append(l->out, "\"", !l->style->logfmt);
    plain(l, "level", nexus__slice_c(nexus_log_level_name(a->n.level)));
    plain(l, "msg", NEXUS_S("request"));
    if (a->text[NEXUS__ACCESS_SERVICE].n > 0)
        escaped(l, "service", a->text[NEXUS__ACCESS_SERVICE]);
    plain(l, "module", NEXUS_S("access"));
    if (a->n.traced) {
        hex(l, "trace_id", a->n.trace_id, sizeof a->n.trace_id);
        hex(l, "span_id", a->n.span_id, sizeof a->n.span_id);
    }
}

static void texts(line *l, const nexus__access *a, size_t from, size_t to)
{
    static const struct {
        const char *name;
        void (*clean)(nexus__buf *out, nexus_slice text); /* NULL: cannot hold a credential */
        bool plain;                                       /* nor anything to escape */
    } rows[NEXUS__ACCESS_TEXTS] = {
        [NEXUS__ACCESS_ID] = {"correlation_id", NULL, true},
        [NEXUS__ACCESS_IP] = {"ip", NULL, true},
        [NEXUS__ACCESS_METHOD] = {"method", NULL, true},
        [NEXUS__ACCESS_HOST] = {"host", nexus__redact_append, false},
        [NEXUS__ACCESS_PATH] = {"path", nexus__redact_append, false},
        [NEXUS__ACCESS_QUERY] = {"query", nexus__access_query, false},
        [NEXUS__ACCESS_ROUTE] = {"route", NULL, false},
        [NEXUS__ACCESS_UPSTREAM] = {"upstream", NULL, false},
        [NEXUS__ACCESS_TARGET] = {"target", NULL, false},
        [NEXUS__ACCESS_USER] = {"user", nexus__redact_append, false},
        [NEXUS__ACCESS_PROBLEM] = {"problem", NULL, false},
    };
    for (size_t i = from; i <= to; i++) {
        if (a->text[i].n == 0)
            continue;
        if (rows[i].clean)
            redacted(l, rows[i].name, a->text[i], rows[i].clean);
        else
            (rows[i].plain ? plain : escaped)(l, rows[i].name, a->text[i]);
    }
}

void nexus__access_line(nexus__buf *out, const nexus__log_style *style, const nexus__access *a)
{
    line l = {.out = out, .style = style};
    begin(&l, a);
    texts(&l, a, NEXUS__ACCESS_ID, NEXUS__ACCESS_QUERY);
    plain(&l, "protocol", a->n.minor ? NEXUS_S("HTTP/1.1") : NEXUS_S("HTTP/1.0"));
    number(&l, "status", a->n.status);
    millis(&l, "ms", a->n.took_ns);
    if (a->n.proxied)
        number(&l, "bytes_in", a->n.bytes_in);
    number(&l, "bytes_out", a->n.bytes_out);
    texts(&l, a, NEXUS__ACCESS_ROUTE, NEXUS__ACCESS_TARGET);
    if (a->n.proxied)
        number(&l, "tries", a->n.tries);
    if (a->n.upstream_ns >= 0)
        millis(&l, "upstream_ms", a->n.upstream_ns);
    texts(&l, a, NEXUS__ACCESS_USER, NEXUS__ACCESS_PROBLEM);
    if (a->text[NEXUS__ACCESS_FLAGS].n > 0)
        flags(&l, a->text[NEXUS__ACCESS_FLAGS]);
    nexus__buf_text(out, style->logfmt ? "\n" : "}\n");
}

/* --- queries ------------------------------------------------------------------------------------------------------ */

/* The name as a server would read it: "t%6Fken" is one too. */
static bool names_a_credential(nexus_slice text)
{
    char space[NAME_BYTES];
    size_t n = 0;
    if (text.n >= sizeof space) /* no longer name is known */
        return false;
    return nexus__percent_decode(text, true, space, &n) ? nexus__redact_name(nexus__slice(space, n))
                                                        : nexus__redact_name(text);
}

static void pair(nexus__buf *out, nexus_slice text)
{
    size_t equals = nexus__slice_find(text, '=');
    if (equals < text.n && names_a_credential(nexus__slice(text.p, equals))) {
        nexus__buf_append(out, text.p, equals + 1);
        nexus__buf_text(out, NEXUS__REDACTED);
    } else {
        nexus__redact_append(out, text);
    }
}

void nexus__access_query(nexus__buf *out, nexus_slice query)
{
    while (query.n > 0) {
        size_t n = 0;
        while (n < query.n && query.p[n] != '&' && query.p[n] != ';')
            n++;
        pair(out, nexus__slice(query.p, n));
        if (n < query.n)
            nexus__buf_char(out, query.p[n++]);
        query = nexus__slice_from(query, n);
    }
}
