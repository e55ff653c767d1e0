/* Changes of a ring: each is made on one read anew under the lock of the file, written, and then taken over. */
#include "auth/ring.h"

#include <errno.h>
#include <unistd.h>

#include "base/status.h"
#include "base/time.h"
#include "json/write.h"

enum { ASIDE_SHARE = 1024 }; /* what is set aside at once, of all that a key may seal: 2^20 of 2^30 */

static int64_t now_s(const nexus_secrets *s)
{
    return (s->now_fn ? s->now_fn(s->user_data) : nexus__real_ns()) / NEXUS__NS_PER_S;
}

typedef struct edit {
    nexus_status (*fn)(nexus_secrets *s, const struct edit *e, bool *changed);
    nexus_slice name; /* a kid, or a tenant */
    bool make;        /* the file when it is missing */
} edit;

static nexus_status run(nexus_secrets *fresh, const nexus_secrets *s, const edit *e)
{
    bool changed = false;
    nexus_status status = nexus__ring_load(fresh, s);
    if (status == NEXUS_ENOTFOUND && e->make)
        status = NEXUS_OK;
    if (status == NEXUS_OK)
        status = e->fn(fresh, e, &changed);
    return status == NEXUS_OK && changed ? nexus__ring_store(fresh) : status;
}

static nexus_status change(nexus_secrets *s, const edit *e)
{
    int fd;
    nexus_secrets *fresh;
    nexus_status status = nexus__ring_file_lock(s->path, &fd);
    if (status != NEXUS_OK)
        return status;
    status = nexus__ring_twin(&fresh, s);
    if (status == NEXUS_OK) {
        status = run(fresh, s, e);
        if (status == NEXUS_OK) {
            pthread_rwlock_wrlock(&s->lock);
            nexus__ring_take(s, fresh);
            pthread_rwlock_unlock(&s->lock);
        }
        nexus_secrets_close(fresh);
    }
    close(fd);
    return status;
}

/* --- edits ----------------------------------------------------------------------------------------------------------- */

/* A data key in front of all. */
static nexus_status add_data_key(nexus_secrets *s, nexus_slice tenant)
{
    nexus__ring_key *key;
    nexus_status status = nexus__ring_insert(s, 0, &key);
    if (status != NEXUS_OK)
        return status;
    memcpy(key->tenant, tenant.p, tenant.n);
    key->made_s = now_s(s);
    status = nexus__ring_key_random(key);
    return status == NEXUS_OK ? nexus__kek_wrap(s, key) : status;
}

static nexus_status add_wrapping_key(nexus_secrets *s)
{
    nexus__ring_key *key;
    nexus_status status = nexus__ring_insert(s, 0, &key);
    if (status != NEXUS_OK)
        return status;
    key->wraps = key->in_file = true;
    return nexus__ring_key_random(key);
}

static bool wraps_by_file(const nexus_secrets *s)
{
    const nexus__ring_key *kek = nexus__ring_wrapping(s);
    return !s->wrap && (!kek || kek->in_file);
}

static nexus_status wrap_again(nexus_secrets *s, bool *changed)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < s->count && status == NEXUS_OK; i++)
        if (!s->keys[i].wraps && !nexus__kek_is_current(s, &s->keys[i])) {
            status = nexus__kek_wrap(s, &s->keys[i]);
            *changed = true;
        }
    return status;
}

static nexus_status prepare(nexus_secrets *s, const edit *e, bool *changed)
{
    nexus_status status = NEXUS_OK;
    (void)e;
    if (!s->wrap && !nexus__ring_wrapping(s)) {
        status = add_wrapping_key(s);
        *changed = true;
    }
    if (status == NEXUS_OK && !nexus__ring_sealing(s, NEXUS_S(""))) {
        status = add_data_key(s, NEXUS_S(""));
        *changed = true;
    }
    return status == NEXUS_OK ? wrap_again(s, changed) : status;
}

static nexus_status set_aside(nexus_secrets *s, const edit *e, bool *changed)
{
    uint64_t some = s->operations_max / ASIDE_SHARE ? s->operations_max / ASIDE_SHARE : 1;
    nexus_status status = NEXUS_OK;
    nexus__ring_key *key = nexus__ring_sealing(s, e->name);
    if (!key || key->operations + some > s->operations_max)
        status = add_data_key(s, e->name);
    if (status != NEXUS_OK)
        return status;
    key = nexus__ring_sealing(s, e->name);
    key->operations += some;
    atomic_store(&key->left, (int64_t)some);
    *changed = true;
    return NEXUS_OK;
}

/* A new wrapping key where the file holds them, and a new data key for each tenant that has one. */
static nexus_status rotate(nexus_secrets *s, const edit *e, bool *changed)
{
    (void)e;
    *changed = true;
    nexus_status status = wraps_by_file(s) ? add_wrapping_key(s) : NEXUS_OK;
    if (status == NEXUS_OK)
        status = wrap_again(s, changed);
    for (size_t i = 0; i < s->count; i++)
        s->keys[i].due = !s->keys[i].wraps && &s->keys[i] == nexus__ring_sealing(s, nexus__slice_c(s->keys[i].tenant));
    for (size_t i = 0; i < s->count && status == NEXUS_OK;) {
        char tenant[NEXUS__TENANT_MAX + 1];
        if (!s->keys[i].due) {
            i++;
            continue;
        }
        s->keys[i].due = false;
        memcpy(tenant, s->keys[i].tenant, sizeof tenant);
        status = add_data_key(s, nexus__slice_c(tenant)); /* in front: all others move on */
        i = 0;
    }
    return status;
}

