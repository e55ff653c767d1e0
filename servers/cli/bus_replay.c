/* events replay, bus asyncapi: going through stored events again, and what their data is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* A position, or a time (RFC 3339). */
static bool place(const char *text, uint64_t *pos, int64_t *time_ns)
{
    char *end;
    if (!text)
        return true;
    *pos = strtoull(text, &end, 10);
    if (end != text && !*end)
        return *pos > 0;
    *pos = 0;
    return nexus_time_parse((nexus_slice){text, strlen(text)}, time_ns);
}

static bool number(const char *text, double *out)
{
    char *end;
    if (!text)
        return true;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= 0;
}

static nexus_status dry_run(const cli *c, nexus_bus *bus, const nexus_replay_opts *opts)
{
    nexus_replay_count n = {.size = sizeof n};
    nexus_status status = nexus_replay_dry_run(bus, opts, &n);
    if (status != NEXUS_OK)
        return status;
    printf(c->json ? "{\"events\":%llu,\"bytes\":%llu,\"first\":%llu,\"last\":%llu,\"eta_ms\":%lld}\n"
                   : "%llu events, %llu bytes, positions %llu to %llu, about %lld ms\n",
           (unsigned long long)n.events, (unsigned long long)n.bytes, (unsigned long long)n.first_pos,
           (unsigned long long)n.last_pos, (long long)n.eta_ms);
    return NEXUS_OK;
}

/* On the error stream, so that the events can be piped on. */
static void show_progress(const cli *c, nexus_replay *replay, bool last)
{
    nexus_replay_progress p = {.size = sizeof p};
    nexus_replay_read_progress(replay, &p);
    fprintf(stderr,
            c->json ? "{\"position\":%llu,\"to\":%llu,\"events\":%llu,\"failed\":%llu,\"skipped\":%llu,\"events_s\":%.0f,"
                      "\"eta_ms\":%lld}\n"
                    : "position %llu of %llu, %llu events, %llu failed, %llu damaged, %.0f a second, %lld ms left\n",
            (unsigned long long)p.position, (unsigned long long)p.to, (unsigned long long)p.events,
            (unsigned long long)p.failed, (unsigned long long)p.skipped, p.events_s, (long long)(last ? 0 : p.eta_ms));
}

static nexus_status replay(const cli *c, nexus_bus *bus, const nexus_replay_opts *opts)
{
    nexus_replay *r;
    int64_t shown_ns = nexus_time_now_ns();
    nexus_status status = nexus_replay_open(&r, bus, opts, NULL, 0);
    if (status != NEXUS_OK)
        return status;
    for (;;) {
        const char *text;
        size_t n;
        status = nexus_replay_next_json(r, &text, &n, 500);
        if (status == NEXUS_OK)
            cli_print_json((nexus_slice){text, n});
        else if (status != NEXUS_EAGAIN)
            break;
        else
            fflush(stdout);
        if (nexus_time_now_ns() - shown_ns > 1000000000) {
            shown_ns = nexus_time_now_ns();
            show_progress(c, r, false);
        }
    }
    fflush(stdout);
    show_progress(c, r, true);
    nexus_replay_close(r);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

int cli_replay(cli *c)
{
    static const char usage[] = "events replay [--from POSITION|TIME] [--to POSITION|TIME] [--type PATTERN] [--stream S] "
                                "[--category C] [--tags A,B] [--factor X] [--rate EVENTS/S] [--bytes BYTES/S] [--dry-run]";
    nexus_replay_opts opts = NEXUS_REPLAY_OPTS_INIT;
    const char *from = cli_option(c, "--from"), *to = cli_option(c, "--to"), *factor = cli_option(c, "--factor");
    const char *rate = cli_option(c, "--rate"), *bytes = cli_option(c, "--bytes");
    bool dry = cli_flag(c, "--dry-run");
    opts.types = cli_option(c, "--type");
    opts.stream = cli_option(c, "--stream");
    opts.category = cli_option(c, "--category");
    opts.tags = cli_option(c, "--tags");
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    if (!place(from, &opts.start_pos, &opts.start_time_ns) || !place(to, &opts.to_pos, &opts.to_time_ns) ||
        !number(factor, &opts.factor) || !number(rate, &opts.max_events_s) || !number(bytes, &opts.max_bytes_s)) {
        fprintf(stderr, "usage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    opts.start = opts.start_pos ? NEXUS_START_POS : opts.start_time_ns ? NEXUS_START_TIME : NEXUS_START_FIRST;
    nexus_bus *bus;
    code = cli_open_bus(c, &bus);
    if (code != CLI_DONE)
        return code;
    nexus_status status = dry ? dry_run(c, bus, &opts) : replay(c, bus, &opts);
    nexus_bus_close(bus);
    return cli_told(status);
}

int cli_asyncapi(cli *c)
{
    static const char usage[] = "bus asyncapi [--title TEXT] [--api-version V]";
    nexus_asyncapi_opts opts = NEXUS_ASYNCAPI_OPTS_INIT;
    opts.title = cli_option(c, "--title");
    opts.version = cli_option(c, "--api-version");
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    nexus_bus *bus;
    code = cli_open_bus(c, &bus);
    if (code != CLI_DONE)
        return code;
    char *text;
    size_t n;
    nexus_status status = nexus_contract_asyncapi(&text, &n, bus, &opts);
    if (status == NEXUS_OK) {
        cli_print_json((nexus_slice){text, n});
        nexus_free(text);
    }
    nexus_bus_close(bus);
    return cli_told(status);
}
