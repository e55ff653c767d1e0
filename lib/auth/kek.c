/*
 * How data keys stand in the file: sealed with a wrapping key, as values are (nx1.…), or wrapped by a service that the
 * options name, as kms.<id>.<what it gave> (base64url). Bound to tenant and kid either way.
 */
#include "auth/ring.h"

#include <stdio.h>

#include "base/codec.h"
#include "base/status.h"
#include "crypto/wipe.h"

enum { WRAPPED_BYTES_MAX = NEXUS__WRAPPED_MAX / 2, CONTEXT_MAX = 128 };

static nexus_slice context_of(const nexus__ring_key *key, char out[static CONTEXT_MAX])
{
    return nexus__slice(out, (size_t)snprintf(out, CONTEXT_MAX, "nexus/dek/%s/%s", key->tenant, key->kid));
}

static nexus_status wrap_by_service(const nexus_secrets *s, const nexus__ring_key *key, nexus__buf *out)
{
    char context[CONTEXT_MAX];
    uint8_t wrapped[WRAPPED_BYTES_MAX];
    size_t n = sizeof wrapped;
    nexus_status status =
        s->wrap(context_of(key, context), nexus__slice(key->bytes, NEXUS__AEAD_KEY), wrapped, &n, s->user_data);
    if (status != NEXUS_OK)
        return status;
    if (n > sizeof wrapped)
        return nexus__fail(NEXUS_ETOOBIG, "the service %s wraps a key in more than %d bytes", s->kek_id, WRAPPED_BYTES_MAX);
    nexus__buf_text(out, "kms.");
    nexus__base64url_append(out, s->kek_id, strlen(s->kek_id));
    nexus__buf_char(out, '.');
    nexus__base64url_append(out, wrapped, n);
    return out->status;
}

nexus_status nexus__kek_wrap(const nexus_secrets *s, nexus__ring_key *key)
{
    char context[CONTEXT_MAX], *text;
    size_t n;
    nexus__buf out;
    const nexus__ring_key *kek = nexus__ring_wrapping(s);
    nexus__buf_init(&out, s->alloc, NEXUS__WRAPPED_MAX);
    nexus_status status =
        s->wrap ? wrap_by_service(s, key, &out)
        : kek   ? nexus__ring_seal_with(kek, context_of(key, context), nexus__slice(key->bytes, NEXUS__AEAD_KEY), &out)
                : nexus__fail(NEXUS_EMISSING, "%s has no key that wraps", s->path);
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(&out, &text, &n);
    if (status != NEXUS_OK) {
        nexus__buf_free(&out);
        return status;
    }
    nexus__free(s->alloc, key->wrapped);
    key->wrapped = text;
    return NEXUS_OK;
}

static nexus_status unwrap_by_service(const nexus_secrets *s, const nexus__ring_key *key, nexus_slice wrapped,
                                      uint8_t out[static NEXUS__AEAD_KEY])
{
    char id[NEXUS__WRAPPED_MAX], context[CONTEXT_MAX];
    uint8_t bytes[NEXUS__WRAPPED_MAX];
    size_t id_n, bytes_n, n = NEXUS__AEAD_KEY;
    nexus_slice name = nexus__slice_cut(&wrapped, '.');
    if (name.n > NEXUS__WRAPPED_MAX || wrapped.n > NEXUS__WRAPPED_MAX || !nexus__base64url_decode(name, id, &id_n) ||
        id_n >= sizeof id || !nexus__base64url_decode(wrapped, bytes, &bytes_n))
        return nexus__fail(NEXUS_EINVAL, "%s: the wrapping of key %s is not base64url", s->path, key->kid);
    id[id_n] = 0;
    if (!s->unwrap)
        return nexus__fail(NEXUS_EMISSING, "%s: key %s is wrapped by the service %s, which is not configured", s->path,
                           key->kid, id);
    nexus_status status = s->unwrap(id, context_of(key, context), nexus__slice(bytes, bytes_n), out, &n, s->user_data);
    return status == NEXUS_OK && n != NEXUS__AEAD_KEY
               ? nexus__fail(NEXUS_ECORRUPT, "the service %s gave a key of %zu bytes", id, n)
               : status;
}

static nexus_status unwrap_here(const nexus_secrets *s, const nexus__ring_key *key, nexus_slice wrapped,
                                uint8_t out[static NEXUS__AEAD_KEY])
{
    enum { RAW = NEXUS__AEAD_KEY + NEXUS__AEAD_TAG };
    char context[CONTEXT_MAX];
    uint8_t raw[NEXUS__BASE64_DECODED_MAX(64) + 16];
    size_t n;
    nexus__sealed_text t;
    if (!nexus__sealed_text_read(&t, wrapped) || t.sealed.n > 64 || !nexus__base64url_decode(t.sealed, raw, &n) || n != RAW)
        return nexus__fail(NEXUS_EINVAL, "%s: the wrapping of key %s cannot be read", s->path, key->kid);
    const nexus__ring_key *kek = nexus__ring_find(s, t.kid);
    if (!kek || !kek->wraps)
        return nexus__fail(NEXUS_EMISSING, "%s: key %s is wrapped with %.*s, which is not among the key-encryption keys",
                           s->path, key->kid, (int)(t.kid.n > 32 ? 32 : t.kid.n), t.kid.p);
    return nexus__aead_open(kek->aead, t.nonce, context_of(key, context), nexus__slice(raw, n), out);
}

nexus_status nexus__kek_unwrap(const nexus_secrets *s, const nexus__ring_key *key, nexus_slice wrapped,
                               uint8_t out[static NEXUS__AEAD_KEY])
{
    return nexus__slice_starts(wrapped, NEXUS_S("kms."))
               ? unwrap_by_service(s, key, nexus__slice_from(wrapped, 4), out)
               : unwrap_here(s, key, wrapped, out);
}

bool nexus__kek_is_current(const nexus_secrets *s, const nexus__ring_key *key)
{
    nexus__buf front;
    const nexus__ring_key *kek = nexus__ring_wrapping(s);
    nexus__buf_init(&front, s->alloc, 0);
    if (s->wrap) {
        nexus__buf_text(&front, "kms.");
        nexus__base64url_append(&front, s->kek_id, strlen(s->kek_id));
    } else {
        nexus__buf_printf(&front, "nx1.%s", kek ? kek->kid : "");
    }
    nexus__buf_char(&front, '.');
    bool current = front.status == NEXUS_OK && nexus__slice_starts(nexus__slice_c(key->wrapped), nexus__buf_slice(&front));
    nexus__buf_free(&front);
    return current;
}

nexus_status nexus__kek_read(nexus_secrets *s, nexus_slice list)
{
    nexus_status status = NEXUS_OK;
    while (list.n && status == NEXUS_OK) {
        uint8_t bytes[NEXUS__BASE64_DECODED_MAX(64)];
        size_t n = 0;
        nexus__ring_key *key;
        nexus_slice text = nexus__slice_trim(nexus__slice_cut(&list, ','));
        if (text.n != 43 || !nexus__base64url_decode(text, bytes, &n) || n != NEXUS__AEAD_KEY)
            return nexus__fail(NEXUS_EINVAL, "a key-encryption key is 43 characters of base64url; make one with: openssl rand "
                               "32 | basenc --base64url | tr -d =");
        status = nexus__ring_insert(s, s->count, &key);
        if (status == NEXUS_OK) {
            key->wraps = true;
            status = nexus__ring_key_set(key, bytes);
        }
        nexus__wipe(bytes, sizeof bytes);
    }
    return status;
}
