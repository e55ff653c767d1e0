/* audit: who did what; and whether the trail is whole. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static void take_report(answer *a, nexus_audit_report *r)
{
    r->records = (uint64_t)answer_int(a, "/records");
    r->checkpoints = (uint64_t)answer_int(a, "/checkpoints");
    r->bad = (uint64_t)answer_int(a, "/bad");
    answer_text(a, "/why", r->why, sizeof r->why);
}

/* Of the running backend, over the gateway: where the state directory is on another machine. */
static int verify_backend(cli *c)
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
        take_report(&a, &r);
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

/* --- all trails of this machine --------------------------------------------------------------------------------------- */

static int offset_of(const char *service)
{
    static const char *const services[] = {"gateway", "backend", "console", "analytics", "notification", "copilot"};
    for (int i = 0; i < (int)(sizeof services / sizeof services[0]); i++)
        if (strcmp(service, services[i]) == 0)
            return i;
    return -1;
}

/* A running service has its trail to itself, and is asked; CLI_UNREACHABLE: it does not run. */
static int verify_service(cli *c, const char *service)
{
    char base[CLI_URL_MAX];
    answer a;
    nexus_audit_report r = NEXUS_AUDIT_REPORT_INIT;
    char *token = cli_state_file(c, "admin.token");
    int offset = offset_of(service), code = CLI_UNREACHABLE;
    if (offset < 0 || !token || !cli_answers(c, offset)) {
        free(token);
        return CLI_UNREACHABLE;
    }
    cli_service_url(c, offset, base, sizeof base);
    code = cli_call(c, &(call){.method = "POST", .path = "/admin/v1/audit/verify", .token = token, .base = base}, &a);
    if (code == CLI_DONE)
        code = cli_expect(c, &a, "audit verify");
    if (code == CLI_DONE) {
        take_report(&a, &r);
        code = say(service, &r);
    }
    answer_free(&a);
    free(token);
    return code;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The worst of all; *found: there is a trail here at all. */
static int verify_all(cli *c, const char *audit_dir, bool *found)
{
    int worst = CLI_DONE;
    DIR *d = opendir(audit_dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[CLI_PATH_MAX + 512];
        snprintf(path, sizeof path, "%s/%s", audit_dir, e->d_name);
        if (e->d_name[0] == '.' || !is_directory(path))
            continue;
        *found = true;
        int code = verify_service(c, e->d_name);
        if (code == CLI_UNREACHABLE)
            code = verify_dir(path);
        worst = code > worst ? code : worst;
    }
    if (d)
        closedir(d);
    return worst;
}

static int verify(cli *c)
{
    char dir[CLI_PATH_MAX + 16];
    bool found = false;
    snprintf(dir, sizeof dir, "%s/audit", c->state);
    int code = verify_all(c, dir, &found);
    return found ? code : verify_backend(c);
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
        return dir ? verify_dir(dir) : verify(c);
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
