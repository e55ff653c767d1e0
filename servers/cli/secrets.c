/* secrets: the ring of keys that seals what stands in the database. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] = "secrets status | rotate [--reseal-only] [--retire KID]";

static void print_keys(cli *c, answer *a)
{
    if (c->json) {
        cli_print_json(a->body);
        return;
    }
    uint32_t keys = nexus_json_get(a->json, NEXUS_JSON_ROOT, "keys");
    for (nexus_json_iter it = {0}; a->json && nexus_json_step(a->json, keys, &it);) {
        nexus_slice kid = {"", 0}, state = {"", 0};
        int64_t values = 0;
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "kid"), &kid);
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "state"), &state);
        (void)nexus_json_int(a->json, nexus_json_get(a->json, it.value, "values"), &values);
        printf("%.*s %-7.*s %lld\n", (int)kid.n, kid.p, (int)state.n, state.p, (long long)values);
    }
}

static int status(cli *c)
{
    answer a;
    int code = cli_send(c, "GET", "/api/v1/admin/secrets", NULL, "secrets status", &a);
    if (code == CLI_DONE)
        print_keys(c, &a);
    answer_free(&a);
    return code;
}

/* Batch by batch; ended in the middle, the next call goes on. */
static int reseal(cli *c)
{
    int64_t all = 0, some = 1;
    int code = CLI_DONE;
    while (code == CLI_DONE && some > 0) {
        answer a;
        code = cli_send(c, "POST", "/api/v1/admin/secrets/reseal", NULL, "secrets rotate", &a);
        some = code == CLI_DONE ? answer_int(&a, "/resealed") : 0;
        answer_free(&a);
        all += some;
        if (some > 0)
            fprintf(stderr, "nexus: %lld values sealed again\n", (long long)all);
    }
    return code;
}

static int rotate(cli *c, bool reseal_only)
{
    answer a = {0};
    int code = reseal_only ? CLI_DONE : cli_send(c, "POST", "/api/v1/admin/secrets/rotate", NULL, "secrets rotate", &a);
    answer_free(&a);
    if (code == CLI_DONE)
        code = reseal(c);
    return code == CLI_DONE ? status(c) : code;
}

static int retire(cli *c, const char *kid)
{
    char path[96];
    answer a;
    if (strlen(kid) != 16 || strspn(kid, "0123456789abcdef") != 16) {
        fprintf(stderr, "nexus: a key's id is 16 hex digits, as secrets status shows it\nusage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    snprintf(path, sizeof path, "/api/v1/admin/secrets/%s", kid);
    int code = cli_send(c, "DELETE", path, NULL, "secrets rotate --retire", &a);
    answer_free(&a);
    return code;
}

int cli_secrets(cli *c)
{
    const char *kid = cli_option(c, "--retire");
    bool reseal_only = cli_flag(c, "--reseal-only");
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    if (strcmp(c->argv[0], "status") == 0 && !kid && !reseal_only)
        return status(c);
    if (strcmp(c->argv[0], "rotate") == 0)
        return kid ? retire(c, kid) : rotate(c, reseal_only);
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
