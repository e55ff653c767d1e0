/* What a value must go through for each target. */
#include "base/codec.h"
#include "template/program.h"
#include "json/write.h"

typedef const char *replacement_fn(nexus_slice text, size_t at, char scratch[static 4]);

static void replace(nexus__buf *out, nexus_slice text, replacement_fn *fn)
{
    size_t clean = 0;
    for (size_t i = 0; i < text.n; i++) {
        char scratch[4];
        const char *instead = fn(text, i, scratch);
        if (!instead)
            continue;
        nexus__buf_append(out, text.p + clean, i - clean);
        nexus__buf_text(out, instead);
        clean = i + 1;
    }
    nexus__buf_append(out, text.p + clean, text.n - clean);
}

static const char *slack(nexus_slice text, size_t at, char scratch[static 4])
{
    (void)scratch;
    switch (text.p[at]) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    default:
        return NULL;
    }
}

static const char *html(nexus_slice text, size_t at, char scratch[static 4])
{
    if (text.p[at] == '"')
        return "&quot;";
    return text.p[at] == '\'' ? "&#39;" : slack(text, at, scratch);
}

/* A zero-width space behind '@' breaks "@everyone" and "<@id>"; a backslash takes Markdown its meaning. */
static const char *discord(nexus_slice text, size_t at, char scratch[static 4])
{
    char c = text.p[at];
    if (c == '@')
        return "@\xe2\x80\x8b";
    if (!c || !strchr("\\*_~`|>#-[]()<:", c))
        return NULL;
    scratch[0] = '\\';
    scratch[1] = c;
    scratch[2] = '\0';
    return scratch;
}

static const char *line(nexus_slice text, size_t at, char scratch[static 4])
{
    (void)scratch;
    uint8_t c = (uint8_t)text.p[at];
    return c < 0x20 || c == 0x7f ? " " : NULL;
}

bool nexus__template_escape(nexus__buf *out, int32_t escape, nexus_slice text)
{
    static replacement_fn *const by_byte[] = {
        [NEXUS_ESCAPE_HTML] = html, [NEXUS_ESCAPE_SLACK] = slack, [NEXUS_ESCAPE_DISCORD] = discord, [NEXUS_ESCAPE_LINE] = line};
    switch (escape) {
    case NEXUS_ESCAPE_NONE:
        nexus__buf_slice_append(out, text);
        return true;
    case NEXUS_ESCAPE_JSON:
        nexus__json_escape_append(out, text);
        return true;
    case NEXUS_ESCAPE_URL:
        nexus__percent_append(out, text);
        return true;
    case NEXUS_ESCAPE_HTML:
    case NEXUS_ESCAPE_SLACK:
    case NEXUS_ESCAPE_DISCORD:
    case NEXUS_ESCAPE_LINE:
        replace(out, text, by_byte[escape]);
        return true;
    default:
        return false;
    }
}
