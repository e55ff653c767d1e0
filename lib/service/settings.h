/* Settings inside: one value for each row of each table, in table order. */
#ifndef NEXUS_SERVICE_SETTINGS_H
#define NEXUS_SERVICE_SETTINGS_H

#include <nexus/secret.h>
#include <nexus/settings.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/buf.h"

/* A value with references, taken apart (settings_reference.c). */
typedef struct nexus__source nexus__source;

typedef struct nexus__setting_value {
    const nexus_setting *row;
    const char *module; /* of its table */
    char *text;         /* NULL: unset, or a secret */
    nexus_secret *secret;  /* of a row of that type; NULL: unset */
    nexus__source *source; /* of a secret that files stand for; NULL: none */
    char *written;         /* as it was written, when it refers; NULL: it does not */
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
    nexus_settings *self;      /* what const settings may change: the lock */
    pthread_mutex_t rereading; /* guards what sources know of their files */
};

/* The table every server has. */
extern const nexus_settings_table nexus__settings_common;

/* NULL when there is no such row. The name may be written with '-' for '_'. */
nexus__setting_value *nexus__settings_find(const nexus_settings *s, nexus_slice name);
/* The known name that is nearest to a wrong one, or NULL when none is near. */
const char *nexus__settings_nearest(const nexus_settings *s, nexus_slice name);

/* Checks text against the row and puts it in. `where` ("--port-base", "nexus.json:3:7") begins the message. */
nexus_status nexus__setting_put(nexus_settings *s, nexus__setting_value *v, nexus_slice text, const char *where);

/* The same for what the file `path` holds: as it is, whatever looks like a reference. */
nexus_status nexus__setting_put_file(nexus_settings *s, nexus__setting_value *v, const char *path, const char *where);
void nexus__setting_free(nexus_settings *s, nexus__setting_value *v);
/* Refuses samples where that matters (settings_secret.c). */
nexus_status nexus__secrets_check(const nexus_settings *s);

typedef enum nexus__reference_kind {
    NEXUS__REFERENCE_NONE, /* text as it is */
    NEXUS__REFERENCE_ENV,
    NEXUS__REFERENCE_FILE
} nexus__reference_kind;

typedef struct nexus__reference {
    nexus__reference_kind kind;
    nexus_slice text; /* a name, or a path */
} nexus__reference;

/* Whether text holds ${env:…} or ${file:…}. */
bool nexus__setting_refers(nexus_slice text);
/* Cuts the first part off text, which is not empty; false: it is a reference that is wrong. Pure. */
bool nexus__reference_cut(nexus_slice *text, nexus__reference *out);

/* Takes text apart; `where` begins the message. */
nexus_status nexus__source_open(nexus__source **out, const nexus_settings *s, const char *setting, nexus_slice text,
                                const char *where);
nexus_status nexus__source_open_file(nexus__source **out, const nexus_settings *s, const char *path);
bool nexus__source_has_file(const nexus__source *source);
/* Whether a file is not as it was at the last reading. */
bool nexus__source_changed(const nexus__source *source);
nexus_status nexus__source_read(nexus__source *source, nexus__buf *out);
void nexus__source_free(nexus__source *source);

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
void nexus__settings_effective(nexus_settings *s);
/* Whether a secret stands in a file that may change. */
bool nexus__settings_follow(const nexus_settings *s);

#endif
