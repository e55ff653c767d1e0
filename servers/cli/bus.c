/* events, dlq: what an operator asks of the bus. On the machine of the servers, as a client of the bus's owner. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

int cli_open_bus(cli *c, nexus_bus **bus)
{
    char url[CLI_PATH_MAX + 16];
    const char *setting = nexus_settings_text(c->settings, "bus_url");
    snprintf(url, sizeof url, "file:%s/bus", c->state);
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.role = NEXUS_BUS_CLIENT;
    opts.source = "nexus";
    if (nexus_bus_open(bus, *setting ? setting : url, &opts) == NEXUS_OK)
        return CLI_DONE;
    cli_fail("the bus cannot be reached: %s", nexus_error_message());
    return CLI_UNREACHABLE;
}

int cli_told(nexus_status status)
{
    if (status != NEXUS_OK)
        cli_fail("%s", nexus_error_message());
    return status == NEXUS_OK ? CLI_DONE : CLI_REFUSED;
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static nexus_status tail(nexus_bus *bus, const char *type, long count)
{
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *reader = NULL;
    uint64_t head = 0;
    nexus_status status = nexus_bus_head(bus, &head);
    if (status != NEXUS_OK)
        return status;
    opts.types = type;
    opts.start = NEXUS_START_POS;
    opts.start_pos = head + 1;
    status = nexus_reader_open(&reader, bus, &opts);
    for (long shown = 0; status == NEXUS_OK && (count == 0 || shown < count);) {
        const char *text = NULL;
        size_t n = 0;
        status = nexus_reader_next_json(reader, &text, &n, 1000);
        if (status == NEXUS_ETIMEDOUT || status == NEXUS_EDONE || status == NEXUS_EAGAIN) {
            status = NEXUS_OK;
            continue;
        }
        if (status != NEXUS_OK)
            break;
        cli_print_json((nexus_slice){text, n});
        fflush(stdout);
        shown++;
    }
    nexus_reader_close(reader);
    return status;
}

static nexus_status publish(nexus_bus *bus, const char *type, const char *subject, const char *data)
{
    nexus_event event = NEXUS_EVENT_INIT;
    nexus_publish_result result = NEXUS_PUBLISH_RESULT_INIT;
    event.type = (nexus_slice){type, strlen(type)};
    event.subject = (nexus_slice){subject, subject ? strlen(subject) : 0};
    event.data = (nexus_slice){data, strlen(data)};
    nexus_status status = nexus_bus_publish(bus, &event, 1, NULL, &result);
    if (status == NEXUS_OK)
        printf("{\"position\":%llu}\n", (unsigned long long)result.first);
    return status;
}

static void print_groups(nexus_json *json)
{
    static const char *const columns[] = {"name", "state", "lag", "lag_ms", "inflight", "delayed", "dead", "detail"};
    static const int widths[] = {24, 14, 8, 10, 9, 8, 6, 0};
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        printf("%-*s ", widths[k], columns[k]);
    puts("");
    for (nexus_json_iter it = {0}; nexus_json_step(json, NEXUS_JSON_ROOT, &it);) {
        for (size_t k = 0; k < sizeof columns / sizeof *columns; k++) {
            nexus_slice text;
            uint32_t value = nexus_json_get(json, it.value, columns[k]);
            if (!nexus_json_text(json, value, &text))
                nexus_json_raw(json, value, &text);
            if (nexus_json_type(json, value) == NEXUS_JSON_NULL)
                text.n = 0;
            printf("%-*.*s ", widths[k], (int)text.n, text.p ? text.p : "");
        }
        puts("");
    }
}

static nexus_status groups(const cli *c, nexus_bus *bus)
{
    char *text;
    size_t n;
    nexus_json *json = NULL;
    nexus_status status = nexus_bus_groups(&text, &n, bus);
    if (status != NEXUS_OK)
        return status;
    if (c->json)
        cli_print_json((nexus_slice){text, n});
    else if ((status = nexus_json_parse(&json, (nexus_slice){text, n})) == NEXUS_OK)
        print_groups(json);
    nexus_json_free(json);
    nexus_free(text);
    return status;
}

int cli_events(cli *c)
{
    static const char usage[] =
        "events tail [--type PATTERN] [--count N] | replay … | groups | publish TYPE DATA [--subject S] | redact POSITION | shred SUBJECT | explain GROUP "
        "| audit GROUP | pause GROUP | resume GROUP | seek GROUP --from first|end|POSITION|TIME [--dry-run]";
    if (c->argc && strcmp(c->argv[0], "replay") == 0)
        return cli_replay(c);
    const char *type = cli_option(c, "--type"), *count = cli_option(c, "--count"), *subject = cli_option(c, "--subject");
    const char *from = cli_option(c, "--from");
    bool dry = cli_flag(c, "--dry-run");
    int code = cli_words(c, 1, 3, usage);
    if (code != CLI_DONE)
        return code;
    const char *word = c->argv[0];
    bool tails = strcmp(word, "tail") == 0 && c->argc == 1, asks = strcmp(word, "groups") == 0 && c->argc == 1;
    uint64_t pos = strcmp(word, "redact") == 0 && c->argc == 2 ? strtoull(c->argv[1], NULL, 10) : 0;
    bool steers = cli_is_group_word(c, from), shreds = strcmp(word, "shred") == 0 && c->argc == 2;
    if (!tails && !asks && !pos && !steers && !shreds && !(strcmp(word, "publish") == 0 && c->argc == 3)) {
        fprintf(stderr, "usage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    nexus_bus *bus;
    code = cli_open_bus(c, &bus);
    if (code != CLI_DONE)
        return code;
    nexus_status status = tails    ? tail(bus, type, count ? strtol(count, NULL, 10) : 0)
                          : asks   ? groups(c, bus)
                          : steers ? cli_group(c, bus, from, dry)
                          : pos    ? nexus_bus_redact(bus, pos)
                          : shreds ? nexus_bus_shred(bus, c->argv[1])
                                   : publish(bus, c->argv[1], subject, c->argv[2]);
    nexus_bus_close(bus);
    return cli_told(status);
}

/* --- dead letters ------------------------------------------------------------------------------------------------- */

