/*
 * Sealed data is a JSON string, whatever the data was: "nxshred1:" and the base64 of key id, nonce and AES-256-GCM. The nonce is
 * drawn from key, id and data, so a publish that is repeated is the same publish; id and subject are bound to it. The extension
 * `shred` marks such an event in the log; readers and groups of every handle open it before anyone sees it.
 */
#include "bus/shred.h"

#include "base/codec.h"
#include "base/status.h"
#include "bus/filter.h"
#include "bus/handle.h"
#include "bus/shred_keys.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/hmac.h"
#include "crypto/wipe.h"

static const char prefix[] = "\"nxshred1:";
#define PREFIX_BYTES (sizeof prefix - 1)

void nexus__shred_init(nexus__shred *s, const nexus_alloc *alloc)
{
    *s = (nexus__shred){.alloc = alloc};
    pthread_mutex_init(&s->lock, NULL);
}

void nexus__shred_end(nexus__shred *s)
{
    for (unsigned i = 0; i < SHRED_SHARDS; i++)
        nexus__shred_forget(s, i);
    pthread_mutex_destroy(&s->lock);
}

static nexus_status nonce_of(const uint8_t *key, const nexus_event *e, uint8_t out[static NEXUS__AEAD_NONCE])
{
    uint8_t code[32];
    nexus__hmac *hmac;
    uint64_t lengths[2] = {e->id.n, e->source.n};
    nexus_slice pieces[] = {nexus__slice(lengths, sizeof lengths), e->id, e->source, e->data};
    nexus_status status = nexus__hmac_new(&hmac, NEXUS__SHA256, key, SHRED_KEY);
    if (status != NEXUS_OK)
        return status;
    status = nexus__hmac_compute(hmac, pieces, 4, code);
    nexus__hmac_free(hmac);
    memcpy(out, code, NEXUS__AEAD_NONCE);
    return status;
}

static nexus_status context_of(const nexus_event *e, uint8_t out[static 32])
{
    nexus__hasher *hasher;
    uint64_t n = e->id.n;
    nexus_status status = nexus__hasher_new(&hasher, NEXUS__SHA256);
    if (status != NEXUS_OK)
        return status;
    nexus__hasher_update(hasher, &n, sizeof n);
    nexus__hasher_update(hasher, e->id.p, e->id.n);
    nexus__hasher_update(hasher, e->subject.p, e->subject.n);
    status = nexus__hasher_final(hasher, out);
    nexus__hasher_free(hasher);
    return status;
}

/* --- sealing ---- */

static nexus_status seal_bytes(const nexus__shred_key *k, const nexus_event *e, nexus__buf *out)
{
    enum { HEAD = SHRED_ID + NEXUS__AEAD_NONCE };
    uint8_t context[32];
    nexus__aead *aead;
    nexus_status status = nexus__aead_new(&aead, k->key);
    if (status != NEXUS_OK)
        return status;
    uint8_t *at = (uint8_t *)nexus__buf_reserve(out, HEAD + e->data.n + NEXUS__AEAD_TAG);
    status = at ? context_of(e, context) : nexus__nomem();
    if (status == NEXUS_OK) {
        memcpy(at, k->id, SHRED_ID);
        status = nonce_of(k->key, e, at + SHRED_ID);
    }
    if (status == NEXUS_OK)
        status = nexus__aead_seal(aead, at + SHRED_ID, nexus__slice(context, sizeof context), e->data, at + HEAD);
    if (status == NEXUS_OK)
        out->len += HEAD + e->data.n + NEXUS__AEAD_TAG;
    nexus__aead_free(aead);
    return status;
}

/* The attributes with the mark, and the sealed data, in the arena. */
static nexus_status put_in(nexus__arena *arena, nexus_event *e, nexus_slice text)
{
    nexus_pair *ext = nexus__arena_get(arena, (e->ext_count + 1) * sizeof *ext);
    char *bytes = nexus__arena_get(arena, text.n);
    size_t n = 0;
    if (!ext || !bytes)
        return nexus__nomem();
    for (size_t i = 0; i < e->ext_count; i++)
        if (!nexus__slice_eq_c(e->ext[i].name, "shred"))
            ext[n++] = e->ext[i];
    if (n >= NEXUS__EVENT_EXT_MAX)
        return nexus__fail(NEXUS_EINVAL, "an event whose data is sealed may have %d extensions", NEXUS__EVENT_EXT_MAX - 1);
    ext[n++] = (nexus_pair){.name = NEXUS_S("shred"), .value = NEXUS_S("1")};
    memcpy(bytes, text.p, text.n);
    e->ext = ext;
    e->ext_count = n;
    e->data = nexus__slice(bytes, text.n);
    return NEXUS_OK;
}

