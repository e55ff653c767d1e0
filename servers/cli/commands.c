/* The small subcommands: status, notify, admin, completion. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* --- status ------------------------------------------------------------------------------------------------------- */

static const char *const services[] = {"gateway", "backend", "console", "analytics", "notification", "copilot"};
enum { SERVICE_COUNT = sizeof services / sizeof services[0] };

typedef struct health {
    char url[CLI_URL_MAX], state[32], detail[256], version[32];
    int64_t uptime_s;
    bool ready, answers;
} health;

static void ask_health(cli *c, int i, health *out)
{
    nexus_fetch fetch;
    nexus_reply *reply = NULL;
    char url[CLI_URL_MAX + 16];
    cli_service_url(c, i, out->url, sizeof out->url);
    snprintf(url, sizeof url, "%s/health", out->url);
    nexus_fetch_init(&fetch);
    fetch.url = (nexus_slice){url, strlen(url)};
    fetch.timeout_ms = 3000;
    snprintf(out->state, sizeof out->state, "down");
    if (nexus_client_fetch(c->client, &fetch, &reply) != NEXUS_OK)
        return;
    answer a = {.status = nexus_reply_status(reply), .reply = reply};
    nexus_reply_body(reply, &a.body);
    if (nexus_json_parse(&a.json, a.body) != NEXUS_OK)
        a.json = NULL;
    out->answers = true;
    out->ready = a.status == 200;
    answer_text(&a, out->ready ? "/status" : "/code", out->state, sizeof out->state);
    answer_text(&a, "/errors/0/detail", out->detail, sizeof out->detail);
    answer_text(&a, "/version", out->version, sizeof out->version);
    out->uptime_s = answer_int(&a, "/uptime_s");
    answer_free(&a);
}

bool cli_answers(cli *c, int offset)
{
    health h = {0};
    ask_health(c, offset, &h);
    return h.answers;
}

static void put_health(nexus_json_writer *w, const char *name, const health *h)
{
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "name", name);
    nexus_json_put_text_c(w, "url", h->url);
    nexus_json_put_bool(w, "ready", h->ready);
    nexus_json_put_text_c(w, "status", h->state);
    if (h->answers)
        nexus_json_put_int(w, "uptime_s", h->uptime_s);
    if (*h->detail)
        nexus_json_put_text_c(w, "detail", h->detail);
    nexus_json_close(w);
}

int cli_status(cli *c)
{
    int code = cli_words(c, 0, 0, "status"), ready = 0, answering = 0;
    nexus_json_writer *w = NULL;
    if (code != CLI_DONE || nexus_json_writer_new(&w) != NEXUS_OK)
        return code;
    nexus_json_open_object(w, NULL);
    nexus_json_open_array(w, "services");
    for (int i = 0; i < SERVICE_COUNT; i++) {
        health h = {0};
        ask_health(c, i, &h);
        ready += h.ready;
        answering += h.answers;
        put_health(w, services[i], &h);
        if (!c->json)
            printf("%-13s %-10s %8llds  %s  %s\n", services[i], h.state, (long long)h.uptime_s, h.url, h.detail);
    }
    nexus_json_close(w);
    nexus_json_put_text_c(w, "state", ready == SERVICE_COUNT ? "all" : answering > 0 ? "some" : "none");
    nexus_json_close(w);
    size_t n = 0;
    const char *json = nexus_json_writer_text(w, &n);
    if (c->json && json)
        cli_print_json((nexus_slice){json, n});
    nexus_json_writer_free(w);
    if (answering == 0)
        cli_fail("no service answers; scripts/start-microservices.sh start runs them");
    return ready == SERVICE_COUNT ? CLI_DONE : answering > 0 ? CLI_REFUSED : CLI_UNREACHABLE;
}

/* --- notify ------------------------------------------------------------------------------------------------------- */

static int notify_show(cli *c, const char *id, const char *token)
{
    char path[256];
    answer a;
    snprintf(path, sizeof path, "/api/v1/notifications/%s", id);
    int code = cli_call(c, &(call){.method = "GET", .path = path, .token = token}, &a);
    if (code == CLI_DONE)
        code = cli_expect(c, &a, "notify show");
    if (code == CLI_DONE)
        cli_print_json(a.body);
    answer_free(&a);
    return code;
}

