/* Key sets: keys by kid (RFC 7517, 5). */
#include "auth/jose.h"
#include "base/status.h"

void nexus_keyset_opts_init(nexus_keyset_opts *opts)
{
    *opts = (nexus_keyset_opts)NEXUS_KEYSET_OPTS_INIT;
}

nexus_status nexus_keyset_new(nexus_keyset **out, const nexus_keyset_opts *opts)
{
    nexus_keyset_opts defaults = NEXUS_KEYSET_OPTS_INIT;
    if (!opts)
        opts = &defaults;
    if (opts->size != sizeof *opts)
        return nexus__fail(NEXUS_EINVAL, "nexus_keyset_opts: set size with NEXUS_KEYSET_OPTS_INIT");
    nexus_keyset *set = nexus__calloc(opts->alloc, 1, sizeof *set);
    if (!set)
        return nexus__nomem();
    set->alloc = opts->alloc;
    set->allow_hmac = opts->allow_hmac;
    set->keys_max = opts->keys_max ? opts->keys_max : 100;
    nexus__map_init(&set->keys, opts->alloc);
    *out = set;
    return NEXUS_OK;
}

nexus_status nexus_keyset_add(nexus_keyset *set, nexus_key *key)
{
    bool hmac = nexus__pkey_alg(key->pkey)->type == NEXUS__KEY_HMAC;
    if (hmac && !set->allow_hmac)
        return nexus__fail(NEXUS_EPERM, "HMAC keys are not allowed in this set");
    /* A set that mixes both kinds invites confusion of a public key with a secret. */
    if (set->keys.count && hmac != set->has_hmac)
        return nexus__fail(NEXUS_EINVAL, "symmetric and asymmetric keys do not mix in one set");
    if (set->keys.count >= set->keys_max)
        return nexus__fail(NEXUS_ETOOBIG, "more than %u keys in one set", set->keys_max);
    if (nexus__map_get(&set->keys, key->kid))
        return nexus__fail(NEXUS_ECONFLICT, "kid: two keys of one set have the same");
    nexus_status status = nexus__map_put(&set->keys, key->kid, key, NULL);
    if (status != NEXUS_OK)
        return status;
    if (set->keys.count == 1)
        set->first = key;
    set->has_hmac = hmac;
    return NEXUS_OK;
}

/* Whether another entry for signatures has this one's kid, be it usable or not: which of them is meant is a guess. */
static bool kid_repeats(nexus__json *doc, uint32_t keys, uint32_t index, uint32_t v)
{
    nexus_slice kid;
    if (!nexus__json_get_text(doc, v, "kid", &kid))
        return false;
    for (nexus__json_iter it = nexus__json_each(doc, keys); nexus__json_step(doc, &it) && it.index < index;)
        if (nexus__json_text_is(doc, nexus__json_get(doc, it.value, "kid"), kid) &&
            !nexus__json_text_is(doc, nexus__json_get(doc, it.value, "use"), NEXUS_S("enc")))
            return !nexus__json_text_is(doc, nexus__json_get(doc, v, "use"), NEXUS_S("enc"));
    return false;
}

static nexus_status add_all(nexus_keyset *set, nexus__json *doc)
{
    uint32_t keys = nexus__json_get(doc, 0, "keys");
    if (!nexus__json_is(doc, keys, NEXUS__JSON_ARRAY))
        return nexus__fail(NEXUS_EINVAL, "a JWK Set is an object with an array \"keys\"");
    if (nexus__json_count(doc, keys) > set->keys_max)
        return nexus__fail(NEXUS_ETOOBIG, "more than %u keys in one set", set->keys_max);
    for (nexus__json_iter it = nexus__json_each(doc, keys); nexus__json_step(doc, &it);) {
        nexus_key *key;
        if (kid_repeats(doc, keys, it.index, it.value))
            return nexus__fail(NEXUS_EINVAL, "keys: two have the same kid");
        nexus_status status = nexus__key_from_json(&key, doc, it.value, NULL);
        if (status == NEXUS_ENOMEM)
            return status;
        if (status != NEXUS_OK)
            continue; /* RFC 7517, 5: what cannot be used is ignored */
        status = nexus_keyset_add(set, key);
        if (status != NEXUS_OK)
            nexus_key_free(key);
        if (status != NEXUS_OK && status != NEXUS_EPERM)
            return status == NEXUS_ENOMEM ? status : NEXUS_EINVAL;
    }
    return NEXUS_OK;
}

nexus_status nexus_keyset_parse(nexus_keyset **out, const char *json, size_t n, const nexus_keyset_opts *opts)
{
    nexus_keyset *set;
    nexus_status status = nexus_keyset_new(&set, opts);
    if (status != NEXUS_OK)
        return status;
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus__json_limits limits = {.max_depth = 16, .max_bytes = 1024 * 1024};
    status = nexus__json_scan(&doc, nexus__slice(json, n), &limits);
    if (status == NEXUS_OK)
        status = add_all(set, &doc);
    nexus__json_free(&doc);
    if (status == NEXUS_OK)
        *out = set;
    else
        nexus_keyset_free(set);
    return status == NEXUS_ETOOBIG ? NEXUS_EINVAL : status;
}

size_t nexus_keyset_count(const nexus_keyset *set)
{
    return set->keys.count;
}

const nexus_key *nexus_keyset_find(const nexus_keyset *set, nexus_slice kid)
{
    return nexus__map_get(&set->keys, kid);
}

nexus_status nexus_keyset_print(const nexus_keyset *set, char **out, size_t *n)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__buf_text(&text, "{\"keys\":[");
    size_t cursor = 0;
    nexus_status status = NEXUS_OK;
    bool first = true;
    for (nexus__map_entry *e; !set->has_hmac && status == NEXUS_OK && (e = nexus__map_next(&set->keys, &cursor));) {
        if (!first)
            nexus__buf_char(&text, ',');
        first = false;
        nexus__key_write_jwk(&text, e->value, false, &status);
    }
    nexus__buf_text(&text, "]}");
    if (status == NEXUS_OK && (*out = nexus__buf_take(&text, n)))
        return NEXUS_OK;
    nexus__buf_free(&text);
    return status != NEXUS_OK ? status : nexus__nomem();
}

void nexus_keyset_free(nexus_keyset *set)
{
    if (!set)
        return;
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&set->keys, &cursor));)
        nexus_key_free(e->value);
    nexus__map_free(&set->keys);
    nexus__free(set->alloc, set);
}
