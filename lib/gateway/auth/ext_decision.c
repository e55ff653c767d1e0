#include <nexus/client.h>

#include "base/time.h"
#include "gateway/auth/ext.h"

enum { WAYS = 4 };

/* The first of the WAYS places where a key may stand. */
static nexus__ext_decision **places_of(nexus__ext_table *table, nexus__ext_key key)
{
    return &table->slots[key.words[0] % (NEXUS__EXT_SLOTS / WAYS) * WAYS];
}

static bool is_fresh(const nexus__ext_decision *d, int64_t now)
{
    return d && (!d->known || now < d->until);
}

nexus__ext_decision *nexus__ext_find(nexus__ext_table *table, nexus__ext_key key, int64_t now)
{
    nexus__ext_decision **places = places_of(table, key);
    for (int i = 0; i < WAYS; i++) {
        const nexus__ext_decision *d = places[i];
        if (is_fresh(d, now) && d->key.words[0] == key.words[0] && d->key.words[1] == key.words[1])
            return places[i];
    }
    return NULL;
}

/* How much is lost with what stands there: nothing, what is over soonest, what others wait for. */
static int64_t loss(const nexus__ext_decision *d, int64_t now)
{
    return !is_fresh(d, now) ? 0 : d->known ? d->until : INT64_MAX;
}

nexus__ext_decision *nexus__ext_new(nexus__ext_table *table, nexus__ext_key key, int64_t now, const nexus_alloc *alloc)
{
    nexus__ext_decision *d = nexus__calloc(alloc, 1, sizeof *d), **places = places_of(table, key), **place = places;
    if (!d)
        return NULL;
    d->alloc = alloc;
    d->refs = 2;
    d->key = key;
    nexus__buf_init(&d->text, alloc, 65536);
    for (int i = 1; i < WAYS; i++)
        if (loss(places[i], now) < loss(*place, now))
            place = &places[i];
    nexus__ext_unref(*place);
    *place = d;
    return d;
}

void nexus__ext_unref(nexus__ext_decision *d)
{
    if (!d || --d->refs > 0)
        return;
    nexus__buf_free(&d->text);
    nexus__free(d->alloc, d->fields);
    nexus__free(d->alloc, d);
}

/* --- what an answer means --------------------------------------------------------------------------------------------- */

/* The fields that the route lets through to upstream. False: out of memory, or they are too big. */
static bool take_fields(nexus__ext_decision *d, const nexus__ext_conf *conf, const nexus_reply *reply)
{
    d->fields = nexus__calloc(d->alloc, conf->add.count + 1, sizeof *d->fields);
    if (!d->fields)
        return false;
    for (uint32_t i = 0; i < conf->add.count; i++) {
        nexus_slice value;
        d->fields[i].name = conf->add.items[i];
        if (!nexus_reply_header(reply, conf->add.items[i].p, &value))
            continue;
        d->fields[i].value.n = value.n;
        d->fields[i].value.p = ""; /* it is there; where, is known when the text does not move any more */
        nexus__buf_slice_append(&d->text, value);
    }
    size_t at = 0;
    for (uint32_t i = 0; i < conf->add.count && !d->text.status; i++) {
        if (d->fields[i].value.p && d->fields[i].value.n > 0)
            d->fields[i].value.p = d->text.p + at;
        at += d->fields[i].value.n;
    }
    return d->text.status == NEXUS_OK;
}

static void refuse(nexus__ext_decision *d, nexus__auth_answer answer, nexus__gw_refusal refusal)
{
    d->answer = answer;
    d->refusal = refusal;
}

static void judge_status(nexus__ext_decision *d, const nexus__ext_conf *conf, const nexus_reply *reply)
{
    static const nexus__gw_refusal bad = {401, "unauthorized", "The authorization service refused the credentials.",
                                          NULL};
    static const nexus__gw_refusal no = {403, "forbidden", "The authorization service refused this.", NULL};
    static const nexus__gw_refusal failed = {503, "authorization-unavailable",
                                             "Whether this is allowed cannot be found out now; try again.", NULL};
    uint16_t status = reply ? nexus_reply_status(reply) : 0;
    nexus_slice challenge;
    if (status / 100 == 2 && take_fields(d, conf, reply)) {
        d->answer = NEXUS__AUTH_YES;
    } else if (status == 401) {
        refuse(d, NEXUS__AUTH_BAD, bad);
        if (nexus_reply_header(reply, "www-authenticate", &challenge) && challenge.n < sizeof d->challenge) {
            memcpy(d->challenge, challenge.p, challenge.n);
            d->refusal.challenge = d->challenge;
        }
    } else if (status / 100 == 4) {
        refuse(d, NEXUS__AUTH_DENIED, no);
    } else {
        refuse(d, NEXUS__AUTH_FAILED, failed);
    }
}

void nexus__ext_judge(nexus__ext_decision *d, const nexus__ext_conf *conf, nexus_status sent, const nexus_reply *reply,
                      int64_t now)
{
    judge_status(d, conf, sent == NEXUS_OK ? reply : NULL);
    d->known = true;
    d->until = d->answer == NEXUS__AUTH_FAILED ? now : now + conf->cache_ms * NEXUS__NS_PER_MS;
}
