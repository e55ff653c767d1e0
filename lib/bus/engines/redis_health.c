/*
 * What a Redis server promises about what it was told, from its settings: CONFIG GET, or INFO where CONFIG is not
 * allowed (INFO does not tell appendfsync, and what is not known is not promised).
 *
 * Durable at the ack: the append-only file is on, synced before each answer, and that is not suspended while the file is
 * rewritten. A server that evicts keys when its memory is full can drop the log: it is refused.
 */
#include <stdio.h>

#include "base/status.h"
#include "bus/engines/redis.h"

#define EVERYSEC_MS 2000 /* a sync that is on its way may hold up the next for a second more */

/* The value of `name:` in an INFO text. */
static nexus_slice info_value(nexus_slice info, const char *name)
{
    nexus_slice wanted = nexus__slice_c(name);
    while (info.n) {
        nexus_slice line = nexus__slice_cut(&info, '\n');
        if (nexus__slice_starts(line, wanted) && line.n > wanted.n && line.p[wanted.n] == ':') {
            line = nexus__slice_from(line, wanted.n + 1);
            return line.n && line.p[line.n - 1] == '\r' ? nexus__slice(line.p, line.n - 1) : line;
        }
    }
    return NEXUS_S("");
}

typedef struct setting {
    const char *name;       /* of CONFIG */
    const char *info, *key; /* section and line of INFO; NULL = it does not say */
} setting;

static nexus_status from_info(nexus__redis *link, int64_t deadline, const setting *s, char out[static 32])
{
    nexus__redis_reply reply;
    if (!s->info)
        return NEXUS_OK;
    nexus_status status =
        nexus__redis_ask(link, (nexus_slice[]){NEXUS_S("INFO"), nexus__slice_c(s->info)}, 2, deadline, &reply);
    if (status != NEXUS_OK)
        return status == NEXUS_EINVAL || status == NEXUS_EPERM ? NEXUS_OK : status; /* not known */
    nexus_slice value = info_value(reply.text, s->key);
    snprintf(out, 32, "%.*s", (int)value.n, value.p ? value.p : "");
    nexus__redis_reply_free(&reply);
    return NEXUS_OK;
}

/* *out is empty when the server does not say. */
static nexus_status ask(nexus__redis *link, int64_t deadline, const setting *s, char out[static 32])
{
    nexus__redis_reply reply;
    out[0] = '\0';
    nexus_status status = nexus__redis_ask(
        link, (nexus_slice[]){NEXUS_S("CONFIG"), NEXUS_S("GET"), nexus__slice_c(s->name)}, 3, deadline, &reply);
    if (status == NEXUS_EPERM || status == NEXUS_EINVAL) /* forbidden, or renamed */
        return from_info(link, deadline, s, out);
    if (status != NEXUS_OK)
        return status;
    if (nexus__redis_reply_count(&reply) >= 2) {
        nexus_slice value = nexus__redis_reply_at(&reply, 1).text;
        snprintf(out, 32, "%.*s", (int)value.n, value.p ? value.p : "");
    }
    nexus__redis_reply_free(&reply);
    return NEXUS_OK;
}

enum { AOF, FSYNC, ON_REWRITE, MEMORY, POLICY, SETTINGS };
static const setting settings[SETTINGS] = {
    [AOF] = {"appendonly", "persistence", "aof_enabled"},
    [FSYNC] = {"appendfsync", NULL, NULL},
    [ON_REWRITE] = {"no-appendfsync-on-rewrite", NULL, NULL},
    [MEMORY] = {"maxmemory", "memory", "maxmemory"},
    [POLICY] = {"maxmemory-policy", "memory", "maxmemory_policy"},
};

static bool is(const char *value, const char *one, const char *other)
{
    return strcmp(value, one) == 0 || (other && strcmp(value, other) == 0);
}

static nexus__redis_health judge(char value[SETTINGS][32])
{
    bool kept = is(value[AOF], "yes", "1");
    if (kept && is(value[FSYNC], "always", NULL) && is(value[ON_REWRITE], "no", NULL))
        return (nexus__redis_health){.durable = true};
    if (kept && is(value[FSYNC], "everysec", NULL) && is(value[ON_REWRITE], "no", NULL))
        return (nexus__redis_health){.weaker = NEXUS__WAL_INTERVAL, .sync_ms = EVERYSEC_MS};
    return (nexus__redis_health){.weaker = kept && value[FSYNC][0] ? NEXUS__WAL_OS : 0};
}

nexus_status nexus__redis_examine(nexus__redis *link, int64_t deadline_ns, nexus__redis_health *out)
{
    char value[SETTINGS][32];
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < SETTINGS && status == NEXUS_OK; i++)
        status = ask(link, deadline_ns, &settings[i], value[i]);
    if (status != NEXUS_OK)
        return status;
    bool bounded = value[MEMORY][0] && strcmp(value[MEMORY], "0") != 0;
    if (bounded && value[POLICY][0] && strcmp(value[POLICY], "noeviction") != 0)
        return nexus__fail(NEXUS_EINVAL,
                           "redis drops keys when its memory is full (maxmemory-policy %s), and a bus must not lose "
                           "its log: set maxmemory-policy noeviction, or maxmemory 0",
                           value[POLICY]);
    *out = judge(value);
    return NEXUS_OK;
}
