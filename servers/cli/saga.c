/* saga: what an operator asks of sagas, and does to one that is stuck. Over the bus; the server that runs it acts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] = "saga list SAGA [--status S,…] [--after CURSOR] [--limit N] | show SAGA ID | "
                            "retry SAGA ID --why TEXT | skip SAGA ID --why TEXT | force SAGA ID done|failed --why TEXT";

static nexus_slice text_of(nexus_json *json, uint32_t object, const char *name)
{
    nexus_slice text = {"-", 1};
    (void)nexus_json_text(json, nexus_json_get(json, object, name), &text);
    return text;
}

static void print_row(nexus_json *json, uint32_t row)
{
    static const char *const columns[] = {"id", "status", "step", "at", "due_at", "reason", "error"};
    static const int widths[] = {38, 13, 16, 25, 25, 0, 0};
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++) {
        nexus_slice text = text_of(json, row, columns[k]);
        printf("%-*.*s ", widths[k], (int)text.n, text.p);
    }
    puts("");
}

static nexus_status list(const cli *c, nexus_bus *bus, const nexus_saga_query *query)
{
    char *text;
    size_t n;
    nexus_json *json = NULL;
    nexus_status status = nexus_saga_list(&text, &n, bus, c->argv[1], query);
    if (status != NEXUS_OK)
        return status;
    if (c->json) {
        cli_print_json((nexus_slice){text, n});
    } else if ((status = nexus_json_parse(&json, (nexus_slice){text, n})) == NEXUS_OK) {
        uint32_t rows = nexus_json_get(json, NEXUS_JSON_ROOT, "instances");
        for (nexus_json_iter it = {0}; nexus_json_step(json, rows, &it);)
            print_row(json, it.value);
        nexus_slice next = text_of(json, NEXUS_JSON_ROOT, "next");
        if (next.n > 1)
            printf("more: --after %.*s\n", (int)next.n, next.p);
    }
    nexus_json_free(json);
    nexus_free(text);
    return status;
}

static nexus_status show(const cli *c, nexus_bus *bus)
{
    char *text;
    size_t n;
    nexus_status status = nexus_saga_get(&text, &n, bus, c->argv[1], (nexus_slice){c->argv[2], strlen(c->argv[2])});
    if (status == NEXUS_OK) {
        cli_print_json((nexus_slice){text, n});
        nexus_free(text);
    }
    return status;
}

/* The rows that act, by their words. */
static const struct {
    const char *word, *outcome; /* outcome: the last word of force */
    uint32_t op;
} acts[] = {
    {"retry", NULL, NEXUS_SAGA_OP_RETRY},
    {"skip", NULL, NEXUS_SAGA_OP_SKIP},
    {"force", "done", NEXUS_SAGA_OP_FORCE_DONE},
    {"force", "failed", NEXUS_SAGA_OP_FORCE_FAILED},
};

static uint32_t act_of(const cli *c)
{
    for (size_t k = 0; k < sizeof acts / sizeof *acts; k++) {
        int words = acts[k].outcome ? 4 : 3;
        if (strcmp(c->argv[0], acts[k].word) == 0 && c->argc == words &&
            (!acts[k].outcome || strcmp(c->argv[3], acts[k].outcome) == 0))
            return acts[k].op;
    }
    return 0;
}

/* Then shows where the instance stands now. */
static nexus_status act(const cli *c, nexus_bus *bus, uint32_t op, const char *why)
{
    nexus_slice id = {c->argv[2], strlen(c->argv[2])};
    nexus_status status = nexus_saga_control(bus, c->argv[1], id, op, why, 0);
    return status == NEXUS_OK ? show(c, bus) : status;
}

int cli_saga(cli *c)
{
    nexus_saga_query query = NEXUS_SAGA_QUERY_INIT;
    const char *limit = cli_option(c, "--limit"), *why = cli_option(c, "--why");
    query.status = cli_option(c, "--status");
    query.after = cli_option(c, "--after");
    query.limit = limit ? (uint32_t)strtoul(limit, NULL, 10) : 0;
    int code = cli_words(c, 2, 4, usage);
    if (code != CLI_DONE)
        return code;
    bool lists = strcmp(c->argv[0], "list") == 0 && c->argc == 2, shows = strcmp(c->argv[0], "show") == 0 && c->argc == 3;
    uint32_t op = act_of(c);
    if (!lists && !shows && (!op || !why)) {
        fprintf(stderr, "usage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    nexus_bus *bus;
    code = cli_open_bus(c, &bus);
    if (code != CLI_DONE)
        return code;
    nexus_status status = lists ? list(c, bus, &query) : shows ? show(c, bus) : act(c, bus, op, why);
    nexus_bus_close(bus);
    return cli_told(status);
}
