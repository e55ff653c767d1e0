/* What --help, --print-defaults, --print-settings=markdown and --check-config print. */
#include "service/settings.h"

#include <ctype.h>

#include <nexus/version.h>

#include "json/write.h"
#include "observe/redact.h"

static void upper_append(nexus__buf *out, const char *name)
{
    for (; *name; name++)
        nexus__buf_char(out, (char)toupper((unsigned char)*name));
}

static void dashed_append(nexus__buf *out, const char *name)
{
    for (; *name; name++)
        nexus__buf_char(out, *name == '_' ? '-' : *name);
}

/* Breaks text at 100 columns, each line indented by eight. */
static void wrapped_append(nexus__buf *out, const char *text)
{
    enum { WIDTH = 100, INDENT = 8 };
    size_t column = WIDTH;
    nexus_slice rest = nexus__slice_c(text);
    while (rest.n > 0) {
        nexus_slice word = nexus__slice_cut(&rest, ' ');
        if (column + 1 + word.n > WIDTH) {
            nexus__buf_printf(out, "%s%*s", column == WIDTH ? "" : "\n", INDENT, "");
            column = INDENT;
        } else {
            nexus__buf_char(out, ' ');
            column++;
        }
        nexus__buf_slice_append(out, word);
        column += word.n;
    }
    nexus__buf_char(out, '\n');
}

static const char *type_word(const nexus_setting *r)
{
    static const char *const words[] = {"text", "integer", "true or false", "", "secret", "URL", "number"};
    return r->type == NEXUS_SETTING_CHOICE ? r->choices : words[r->type];
}

static void type_append(nexus__buf *out, const nexus_setting *r)
{
    if (r->type == NEXUS_SETTING_URL && r->choices)
        nexus__buf_printf(out, "URL (%s)", r->choices);
    else
        nexus__buf_text(out, type_word(r));
    if (r->type == NEXUS_SETTING_INT && (r->min || r->max))
        nexus__buf_printf(out, " %lld–%lld", (long long)r->min, (long long)r->max);
}

void nexus__settings_help(nexus_settings *s)
{
    nexus__buf *out = &s->page;
    nexus__buf_printf(
        out,
        "%s %s: %s\n\nusage: %s [--name=value …]\n\n"
        "Settings come from flags, then NEXUS_NAME in the environment (NEXUS_NAME_FILE names a file with\n"
        "the value), then the JSON file of --config or NEXUS_CONFIG.\n"
        "In a value ${env:NAME} and ${file:/PATH} stand for what the variable or file holds.\n\n"
        "  --help, --version          this text; the version\n"
        "  --config FILE              JSON file with settings\n"
        "  --dev                      the same as --env=development\n"
        "  --check-config             checks all sources and ends: 0 fine, 2 not\n"
        "  --print-config             the settings in force as a JSON file, secrets masked\n"
        "  --print-defaults           the defaults as a JSON file\n"
        "  --print-settings=markdown  the settings reference\n",
        s->program, nexus_version(), s->about, s->program);
    const char *module = "";
    for (size_t i = 0; i < s->count; i++) {
        const nexus_setting *r = s->values[i].row;
        if (strcmp(module, s->values[i].module) != 0)
            nexus__buf_printf(out, "\n%s\n", module = s->values[i].module);
        nexus__buf_text(out, "  --");
        dashed_append(out, r->name);
        nexus__buf_text(out, "=");
        nexus__buf_text(out, r->initial ? r->initial : "");
        nexus__buf_text(out, "  (");
        type_append(out, r);
        nexus__buf_text(out, ")\n");
        wrapped_append(out, r->text);
    }
}

static void default_append(nexus__json_writer *w, const nexus__setting_value *v)
{
    const nexus_setting *r = v->row;
    nexus__json_key(w, r->name);
    if (!r->initial)
        nexus__json_null_value(w);
    else if (r->type == NEXUS_SETTING_INT || r->type == NEXUS_SETTING_DOUBLE || r->type == NEXUS_SETTING_BOOL)
        nexus__json_raw_value(w, nexus__slice_c(r->initial));
    else
        nexus__json_text_c_value(w, r->initial);
}

