/*
 * References in values: ${env:NAME} stands for a variable of the environment, ${file:/PATH} for what a file holds without
 * its last line break. They may stand anywhere in a value and more than once; what they stand for is not looked through
 * again. Any other "${" is text. A source is such a value taken apart: variables are taken once, files at each reading.
 */
#include "service/settings.h"

#include <stdio.h>

#include "base/status.h"
#include "crypto/wipe.h"

enum { REFERENCED_MAX = 64 * 1024, REFERENCE_MAX = 1024 };

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

bool nexus__reference_cut(nexus_slice *text, nexus__reference *out)
{
    bool env = nexus__slice_starts(*text, env_mark), file = nexus__slice_starts(*text, file_mark);
    size_t n = 0;
    if (!env && !file) {
        do
            n++;
        while (n < text->n && !nexus__slice_starts(nexus__slice_from(*text, n), env_mark) &&
               !nexus__slice_starts(nexus__slice_from(*text, n), file_mark));
        *out = (nexus__reference){NEXUS__REFERENCE_NONE, nexus__slice(text->p, n)};
        *text = nexus__slice_from(*text, n);
        return true;
    }
    nexus_slice rest = nexus__slice_from(*text, env ? env_mark.n : file_mark.n);
    n = nexus__slice_find(rest, '}');
    if (n == rest.n || n == 0 || n >= REFERENCE_MAX || memchr(rest.p, 0, n))
        return false;
    *out = (nexus__reference){env ? NEXUS__REFERENCE_ENV : NEXUS__REFERENCE_FILE, nexus__slice(rest.p, n)};
    *text = nexus__slice_from(rest, n + 1);
    return true;
}

/* --- sources --------------------------------------------------------------------------------------------------------- */

typedef struct part {
    char *text; /* of a file: its path */
    bool file;
    struct stat seen; /* the file as it was read; zeros: it was not there */
} part;

struct nexus__source {
    const nexus_alloc *alloc;
    part *parts;
    size_t count;
};

static nexus_status add_part(nexus__source *s, nexus_slice text, bool file)
{
    part *parts = nexus__realloc(s->alloc, s->parts, (s->count + 1) * sizeof *parts);
    if (!parts)
        return nexus__nomem();
    s->parts = parts;
    s->parts[s->count] = (part){.text = nexus__strndup(s->alloc, text), .file = file};
    return s->parts[s->count++].text ? NEXUS_OK : nexus__nomem();
}

static nexus_status add_reference(nexus__source *source, const nexus_settings *s, const char *setting, const char *where,
                                  const nexus__reference *r)
{
    char name[REFERENCE_MAX];
    if (r->kind == NEXUS__REFERENCE_NONE)
        return add_part(source, r->text, false);
    snprintf(name, sizeof name, "%.*s", (int)r->text.n, r->text.p);
    if (r->kind == NEXUS__REFERENCE_FILE)
        return *name == '/' ? add_part(source, r->text, true)
                            : nexus__fail(NEXUS_EINVAL, "%s: \"%s\" refers to ${file:%s}; the path begins with /", where,
                                          setting, name);
    const char *value = nexus__settings_variable(s->env, name);
    return value ? add_part(source, nexus__slice_c(value), false)
                 : nexus__fail(NEXUS_EINVAL, "%s: \"%s\" refers to ${env:%s}, which is not set", where, setting, name);
}

nexus_status nexus__source_open(nexus__source **out, const nexus_settings *s, const char *setting, nexus_slice text,
                                const char *where)
{
    nexus_status status = NEXUS_OK;
    nexus__source *source = nexus__calloc(s->alloc, 1, sizeof *source);
    if (!source)
        return nexus__nomem();
    source->alloc = s->alloc;
    while (text.n && status == NEXUS_OK) {
        nexus__reference r;
        status = nexus__reference_cut(&text, &r)
                     ? add_reference(source, s, setting, where, &r)
                     : nexus__fail(NEXUS_EINVAL, "%s: \"%s\" has a reference that is not ${env:NAME} or ${file:/PATH}",
                                   where, setting);
    }
    if (status == NEXUS_OK)
        *out = source;
    else
        nexus__source_free(source);
    return status;
}

nexus_status nexus__source_open_file(nexus__source **out, const nexus_settings *s, const char *path)
{
    nexus__source *source = nexus__calloc(s->alloc, 1, sizeof *source);
    if (!source)
        return nexus__nomem();
    source->alloc = s->alloc;
    nexus_status status = add_part(source, nexus__slice_c(path), true);
    if (status == NEXUS_OK)
        *out = source;
    else
        nexus__source_free(source);
    return status;
}

void nexus__source_free(nexus__source *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        if (s->parts[i].text)
            nexus__wipe(s->parts[i].text, strlen(s->parts[i].text));
        nexus__free(s->alloc, s->parts[i].text);
    }
    nexus__free(s->alloc, s->parts);
    nexus__free(s->alloc, s);
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

static struct stat stat_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st : (struct stat){0};
}

static bool is_as_seen(const part *p)
{
    struct stat st = stat_of(p->text);
    return st.st_ino == p->seen.st_ino && st.st_dev == p->seen.st_dev && st.st_size == p->seen.st_size &&
           st.st_mtim.tv_sec == p->seen.st_mtim.tv_sec && st.st_mtim.tv_nsec == p->seen.st_mtim.tv_nsec;
}

bool nexus__source_has_file(const nexus__source *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->parts[i].file)
            return true;
    return false;
}

bool nexus__source_changed(const nexus__source *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->parts[i].file && !is_as_seen(&s->parts[i]))
            return true;
    return false;
}

/* Looked at before it is read: what changes meanwhile is seen as changed the next time. */
static nexus_status put_file(nexus__source *s, part *p, nexus__buf *out)
{
    char *text;
    size_t n;
    p->seen = stat_of(p->text);
    nexus_status status = nexus__file_read(s->alloc, p->text, REFERENCED_MAX, &text, &n);
    if (status != NEXUS_OK)
        return status;
    size_t kept = n;
    while (kept > 0 && (text[kept - 1] == '\n' || text[kept - 1] == '\r'))
        kept--;
    nexus__buf_slice_append(out, nexus__slice(text, kept));
    nexus__wipe(text, n);
    nexus__free(s->alloc, text);
    return out->status;
}

nexus_status nexus__source_read(nexus__source *s, nexus__buf *out)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < s->count && status == NEXUS_OK; i++)
        if (s->parts[i].file)
            status = put_file(s, &s->parts[i], out);
        else
            nexus__buf_slice_append(out, nexus__slice_c(s->parts[i].text));
    return status == NEXUS_OK ? out->status : status;
}
