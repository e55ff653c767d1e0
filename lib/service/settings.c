/*
 * Loading. Sources are applied from the weakest to the strongest, each overwriting what was there: defaults, JSON
 * file, environment, flags. The file's own path comes from --config or NEXUS_CONFIG, so flags are read twice.
 */
#include "service/settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nexus/version.h>

#include "base/status.h"

enum { NAME_MAX_BYTES = 96 };

typedef struct action {
    const char *flag;
    void (*page)(nexus_settings *s);
    bool before_loading; /* answers even when the settings are wrong */
} action;

static void version_page(nexus_settings *s)
{
    nexus__buf_printf(&s->page, "%s %s\n", s->program, nexus_version());
}

static const action actions[] = {
    {"--help", nexus__settings_help, true},
    {"-h", nexus__settings_help, true},
    {"--version", version_page, true},
    {"--print-defaults", nexus__settings_defaults, true},
    {"--print-settings=markdown", nexus__settings_markdown, true},
    {"--check-config", nexus__settings_checked, false},
    {"--print-config", nexus__settings_effective, false},
};

void nexus_settings_opts_init(nexus_settings_opts *opts)
{
    *opts = (nexus_settings_opts)NEXUS_SETTINGS_OPTS_INIT;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static bool same_name(nexus_slice written, const char *name)
{
    size_t i = 0;
    for (; i < written.n && name[i]; i++)
        if ((written.p[i] == '-' ? '_' : written.p[i]) != name[i])
            return false;
    return i == written.n && !name[i];
}

nexus__setting_value *nexus__settings_find(const nexus_settings *s, nexus_slice name)
{
    for (size_t i = 0; i < s->count; i++)
        if (same_name(name, s->values[i].row->name))
            return &s->values[i];
    return NULL;
}

/* Levenshtein distance, one row at a time; names longer than the row are cut. */
static size_t distance(nexus_slice a, const char *b)
{
    size_t row[NAME_MAX_BYTES + 1], n = strnlen(b, NAME_MAX_BYTES);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; i < a.n && i < NAME_MAX_BYTES; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = diagonal + (nexus__ascii_lower(a.p[i] == '-' ? '_' : a.p[i]) != b[j]);
            size_t insert = row[j] + 1, remove = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = change < insert ? (change < remove ? change : remove) : insert < remove ? insert : remove;
        }
    }
    return row[n];
}

const char *nexus__settings_nearest(const nexus_settings *s, nexus_slice name)
{
    const char *best = NULL;
    size_t least = name.n / 2 < 2 ? 2 : name.n / 2;
    for (size_t i = 0; i < s->count; i++) {
        size_t d = distance(name, s->values[i].row->name);
        if (d < least) {
            least = d;
            best = s->values[i].row->name;
        }
    }
    return best;
}

/* --- environment -------------------------------------------------------------------------------------------------- */

static void env_name(const char *name, char out[static NAME_MAX_BYTES])
{
    size_t n = (size_t)snprintf(out, NAME_MAX_BYTES, "NEXUS_%s", name);
    for (size_t i = 0; i < n && i < NAME_MAX_BYTES; i++)
        out[i] = (char)toupper((unsigned char)out[i]);
}

