/* RFC 5322 messages: headers, RFC 2047 words, multipart/alternative with quoted-printable parts. */
#include <stdio.h>

#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "base/utf8.h"
#include "notify/notify.h"

enum { LINE_SOFT = 76, WORD_BYTES = 42 }; /* 42 bytes make 56 of base64: an encoded word stays under 75 */

static bool is_atom(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* Parts between dots, none of them empty. */
static bool is_label(nexus_slice label)
{
    if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!is_atom(label.p[i]) || strchr("!#$%&'*+/=?^_`{|}~", label.p[i]))
            return false;
    return true;
}

static bool is_word(nexus_slice word)
{
    for (size_t i = 0; i < word.n; i++)
        if (!is_atom(word.p[i]))
            return false;
    return word.n > 0;
}

static bool is_dotted(nexus_slice text, bool (*part)(nexus_slice))
{
    if (text.n == 0 || text.p[text.n - 1] == '.')
        return false;
    while (text.n > 0)
        if (!part(nexus__slice_cut(&text, '.')))
            return false;
    return true;
}

/* dot-atom@domain; no quoted local parts, no address literals, no UTF-8 (SMTPUTF8 is not built). */
bool nexus__mail_address_valid(nexus_slice address)
{
    size_t at = nexus__slice_find(address, '@');
    if (at > 64 || address.n > 254 || at >= address.n)
        return false;
    return is_dotted(nexus__slice(address.p, at), is_word) && is_dotted(nexus__slice_from(address, at + 1), is_label);
}

static bool is_plain(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((uint8_t)text.p[i] >= 0x7f || (uint8_t)text.p[i] < 0x20)
            return false;
    return nexus__slice_search(text, NEXUS_S("=?")) == text.n;
}

/* Folds at spaces, so that no line passes 78 where a space allows it; a longer word stays whole up to 998. */
static void append_folded(nexus__buf *out, size_t column, nexus_slice text)
{
    bool first = true;
    while (text.n > 0) {
        nexus_slice word = nexus__slice_cut(&text, ' ');
        if (!first && column + 1 + word.n > LINE_SOFT && word.n > 0) {
            nexus__buf_text(out, "\r\n ");
            column = 1;
        } else if (!first) {
            nexus__buf_char(out, ' ');
            column++;
        }
        nexus__buf_slice_append(out, word);
        column += word.n;
        first = false;
    }
}

/* =?UTF-8?B?…?= words, each of whole characters. */
static void append_words(nexus__buf *out, nexus_slice text)
{
    for (size_t start = 0; start < text.n;) {
        size_t end = start;
        while (end < text.n) {
            size_t next = end;
            nexus__utf8_next(text, &next);
            if (next - start > WORD_BYTES)
                break;
            end = next;
        }
        if (start > 0)
            nexus__buf_text(out, "\r\n ");
        nexus__buf_text(out, "=?UTF-8?B?");
        nexus__base64_append(out, text.p + start, end - start);
        nexus__buf_text(out, "?=");
        start = end;
    }
}

static nexus_status append_header(nexus__buf *out, const char *name, nexus_slice value)
{
    for (size_t i = 0; i < value.n; i++)
        if ((uint8_t)value.p[i] < 0x20 || value.p[i] == 0x7f)
            return nexus__fail(NEXUS_EINVAL, "the %s of a mail holds a control character", name);
    if (!nexus__utf8_valid(value))
        return nexus__fail(NEXUS_EINVAL, "the %s of a mail is not UTF-8", name);
    nexus__buf_text(out, name);
    nexus__buf_text(out, ": ");
    if (is_plain(value) && value.n < 900)
        append_folded(out, strlen(name) + 2, value);
    else
        append_words(out, value);
    nexus__buf_text(out, "\r\n");
    return NEXUS_OK;
}

/* RFC 2045 section 6.7. Lines end in CRLF whatever the text has. */
static void append_quoted(nexus__buf *out, nexus_slice text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t column = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];
        if (c == '\r' && i + 1 < text.n && text.p[i + 1] == '\n')
            continue;
        if (c == '\n') {
            nexus__buf_text(out, "\r\n");
            column = 0;
            continue;
        }
        bool line_ends = i + 1 == text.n || text.p[i + 1] == '\n' || text.p[i + 1] == '\r';
        bool literal = (c > 0x20 && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !line_ends);
        /* A dot that begins a line is dot-stuffed by the sender; "From " is left alone, mbox is not our format. */
        if (column + (literal ? 1 : 3) > LINE_SOFT - 1) {
            nexus__buf_text(out, "=\r\n");
            column = 0;
        }
        if (literal) {
            nexus__buf_char(out, (char)c);
            column++;
        } else {
            const char escape[3] = {'=', digits[c >> 4], digits[c & 15]};
            nexus__buf_append(out, escape, 3);
            column += 3;
        }
    }
    if (column > 0)
        nexus__buf_text(out, "\r\n");
}

static void append_part(nexus__buf *out, const char *type, nexus_slice body)
{
    nexus__buf_text(out, "Content-Type: ");
    nexus__buf_text(out, type);
    nexus__buf_text(out, "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
    append_quoted(out, body);
}

static void append_body(nexus__buf *out, const nexus__message *m)
{
    if (m->html.n == 0 || m->text.n == 0) {
        append_part(out, m->html.n ? "text/html" : "text/plain", m->html.n ? m->html : m->text);
        return;
    }
    /* Quoted-printable never holds "=_", so the boundary cannot occur in a part. */
    char boundary[96];
    snprintf(boundary, sizeof boundary, "=_nexus_%.*s", (int)(m->id.n > 40 ? 40 : m->id.n), m->id.p);
    nexus__buf_printf(out, "Content-Type: multipart/alternative; boundary=\"%s\"\r\n\r\n--%s\r\n", boundary, boundary);
    append_part(out, "text/plain", m->text);
    nexus__buf_printf(out, "--%s\r\n", boundary);
    append_part(out, "text/html", m->html);
    nexus__buf_printf(out, "--%s--\r\n", boundary);
}

nexus_status nexus__mime_append(nexus__buf *out, const nexus__message *m)
{
    char date[48], id[400];
    size_t n = nexus__format_http_date(m->date_ns, date);
    memcpy(date + n - 3, "+0000", 6); /* in place of GMT */
    size_t at = nexus__slice_find(m->from, '@');
    nexus_slice domain = at < m->from.n ? nexus__slice_from(m->from, at + 1) : NEXUS_S("localhost");
    snprintf(id, sizeof id, "<%.*s@%.*s>", (int)m->id.n, m->id.p, (int)domain.n, domain.p);
    const struct {
        const char *name;
        nexus_slice value;
    } headers[] = {
        {"Date", nexus__slice_c(date)},
        {"From", m->from},
        {"To", m->to},
        {"Subject", m->subject},
        {"Message-ID", nexus__slice_c(id)},
        {"Auto-Submitted", NEXUS_S("auto-generated")},
        {"MIME-Version", NEXUS_S("1.0")},
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        nexus_status status = append_header(out, headers[i].name, headers[i].value);
        if (status != NEXUS_OK)
            return status;
    }
    append_body(out, m);
    return out->status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
}
