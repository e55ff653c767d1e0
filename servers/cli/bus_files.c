/* bus: the files of a bus that no process has open. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

typedef struct report {
    const cli *cli;
    const char *url;
    bool ok;
    char *text;
    size_t n;
    nexus_json *json;
} report;

static nexus_status read_report(report *r, bool repair)
{
    nexus_json_free(r->json);
    nexus_free(r->text);
    r->json = NULL;
    r->text = NULL;
    nexus_status status = repair ? nexus_bus_repair(&r->text, &r->n, r->url) : nexus_bus_verify(&r->text, &r->n, r->url);
    if (status == NEXUS_OK)
        status = nexus_json_parse(&r->json, (nexus_slice){r->text, r->n});
    if (status != NEXUS_OK)
        return status;
    nexus_slice ok;
    nexus_json_raw(r->json, nexus_json_get(r->json, NEXUS_JSON_ROOT, "ok"), &ok);
    r->ok = ok.n == 4;
    return NEXUS_OK;
}

static int look(report *r, bool repair)
{
    nexus_status status = read_report(r, repair);
    if (status == NEXUS_OK)
        return CLI_DONE;
    cli_fail("%s", nexus_error_message());
    return status == NEXUS_EINVAL ? CLI_USAGE : CLI_UNREACHABLE;
}

static long long number(const report *r, uint32_t object, const char *name)
{
    int64_t value = 0;
    (void)nexus_json_int(r->json, nexus_json_get(r->json, object, name), &value);
    return (long long)value;
}

static void print_bad(const report *r)
{
    for (nexus_json_iter it = {0}; nexus_json_step(r->json, nexus_json_get(r->json, NEXUS_JSON_ROOT, "bad"), &it);) {
        nexus_slice file = {0}, what = {0};
        (void)nexus_json_text(r->json, nexus_json_get(r->json, it.value, "file"), &file);
        (void)nexus_json_text(r->json, nexus_json_get(r->json, it.value, "what"), &what);
        printf("%.*s at %lld: %.*s", (int)file.n, file.p, number(r, it.value, "offset"), (int)what.n, what.p);
        if (number(r, it.value, "to"))
            printf("; positions %lld to %lld", number(r, it.value, "from"), number(r, it.value, "to"));
        puts("");
    }
}

static void print_counts(const report *r)
{
    printf("%lld files, %lld bytes, %lld records, positions %lld to %lld, %lld checkpoints\n",
           number(r, NEXUS_JSON_ROOT, "files"), number(r, NEXUS_JSON_ROOT, "bytes"),
           number(r, NEXUS_JSON_ROOT, "records"), number(r, NEXUS_JSON_ROOT, "first"),
           number(r, NEXUS_JSON_ROOT, "last"), number(r, NEXUS_JSON_ROOT, "checkpoints"));
    if (number(r, NEXUS_JSON_ROOT, "tail_bytes"))
        printf("an unfinished write of %lld bytes at the end, which opening removes\n",
               number(r, NEXUS_JSON_ROOT, "tail_bytes"));
}

static void show(const report *r)
{
    if (r->cli->json) {
        cli_print_json((nexus_slice){r->text, r->n});
        return;
    }
    print_bad(r);
    print_counts(r);
}

static int verify(report *r, bool yes)
{
    (void)yes;
    int code = look(r, false);
    if (code != CLI_DONE)
        return code;
    show(r);
    return r->ok ? CLI_DONE : CLI_REFUSED;
}

static int repair(report *r, bool yes)
{
    int code = look(r, false);
    if (code != CLI_DONE)
        return code;
    if (!r->ok && !yes) {
        show(r);
        cli_fail("this is what repair would give up; with --yes it does");
        return CLI_REFUSED;
    }
    if (!r->ok)
        code = look(r, true);
    if (code == CLI_DONE)
        show(r);
    return code;
}

/* Of a bus that somebody has open, or that is not in files, its owner tells. */
static int stats_of_owner(const report *r)
{
    char *text = NULL;
    size_t n;
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.role = NEXUS_BUS_CLIENT;
    nexus_status status = nexus_bus_open(&bus, r->url, &opts);
    if (status != NEXUS_OK) {
        cli_fail("%s", nexus_error_message());
        return CLI_UNREACHABLE;
    }
    status = nexus_bus_stats(&text, &n, bus);
    if (status == NEXUS_OK)
        cli_print_json((nexus_slice){text, n});
    nexus_free(text);
    nexus_bus_close(bus);
    return cli_told(status);
}

static int stats(report *r, bool yes)
{
    (void)yes;
    nexus_status status = read_report(r, false);
    if (status == NEXUS_ECONFLICT || status == NEXUS_EINVAL)
        return stats_of_owner(r);
    if (status == NEXUS_OK && r->cli->json)
        cli_print_json((nexus_slice){r->text, r->n});
    else if (status == NEXUS_OK)
        print_counts(r);
    else
        cli_fail("%s", nexus_error_message());
    return status == NEXUS_OK ? CLI_DONE : CLI_UNREACHABLE;
}

/* By the owner, while it runs. */
static int compact(cli *c)
{
    nexus_compact_result done = {.size = sizeof done};
    nexus_bus *bus;
    int code = cli_open_bus(c, &bus);
    if (code != CLI_DONE)
        return code;
    nexus_status status = nexus_bus_compact(bus, &done);
    if (status == NEXUS_OK)
        printf(c->json ? "{\"events\":%llu,\"files\":%llu,\"bytes_before\":%llu,\"bytes_after\":%llu}\n"
                       : "%llu events went from %llu files; %llu bytes before, %llu now\n",
               (unsigned long long)done.events, (unsigned long long)done.files, (unsigned long long)done.bytes_before,
               (unsigned long long)done.bytes_after);
    nexus_bus_close(bus);
    return cli_told(status);
}

int cli_bus(cli *c)
{
    static const char usage[] = "bus asyncapi | compact | verify | repair [--yes] | stats   [--dir DIR]";
    static const struct {
        const char *word;
        int (*run)(report *r, bool yes);
    } rows[] = {{"verify", verify}, {"repair", repair}, {"stats", stats}};
    if (c->argc && strcmp(c->argv[0], "asyncapi") == 0)
        return cli_asyncapi(c);
    if (c->argc == 1 && strcmp(c->argv[0], "compact") == 0)
        return compact(c);
    char url[CLI_PATH_MAX + 16];
    const char *dir = cli_option(c, "--dir"), *setting = nexus_settings_text(c->settings, "bus_url");
    bool yes = cli_flag(c, "--yes");
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    snprintf(url, sizeof url, dir ? "file:%s" : "file:%s/bus", dir ? dir : c->state);
    report r = {.cli = c, .url = dir || !*setting ? url : setting};
    code = CLI_USAGE;
    size_t i = 0;
    while (i < sizeof rows / sizeof *rows && strcmp(rows[i].word, c->argv[0]) != 0)
        i++;
    if (i < sizeof rows / sizeof *rows)
        code = rows[i].run(&r, yes);
    else
        fprintf(stderr, "usage: nexus %s\n", usage);
    nexus_json_free(r.json);
    nexus_free(r.text);
    return code;
}
