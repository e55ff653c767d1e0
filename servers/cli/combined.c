#include "cli/combined.h"

#include <stdio.h>
#include <string.h>

typedef struct cursor {
    const char *p, *end;
} cursor;

static bool word(cursor *c, nexus_slice *out)
{
    const char *start = c->p;
    while (c->p < c->end && *c->p != ' ')
        c->p++;
    *out = (nexus_slice){start, (size_t)(c->p - start)};
    if (c->p < c->end)
        c->p++;
    return out->n > 0;
}

/* Between an opening and a closing mark; a backslash keeps the next byte from closing. */
static bool enclosed(cursor *c, char open, char close, nexus_slice *out)
{
    if (c->p >= c->end || *c->p != open)
        return false;
    const char *start = ++c->p;
    while (c->p < c->end && *c->p != close)
        c->p += *c->p == '\\' && c->p + 1 < c->end ? 2 : 1;
    if (c->p >= c->end)
        return false;
    *out = (nexus_slice){start, (size_t)(c->p - start)};
    c->p++;
    if (c->p < c->end && *c->p == ' ')
        c->p++;
    return true;
}

static bool digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return true;
}

/* "17/May/2015:10:05:03 +0000" to "2015-05-17T10:05:03+00:00". */
static bool time_of(nexus_slice t, char out[static 32])
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (t.n != 26 || t.p[2] != '/' || t.p[6] != '/' || t.p[11] != ':' || t.p[20] != ' ' ||
        (t.p[21] != '+' && t.p[21] != '-') || !digits(t.p, 2) || !digits(t.p + 7, 4) || !digits(t.p + 22, 4))
        return false;
    int month = 0;
    while (month < 12 && memcmp(months + 3 * month, t.p + 3, 3) != 0)
        month++;
    if (month == 12)
        return false;
    snprintf(out, 32, "%.4s-%02d-%.2sT%.8s%.3s:%.2s", t.p + 7, month + 1, t.p, t.p + 12, t.p + 21, t.p + 24);
    return true;
}

static bool number(nexus_slice text, int64_t *out)
{
    if (text.n == 0 || text.n > 18 || !digits(text.p, text.n))
        return false;
    *out = 0;
    for (size_t i = 0; i < text.n; i++)
        *out = *out * 10 + (text.p[i] - '0');
    return true;
}

const char *combined_parse(nexus_slice line, combined *out)
{
    cursor c = {line.p, line.p + line.n};
    nexus_slice ident, when, request, status, bytes;
    memset(out, 0, sizeof *out);
    if (!word(&c, &out->host) || !word(&c, &ident) || !word(&c, &out->user))
        return "no log line: it begins with host, identity and user";
    if (!enclosed(&c, '[', ']', &when) || !time_of(when, out->time))
        return "no time of the form [17/May/2015:10:05:03 +0000]";
    if (!enclosed(&c, '"', '"', &request))
        return "no quoted request line";
    if (!word(&c, &status) || !number(status, &out->status) || status.n != 3)
        return "no status of three digits";
    if (!word(&c, &bytes) || (!number(bytes, &out->bytes) && (bytes.n != 1 || *bytes.p != '-')))
        return "no number of bytes";
    if (bytes.n == 1 && *bytes.p == '-')
        out->bytes = -1;
    if (c.p < c.end && (!enclosed(&c, '"', '"', &out->referrer) || !enclosed(&c, '"', '"', &out->agent)))
        return "referrer and user agent are not quoted";
    cursor r = {request.p, request.p + request.n};
    (void)word(&r, &out->method);
    (void)word(&r, &out->target);
    return NULL;
}
