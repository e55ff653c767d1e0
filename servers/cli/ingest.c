/*
 * nexus ingest FILE. Lines become events in batches; each has an id, its own or one made from its place and content,
 * so that a batch sent twice changes nothing. How far an import got is kept in a file under the state directory until
 * it is complete: an interrupted one goes on where it stopped, whatever was acknowledged.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/event_line.h"

enum { BATCH_MAX = 10000, BATCH_BYTES = 8 * 1024 * 1024, LINE_MAX_BYTES = 1024 * 1024, SHOWN_MAX = 20, TRIES = 8 };

typedef struct import {
    cli *c;
    event_rules rules;
    const char *name;
    FILE *file;
    uint64_t size, offset, line; /* acknowledged so far: bytes and lines */
    char *line_text;
    size_t line_cap;
    uint64_t *numbers; /* line number of each event of the batch */
    size_t batch_max, count;
    uint64_t read_offset, read_line;
    uint64_t accepted, duplicate, failed, resumed_from;
    char *write_key;
    const char *token;
    char state_path[CLI_PATH_MAX + 64];
    struct timespec began;
    nexus_json_writer *errors; /* array of {line, field, message}, for --json */
    bool terminal;
} import;

static double seconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

static void progress(const import *m)
{
    if (!m->terminal)
        return;
    double share = m->size ? (double)m->offset / (double)m->size : 1, seconds = seconds_since(&m->began);
    int full = (int)(share * 30);
    fprintf(stderr, "\r[%.*s%*s] %3d%%  %" PRIu64 " events  %.0f/s  %" PRIu64 " failed\033[K", full,
            "##############################", 30 - full, "", (int)(share * 100), m->accepted + m->duplicate,
            (double)(m->accepted + m->duplicate) / (seconds > 0 ? seconds : 1), m->failed);
}

static void report(import *m, uint64_t line, const char *field, const char *message)
{
    m->failed++;
    nexus_json_open_object(m->errors, NULL);
    nexus_json_put_int(m->errors, "line", (int64_t)line);
    if (*field)
        nexus_json_put_text_c(m->errors, "field", field);
    nexus_json_put_text_c(m->errors, "message", message);
    nexus_json_close(m->errors);
    if (m->failed > SHOWN_MAX)
        return;
    fprintf(stderr, "%s%s:%" PRIu64 ": %s%s%s\n", m->terminal ? "\r\033[K" : "", m->name, line, field,
            *field ? ": " : "", message);
    if (m->failed == SHOWN_MAX)
        fputs("… further errors are counted, not shown (--json lists them)\n", stderr);
}

/* --- how far it got ----------------------------------------------------------------------------------------------- */

static void state_save(import *m)
{
    char json[256];
    int n = snprintf(json, sizeof json, "{\"offset\":%" PRIu64 ",\"line\":%" PRIu64 ",\"seed\":\"%016" PRIx64 "\"}\n",
                     m->offset, m->line, m->rules.seed);
    (void)cli_write_private(m->state_path, json, (size_t)n);
}

static void state_load(import *m)
{
    char seed[32], expected[32];
    answer a = {0};
    FILE *f = fopen(m->state_path, "re");
    char json[512] = "";
    size_t n = f ? fread(json, 1, sizeof json - 1, f) : 0;
    if (f)
        fclose(f);
    if (n == 0 || nexus_json_parse(&a.json, (nexus_slice){json, n}) != NEXUS_OK)
        return;
    snprintf(expected, sizeof expected, "%016" PRIx64, m->rules.seed);
    uint64_t offset = (uint64_t)answer_int(&a, "/offset");
    if (strcmp(answer_text(&a, "/seed", seed, sizeof seed), expected) == 0 && offset <= m->size &&
        fseeko(m->file, (off_t)offset, SEEK_SET) == 0) { /* else another file has this name now */
        m->offset = m->read_offset = m->resumed_from = offset;
        m->line = m->read_line = (uint64_t)answer_int(&a, "/line");
    }
    answer_free(&a);
}

