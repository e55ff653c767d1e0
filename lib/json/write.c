#include "json/write.h"

#include "base/utf8.h"

static void separate(nexus__json_writer *w)
{
    if (w->comma)
        nexus__buf_char(w->out, ',');
    w->comma = true;
}

void nexus__json_open(nexus__json_writer *w, char bracket)
{
    separate(w);
    nexus__buf_char(w->out, bracket);
    w->comma = false;
}

void nexus__json_close(nexus__json_writer *w, char bracket)
{
    nexus__buf_char(w->out, bracket);
    w->comma = true;
}

/* Bytes from at on that need no escape and are valid UTF-8. */
static size_t clean_run(nexus_slice text, size_t at)
{
    size_t i = at;
    while (i < text.n) {
        uint8_t c = (uint8_t)text.p[i];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f)
            break;
        size_t n = c < 0x80 ? 1 : nexus__utf8_sequence((const uint8_t *)text.p + i, text.n - i);
        if (!n)
            break;
        i += n;
    }
    return i - at;
}

static void escape_byte(nexus__buf *out, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    static const char short_form[] = "btn?fr"; /* 0x08 … 0x0d */
    if (c == '"' || c == '\\') {
        nexus__buf_append(out, (char[]){'\\', (char)c}, 2);
    } else if (c >= 0x80) {
        nexus__buf_append(out, "\xef\xbf\xbd", 3);
    } else if (c >= 0x08 && c <= 0x0d && c != 0x0b) {
        nexus__buf_append(out, (char[]){'\\', short_form[c - 8]}, 2);
    } else {
        nexus__buf_append(out, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
    }
}

void nexus__json_escape_append(nexus__buf *out, nexus_slice text)
{
    for (size_t at = 0; at < text.n;) {
        size_t run = clean_run(text, at);
        nexus__buf_append(out, text.p + at, run);
        at += run;
        if (at < text.n)
            escape_byte(out, (uint8_t)text.p[at++]);
    }
}

static void quoted(nexus__buf *out, nexus_slice text)
{
    nexus__buf_char(out, '"');
    nexus__json_escape_append(out, text);
    nexus__buf_char(out, '"');
}

void nexus__json_key_slice(nexus__json_writer *w, nexus_slice name)
{
    separate(w);
    quoted(w->out, name);
    nexus__buf_char(w->out, ':');
    w->comma = false;
}

void nexus__json_key(nexus__json_writer *w, const char *name)
{
    nexus__json_key_slice(w, nexus__slice_c(name));
}

void nexus__json_text_value(nexus__json_writer *w, nexus_slice text)
{
    separate(w);
    quoted(w->out, text);
}

void nexus__json_text_c_value(nexus__json_writer *w, const char *text)
{
    if (text)
        nexus__json_text_value(w, nexus__slice_c(text));
    else
        nexus__json_null_value(w);
}

void nexus__json_i64_value(nexus__json_writer *w, int64_t value)
{
    separate(w);
    nexus__buf_i64(w->out, value);
}

void nexus__json_u64_value(nexus__json_writer *w, uint64_t value)
{
    separate(w);
    nexus__buf_u64(w->out, value);
}

void nexus__json_double_value(nexus__json_writer *w, double value)
{
    separate(w);
    nexus__buf_double(w->out, value);
}

void nexus__json_bool_value(nexus__json_writer *w, bool value)
{
    nexus__json_raw_value(w, value ? NEXUS_S("true") : NEXUS_S("false"));
}

void nexus__json_null_value(nexus__json_writer *w)
{
    nexus__json_raw_value(w, NEXUS_S("null"));
}

void nexus__json_raw_value(nexus__json_writer *w, nexus_slice json)
{
    separate(w);
    nexus__buf_slice_append(w->out, json);
}

void nexus__json_put_text(nexus__json_writer *w, const char *name, nexus_slice text)
{
    nexus__json_key(w, name);
    nexus__json_text_value(w, text);
}

void nexus__json_put_text_c(nexus__json_writer *w, const char *name, const char *text)
{
    nexus__json_key(w, name);
    nexus__json_text_c_value(w, text);
}

void nexus__json_put_i64(nexus__json_writer *w, const char *name, int64_t value)
{
    nexus__json_key(w, name);
    nexus__json_i64_value(w, value);
}

void nexus__json_put_u64(nexus__json_writer *w, const char *name, uint64_t value)
{
    nexus__json_key(w, name);
    nexus__json_u64_value(w, value);
}

void nexus__json_put_double(nexus__json_writer *w, const char *name, double value)
{
    nexus__json_key(w, name);
    nexus__json_double_value(w, value);
}

void nexus__json_put_bool(nexus__json_writer *w, const char *name, bool value)
{
    nexus__json_key(w, name);
    nexus__json_bool_value(w, value);
}

void nexus__json_put_null(nexus__json_writer *w, const char *name)
{
    nexus__json_key(w, name);
    nexus__json_null_value(w);
}

void nexus__json_put_raw(nexus__json_writer *w, const char *name, nexus_slice json)
{
    nexus__json_key(w, name);
    nexus__json_raw_value(w, json);
}
