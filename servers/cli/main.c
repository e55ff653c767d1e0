/* nexus: the operator's command line. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

extern char **environ;

const cli_command cli_commands[] = {
    {"status", "", "Health of every service", cli_status},
    {"login", "[--email ADDRESS] [--password-stdin] [--logout]", "Opens a session and keeps it (0600)", cli_login},
    {"demo", "", "Walks an order through the running topology", cli_demo},
    {"ingest", "FILE [--map a=b,…] [--format ndjson|combined] [--event NAME] [--batch N] [--restart]",
     "Imports events; twice changes nothing", cli_ingest},
    {"events",
     "replay [--from POSITION|TIME] [--to POSITION|TIME] [--type PATTERN] [--stream S] [--category C] [--tags A,B]\n"
     "                        [--factor X] [--rate EVENTS/S] [--bytes BYTES/S] [--dry-run] |\n"
     "                        tail [--type PATTERN] [--count N] | groups | publish TYPE DATA [--subject S] | redact POSITION | shred SUBJECT |\n"
     "                        explain | audit | pause | resume GROUP | seek GROUP --from first|end|POSITION|TIME [--dry-run]",
     "Events of the bus as they happen; its groups, why one is stuck, stopping and moving one; publishes one; erases the data of one",
     cli_events},
    {"dlq",
     "list GROUP | show GROUP POSITION | redrive GROUP [--rate N] [--data JSON] [--dry-run] | purge GROUP --expect N\n"
     "                        [--type PATTERN] [--key K] [--reason PART] [--pos N] [--limit N]",
     "Dead letters of a group: looks at them, hands them out again, removes them", cli_dlq},
    {"saga",
     "list SAGA [--status S,…] [--after CURSOR] [--limit N] | show SAGA ID\n"
     "                         retry SAGA ID --why TEXT | skip SAGA ID --why TEXT | force SAGA ID done|failed --why TEXT",
     "Instances of a saga; tries one again, leaves out what it is stuck at, ends it", cli_saga},
    {"bus", "asyncapi [--title TEXT] [--api-version V] | compact | verify | repair [--yes] | stats [--dir DIR]",
     "What the data of each event type is (AsyncAPI 3.0). Files of a bus that no process has open: checks every byte, cuts out what is bad",
     cli_bus},
    {"check", "FILE", "Checks a routes file of the gateway: 0 fine, 1 wrong, 2 usage", cli_check},
    {"explain", "METHOD URL [-H 'Name: value'] [--from ADDRESS]", "What the gateway would do with a request, and why",
     cli_explain},
    {"routes", "list | history | diff FROM TO | rollback VERSION | apply FILE [--dry-run]",
     "The routes in force and their last versions; changes them", cli_routes},
    {"notify", "send --to ADDRESS [--channel email] [--subject TEXT] [--text TEXT] | show ID",
     "Sends a notification, shows one", cli_notify},
    {"keys",
     "create --name TEXT --scopes a:b,c:d [--cidrs LIST] [--plan NAME] [--days N] [--owner ID] |\n"
     "                        list [--owner ID | --all] | show ID | rotate ID [--overlap SECONDS] | revoke ID",
     "API keys: makes, lists, rotates, ends them", cli_keys},
    {"clients",
     "add --name TEXT [--redirect URI,…] [--grants LIST] [--scope WORDS] [--roles LIST] [--public | --jwks FILE |\n"
     "            --certificate FILE | --certificate-name san_dns:NAME] [--bound]\n"
     "                        [--first-party] [--resource-server] | list | show ID | rotate ID [--overlap SECONDS] | delete ID",
     "OAuth clients: registers, lists, gives another secret, removes them", cli_clients},
    {"users",
     "list [--email ADDRESS] [--state STATE] | show ID | disable|enable|lock|unlock|delete ID |\n"
     "                        require-reset|verify|drop-second-factor|sign-out ID | roles ID [--add R] [--remove R]",
     "Accounts: lists, shows, changes them; for administrators", cli_users},
    {"roles",
     "list | show NAME | delete NAME | set NAME [--inherits LIST] [--allow LIST] [--deny LIST] [--description TEXT] |\n"
     "                        grants [--role NAME] [--user ID] | grant NAME ID | revoke NAME ID |\n"
     "                        explain PERMISSION --user ID|--roles LIST [--owner self|ID] | simulate FILE   [--tenant NAME]",
     "Roles of one's own: what they allow, who has them, and what would be if", cli_roles},
    {"audit",
     "list [--actor ID] [--action NAME] [--object ID] [--outcome WORD] [--after N] [--limit N] | verify [--dir DIR]",
     "The audit trail: lists it; names its first bad record", cli_audit},
    {"secrets", "status | rotate [--reseal-only] [--retire KID]   [--ring data|mail|notification|login]",
     "The keys that seal what databases, events and cookies hold: what each protects, a new one, an old one out", cli_secrets},
    {"config", "print [--config FILE] [--SETTING=VALUE …]",
     "The settings in force, of all services; secrets are masked, references shown as they were written", cli_config},
    {"admin", "token", "Another one-time token for a first administrator", cli_admin},
    {"completion", "bash|zsh", "Prints shell completion", cli_completion},
};
const size_t cli_command_count = sizeof cli_commands / sizeof cli_commands[0];

static void help(FILE *out)
{
    fprintf(out, "nexus %s: operates a nexus topology over its HTTP API\n\nusage: nexus COMMAND …\n\n", nexus_version());
    for (size_t i = 0; i < cli_command_count; i++)
        fprintf(out, "  %-11s %s\n              nexus %s %s\n", cli_commands[i].name, cli_commands[i].text,
                cli_commands[i].name, cli_commands[i].usage);
    fputs("\noptions of every command:\n"
          "  --url URL      the gateway; default NEXUS_URL, else http://127.0.0.1:NEXUS_PORT_BASE\n"
          "  --token TOKEN  default NEXUS_TOKEN, else the session of nexus login\n"
          "  --json         answers as JSON\n"
          "\nexit: 0 done, 1 refused or items failed, 2 usage, 3 unreachable\n",
          out);
}

static bool takes(const char *word, const char *name, const char **joined)
{
    size_t n = strlen(name);
    *joined = word[n] == '=' ? word + n + 1 : NULL;
    return strncmp(word, name, n) == 0 && (word[n] == '\0' || word[n] == '=');
}

const char *cli_option(cli *c, const char *name)
{
    for (int i = 0; i < c->argc; i++) {
        const char *value;
        if (!takes(c->argv[i], name, &value))
            continue;
        int used = value ? 1 : 2;
        if (!value && i + 1 >= c->argc)
            return NULL;
        value = value ? value : c->argv[i + 1];
        memmove(c->argv + i, c->argv + i + used, (size_t)(c->argc - i - used) * sizeof *c->argv);
        c->argc -= used;
        return value;
    }
    return NULL;
}

bool cli_flag(cli *c, const char *name)
{
    for (int i = 0; i < c->argc; i++) {
        if (strcmp(c->argv[i], name) != 0)
            continue;
        memmove(c->argv + i, c->argv + i + 1, (size_t)(c->argc - i - 1) * sizeof *c->argv);
        c->argc--;
        return true;
    }
    return false;
}

int cli_words(cli *c, int least, int most, const char *usage)
{
    for (int i = 0; i < c->argc; i++) {
        if (c->argv[i][0] != '-' || !c->argv[i][1])
            continue;
        fprintf(stderr, "nexus: unknown option, or one without its value: %s\nusage: nexus %s\n", c->argv[i], usage);
        return CLI_USAGE;
    }
    if (c->argc >= least && c->argc <= most)
        return CLI_DONE;
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}

static int open_cli(cli *c)
{
    nexus_settings_opts opts = NEXUS_SETTINGS_OPTS_INIT;
    opts.program = "nexus";
    opts.env = (const char *const *)environ;
    if (nexus_settings_load(&c->settings, &opts) != NEXUS_OK) {
        cli_fail("%s", nexus_error_message());
        return CLI_USAGE;
    }
    const char *url = cli_option(c, "--url");
    url = url ? url : getenv("NEXUS_URL");
    if (url && *url)
        snprintf(c->url, sizeof c->url, "%.*s", (int)(strlen(url) - (url[strlen(url) - 1] == '/')), url);
    else
        cli_service_url(c, 0, c->url, sizeof c->url);
    c->token_flag = cli_option(c, "--token");
    c->json = cli_flag(c, "--json");
    nexus_settings_state_dir(c->settings, c->state, sizeof c->state);
    if (nexus_client_open(&c->client, NULL, NULL) == NEXUS_OK)
        return CLI_DONE;
    cli_fail("%s", nexus_error_message());
    return CLI_REFUSED;
}

static int run(const cli_command *command, int argc, char **argv)
{
    cli c = {.argc = argc, .argv = (const char **)argv};
    int code = open_cli(&c);
    if (code == CLI_DONE)
        code = command->run(&c);
    nexus_client_close(c.client);
    nexus_settings_free(c.settings);
    free(c.token);
    return code;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--version") == 0) {
        printf("nexus %s\n", nexus_version());
        return CLI_DONE;
    }
    bool asked = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
    for (size_t i = 0; i < cli_command_count; i++) {
        if (strcmp(word, cli_commands[i].name) != 0)
            continue;
        if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            printf("%s\nusage: nexus %s %s\n", cli_commands[i].text, word, cli_commands[i].usage);
            return CLI_DONE;
        }
        return run(&cli_commands[i], argc - 2, argv + 2);
    }
    if (!asked && *word)
        fprintf(stderr, "nexus: no command is called \"%s\"\n", word);
    help(asked ? stdout : stderr);
    return asked ? CLI_DONE : CLI_USAGE;
}
