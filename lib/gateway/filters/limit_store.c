/*
 * Rates that several gateways share, in Redis. One script decides for all shared policies of a request and consumes from
 * all of them or from none, by the server's own clock, so that neither races nor clocks that disagree admit too many.
 *
 * A key holds the theoretical arrival time as microseconds since 2026, in sixteenths: whole numbers of sixteenths are
 * exact in Lua's doubles for 17 years from then.
 */
#include <stdio.h>

#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hash.h"
#include "gateway/filters/limit_lease.h"
#include "gateway/gateway.h"

enum { TIMEOUT_MS = 250, RETRY_MS = 1000, ARGS = 4 };

/* ARGV, for each key: emission and tolerance in µs, cost, whether it is enforced. Returns for each key "fits used retry;",
 * in µs. */
static const char script[] =
    "local t = redis.call('TIME')\n"
    "local now = (t[1] - 1767225600) * 1000000 + t[2]\n"
    "local nexts, tats, fits, pass = {}, {}, {}, true\n"
    "for i = 1, #KEYS do\n"
    "  local emission, tolerance, cost = tonumber(ARGV[i*4-3]), tonumber(ARGV[i*4-2]), tonumber(ARGV[i*4-1])\n"
    "  tats[i] = math.max(tonumber(redis.call('GET', KEYS[i])) or 0, now)\n"
    "  nexts[i] = tats[i] + cost * emission\n"
    "  fits[i] = nexts[i] <= now + tolerance\n"
    "  if not fits[i] and ARGV[i*4] == '1' then pass = false end\n"
    "end\n"
    "local out = {}\n"
    "for i = 1, #KEYS do\n"
    "  local retry = 0\n"
    "  if not fits[i] then retry = nexts[i] - now - tonumber(ARGV[i*4-2]) end\n"
    "  if pass and fits[i] then\n"
    "    tats[i] = nexts[i]\n"
    "    redis.call('SET', KEYS[i], string.format('%.4f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000) + 1)\n"
    "  end\n"
    "  out[i] = string.format('%d %.0f %.0f;', fits[i] and 1 or 0, tats[i] - now, retry)\n"
    "end\n"
    "return table.concat(out)\n";

/* --- opening: with the first route that shares a policy, on a thread that may block -------------------------------- */

nexus_status nexus__limit_store_open(nexus_gateway *g)
{
    nexus_cache_opts opts = NEXUS_CACHE_OPTS_INIT;
    nexus_status status = NEXUS_OK;
    opts.alloc = g->alloc;
    opts.prefix = "nexus:limit:";
    opts.lazy = true;
    opts.timeout_ms = opts.connect_timeout_ms = TIMEOUT_MS;
    opts.connections = 1;
    if (!g->limit_script.text)
        status = nexus_cache_script_init(&g->limit_script, script);
    for (uint32_t i = 0; i < g->loop_count && !status; i++) {
        opts.loop = g->loops[i].loop;
        if (!g->loops[i].limits.store)
            status = nexus_cache_open(&g->loops[i].limits.store, g->opts.limit_store, &opts);
    }
    return status;
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

/* Rounded up to sixteenths of a µs: a hair slower than asked for, never faster. */
static double in_us(uint64_t ns)
{
    return (double)((ns * 16 + 999) / 1000) / 16;
}

/* The key as every gateway writes it: of what the policy counts, none of it readable. */
static nexus_status store_key(const nexus__limit_use *use, nexus__limit_subject *subject, char out[static 33])
{
    char space[2048];
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus__buf hex = {.p = out, .cap = 33, .max = 33};
    const nexus__limit_conf *c = use->conf;
    nexus__buf_printf(&text, "%u %u %u ", c->rate, c->period_s, c->burst);
    nexus__limit_key_text(use, subject, &text);
    nexus_status status = text.status ? text.status : nexus__hash(NEXUS__SHA256, nexus__buf_slice(&text), digest);
    if (status)
        return status;
    nexus__hex_append(&hex, digest, 16);
    out[32] = 0;
    return NEXUS_OK;
}

typedef struct words {
    nexus_slice keys[NEXUS__LIMIT_POLICIES_MAX], args[NEXUS__LIMIT_POLICIES_MAX * ARGS];
    char key_text[NEXUS__LIMIT_POLICIES_MAX][33];
    char arg_text[NEXUS__LIMIT_POLICIES_MAX][3][40];
    size_t count;
} words;

static nexus_status add_words(words *w, const nexus__limit_use *use, nexus__limit_subject *subject, uint32_t cost)
{
    size_t i = w->count++;
    double emission = in_us(use->rate.emission_ns);
    nexus_slice *args = w->args + i * ARGS;
    double numbers[3] = {emission, emission * use->rate.burst, cost};
    for (int k = 0; k < 3; k++) {
        int n = snprintf(w->arg_text[i][k], sizeof w->arg_text[i][k], "%llu.%04u", (unsigned long long)numbers[k],
                         (unsigned)((numbers[k] - (double)(uint64_t)numbers[k]) * 10000));
        args[k] = nexus__slice(w->arg_text[i][k], (size_t)n);
    }
    args[3] = use->conf->enforce ? NEXUS_S("1") : NEXUS_S("0");
    w->keys[i] = nexus__slice(w->key_text[i], 32);
    return store_key(use, subject, w->key_text[i]);
}

/* A store that did not answer is left alone for a second; then one request tries. */
bool nexus__limit_store_usable(nexus__limit_loop *home, int64_t now)
{
    if (now < home->store_down_until)
        return false;
    if (home->store_down_until)
        home->store_down_until = now + RETRY_MS * NEXUS__NS_PER_MS;
    return true;
}

void nexus__limit_store_report(nexus__limit_loop *home, bool answered, int64_t now)
{
    home->store_down_until = answered ? 0 : now + RETRY_MS * NEXUS__NS_PER_MS;
}

nexus_status nexus__limit_store_ask(nexus_gateway *g, nexus__limit_loop *home, const nexus__limit_set *set,
                                    nexus__limit_subject *subject, uint32_t cost, nexus_cache_fn *fn, void *user_data)
{
    words w;
    nexus_status status = NEXUS_OK;
    w.count = 0;
    for (uint32_t i = 0; i < set->count && !status; i++)
        if (set->items[i].conf->cluster)
            status = add_words(&w, &set->items[i], subject, cost);
    return status ? status
                  : nexus_cache_eval_async(home->store, &g->limit_script, w.keys, w.count, w.args, w.count * ARGS, fn,
                                           user_data);
}

/* --- the answer ---------------------------------------------------------------------------------------------------- */

static bool next_number(nexus_slice *rest, char end, int64_t *out)
{
    return nexus__parse_i64(nexus__slice_cut(rest, end), out) && *out >= 0;
}

bool nexus__limit_store_read(const nexus__limit_set *set, nexus_slice answer, nexus__limit_given *given)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const nexus__limit_use *use = &set->items[i];
        int64_t fits, used, retry;
        if (!use->conf->cluster)
            continue;
        if (!next_number(&answer, ' ', &fits) || !next_number(&answer, ' ', &used) || !next_number(&answer, ';', &retry))
            return false;
        uint64_t used_ns = (uint64_t)used * 1000;
        given[i].how = NEXUS__LIMIT_GIVEN;
        given[i].result =
            (nexus_limit_result){.allowed = fits, .reset_ns = (int64_t)used_ns, .retry_after_ns = retry * 1000};
        if (used_ns < use->rate.tolerance_ns)
            given[i].result.remaining = (uint32_t)((use->rate.tolerance_ns - used_ns) / use->rate.emission_ns);
    }
    return answer.n == 0;
}