static int notify_send(cli *c, const char *token, const char *to, const char *channel, const char *subject,
                       const char *text)
{
    nexus_json_writer *w = NULL;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return CLI_REFUSED;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "to", to);
    nexus_json_open_array(w, "channels");
    nexus_json_put_text_c(w, NULL, channel ? channel : "email");
    nexus_json_close(w);
    nexus_json_open_object(w, "content");
    nexus_json_put_text_c(w, "subject", subject ? subject : "A message from nexus");
    nexus_json_put_text_c(w, "text", text ? text : "");
    nexus_json_close(w);
    nexus_json_close(w);
    answer a;
    int code =
        cli_call(c, &(call){.method = "POST", .path = "/api/v1/notifications", .body = cli_json(w), .token = token}, &a);
    if (code == CLI_DONE)
        code = cli_expect(c, &a, "notify send");
    if (code == CLI_DONE && c->json) {
        cli_print_json(a.body);
    } else if (code == CLI_DONE) {
        char id[128], status[64];
        printf("%s %s; nexus notify show %s tells what became of it\n", answer_text(&a, "/id", id, sizeof id),
               answer_text(&a, "/status", status, sizeof status), id);
    }
    answer_free(&a);
    nexus_json_writer_free(w);
    return code;
}

int cli_notify(cli *c)
{
    static const char usage[] = "notify send --to ADDRESS [--channel email] [--subject TEXT] [--text TEXT] | show ID";
    const char *to = cli_option(c, "--to"), *channel = cli_option(c, "--channel");
    const char *subject = cli_option(c, "--subject"), *text = cli_option(c, "--text"), *token = NULL;
    int code = cli_words(c, 1, 2, usage);
    bool sends = code == CLI_DONE && strcmp(c->argv[0], "send") == 0 && c->argc == 1 && to;
    bool shows = code == CLI_DONE && strcmp(c->argv[0], "show") == 0 && c->argc == 2;
    if (code == CLI_DONE && !sends && !shows) {
        fprintf(stderr, "usage: nexus %s\n", usage);
        code = CLI_USAGE;
    }
    if (code == CLI_DONE)
        code = cli_need_token(c, &token);
    if (code != CLI_DONE)
        return code;
    return sends ? notify_send(c, token, to, channel, subject, text) : notify_show(c, c->argv[1], token);
}

/* --- admin -------------------------------------------------------------------------------------------------------- */

int cli_admin(cli *c)
{
    enum { BACKEND_OFFSET = 1 };
    int code = cli_words(c, 1, 1, "admin token");
    if (code != CLI_DONE)
        return code;
    if (strcmp(c->argv[0], "token") != 0) {
        cli_fail("admin knows token");
        return CLI_USAGE;
    }
    char *operator_token = cli_state_file(c, "admin.token");
    char base[CLI_URL_MAX], token[512];
    if (!operator_token) {
        cli_fail("%s/admin.token cannot be read: run this where the backend runs, as its user", c->state);
        return CLI_REFUSED;
    }
    answer a;
    cli_service_url(c, BACKEND_OFFSET, base, sizeof base);
    code = cli_call(
        c, &(call){.method = "POST", .path = "/api/v1/auth/bootstrap-token", .token = operator_token, .base = base}, &a);
    if (code == CLI_DONE)
        code = cli_expect(c, &a, "admin token");
    if (code == CLI_DONE && c->json)
        cli_print_json(a.body);
    else if (code == CLI_DONE)
        puts(answer_text(&a, "/token", token, sizeof token));
    answer_free(&a);
    free(operator_token);
    return code;
}

/* --- completion --------------------------------------------------------------------------------------------------- */

static void words(void)
{
    for (size_t i = 0; i < cli_command_count; i++)
        printf("%s%s", i ? " " : "", cli_commands[i].name);
}

int cli_completion(cli *c)
{
    int code = cli_words(c, 1, 1, "completion bash|zsh");
    if (code != CLI_DONE)
        return code;
    bool zsh = strcmp(c->argv[0], "zsh") == 0;
    if (!zsh && strcmp(c->argv[0], "bash") != 0) {
        cli_fail("completion is for bash or zsh");
        return CLI_USAGE;
    }
    if (zsh)
        puts("#compdef nexus\nautoload -U bashcompinit && bashcompinit");
    printf("_nexus() {\n  local word=${COMP_WORDS[COMP_CWORD]}\n  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "    COMPREPLY=($(compgen -W \"");
    words();
    puts("\" -- \"$word\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n"
         "    events) COMPREPLY=($(compgen -W \"tail --type --count\" -- \"$word\")) ;;\n"
         "    notify) COMPREPLY=($(compgen -W \"send show --to --channel --subject --text\" -- \"$word\")) ;;\n"
         "    admin) COMPREPLY=($(compgen -W \"token\" -- \"$word\")) ;;\n"
         "    completion) COMPREPLY=($(compgen -W \"bash zsh\" -- \"$word\")) ;;\n"
         "    ingest) COMPREPLY=($(compgen -f -W \"--map --format --event --batch --restart\" -- \"$word\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -W \"--url --token --json\" -- \"$word\")) ;;\n  esac\n}\n"
         "complete -o default -F _nexus nexus");
    return CLI_DONE;
}