nexus_status nexus__shred_seal(nexus__shred *s, nexus__arena *arena, nexus_event *e)
{
    if (!s->types || !e->subject.n || !e->data.n || nexus__shred_is_sealed(e) ||
        !nexus__types_match(nexus__slice_c(s->types), e->type))
        return NEXUS_OK;
    nexus__buf sealed, text;
    nexus__buf_init(&sealed, s->alloc, 0);
    nexus__buf_init(&text, s->alloc, 0);
    const nexus__shred_key *k;
    pthread_mutex_lock(&s->lock);
    nexus_status status = nexus__shred_key_of(s, e->subject, &k);
    if (status == NEXUS_OK)
        status = seal_bytes(k, e, &sealed);
    pthread_mutex_unlock(&s->lock);
    if (status == NEXUS_OK) {
        nexus__buf_text(&text, prefix);
        nexus__base64_append(&text, sealed.p, sealed.len);
        nexus__buf_char(&text, '"');
        status = text.status == NEXUS_OK ? put_in(arena, e, nexus__buf_slice(&text)) : nexus__nomem();
    }
    nexus__buf_free(&sealed);
    nexus__buf_free(&text);
    return status;
}

/* --- opening ---- */

bool nexus__shred_is_sealed(const nexus_event *e)
{
    bool marked = false;
    for (size_t i = 0; i < e->ext_count; i++)
        marked |= nexus__slice_eq_c(e->ext[i].name, "shred");
    return marked && e->data.n > PREFIX_BYTES && memcmp(e->data.p, prefix, PREFIX_BYTES) == 0 &&
           e->data.p[e->data.n - 1] == '"';
}

static nexus_status open_bytes(nexus__shred *s, const nexus_event *e, nexus_slice sealed, nexus__buf *out, bool *gone)
{
    enum { HEAD = SHRED_ID + NEXUS__AEAD_NONCE };
    const uint8_t *p = (const uint8_t *)sealed.p;
    uint8_t context[32];
    nexus__aead *aead;
    nexus_status status = nexus__shred_load(s, p[0]);
    if (status != NEXUS_OK)
        return status;
    const nexus__shred_key *k = nexus__shred_by_id(s, p);
    *gone = k == NULL;
    if (!k)
        return NEXUS_OK;
    status = nexus__aead_new(&aead, k->key);
    if (status != NEXUS_OK)
        return status;
    nexus_slice body = nexus__slice_from(sealed, HEAD);
    char *at = nexus__buf_reserve(out, body.n);
    status = at ? context_of(e, context) : nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus__aead_open(aead, p + SHRED_ID, nexus__slice(context, sizeof context), body, (uint8_t *)at);
    if (status == NEXUS_OK)
        out->len += body.n - NEXUS__AEAD_TAG;
    nexus__aead_free(aead);
    return status;
}

nexus_status nexus__shred_open(nexus__shred *s, const nexus_event *e, nexus__buf *out, bool *gone)
{
    nexus_slice text = nexus__slice(e->data.p + PREFIX_BYTES, e->data.n - PREFIX_BYTES - 1);
    *gone = false;
    char *sealed = nexus__malloc(s->alloc, NEXUS__BASE64_DECODED_MAX(text.n) + 1);
    size_t n = 0;
    if (!sealed)
        return nexus__nomem();
    nexus_status status = s->dir ? NEXUS_OK : nexus__fail(NEXUS_ENOTSUP, "sealed data needs a bus with a directory for its keys");
    if (status == NEXUS_OK && (!nexus__base64_decode(text, sealed, &n) || n < SHRED_ID + NEXUS__AEAD_NONCE + NEXUS__AEAD_TAG))
        status = nexus__fail(NEXUS_ECORRUPT, "the sealed data of event %llu is not readable", (unsigned long long)e->pos);
    if (status == NEXUS_OK) {
        pthread_mutex_lock(&s->lock);
        status = open_bytes(s, e, nexus__slice(sealed, n), out, gone);
        pthread_mutex_unlock(&s->lock);
    }
    nexus__free(s->alloc, sealed);
    return status;
}

void nexus__shred_mark(nexus__event_view *view, bool gone)
{
    nexus_event *e = &view->event;
    size_t n = 0;
    for (size_t i = 0; i < e->ext_count; i++)
        if (!nexus__slice_eq_c(view->ext[i].name, "shred"))
            view->ext[n++] = view->ext[i];
    if (gone)
        view->ext[n++] = (nexus_pair){.name = NEXUS_S("shredded"), .value = NEXUS_S("true")};
    e->ext = view->ext;
    e->ext_count = n;
}

nexus_status nexus_bus_shred(nexus_bus *bus, const char *subject)
{
    if (!bus->shred.dir)
        return nexus__fail(NEXUS_ENOTSUP, "keys of subjects need a bus with a directory of its own (file:, sqlite:)");
    return nexus__shred_delete(&bus->shred, nexus__slice_c(subject));
}
