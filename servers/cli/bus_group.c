/* events explain | audit | pause | resume | seek: what an operator does with one group of the bus. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* What an operator does with one group: a row a word. */
typedef struct group_word {
    const char *word;
    nexus_status (*run)(const cli *c, nexus_group *group, const char *from, bool dry);
    bool needs_from;
} group_word;

static nexus_status print_text(nexus_status status, char *text, size_t n)
{
    if (status == NEXUS_OK)
        cli_print_json((nexus_slice){text, n});
    if (status == NEXUS_OK)
        nexus_free(text);
    return status;
}

static nexus_status explain(const cli *c, nexus_group *group, const char *from, bool dry)
{
    char *text = NULL;
    size_t n = 0;
    nexus_json *json = NULL;
    (void)from, (void)dry;
    nexus_status status = nexus_group_explain(&text, &n, group);
    if (status != NEXUS_OK || c->json)
        return print_text(status, text, n);
    status = nexus_json_parse(&json, (nexus_slice){text, n});
    for (nexus_json_iter it = {0}; status == NEXUS_OK && nexus_json_step(json, NEXUS_JSON_ROOT, &it);) {
        nexus_slice value;
        if (nexus_json_type(json, it.value) == NEXUS_JSON_NULL)
            continue;
        if (!nexus_json_text(json, it.value, &value))
            nexus_json_raw(json, it.value, &value);
        printf("%-10.*s %.*s\n", (int)it.name.n, it.name.p, (int)value.n, value.p);
    }
    nexus_json_free(json);
    nexus_free(text);
    return status;
}

static nexus_status audit(const cli *c, nexus_group *group, const char *from, bool dry)
{
    char *text = NULL;
    size_t n = 0;
    (void)c, (void)from, (void)dry;
    nexus_status status = nexus_group_audit(&text, &n, group);
    return print_text(status, text, n);
}

static nexus_status stop(const cli *c, nexus_group *group, const char *from, bool dry)
{
    (void)c, (void)from, (void)dry;
    return nexus_group_pause(group, true);
}

static nexus_status go_on(const cli *c, nexus_group *group, const char *from, bool dry)
{
    (void)c, (void)from, (void)dry;
    return nexus_group_pause(group, false);
}

/* first, end, a position, or a time. */
static bool read_start(const char *from, nexus_seek_opts *opts)
{
    char *rest;
    if (strcmp(from, "first") == 0 || strcmp(from, "end") == 0) {
        opts->start = *from == 'f' ? NEXUS_START_FIRST : NEXUS_START_END;
        return true;
    }
    opts->start = NEXUS_START_POS;
    opts->start_pos = strtoull(from, &rest, 10);
    if (!*rest && opts->start_pos)
        return true;
    opts->start = NEXUS_START_TIME;
    return nexus_time_parse((nexus_slice){from, strlen(from)}, &opts->start_time_ns);
}

static nexus_status seek(const cli *c, nexus_group *group, const char *from, bool dry)
{
    nexus_seek_opts opts = NEXUS_SEEK_OPTS_INIT;
    nexus_seek_result r = {.size = sizeof r};
    opts.dry_run = dry;
    if (!read_start(from, &opts)) {
        cli_fail("--from is first, end, a position or a time such as 2026-11-28T09:00:00Z, not %s", from);
        return NEXUS_EINVAL;
    }
    nexus_status status = nexus_group_seek(group, &opts, &r);
    if (status != NEXUS_OK)
        return status;
    printf(c->json ? "{\"floor_before\":%llu,\"floor\":%llu,\"again\":%llu,\"skipped\":%llu,\"inflight\":%llu}\n"
                   : "from %llu to %llu: %llu come again, %llu never come, %llu leases end\n",
           (unsigned long long)r.floor_before, (unsigned long long)r.floor, (unsigned long long)r.again,
           (unsigned long long)r.skipped, (unsigned long long)r.inflight);
    return NEXUS_OK;
}

static const group_word group_words[] = {
    {"explain", explain, false}, {"audit", audit, false}, {"pause", stop, false}, {"resume", go_on, false}, {"seek", seek, true},
};

static const group_word *find(const char *word)
{
    for (size_t i = 0; i < sizeof group_words / sizeof *group_words; i++)
        if (strcmp(group_words[i].word, word) == 0)
            return &group_words[i];
    return NULL;
}

bool cli_is_group_word(const cli *c, const char *from)
{
    const group_word *w = c->argc == 2 ? find(c->argv[0]) : NULL;
    return w && (from || !w->needs_from);
}

nexus_status cli_group(const cli *c, nexus_bus *bus, const char *from, bool dry)
{
    nexus_group_opts join = NEXUS_GROUP_OPTS_INIT;
    nexus_group *group;
    join.existing = true;
    nexus_status status = nexus_group_open(&group, bus, c->argv[1], &join);
    if (status != NEXUS_OK)
        return status;
    status = find(c->argv[0])->run(c, group, from, dry);
    nexus_group_close(group);
    return status;
}