static void state_open(import *m)
{
    char whole[CLI_PATH_MAX], folder[CLI_PATH_MAX + 16];
    if (!realpath(m->name, whole))
        snprintf(whole, sizeof whole, "%s", m->name);
    snprintf(folder, sizeof folder, "%s/ingest", m->c->state);
    (void)mkdir(m->c->state, 0700);
    (void)mkdir(folder, 0700);
    uint64_t key =
        event_hash(event_hash(0, (nexus_slice){m->c->url, strlen(m->c->url)}), (nexus_slice){whole, strlen(whole)});
    snprintf(m->state_path, sizeof m->state_path, "%s/%016" PRIx64 ".json", folder, key);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void read_results(import *m, answer *a)
{
    nexus_json_iter it = {0};
    uint32_t results = nexus_json_at(a->json, NEXUS_JSON_ROOT, "/results");
    m->accepted += (uint64_t)answer_int(a, "/accepted");
    m->duplicate += (uint64_t)answer_int(a, "/duplicate");
    while (nexus_json_step(a->json, results, &it)) {
        int64_t index = -1;
        nexus_slice status = {0}, field = {0}, message = {0};
        char field_text[128], text[256];
        (void)nexus_json_int(a->json, nexus_json_get(a->json, it.value, "index"), &index);
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "status"), &status);
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "field"), &field);
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "message"), &message);
        bool refused = (status.n == 8 && memcmp(status.p, "rejected", 8) == 0) ||
                       (status.n == 5 && memcmp(status.p, "retry", 5) == 0);
        if (!refused || index < 0 || (size_t)index >= m->count)
            continue;
        snprintf(field_text, sizeof field_text, "%.*s", (int)field.n, field.p ? field.p : "");
        snprintf(text, sizeof text, "%.*s", (int)message.n, message.p ? message.p : "refused");
        report(m, m->numbers[index], field_text, text);
    }
}

static void wait_before_retry(answer *a, int attempt)
{
    nexus_slice after;
    long seconds = 0;
    if (a->reply && nexus_reply_header(a->reply, "retry-after", &after) && after.n < 6)
        seconds = strtol(after.p, NULL, 10);
    struct timespec pause = {seconds > 0 && seconds < 60 ? seconds : 0, 100000000L * (attempt < 9 ? attempt : 9)};
    nanosleep(&pause, NULL); /* asked for by the server, or a growing pause */
}

static int send_batch(import *m, const char *body, size_t n)
{
    const nexus_pair key = {NEXUS_S("X-Write-Key"), {m->write_key, m->write_key ? strlen(m->write_key) : 0}};
    const call request = {.method = "POST",
                          .path = "/api/v1/ingest/events/batch",
                          .body = body,
                          .body_len = n,
                          .token = m->write_key ? NULL : m->token,
                          .headers = &key,
                          .header_count = m->write_key ? 1 : 0,
                          .timeout_ms = 60000};
    for (int attempt = 1;; attempt++) {
        answer a;
        int code = cli_call(m->c, &request, &a);
        bool again = code == CLI_DONE && (a.status == 429 || a.status == 503) && attempt < TRIES;
        if (again)
            wait_before_retry(&a, attempt);
        else if (code == CLI_DONE)
            code = cli_expect(m->c, &a, "ingest");
        if (!again && code == CLI_DONE && a.json)
            read_results(m, &a);
        answer_free(&a);
        if (!again)
            return code;
    }
}

/* Reads up to a batch of lines into `w`, which has the envelope open. */
static int fill_batch(import *m, nexus_json_writer *w)
{
    size_t bytes = 0;
    m->count = 0;
    while (m->count < m->batch_max && bytes < BATCH_BYTES) {
        ssize_t n = getline(&m->line_text, &m->line_cap, m->file);
        if (n < 0)
            break;
        m->read_offset += (uint64_t)n;
        m->read_line++;
        bytes += (size_t)n;
        while (n > 0 && (m->line_text[n - 1] == '\n' || m->line_text[n - 1] == '\r'))
            n--;
        if (n == 0)
            continue;
        const char *wrong = n > LINE_MAX_BYTES
                                ? "longer than 1 MiB"
                                : event_line(&m->rules, (nexus_slice){m->line_text, (size_t)n}, m->read_line, w);
        if (wrong)
            report(m, m->read_line, "", wrong);
        else
            m->numbers[m->count++] = m->read_line;
    }
    if (!ferror(m->file))
        return CLI_DONE;
    cli_fail("cannot read %s: %s", m->name, strerror(errno));
    return CLI_REFUSED;
}

static int one_batch(import *m)
{
    nexus_json_writer *w = NULL;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return CLI_REFUSED;
    nexus_json_open_object(w, NULL);
    nexus_json_open_array(w, "events");
    int code = fill_batch(m, w);
    nexus_json_close(w);
    nexus_json_close(w);
    size_t n = 0;
    const char *body = nexus_json_writer_text(w, &n);
    if (code == CLI_DONE && !body) {
        cli_fail("out of memory");
        code = CLI_REFUSED;
    }
    if (code == CLI_DONE && m->count > 0)
        code = send_batch(m, body, n);
    nexus_json_writer_free(w);
    if (code != CLI_DONE)
        return code;
    m->offset = m->read_offset;
    m->line = m->read_line;
    progress(m);
    return CLI_DONE;
}

