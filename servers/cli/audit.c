/* audit: who did what; and whether the trail is whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] =
    "audit list [--actor ID] [--action NAME|user.*] [--object ID] [--outcome done|denied|failed]\n"
    "             [--after N] [--limit N] | verify [--dir DIR]";

static void put(char *path, size_t cap, const char *name, const char *value)
{
    size_t n = strlen(path);
    if (!value)
        return;
    n += (size_t)snprintf(path + n, cap - n, "%c%s=", strchr(path, '?') ? '&' : '?', name);
    for (; *value && n + 4 < cap; value++) {
        bool plain = (*value >= '0' && *value <= '9') || (*value >= 'A' && *value <= 'Z') ||
                     (*value >= 'a' && *value <= 'z') || strchr("-._~*", *value);
        n += (size_t)snprintf(path + n, cap - n, plain ? "%c" : "%%%02X", (unsigned char)*value);
    }
}

static void print_record(answer *a, uint32_t record)
{
    static const char *const members[] = {"at", "outcome", "action", "actor", "object", "ip", "detail"};
    int64_t seq = 0;
    nexus_slice text;
    (void)nexus_json_int(a->json, nexus_json_get(a->json, record, "seq"), &seq);
    printf("%lld", (long long)seq);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (!nexus_json_text(a->json, nexus_json_get(a->json, record, members[i]), &text))
            text = (nexus_slice){"-", 1};
        printf(" %.*s", (int)text.n, text.p);
    }
    putchar('\n');
}

static int list(cli *c)
{
    static const char *const names[] = {"actor", "action", "object", "outcome", "after", "limit"};
    char path[2048] = "/api/v1/admin/audit", flag[32];
    const char *token;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(flag, sizeof flag, "--%s", names[i]);
        put(path, sizeof path, names[i], cli_option(c, flag));
    }
    int code = cli_words(c, 1, 1, usage);
    if (code == CLI_DONE)
        code = cli_need_token(c, &token);
    if (code != CLI_DONE)
        return code;
    answer a;
    code = cli_call(c, &(call){.method = "GET", .path = path, .token = token}, &a);
    if (code == CLI_DONE)
        code = cli_expect(c, &a, "audit list");
    if (code == CLI_DONE && c->json) {
        cli_print_json(a.body);
    } else if (code == CLI_DONE && a.json) {
        uint32_t items = nexus_json_get(a.json, NEXUS_JSON_ROOT, "items");
        for (nexus_json_iter it = {0}; nexus_json_step(a.json, items, &it);)
            print_record(&a, it.value);
    }
    answer_free(&a);
    return code;
}

/* 0 whole, 1 a bad record or one that cannot be looked at. */
static int say(const char *what, const nexus_audit_report *r)
{
    if (r->bad)
        printf("%s: record %llu %s\n", what, (unsigned long long)r->bad, r->why);
    else
        printf("%s: %llu records, %llu checkpoints, whole\n", what, (unsigned long long)r->records,
               (unsigned long long)r->checkpoints);
    return r->bad ? CLI_REFUSED : CLI_DONE;
}

/* Of the running backend, which has its log to itself. */
static int verify_running(cli *c)
{
    const char *token;
    answer a;
    nexus_audit_report r = NEXUS_AUDIT_REPORT_INIT;
    int code = cli_need_token(c, &token);
    if (code != CLI_DONE)
        return code;
    code = cli_call(c, &(call){.method = "POST", .path = "/api/v1/admin/audit/verify", .token = token}, &a);
    if (code == CLI_DONE)
        code = cli_expect(c, &a, "audit verify");
    if (code == CLI_DONE) {
        r.records = (uint64_t)answer_int(&a, "/records");
        r.checkpoints = (uint64_t)answer_int(&a, "/checkpoints");
        r.bad = (uint64_t)answer_int(&a, "/bad");
        answer_text(&a, "/why", r.why, sizeof r.why);
        code = say("backend", &r);
    }
    answer_free(&a);
    return code;
}

static int verify_dir(const char *dir)
{
    nexus_audit_report r = NEXUS_AUDIT_REPORT_INIT;
    nexus_status status = nexus_audit_verify_dir(dir, &r);
    if (status == NEXUS_OK || r.bad)
        return say(dir, &r);
    cli_fail("%s: %s", dir, nexus_error_message());
    return CLI_REFUSED;
}

int cli_audit(cli *c)
{
    const char *word = c->argc ? c->argv[0] : "";
    if (strcmp(word, "list") == 0)
        return list(c);
    const char *dir = cli_option(c, "--dir");
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    if (strcmp(word, "verify") == 0)
        return dir ? verify_dir(dir) : verify_running(c);
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
