/*
 * References in values: ${env:NAME} stands for a variable of the environment, ${file:/PATH} for what a file holds without
 * its last line break. They may stand anywhere in a value and more than once; what they stand for is not looked through
 * again. Any other "${" is text.
 */
#include "service/settings.h"

#include <stdio.h>

#include "base/status.h"
#include "crypto/wipe.h"

enum { REFERENCED_MAX = 64 * 1024 };

static const nexus_slice env_mark = {"${env:", 6}, file_mark = {"${file:", 7};

bool nexus__setting_refers(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        nexus_slice rest = nexus__slice_from(text, i);
        if (nexus__slice_starts(rest, env_mark) || nexus__slice_starts(rest, file_mark))
            return true;
    }
    return false;
}

static nexus_status put_variable(const nexus_settings *s, const char *setting, const char *name, const char *where,
                                 nexus__buf *out)
{
    const char *value = nexus__settings_variable(s->env, name);
    if (!value)
        return nexus__fail(NEXUS_EINVAL, "%s: \"%s\" refers to ${env:%s}, which is not set", where, setting, name);
    nexus__buf_slice_append(out, nexus__slice_c(value));
    return out->status;
}

static nexus_status put_file(const nexus_settings *s, const char *setting, const char *path, const char *where,
                             nexus__buf *out)
{
    char *text, why[256];
    size_t n;
    if (*path != '/')
        return nexus__fail(NEXUS_EINVAL, "%s: \"%s\" refers to ${file:%s}; the path begins with /", where, setting, path);
    nexus_status status = nexus__file_read(s->alloc, path, REFERENCED_MAX, &text, &n);
    if (status != NEXUS_OK) {
        snprintf(why, sizeof why, "%s", nexus_error_message());
        return nexus__fail(status, "%s: \"%s\" refers to a file: %s", where, setting, why);
    }
    size_t kept = n;
    while (kept > 0 && (text[kept - 1] == '\n' || text[kept - 1] == '\r'))
        kept--;
    nexus__buf_slice_append(out, nexus__slice(text, kept));
    nexus__wipe(text, n);
    nexus__free(s->alloc, text);
    return out->status;
}

nexus_status nexus__setting_resolve(const nexus_settings *s, const char *setting, nexus_slice text, const char *where,
                                    nexus__buf *out)
{
    nexus_status status = NEXUS_OK;
    while (text.n && status == NEXUS_OK) {
        char name[1024];
        bool env = nexus__slice_starts(text, env_mark), file = nexus__slice_starts(text, file_mark);
        if (!env && !file) {
            nexus__buf_char(out, text.p[0]);
            text = nexus__slice_from(text, 1);
            continue;
        }
        text = nexus__slice_from(text, env ? env_mark.n : file_mark.n);
        size_t end = nexus__slice_find(text, '}');
        if (end == text.n || end == 0 || end >= sizeof name || memchr(text.p, 0, end))
            return nexus__fail(NEXUS_EINVAL, "%s: \"%s\" has a reference that is not ${env:NAME} or ${file:/PATH}", where,
                               setting);
        snprintf(name, sizeof name, "%.*s", (int)end, text.p);
        text = nexus__slice_from(text, end + 1);
        status = env ? put_variable(s, setting, name, where, out) : put_file(s, setting, name, where, out);
    }
    return status == NEXUS_OK ? out->status : status;
}