static void print_letters(nexus_json *json)
{
    for (nexus_json_iter it = {0}; nexus_json_step(json, NEXUS_JSON_ROOT, &it);) {
        int64_t pos = 0, attempts = 0;
        nexus_slice at = {0}, type = {0}, subject = {0}, reason = {0};
        uint32_t event = nexus_json_get(json, it.value, "event");
        (void)nexus_json_int(json, nexus_json_get(json, it.value, "pos"), &pos);
        (void)nexus_json_int(json, nexus_json_get(json, it.value, "attempts"), &attempts);
        (void)nexus_json_text(json, nexus_json_get(json, it.value, "dead_at"), &at);
        (void)nexus_json_text(json, nexus_json_get(json, event, "type"), &type);
        (void)nexus_json_text(json, nexus_json_get(json, event, "subject"), &subject);
        (void)nexus_json_text(json, nexus_json_get(json, it.value, "reason"), &reason);
        printf("%lld  %.*s  %.*s  %.*s  after %lld: %.*s\n", (long long)pos, (int)at.n, at.p, (int)type.n, type.p,
               (int)subject.n, subject.p, (long long)attempts, (int)reason.n, reason.p);
    }
}

static nexus_status list(const cli *c, nexus_group *group, const nexus_dead_query *query, bool whole)
{
    char *text;
    size_t n;
    nexus_json *json = NULL;
    nexus_status status = nexus_group_dead(&text, &n, group, query);
    if (status != NEXUS_OK)
        return status;
    if (c->json || whole)
        cli_print_json((nexus_slice){text, n});
    else if ((status = nexus_json_parse(&json, (nexus_slice){text, n})) == NEXUS_OK)
        print_letters(json);
    nexus_json_free(json);
    nexus_free(text);
    return status;
}

static nexus_status redrive(const cli *c, nexus_group *group, const nexus_dead_query *query,
                            const nexus_redrive_opts *opts)
{
    nexus_redrive_result result = {.size = sizeof result};
    nexus_status status = nexus_group_redrive(group, query, opts, &result);
    if (c->json)
        printf("{\"matched\":%llu,\"redriven\":%llu}\n", (unsigned long long)result.matched,
               (unsigned long long)result.redriven);
    else
        printf("%llu match, %llu handed out again\n", (unsigned long long)result.matched,
               (unsigned long long)result.redriven);
    return status;
}

static nexus_status work(const cli *c, nexus_group *group, nexus_dead_query *query, const nexus_redrive_opts *opts,
                         const char *expect)
{
    const char *word = c->argv[0];
    if (strcmp(word, "list") == 0)
        return list(c, group, query, false);
    if (strcmp(word, "show") == 0) {
        query->pos = strtoull(c->argv[2], NULL, 10);
        return list(c, group, query, true);
    }
    if (strcmp(word, "redrive") == 0)
        return redrive(c, group, query, opts);
    return nexus_group_purge(group, query, strtoull(expect, NULL, 10));
}

int cli_dlq(cli *c)
{
    static const char usage[] =
        "dlq list GROUP | show GROUP POSITION | redrive GROUP [--rate N] [--data JSON] [--dry-run] | "
        "purge GROUP --expect N   [--type PATTERN] [--key K] [--reason PART] [--pos N] [--limit N]";
    nexus_dead_query query = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_opts opts = NEXUS_REDRIVE_OPTS_INIT;
    nexus_group_opts join = NEXUS_GROUP_OPTS_INIT;
    const char *pos = cli_option(c, "--pos"), *limit = cli_option(c, "--limit"), *rate = cli_option(c, "--rate");
    const char *data = cli_option(c, "--data"), *expect = cli_option(c, "--expect");
    query.types = cli_option(c, "--type");
    query.key = cli_option(c, "--key");
    query.reason = cli_option(c, "--reason");
    query.pos = pos ? strtoull(pos, NULL, 10) : 0;
    query.limit = limit ? (uint32_t)strtoul(limit, NULL, 10) : 0;
    opts.max_per_s = rate ? (uint32_t)strtoul(rate, NULL, 10) : 0;
    opts.data = (nexus_slice){data, data ? strlen(data) : 0};
    opts.dry_run = cli_flag(c, "--dry-run");
    join.existing = true;
    int code = cli_words(c, 2, 3, usage);
    if (code != CLI_DONE)
        return code;
    const char *word = c->argv[0];
    bool shows = strcmp(word, "show") == 0, purges = strcmp(word, "purge") == 0;
    bool known = shows || purges || strcmp(word, "list") == 0 || strcmp(word, "redrive") == 0;
    if (!known || (c->argc == 3) != shows || (purges && !expect)) {
        fprintf(stderr, "usage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    nexus_bus *bus;
    nexus_group *group;
    code = cli_open_bus(c, &bus);
    if (code != CLI_DONE)
        return code;
    nexus_status status = nexus_group_open(&group, bus, c->argv[1], &join);
    if (status == NEXUS_OK) {
        status = work(c, group, &query, &opts, expect);
        nexus_group_close(group);
    }
    nexus_bus_close(bus);
    return cli_told(status);
}
