/* The JSON file of settings: names at the top or inside an object named after their module. */
#include "service/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/status.h"
#include "json/read.h"

enum { FILE_MAX_BYTES = 1024 * 1024 };

/* One file serves all processes of a topology: sections of services that this one does not host are theirs. */
static const char *const services[] = {"common",    "nexusd",       "gateway", "backend", "console",
                                       "analytics", "notification", "copilot", "busd"};

nexus_status nexus__file_read(const nexus_alloc *alloc, const char *path, size_t max, char **out, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return nexus__fail_errno(errno, "cannot open %s", path);
    nexus__buf buf;
    nexus__buf_init(&buf, alloc, max);
    ssize_t got = 0;
    do {
        char chunk[4096];
        got = read(fd, chunk, sizeof chunk);
        if (got > 0)
            nexus__buf_append(&buf, chunk, (size_t)got);
    } while (got > 0 && buf.status == NEXUS_OK);
    int error = errno;
    close(fd);
    if (got < 0 || buf.status != NEXUS_OK) {
        nexus_status status = buf.status;
        nexus__buf_free(&buf);
        return got < 0 ? nexus__fail_errno(error, "cannot read %s", path)
                       : nexus__fail(status, "%s is larger than %zu bytes, or memory is out", path, max);
    }
    nexus__buf_char(&buf, '\0'); /* so that an empty file is not an empty buffer, which take() hands over as NULL */
    size_t len = 0;
    char *text = nexus__buf_take(&buf, &len);
    if (!text)
        return nexus__nomem();
    *out = text;
    *n = len - 1;
    return NEXUS_OK;
}

typedef struct reader {
    nexus_settings *s;
    const char *path;
    nexus__json doc;
    char where[512];
} reader;

static const char *where(reader *r, uint32_t node)
{
    uint32_t line, column;
    nexus__json_position(r->doc.text, r->doc.nodes[node].start, &line, &column);
    snprintf(r->where, sizeof r->where, "%s:%u:%u", r->path, line, column);
    return r->where;
}

static nexus_status unknown(reader *r, uint32_t key, nexus_slice name)
{
    const char *near = nexus__settings_nearest(r->s, name);
    if (near)
        return nexus__fail(NEXUS_EINVAL, "%s: unknown setting \"%.*s\"; did you mean \"%s\"?", where(r, key),
                           (int)name.n, name.p, near);
    return nexus__fail(NEXUS_EINVAL, "%s: unknown setting \"%.*s\"; --help lists the known ones", where(r, key),
                       (int)name.n, name.p);
}

static bool is_service(nexus_slice name)
{
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++)
        if (nexus__slice_eq_c(name, services[i]))
            return true;
    return false;
}

static bool hosts(const nexus_settings *s, nexus_slice module)
{
    for (size_t i = 0; i < s->count; i++)
        if (nexus__slice_eq_c(module, s->values[i].module))
            return true;
    return false;
}

static nexus_status put(reader *r, uint32_t key, uint32_t value, const char *module)
{
    nexus_slice name, text;
    if (!nexus__json_text(&r->doc, key, &name))
        return nexus__nomem();
    nexus__setting_value *v = nexus__settings_find(r->s, name);
    if (!v || (module && strcmp(v->module, module) != 0))
        return unknown(r, key, name);
    nexus__json_type type = nexus__json_type_of(&r->doc, value);
    if (type == NEXUS__JSON_ARRAY || type == NEXUS__JSON_OBJECT)
        return nexus__fail(NEXUS_EINVAL, "%s: \"%s\" takes a string, a number, true or false", where(r, value),
                           v->row->name);
    if (type == NEXUS__JSON_NULL)
        return NEXUS_OK;
    if (type != NEXUS__JSON_STRING)
        text = nexus__json_raw(&r->doc, value);
    else if (!nexus__json_text(&r->doc, value, &text))
        return nexus__nomem();
    v->set = true;
    return nexus__setting_put(r->s, v, text, where(r, value));
}

static nexus_status put_section(reader *r, uint32_t section, nexus_slice module)
{
    if (!hosts(r->s, module))
        return NEXUS_OK;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)module.n, module.p);
    nexus_status status = NEXUS_OK;
    for (nexus__json_iter it = nexus__json_each(&r->doc, section); status == NEXUS_OK && nexus__json_step(&r->doc, &it);)
        status = put(r, it.key, it.value, name);
    return status;
}

static nexus_status put_all(reader *r)
{
    if (!nexus__json_is(&r->doc, 0, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "%s:1:1: settings are one JSON object", r->path);
    nexus_status status = NEXUS_OK;
    for (nexus__json_iter it = nexus__json_each(&r->doc, 0); status == NEXUS_OK && nexus__json_step(&r->doc, &it);) {
        nexus_slice name;
        if (!nexus__json_text(&r->doc, it.key, &name))
            return nexus__nomem();
        if (nexus__json_is(&r->doc, it.value, NEXUS__JSON_OBJECT) && (is_service(name) || hosts(r->s, name)))
            status = put_section(r, it.value, name);
        else
            status = put(r, it.key, it.value, NULL);
    }
    return status;
}

nexus_status nexus__settings_file(nexus_settings *s, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    nexus_status status = nexus__file_read(s->alloc, path, FILE_MAX_BYTES, &text, &n);
    if (status != NEXUS_OK)
        return status;
    reader r = {.s = s, .path = path};
    nexus__json_init(&r.doc, s->alloc);
    status = nexus__json_scan(&r.doc, nexus__slice(text, n), NULL);
    if (status == NEXUS_OK) {
        status = put_all(&r);
    } else {
        uint32_t line, column;
        char why[256];
        snprintf(why, sizeof why, "%s", nexus_error_message());
        const char *rest = strstr(why, ": ");
        nexus__json_position(nexus__slice(text, n), r.doc.error_at, &line, &column);
        status = nexus__fail(NEXUS_EINVAL, "%s:%u:%u: %s", path, line, column, rest ? rest + 2 : why);
    }
    nexus__json_free(&r.doc);
    nexus__free(s->alloc, text);
    return status;
}
