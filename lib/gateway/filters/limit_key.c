/*
 * Whom a policy counts. Every part becomes a number under the table's secret; the policy, the route and the parts are
 * mixed to the one number that names a state. Nothing of the request's spelling goes in but what a part names: path,
 * method and host only as the route they met, addresses in binary, IPv6 as the /64 that a client owns.
 */
#include <arpa/inet.h>

#include "gateway/filters/limit.h"

static uint64_t hash_ip(nexus_slice ip, nexus__hash_key secret)
{
    char text[64];
    uint8_t bytes[16];
    if (nexus__slice_find(ip, ':') < ip.n && ip.n < sizeof text) {
        memcpy(text, ip.p, ip.n);
        text[ip.n] = 0;
        if (inet_pton(AF_INET6, text, bytes) == 1)
            return nexus__siphash(secret, bytes, 8);
    }
    return nexus__siphash(secret, ip.p, ip.n);
}

static uint64_t ip_of(nexus__limit_subject *s, nexus__hash_key secret)
{
    if (!s->ip_hash)
        s->ip_hash = hash_ip(s->ip, secret);
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
