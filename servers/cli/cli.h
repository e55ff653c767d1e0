/* The operator's command line: what its subcommands share. */
#ifndef SERVERS_CLI_H
#define SERVERS_CLI_H

#include <nexus/nexus.h>

/* Exit codes of the contract. */
enum { CLI_DONE = 0, CLI_REFUSED = 1, CLI_USAGE = 2, CLI_UNREACHABLE = 3 };
enum { CLI_PATH_MAX = 4096, CLI_URL_MAX = 512 };

typedef struct cli {
    nexus_settings *settings; /* the common table, from the environment: port base, state directory */
    nexus_client *client;
    char url[CLI_URL_MAX]; /* of the gateway */
    char state[CLI_PATH_MAX];
    const char *token_flag; /* --token */
    char *token;            /* NEXUS_TOKEN, or the session's; NULL before cli_token */
    bool json;
    int argc; /* of the subcommand, without the options that all take */
    const char **argv;
} cli;

typedef struct cli_command {
    const char *name, *usage, *text;
    int (*run)(cli *c);
} cli_command;

/* The value of --name=VALUE or --name VALUE, taken out of argv; NULL when absent. */
const char *cli_option(cli *c, const char *name);
bool cli_flag(cli *c, const char *name);
/* 0 when argv has `least` to `most` words left and none is an unknown option; else says what is wrong. */
int cli_words(cli *c, int least, int most, const char *usage);

/* --- calls -------------------------------------------------------------------------------------------------------- */

typedef struct answer {
    uint16_t status;
    nexus_slice body;
    nexus_json *json; /* NULL when the body is no JSON */
    nexus_reply *reply;
} answer;

typedef struct call {
    const char *method, *path, *body; /* body NULL: none */
    size_t body_len;                  /* 0: strlen */
    const char *token;                /* NULL: none */
    const nexus_pair *headers;
    size_t header_count;
    const char *base;    /* NULL: the gateway */
    uint32_t timeout_ms; /* 0: 15 s */
} call;

/* CLI_DONE with any status, or CLI_UNREACHABLE, with its message printed. Free the answer either way. */
int cli_call(cli *c, const call *request, answer *out);
void answer_free(answer *a);
/* routes.c: one call of the gateway's admin API with the token of this machine; prints what went wrong. Free the answer either
 * way. */
int cli_admin_call(cli *c, call request, const char *what, answer *a);
/* CLI_DONE for 2xx; else prints what the server said and returns CLI_REFUSED. */
int cli_expect(const cli *c, const answer *a, const char *what);
const char *answer_text(answer *a, const char *pointer, char *out, size_t cap); /* "" when absent */
int64_t answer_int(answer *a, const char *pointer);
const char *cli_json(nexus_json_writer *writer); /* what was written, NUL-terminated; "" when memory ran out */
void cli_print_json(nexus_slice text);
void cli_fail(const char *format, ...) NEXUS_PRINTF(1, 2);
/* Whether a service of this machine answers at all. */
bool cli_answers(cli *c, int offset);
/* The URL of one service of this machine. */
void cli_service_url(const cli *c, int offset, char *out, size_t cap);

/* pages.c: a call with the caller's token whose answer must be 2xx. Free the answer whatever it returns. */
int cli_send(cli *c, const char *method, const char *path, const char *body, const char *what, answer *a);
/* Adds name=value to the query of a path; NULL adds nothing. */
void cli_query(char *path, size_t cap, const char *name, const char *value);
typedef void cli_print_fn(answer *a, uint32_t item);
/* Prints {"items":[…],"next_cursor"} page after page: as it comes with --json, else item by item. */
int cli_pages(cli *c, const char *base, const char *what, cli_print_fn *print);
/* The same for one object that a call with this code gave; frees it. */
int cli_print_one(const cli *c, int code, answer *a, cli_print_fn *print);
/* "a,b c" as an array of texts, and back; NULL: no member at all. */
void cli_put_words(nexus_json_writer *w, const char *name, const char *words);
void cli_print_words(answer *a, uint32_t list);

/* users.c: the id of a user; an address is looked up, anything else is taken for an id. */
int cli_find_user(cli *c, const char *name, char id[static 64]);

/* The bus of this machine's servers, as a client of its owner; else CLI_UNREACHABLE, said. */
int cli_open_bus(cli *c, nexus_bus **bus);
int cli_told(nexus_status status); /* CLI_DONE, or CLI_REFUSED with the message printed */

/* --- session ------------------------------------------------------------------------------------------------------ */

/* The operator's token: --token, NEXUS_TOKEN, or the session, refreshed when it is about to end. NULL: none. */
const char *cli_token(cli *c);
/* The same, or a message that says how to get one. */
int cli_need_token(cli *c, const char **token);
/* A file of the state directory without its newline; NULL when it cannot be read. Free with free(). */
char *cli_state_file(const cli *c, const char *name);
int cli_write_private(const char *path, const char *text, size_t n);

/* --- subcommands -------------------------------------------------------------------------------------------------- */
int cli_status(cli *c);
int cli_login(cli *c);
int cli_ingest(cli *c);
int cli_events(cli *c);
int cli_replay(cli *c);
int cli_asyncapi(cli *c);
/* bus_group.c: whether the words are of one group of the bus (with a --from where one is needed); then does them. */
bool cli_is_group_word(const cli *c, const char *from);
nexus_status cli_group(const cli *c, nexus_bus *bus, const char *from, bool dry);
int cli_dlq(cli *c);
int cli_saga(cli *c);
int cli_bus(cli *c);
int cli_check(cli *c);
int cli_explain(cli *c);
int cli_routes(cli *c);
int cli_notify(cli *c);
int cli_demo(cli *c);
int cli_admin(cli *c);
int cli_keys(cli *c);
int cli_audit(cli *c);
int cli_secrets(cli *c);
int cli_config(cli *c);
int cli_clients(cli *c);
int cli_users(cli *c);
int cli_roles(cli *c);
int cli_completion(cli *c);

extern const cli_command cli_commands[];
extern const size_t cli_command_count;

#endif
