/*
 * Whom a policy counts. Every part becomes a number under the table's secret; the policy, the route and the parts are
 * mixed to the one number that names a state. Nothing of the request's spelling goes in but what a part names: path,
 * method and host only as the route they met, addresses in binary, IPv6 as the /64 that a client owns.
 */
#include <arpa/inet.h>

#include "gateway/filters/limit.h"

/* What of an address counts; bytes is where it may stand. */
static nexus_slice owned(nexus_slice ip, uint8_t bytes[static 16])
{
    char text[64];
    if (nexus__slice_find(ip, ':') < ip.n && ip.n < sizeof text) {
        memcpy(text, ip.p, ip.n);
        text[ip.n] = 0;
        if (inet_pton(AF_INET6, text, bytes) == 1)
            return nexus__slice(bytes, 8);
    }
    return ip;
}

static uint64_t ip_of(nexus__limit_subject *s, nexus__hash_key secret)
{
    if (!s->ip_hash) {
        uint8_t bytes[16];
        nexus_slice part = owned(s->ip, bytes);
        s->ip_hash = nexus__siphash(secret, part.p, part.n);
    }
    return s->ip_hash;
}

/* 0 = the part is missing. */
static uint64_t hash_part(const nexus__limit_use *use, const nexus__limit_part *part, nexus__limit_subject *s,
                          nexus__hash_key secret)
{
    nexus_slice value;
    switch (part->kind) {
    case NEXUS__PART_IP:
        return ip_of(s, secret);
    case NEXUS__PART_ROUTE:
        return use->route;
    case NEXUS__PART_CONSUMER:
        if (!s->consumer_hash && s->consumer.n)
            s->consumer_hash = nexus__siphash(secret, s->consumer.p, s->consumer.n);
        return s->consumer_hash;
    case NEXUS__PART_HEADER:
    case NEXUS__PART_CLAIM:
    case NEXUS__PART_API_KEY:
        break;
    }
    if (!s->field || !s->field(s->source, part, &value) || value.n == 0)
        return 0;
    return nexus__siphash(secret, value.p, value.n);
}

/* The kind goes in too: a consumer called like an address is somebody else. */
static uint64_t mix(uint64_t key, nexus__limit_part_kind kind, uint64_t part)
{
    return nexus__mix64((key ^ part) + (uint64_t)(kind + 1) * 0x9e3779b97f4a7c15u);
}

uint64_t nexus__limit_key(const nexus__limit_use *use, nexus__limit_subject *s, nexus__hash_key secret)
{
    const nexus__limit_conf *conf = use->conf;
    for (uint32_t i = 0; i < conf->rules.count; i++) {
        const nexus__limit_rule *rule = &conf->rules.items[i];
        uint64_t key = use->seed, part = 1;
        for (uint32_t k = 0; k < rule->count && part; k++) {
            part = hash_part(use, &rule->items[k], s, secret);
            key = mix(key, rule->items[k].kind, part);
        }
        if (part)
            return key;
    }
    return mix(use->seed ^ use->fallback, NEXUS__PART_IP, ip_of(s, secret));
}

/* --- as text ------------------------------------------------------------------------------------------------------- */

static void put_part(nexus__buf *out, nexus__limit_part_kind kind, nexus_slice value)
{
    nexus__buf_printf(out, "%d:%zu:", (int)kind, value.n);
    nexus__buf_slice_append(out, value);
}

static void put_ip(nexus__buf *out, const nexus__limit_subject *s)
{
    uint8_t bytes[16];
    put_part(out, NEXUS__PART_IP, owned(s->ip, bytes));
}

/* False: the part is missing. */
static bool put_value(const nexus__limit_use *use, const nexus__limit_part *part, const nexus__limit_subject *s,
                      nexus__buf *out)
{
    nexus_slice value = s->consumer;
    if (part->kind == NEXUS__PART_IP) {
        put_ip(out, s);
        return true;
    }
    if (part->kind == NEXUS__PART_ROUTE)
        value = use->route_id;
    else if (part->kind != NEXUS__PART_CONSUMER && (!s->field || !s->field(s->source, part, &value)))
        return false;
    put_part(out, part->kind, value);
    return value.n > 0;
}

void nexus__limit_key_text(const nexus__limit_use *use, nexus__limit_subject *s, nexus__buf *out)
{
    const nexus__limit_conf *conf = use->conf;
    put_part(out, 0, conf->name);
    size_t mark = out->len;
    for (uint32_t i = 0; i < conf->rules.count; i++) {
        const nexus__limit_rule *rule = &conf->rules.items[i];
        uint32_t k = 0;
        while (k < rule->count && put_value(use, &rule->items[k], s, out))
            k++;
        if (k == rule->count)
            return;
        out->len = mark;
    }
    if (use->fallback)
        put_part(out, NEXUS__PART_ROUTE, use->route_id);
    put_ip(out, s);
}