static nexus_status take_out(nexus_secrets *s, const edit *e, bool *changed)
{
    const nexus__ring_key *key = nexus__ring_find(s, e->name);
    if (!key)
        return nexus__fail(NEXUS_ENOTFOUND, "%s: there is no key %.*s", s->path, (int)e->name.n, e->name.p);
    bool seals = !key->wraps && key == nexus__ring_sealing(s, nexus__slice_c(key->tenant));
    if (seals || (key->wraps && key == nexus__ring_wrapping(s)))
        return nexus__fail(NEXUS_ECONFLICT, "%s: %s is the key that %s; rotate first", s->path, key->kid,
                           seals ? "seals" : "wraps");
    if (key->wraps && !key->in_file)
        return nexus__fail(NEXUS_ECONFLICT, "%s: %s is not in the file; take it out of the setting", s->path, key->kid);
    nexus__ring_remove(s, (size_t)(key - s->keys));
    *changed = true;
    return wrap_again(s, changed);
}

/* --- calls ----------------------------------------------------------------------------------------------------------- */

nexus_status nexus__ring_prepare(nexus_secrets *s)
{
    return change(s, &(edit){.fn = prepare, .make = true});
}

nexus_status nexus__ring_set_aside(nexus_secrets *s, nexus_slice tenant)
{
    return change(s, &(edit){.fn = set_aside, .name = tenant});
}

nexus_status nexus_secrets_rotate(nexus_secrets *s)
{
    return change(s, &(edit){.fn = rotate});
}

nexus_status nexus__ring_retire(nexus_secrets *s, const char *kid)
{
    return change(s, &(edit){.fn = take_out, .name = nexus__slice_c(kid)});
}

/* --- what there is ----------------------------------------------------------------------------------------------------- */

static void inform(const nexus_secrets *s, const nexus__ring_key *key, nexus__ring_info *out)
{
    memcpy(out->kid, key->kid, sizeof out->kid);
    memcpy(out->tenant, key->tenant, sizeof out->tenant);
    out->made_s = key->made_s;
    if (key->wraps)
        out->state = key == nexus__ring_wrapping(s) && !s->wrap ? "wrapping" : "unwrapping";
    else
        out->state = key == nexus__ring_sealing(s, nexus__slice_c(key->tenant)) ? "sealing" : "opening";
}

/* Data keys first. */
bool nexus__ring_info_at(const nexus_secrets *s, size_t i, nexus__ring_info *out)
{
    bool there = false;
    (void)!nexus__ring_follow(s);
    pthread_rwlock_rdlock(&s->self->lock);
    for (size_t pass = 0, n = 0; pass < 2 && !there; pass++)
        for (size_t k = 0; k < s->count && !there; k++)
            if (s->keys[k].wraps == (pass == 1) && n++ == i) {
                inform(s, &s->keys[k], out);
                there = true;
            }
    pthread_rwlock_unlock(&s->self->lock);
    return there;
}

nexus_status nexus__ring_sealing_kid(const nexus_secrets *s, char out[static NEXUS__KID_TEXT])
{
    nexus_status status = nexus__ring_follow(s);
    if (status != NEXUS_OK)
        return status;
    pthread_rwlock_rdlock(&s->self->lock);
    const nexus__ring_key *key = nexus__ring_sealing(s, NEXUS_S(""));
    if (key)
        memcpy(out, key->kid, NEXUS__KID_TEXT);
    pthread_rwlock_unlock(&s->self->lock);
    return key ? NEXUS_OK : nexus__fail(NEXUS_EMISSING, "%s has no key that seals", s->path);
}

nexus_status nexus_secrets_list(const nexus_secrets *s, char **json, size_t *n)
{
    nexus__buf text;
    nexus__ring_info info;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "keys");
    nexus__json_open(&w, '[');
    for (size_t i = 0; nexus__ring_info_at(s, i, &info); i++) {
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "kid", info.kid);
        nexus__json_put_text_c(&w, "state", info.state);
        if (*info.tenant)
            nexus__json_put_text_c(&w, "tenant", info.tenant);
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    return nexus__buf_hand_over(&text, json, n);
}

/* Since when a key has sealed nothing: since the next one of its tenant was made; a wrapping key, since there are data keys.
 * INT64_MAX: it seals. */
static int64_t unused_since(const nexus_secrets *s, nexus_slice kid)
{
    int64_t since = INT64_MAX;
    const nexus__ring_key *key = nexus__ring_find(s, kid);
    for (size_t i = 0; key && i < s->count; i++) {
        const nexus__ring_key *other = &s->keys[i];
        bool newer = key->wraps || (other < key && strcmp(other->tenant, key->tenant) == 0);
        if (!other->wraps && newer)
            since = other->made_s < since || !key->wraps ? other->made_s : since;
    }
    return since;
}

nexus_status nexus_secrets_retire(nexus_secrets *s, const char *kid, uint32_t unused_s)
{
    nexus_status status = nexus__ring_follow(s);
    if (status != NEXUS_OK)
        return status;
    pthread_rwlock_rdlock(&s->lock);
    int64_t since = unused_since(s, nexus__slice_c(kid));
    pthread_rwlock_unlock(&s->lock);
    int64_t wait = since == INT64_MAX ? 0 : since + unused_s - now_s(s); /* one that seals is refused below */
    if (wait > 0)
        return nexus__fail(NEXUS_ECONFLICT, "%s may have sealed what is still in use; try again in %lld s", kid,
                           (long long)wait);
    return nexus__ring_retire(s, kid);
}
