/* Settings inside: one value for each row of each table, in table order. */
#ifndef NEXUS_SERVICE_SETTINGS_H
#define NEXUS_SERVICE_SETTINGS_H

#include <nexus/settings.h>

#include "base/buf.h"

typedef struct nexus__setting_value {
    const nexus_setting *row;
    const char *module; /* of its table */
    char *text;         /* NULL: unset */
    int64_t i;
    double d;
    bool set; /* a source gave it */
} nexus__setting_value;

struct nexus_settings {
    const nexus_alloc *alloc;
    const char *program, *about;
    const char *const *env; /* while loading */
    nexus__setting_value *values;
    size_t count;
    nexus__buf page; /* what an action prints */
    bool print;
};

/* The table every server has. */
extern const nexus_settings_table nexus__settings_common;

/* NULL when there is no such row. The name may be written with '-' for '_'. */
nexus__setting_value *nexus__settings_find(const nexus_settings *s, nexus_slice name);
/* The known name that is nearest to a wrong one, or NULL when none is near. */
const char *nexus__settings_nearest(const nexus_settings *s, nexus_slice name);

/* Checks text against the row and puts it in. `where` ("--port-base", "nexus.json:3:7") begins the message. */
nexus_status nexus__setting_put(nexus_settings *s, nexus__setting_value *v, nexus_slice text, const char *where);

/* The same for what a file held: as it is, whatever looks like a reference. */
nexus_status nexus__setting_put_literal(nexus_settings *s, nexus__setting_value *v, nexus_slice text, const char *where);
/* Whether text holds ${env:…} or ${file:…}; and text with what they stand for, appended to out. */
bool nexus__setting_refers(nexus_slice text);
nexus_status nexus__setting_resolve(const nexus_settings *s, const char *setting, nexus_slice text, const char *where,
                                    nexus__buf *out);
/* A variable of the environment; NULL when it is not there. */
const char *nexus__settings_variable(const char *const *env, const char *name);

/* Reads the JSON file into the values. */
nexus_status nexus__settings_file(nexus_settings *s, const char *path);
/* Reads a small file whole; at most max bytes. Free with nexus__free. */
nexus_status nexus__file_read(const nexus_alloc *alloc, const char *path, size_t max, char **out, size_t *n);

/* Pages. */
void nexus__settings_help(nexus_settings *s);
void nexus__settings_defaults(nexus_settings *s);
void nexus__settings_markdown(nexus_settings *s);
void nexus__settings_checked(nexus_settings *s);

#endif
