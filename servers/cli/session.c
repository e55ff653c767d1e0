/* Who the operator is: flag, environment, or a session file that login writes and calls refresh. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

enum { FILE_MAX = 64 * 1024, REFRESH_BEFORE_S = 30 };

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    char *content = f ? calloc(1, FILE_MAX + 1) : NULL;
    size_t n = content ? fread(content, 1, FILE_MAX, f) : 0;
    if (f)
        fclose(f);
    while (content && n > 0 && strchr("\r\n ", content[n - 1]))
        content[--n] = '\0';
    return content;
}

char *cli_state_file(const cli *c, const char *name)
{
    char path[CLI_PATH_MAX + 128];
    snprintf(path, sizeof path, "%s/%s", c->state, name);
    return read_file(path);
}

/* Written beside and renamed: a session is never half there. */
int cli_write_private(const char *path, const char *content, size_t n)
{
    char temporary[CLI_PATH_MAX + 160];
    snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool fine = fd >= 0 && write(fd, content, n) == (ssize_t)n;
    if (fd >= 0)
        fine = close(fd) == 0 && fine;
    if (fine && rename(temporary, path) == 0)
        return CLI_DONE;
    cli_fail("cannot write %s: %s", path, strerror(errno));
    (void)unlink(temporary);
    return CLI_REFUSED;
}

static void session_path(char *out, size_t cap)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char folder[CLI_PATH_MAX - 64];
    if (config && *config)
        snprintf(folder, sizeof folder, "%s", config);
    else
        snprintf(folder, sizeof folder, "%s/.config", home ? home : "");
    (void)mkdir(folder, 0700);
    snprintf(out, cap, "%s/nexus", folder);
    (void)mkdir(out, 0700);
    snprintf(out, cap, "%s/nexus/session.json", folder);
}

/* Keeps the pair of an answer from login or refresh. */
static int session_write(cli *c, answer *a)
{
    char access[8192], refresh[2048], path[CLI_PATH_MAX];
    nexus_json_writer *w = NULL;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return CLI_REFUSED;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "url", c->url);
    nexus_json_put_text_c(w, "access_token", answer_text(a, "/access_token", access, sizeof access));
    nexus_json_put_text_c(w, "refresh_token", answer_text(a, "/refresh_token", refresh, sizeof refresh));
    nexus_json_put_int(w, "expires_at", (int64_t)time(NULL) + answer_int(a, "/expires_in"));
    nexus_json_close(w);
    size_t n = 0;
    const char *json = nexus_json_writer_text(w, &n);
    session_path(path, sizeof path);
    int code = json ? cli_write_private(path, json, n) : CLI_REFUSED;
    nexus_json_writer_free(w);
    free(c->token);
    c->token = strdup(access);
    return code;
}

static int post_tokens(cli *c, const char *path, const char *const *names, const char *const *values, size_t count,
                       answer *out)
{
    nexus_json_writer *w = NULL;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return CLI_REFUSED;
    nexus_json_open_object(w, NULL);
    for (size_t i = 0; i < count; i++)
        nexus_json_put_text_c(w, names[i], values[i]);
    nexus_json_close(w);
    int code = cli_call(c, &(call){.method = "POST", .path = path, .body = cli_json(w)}, out);
    nexus_json_writer_free(w);
    return code;
}

static bool refresh(cli *c, const char *token)
{
    answer a;
    bool fine = post_tokens(c, "/api/v1/auth/refresh", (const char *const[]){"refresh_token"},
                            (const char *const[]){token}, 1, &a) == CLI_DONE &&
                a.status == 200 && session_write(c, &a) == CLI_DONE;
    answer_free(&a);
    return fine;
}

static void session_read(cli *c)
{
    char path[CLI_PATH_MAX], url[CLI_URL_MAX], token[8192], again[2048];
    session_path(path, sizeof path);
    answer a = {0};
    char *content = read_file(path);
    if (!content || nexus_json_parse(&a.json, (nexus_slice){content, strlen(content)}) != NEXUS_OK) {
        free(content);
        return;
    }
    answer_text(&a, "/url", url, sizeof url);
    answer_text(&a, "/access_token", token, sizeof token);
    answer_text(&a, "/refresh_token", again, sizeof again);
    if (strcmp(url, c->url) == 0) { /* a token goes to whom it is from, and to nobody else */
        if (answer_int(&a, "/expires_at") > (int64_t)time(NULL) + REFRESH_BEFORE_S)
            c->token = strdup(token);
        else
            (void)refresh(c, again);
    }
    answer_free(&a);
    free(content);
}

const char *cli_token(cli *c)
{
    const char *env = getenv("NEXUS_TOKEN");
    if (c->token_flag)
        return c->token_flag;
    if (env && *env)
        return env;
    if (!c->token)
        session_read(c);
    return c->token;
}

int cli_need_token(cli *c, const char **token)
{
    *token = cli_token(c);
    if (*token)
        return CLI_DONE;
    cli_fail("no session for %s: run nexus login, or set NEXUS_TOKEN", c->url);
    return CLI_REFUSED;
}

static bool read_line(FILE *in, char *out, size_t cap)
{
    if (!fgets(out, (int)cap, in))
        return false;
    out[strcspn(out, "\r\n")] = '\0';
    return *out != '\0';
}

/* Asks on the terminal, without echo for a password. */
static bool ask(const char *prompt, bool hidden, char *out, size_t cap)
{
    struct termios before, quiet;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (!terminal)
        return false;
    fputs(prompt, stderr);
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    if (hidden)
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    bool fine = read_line(stdin, out, cap);
    if (hidden) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    return fine;
}

static int logout(void)
{
    char path[CLI_PATH_MAX];
    session_path(path, sizeof path);
    if (unlink(path) != 0 && errno != ENOENT) {
        cli_fail("cannot remove %s: %s", path, strerror(errno));
        return CLI_REFUSED;
    }
    puts("The session is removed.");
    return CLI_DONE;
}

int cli_login(cli *c)
{
    char email[256] = "", password[1024] = "";
    const char *given = cli_option(c, "--email");
    bool from_stdin = cli_flag(c, "--password-stdin"), out = cli_flag(c, "--logout");
    int code = cli_words(c, 0, 0, "login [--email ADDRESS] [--password-stdin] [--logout]");
    if (code != CLI_DONE || out)
        return code != CLI_DONE ? code : logout();
    if (given)
        snprintf(email, sizeof email, "%s", given);
    if ((!*email && !ask("e-mail: ", false, email, sizeof email)) ||
        !(from_stdin ? read_line(stdin, password, sizeof password)
                     : ask("password: ", true, password, sizeof password))) {
        cli_fail("give --email, and the password on a terminal or with --password-stdin");
        return CLI_USAGE;
    }
    answer a;
    code = post_tokens(c, "/api/v1/auth/login", (const char *const[]){"email", "password"},
                       (const char *const[]){email, password}, 2, &a);
    explicit_bzero(password, sizeof password);
    if (code == CLI_DONE)
        code = cli_expect(c, &a, "login");
    if (code == CLI_DONE)
        code = session_write(c, &a);
    if (code == CLI_DONE && c->json)
        puts("{\"status\":\"logged-in\"}");
    else if (code == CLI_DONE)
        printf("Logged in to %s as %s.\n", c->url, email);
    answer_free(&a);
    return code;
}