/* What a value is, as far as it may be shown: of a secret that it is there, of others what was written. */
static void effective_append(nexus__json_writer *w, const nexus__setting_value *v)
{
    const nexus_setting *r = v->row;
    const char *text = v->written ? v->written : v->text;
    nexus__buf shown;
    nexus__json_key(w, r->name);
    if (v->secret) {
        nexus__json_text_c_value(w, NEXUS__REDACTED);
    } else if (!text) {
        nexus__json_null_value(w);
    } else if (!v->written && (r->type == NEXUS_SETTING_INT || r->type == NEXUS_SETTING_DOUBLE)) {
        nexus__json_raw_value(w, nexus__slice_c(text));
    } else if (!v->written && r->type == NEXUS_SETTING_BOOL) {
        nexus__json_bool_value(w, v->i != 0);
    } else {
        nexus__buf_init(&shown, w->out->alloc, 0);
        nexus__redact_append(&shown, nexus__slice_c(text));
        nexus__json_text_value(w, nexus__buf_slice(&shown));
        nexus__buf_free(&shown);
    }
}

/* A file of settings: the common rows stand at the top, the others in an object of their module. */
static void print_file(nexus_settings *s, void (*append)(nexus__json_writer *w, const nexus__setting_value *v))
{
    nexus__json_writer w = nexus__json_writer_on(&s->page);
    const char *module = nexus__settings_common.module;
    nexus__json_open(&w, '{');
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(module, s->values[i].module) != 0) {
            if (strcmp(module, nexus__settings_common.module) != 0)
                nexus__json_close(&w, '}');
            nexus__buf_char(&s->page, '\n');
            nexus__json_key(&w, module = s->values[i].module);
            nexus__json_open(&w, '{');
        }
        nexus__buf_text(&s->page, "\n");
        append(&w, &s->values[i]);
    }
    if (strcmp(module, nexus__settings_common.module) != 0)
        nexus__json_close(&w, '}');
    nexus__buf_char(&s->page, '\n');
    nexus__json_close(&w, '}');
    nexus__buf_char(&s->page, '\n');
}

void nexus__settings_defaults(nexus_settings *s)
{
    print_file(s, default_append);
}

void nexus__settings_effective(nexus_settings *s)
{
    print_file(s, effective_append);
}

static void cell_append(nexus__buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            nexus__buf_char(out, '\\');
        nexus__buf_char(out, *text);
    }
}

static void markdown_row(nexus__buf *out, const nexus_setting *r)
{
    nexus__buf_text(out, "| `NEXUS_");
    upper_append(out, r->name);
    nexus__buf_text(out, "`<br>`--");
    dashed_append(out, r->name);
    nexus__buf_text(out, "` | ");
    type_append(out, r);
    nexus__buf_printf(out, r->initial ? " | `%s` | " : " | –%s | ", r->initial ? r->initial : "");
    cell_append(out, r->text);
    nexus__buf_text(out, " |\n");
}

void nexus__settings_markdown(nexus_settings *s)
{
    nexus__buf *out = &s->page;
    nexus__buf_text(out,
                    "# Settings\n\n"
                    "Generated from the tables in the code by `nexusd --print-settings=markdown`; edit those.\n\n"
                    "A setting comes from a flag, else from the environment, else from one JSON file (`--config "
                    "FILE` or\n"
                    "`NEXUS_CONFIG`), else it has its default. `NEXUS_X_FILE` names a file that holds the value of "
                    "`NEXUS_X`.\n"
                    "Within a value `${env:NAME}` and `${file:/run/secrets/NAME}` stand for what that variable or file "
                    "holds at the start;\n"
                    "the files of secrets are read again when they change ([secrets](auth/secrets.md)).\n"
                    "In the JSON file the key is the name in lower case without `NEXUS_`, at the top or inside an "
                    "object\n"
                    "named after its section below. An unknown flag or key is an error that names the nearest known "
                    "one.\n");
    const char *module = "";
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(module, s->values[i].module) != 0) {
            module = s->values[i].module;
            nexus__buf_printf(out, "\n## %s\n\n| setting | type | default | meaning |\n|---|---|---|---|\n", module);
        }
        markdown_row(out, s->values[i].row);
    }
}

void nexus__settings_checked(nexus_settings *s)
{
    size_t set = 0;
    for (size_t i = 0; i < s->count; i++)
        set += s->values[i].set;
    nexus__buf_printf(&s->page, "%s: settings are fine (%zu of %zu set)\n", s->program, set, s->count);
}