static int run(import *m)
{
    int code = CLI_DONE;
    while (code == CLI_DONE && !feof(m->file)) {
        code = one_batch(m);
        if (code == CLI_DONE && !feof(m->file))
            state_save(m);
    }
    if (m->terminal)
        fputs("\r\033[K", stderr);
    if (code != CLI_DONE) {
        fprintf(stderr, "nexus: stopped after line %" PRIu64 "; the same command goes on from there\n", m->line);
        state_save(m);
        return code;
    }
    (void)unlink(m->state_path);
    return m->failed > 0 ? CLI_REFUSED : CLI_DONE;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static void summary(import *m)
{
    double seconds = seconds_since(&m->began);
    nexus_json_close(m->errors);
    if (!m->c->json) {
        printf("%s: %" PRIu64 " accepted, %" PRIu64 " known already, %" PRIu64 " failed in %.1f s (%.0f events/s)\n",
               m->name, m->accepted, m->duplicate, m->failed, seconds,
               (double)(m->accepted + m->duplicate) / (seconds > 0 ? seconds : 1));
        return;
    }
    size_t n = 0;
    const char *errors = nexus_json_writer_text(m->errors, &n);
    printf("{\"accepted\":%" PRIu64 ",\"duplicate\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"lines\":%" PRIu64
           ",\"seconds\":%.3f,\"errors\":%s}\n",
           m->accepted, m->duplicate, m->failed, m->line, seconds, errors ? errors : "[]");
}

/* The first line names the file: the same log under another name keeps its ids. */
static int read_seed(import *m)
{
    struct stat st;
    ssize_t n = getline(&m->line_text, &m->line_cap, m->file);
    if (fstat(fileno(m->file), &st) != 0 || !S_ISREG(st.st_mode)) {
        cli_fail("%s is no plain file", m->name);
        return CLI_USAGE;
    }
    m->size = (uint64_t)st.st_size;
    m->rules.seed = event_hash(0, (nexus_slice){m->line_text, n > 0 ? (size_t)n : 0});
    rewind(m->file);
    return CLI_DONE;
}

static nexus_status copy_key(nexus_slice plain, void *user_data)
{
    import *m = user_data;
    m->write_key = plain.n ? strndup(plain.p, plain.n) : NULL;
    return NEXUS_OK;
}

static int credentials(import *m)
{
    (void)(nexus_secret_use(nexus_settings_secret(m->c->settings, "write_key"), copy_key, m) == NEXUS_OK);
    if (!m->write_key)
        m->write_key = cli_state_file(m->c, "write.key");
    if (m->write_key && *m->write_key)
        return CLI_DONE;
    free(m->write_key);
    m->write_key = NULL;
    return cli_need_token(m->c, &m->token);
}

static int options(import *m, bool *restart)
{
    const char *map = cli_option(m->c, "--map"), *format = cli_option(m->c, "--format"),
               *batch = cli_option(m->c, "--batch");
    m->rules.event = cli_option(m->c, "--event");
    *restart = cli_flag(m->c, "--restart");
    m->batch_max = batch ? strtoul(batch, NULL, 10) : 1000;
    m->rules.combined = format && strcmp(format, "combined") == 0;
    if (format && !m->rules.combined && strcmp(format, "ndjson") != 0) {
        cli_fail("--format is ndjson or combined");
        return CLI_USAGE;
    }
    if (m->batch_max < 1 || m->batch_max > BATCH_MAX || (map && !event_rules_map(&m->rules, map))) {
        if (m->batch_max < 1 || m->batch_max > BATCH_MAX)
            cli_fail("--batch is 1 to %d", BATCH_MAX);
        return CLI_USAGE;
    }
    return cli_words(m->c, 1, 1, "ingest FILE [--map a=b,…] [--format ndjson|combined] [--event NAME] [--restart]");
}

static int import_file(import *m, bool restart)
{
    m->name = m->c->argv[0];
    m->file = fopen(m->name, "re");
    if (!m->file) {
        cli_fail("cannot open %s: %s", m->name, strerror(errno));
        return CLI_USAGE;
    }
    int code = read_seed(m);
    if (code != CLI_DONE)
        return code;
    state_open(m);
    if (!restart)
        state_load(m);
    if (m->resumed_from > 0)
        fprintf(stderr, "nexus: going on after line %" PRIu64 "\n", m->line);
    code = credentials(m);
    if (code != CLI_DONE)
        return code;
    code = run(m);
    summary(m);
    return code;
}

int cli_ingest(cli *c)
{
    bool restart = false;
import m = {.c = c, .terminal = isatty(STDERR_FILENO) };
    int code = options(&m, &restart);
    if (code != CLI_DONE)
        return code;
    clock_gettime(CLOCK_MONOTONIC, &m.began);
    m.numbers = calloc(m.batch_max, sizeof *m.numbers);
    if (!m.numbers || nexus_json_writer_new(&m.errors) != NEXUS_OK) {
        cli_fail("out of memory");
        code = CLI_REFUSED;
    } else {
        nexus_json_open_array(m.errors, NULL);
        code = import_file(&m, restart);
    }
    if (m.file)
        fclose(m.file);
    nexus_json_writer_free(m.errors);
    free(m.numbers);
    free(m.line_text);
    free(m.write_key);
    return code;
}
