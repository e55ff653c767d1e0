/*
 * Settings of a program: tables of rows, filled from flags, then the environment, then one JSON file.
 *
 * A row `payment_timeout_ms` is the flag --payment-timeout-ms, the variable NEXUS_PAYMENT_TIMEOUT_MS (or
 * NEXUS_PAYMENT_TIMEOUT_MS_FILE, a file whose content is the value) and the key "payment_timeout_ms" of the
 * JSON object, at its top or inside an object named after the module. Names are unique over all tables of a
 * program. Behaviour never reads settings: whoever opens a module turns them into its options.
 */
#ifndef NEXUS_SETTINGS_H
#define NEXUS_SETTINGS_H

#include <nexus/alloc.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    NEXUS_SETTING_TEXT = 0,
    NEXUS_SETTING_INT = 1,    /**< decimal, within min and max */
    NEXUS_SETTING_BOOL = 2,   /**< true, false, 1, 0, on, off, yes, no; a flag alone is true */
    NEXUS_SETTING_CHOICE = 3, /**< one of the words in `choices` */
    NEXUS_SETTING_SECRET = 4, /**< is lent by nexus_settings_secret only; production refuses short or sample values */
    NEXUS_SETTING_URL = 5,    /**< SCHEME:…; the schemes in `choices` when there are any; passwords are not printed */
    NEXUS_SETTING_DOUBLE = 6
};

/** One row. Strings are borrowed for the life of the settings (they are literals). */
typedef struct nexus_setting {
    const char *name;    /**< lower case, digits, '_': "payment_timeout_ms" */
    uint32_t type;       /**< NEXUS_SETTING_… */
    const char *initial; /**< the default as text; NULL: unset */
    int64_t min, max;    /**< of an INT; both 0: any */
    const char *choices; /**< words parted by commas, of a CHOICE or a URL */
    const char *text;    /**< one sentence for --help and the reference */
} nexus_setting;

/** The rows of one module. */
typedef struct nexus_settings_table {
    const char *module; /**< "backend": heading of the reference, name of its object in the JSON file */
    const nexus_setting *rows;
    size_t count;
} nexus_settings_table;

struct nexus_secret;
typedef struct nexus_settings nexus_settings;

typedef struct nexus_settings_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL: the C library's */
    const char *program;                /**< "nexus-backend" */
    const char *text;                   /**< what the program is, for --help */
    const nexus_settings_table *tables; /**< borrowed until free; the common table need not be among them */
    size_t table_count;
    int32_t argc;            /**< flags begin at argv[1]; 0: none */
    const char *const *argv; /**< borrowed for the call */
    const char *const *env;  /**< "NAME=value" and a NULL at the end; NULL: no environment */
    bool common;             /**< adds the common table of servers (port_base, state_dir, database_url, …) */
} nexus_settings_opts;

#define NEXUS_SETTINGS_OPTS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(nexus_settings_opts), 0, 0, 0, 0, 0, 0, 0, 0, true                                                      \
    }

NEXUS_API void nexus_settings_opts_init(nexus_settings_opts *opts);

/**
 * Loads all sources. NEXUS_EINVAL with a message that names flag, variable or file:line:column and the
 * remedy: an unknown name (and the nearest known one), a wrong type, a value out of range.
 */
NEXUS_API nexus_status nexus_settings_load(nexus_settings **out, const nexus_settings_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_settings_free(nexus_settings *settings);

/** Text that --help, --version, --print-defaults, --print-settings=markdown, --check-config or --print-config ask to print
 * instead of running; false when the program shall run. Borrowed. */
NEXUS_API bool nexus_settings_print(const nexus_settings *settings, nexus_slice *out);

/** The value of a row; an unset one is empty, 0 or false, and so is a secret. The text is borrowed from the settings and
 * NUL-terminated. A name that is in no table is a mistake of the program: empty, 0, false. */
NEXUS_API const char *nexus_settings_text(const nexus_settings *settings, const char *name);
NEXUS_API int64_t nexus_settings_int(const nexus_settings *settings, const char *name);
NEXUS_API bool nexus_settings_bool(const nexus_settings *settings, const char *name);
NEXUS_API double nexus_settings_double(const nexus_settings *settings, const char *name);
/** The value of a row of type NEXUS_SETTING_SECRET, borrowed; NULL: unset. It changes with nexus_settings_reread: use it
 * where it is needed instead of keeping what it was. */
NEXUS_API const struct nexus_secret *nexus_settings_secret(const nexus_settings *settings, const char *name);
/**
 * Reads again the files that secrets stand in (${file:/PATH}, NEXUS_X_FILE), where one has changed; *changed: how many
 * secrets are others now. What cannot be read, is empty or a sample leaves its secret as it was, and is told once for each
 * change of the file: the status and message are those of the first. Any thread.
 */
NEXUS_API nexus_status nexus_settings_reread(const nexus_settings *settings, uint32_t *changed) NEXUS_MUST_CHECK;
/** Whether a source other than the default gave the value. */
NEXUS_API bool nexus_settings_is_set(const nexus_settings *settings, const char *name);

/**
 * Where the state directory is: the setting state_dir, else ./var in the repository, else $XDG_STATE_HOME/nexus,
 * else ~/.local/state/nexus. Nothing is made. Copied, at most cap - 1 bytes and a NUL.
 */
NEXUS_API void nexus_settings_state_dir(const nexus_settings *settings, char *out, size_t cap);

#ifdef __cplusplus
}
#endif

#endif