const char *nexus__settings_variable(const char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (; env && *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

static nexus_status put_env(nexus_settings *s, nexus__setting_value *v, const char *const *env)
{
    char name[NAME_MAX_BYTES], file_name[NAME_MAX_BYTES + 8];
    env_name(v->row->name, name);
    snprintf(file_name, sizeof file_name, "%s_FILE", name);
    const char *value = nexus__settings_variable(env, name), *path = nexus__settings_variable(env, file_name);
    if (value && path && *path)
        return nexus__fail(NEXUS_EINVAL, "%s and %s are both set; keep one", name, file_name);
    if (path && *path) {
        v->set = true;
        return nexus__setting_put_file(s, v, path, file_name);
    }
    if (!value || !*value)
        return NEXUS_OK;
    v->set = true;
    return nexus__setting_put(s, v, nexus__slice_c(value), name);
}

/* --- flags -------------------------------------------------------------------------------------------------------- */

static const action *find_action(const char *word)
{
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(word, actions[i].flag) == 0)
            return &actions[i];
    return NULL;
}

static nexus_status unknown_flag(const nexus_settings *s, const char *word, nexus_slice name)
{
    const char *near = nexus__settings_nearest(s, name);
    if (!near)
        return nexus__fail(NEXUS_EINVAL, "unknown flag %s; --help lists the known ones", word);
    char dashed[NAME_MAX_BYTES];
    size_t n = (size_t)snprintf(dashed, sizeof dashed, "%s", near);
    for (size_t i = 0; i < n; i++)
        dashed[i] = dashed[i] == '_' ? '-' : dashed[i];
    return nexus__fail(NEXUS_EINVAL, "unknown flag %s; did you mean --%s?", word, dashed);
}

/* Takes the flag at argv[*i]; *i moves on when its value is the next word. */
static nexus_status put_flag(nexus_settings *s, const nexus_settings_opts *o, int32_t *i)
{
    const char *word = o->argv[*i];
    if (find_action(word))
        return NEXUS_OK;
    if (strncmp(word, "--", 2) != 0 || !word[2])
        return nexus__fail(NEXUS_EINVAL, "\"%s\" is no flag; flags are --name=value", word);
    nexus_slice value = nexus__slice_c(word + 2), name = nexus__slice_cut(&value, '=');
    bool joined = strchr(word, '=') != NULL;
    nexus__setting_value *v = nexus__settings_find(s, name);
    if (!joined && nexus__slice_eq_c(name, "dev") && (v = nexus__settings_find(s, NEXUS_S("env")))) {
        v->set = true;
        return nexus__setting_put(s, v, NEXUS_S("development"), word);
    }
    bool config = nexus__slice_eq_c(name, "config"); /* its file was read before */
    if (!v && !config)
        return unknown_flag(s, word, name);
    if (!joined && v && v->row->type == NEXUS_SETTING_BOOL) {
        value = NEXUS_S("true");
    } else if (!joined) {
        if (++*i >= o->argc)
            return nexus__fail(NEXUS_EINVAL, "%s needs a value", word);
        value = nexus__slice_c(o->argv[*i]);
    }
    if (config)
        return NEXUS_OK;
    char where[NAME_MAX_BYTES];
    snprintf(where, sizeof where, "--%.*s", (int)name.n, name.p);
    v->set = true;
    return nexus__setting_put(s, v, value, where);
}

static const char *config_path(const nexus_settings_opts *o)
{
    for (int32_t i = 1; i < o->argc; i++) {
        if (strncmp(o->argv[i], "--config=", 9) == 0)
            return o->argv[i] + 9;
        if (strcmp(o->argv[i], "--config") == 0 && i + 1 < o->argc)
            return o->argv[i + 1];
    }
    return nexus__settings_variable(o->env, "NEXUS_CONFIG");
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static nexus_status add_table(nexus_settings *s, const nexus_settings_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        nexus__setting_value *v = &s->values[s->count];
        if (nexus__settings_find(s, nexus__slice_c(t->rows[i].name)))
            return nexus__fail(NEXUS_EINVAL, "settings: \"%s\" is in two tables; names are unique in a program",
                               t->rows[i].name);
        *v = (nexus__setting_value){.row = &t->rows[i], .module = t->module};
        s->count++;
        if (t->rows[i].initial) {
            nexus_status status = nexus__setting_put(s, v, nexus__slice_c(t->rows[i].initial), t->rows[i].name);
            if (status != NEXUS_OK)
                return status;
        }
    }
    return NEXUS_OK;
}

static nexus_status add_tables(nexus_settings *s, const nexus_settings_opts *o)
{
    size_t rows = nexus__settings_common.count;
    for (size_t i = 0; i < o->table_count; i++)
        rows += o->tables[i].count;
    s->values = nexus__calloc(s->alloc, rows, sizeof *s->values);
    if (!s->values)
        return nexus__nomem();
    nexus_status status = o->common ? add_table(s, &nexus__settings_common) : NEXUS_OK;
    for (size_t i = 0; status == NEXUS_OK && i < o->table_count; i++)
        status = add_table(s, &o->tables[i]);
    return status;
}

static nexus_status add_sources(nexus_settings *s, const nexus_settings_opts *o)
{
    const char *path = config_path(o);
    nexus_status status = path && *path ? nexus__settings_file(s, path) : NEXUS_OK;
    for (size_t i = 0; status == NEXUS_OK && i < s->count; i++)
        status = put_env(s, &s->values[i], o->env);
    for (int32_t i = 1; status == NEXUS_OK && i < o->argc; i++)
        status = put_flag(s, o, &i);
    return status;
}

/* Runs the first action of that kind; true when there was one. */
static bool run_action(nexus_settings *s, const nexus_settings_opts *o, bool before_loading)
{
    for (int32_t i = 1; i < o->argc; i++) {
        const action *a = find_action(o->argv[i]);
        if (!a || a->before_loading != before_loading)
            continue;
        a->page(s);
        s->print = true;
        return true;
    }
    return false;
}

nexus_status nexus_settings_load(nexus_settings **out, const nexus_settings_opts *opts)
{
    if (!opts || opts->size != sizeof *opts || !opts->program)
        return nexus__fail(NEXUS_EINVAL, "settings: options need their size and the program's name");
    nexus_settings *s = nexus__calloc(opts->alloc, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    s->self = s;
    s->alloc = opts->alloc;
    s->program = opts->program;
    s->env = opts->env;
    s->about = opts->text ? opts->text : "";
    nexus__buf_init(&s->page, s->alloc, 0);
    pthread_mutex_init(&s->rereading, NULL);
    nexus_status status = add_tables(s, opts);
    if (status == NEXUS_OK && !run_action(s, opts, true)) {
        status = add_sources(s, opts);
        if (status == NEXUS_OK)
            status = nexus__secrets_check(s);
        if (status == NEXUS_OK)
            (void)run_action(s, opts, false);
    }
    s->env = NULL;
    if (status == NEXUS_OK && s->page.status != NEXUS_OK)
        status = nexus__nomem();
    if (status != NEXUS_OK) {
        nexus_settings_free(s);
        return status;
    }
    *out = s;
    return NEXUS_OK;
}

void nexus_settings_free(nexus_settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        nexus__setting_free(s, &s->values[i]);
    nexus__free(s->alloc, s->values);
    pthread_mutex_destroy(&s->rereading);
    nexus__buf_free(&s->page);
    nexus__free(s->alloc, s);
}

bool nexus_settings_print(const nexus_settings *s, nexus_slice *out)
{
    *out = nexus__buf_slice(&s->page);
    return s->print;
}

const char *nexus_settings_text(const nexus_settings *s, const char *name)
{
    const nexus__setting_value *v = nexus__settings_find(s, nexus__slice_c(name));
    return v && v->text ? v->text : "";
}

int64_t nexus_settings_int(const nexus_settings *s, const char *name)
{
    const nexus__setting_value *v = nexus__settings_find(s, nexus__slice_c(name));
    return v ? v->i : 0;
}

bool nexus_settings_bool(const nexus_settings *s, const char *name)
{
    return nexus_settings_int(s, name) != 0;
}

double nexus_settings_double(const nexus_settings *s, const char *name)
{
    const nexus__setting_value *v = nexus__settings_find(s, nexus__slice_c(name));
    return v ? v->d : 0;
}

bool nexus_settings_is_set(const nexus_settings *s, const char *name)
{
    const nexus__setting_value *v = nexus__settings_find(s, nexus__slice_c(name));
    return v && v->set;
}

void nexus_settings_state_dir(const nexus_settings *settings, char *out, size_t cap)
{
    const char *setting = nexus_settings_text(settings, "state_dir");
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (*setting)
        snprintf(out, cap, "%s", setting);
    else if (access("scripts/start-microservices.sh", F_OK) == 0 && access("include/nexus", F_OK) == 0)
        snprintf(out, cap, "var");
    else if (xdg && *xdg)
        snprintf(out, cap, "%s/nexus", xdg);
    else if (home && *home && strcmp(home, "/") != 0)
        snprintf(out, cap, "%s/.local/state/nexus", home);
    else
        snprintf(out, cap, "/var/lib/nexus");
}
