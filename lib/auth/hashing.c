/*
 * Password hashes behind the gate that bounds their memory. With a pepper it is not the password that is hashed but its
 * HMAC under it, so that who has read the database alone has nothing to try passwords on. Such hashes begin with '+'; those
 * from before there was one are verified as they are, and made again at the next login.
 */
#include "auth/auth_private.h"
#include "base/codec.h"
#include "crypto/wipe.h"

#define PEPPERED '+'

typedef struct hashed {
    char text[64]; /* base64url of the HMAC */
    nexus_slice password;
} hashed;

static nexus_status pepper(const nexus_auth *a, nexus_slice password, hashed *out)
{
    uint8_t code[NEXUS__DIGEST_MAX];
    nexus__buf text;
    nexus_status status = nexus__hmac_compute(a->pepper, &password, 1, code);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__base64url_append(&text, code, 32);
    status = text.status;
    if (status == NEXUS_OK)
        memcpy(out->text, text.p, text.len);
    out->password = nexus__slice(out->text, text.len);
    nexus__wipe(text.p, text.cap);
    nexus__buf_free(&text);
    nexus__wipe(code, sizeof code);
    return status;
}

nexus_status nexus__hash_password(const nexus_auth *a, nexus_slice password, char hash[static NEXUS__PASSWORD_HASH_MAX])
{
    hashed h = {.password = password};
    char phc[NEXUS__PASSWORD_HASH_MAX];
    nexus_status status = a->pepper ? pepper(a, password, &h) : NEXUS_OK;
    if (status == NEXUS_OK)
        status = nexus__password_hash(&a->cost, h.password, phc);
    if (status == NEXUS_OK && strlen(phc) + 2 > NEXUS__PASSWORD_HASH_MAX)
        status = nexus__fail(NEXUS_ETOOBIG, "the cost of password hashes cannot be written down");
    if (status == NEXUS_OK)
        snprintf(hash, NEXUS__PASSWORD_HASH_MAX, "%s%s", a->pepper ? "+" : "", phc);
    nexus__wipe(&h, sizeof h);
    return status;
}

static nexus_status verify(const nexus_auth *a, const char *hash, nexus_slice password)
{
    hashed h = {.password = password};
    bool peppered = *hash == PEPPERED;
    if (peppered && !a->pepper)
        return nexus__fail(NEXUS_EMISSING, "the password was hashed with a pepper, and none is set");
    nexus_status status = peppered ? pepper(a, password, &h) : NEXUS_OK;
    if (status == NEXUS_OK)
        status = nexus__password_verify(hash + peppered, h.password);
    nexus__wipe(&h, sizeof h);
    return status;
}

static bool is_stale(const nexus_auth *a, const char *hash)
{
    bool peppered = *hash == PEPPERED;
    return peppered != (a->pepper != NULL) || nexus__password_is_stale(hash + peppered, &a->cost);
}

nexus_status nexus__hash_new_password(nexus_auth *a, nexus_slice password, char hash[static NEXUS__PASSWORD_HASH_MAX])
{
    nexus_status status = nexus__hash_gate_enter(a->gate);
    if (status != NEXUS_OK)
        return status;
    status = nexus__hash_password(a, password, hash);
    nexus__hash_gate_leave(a->gate);
    return status;
}

nexus_status nexus__check_user_password(nexus_auth *a, const nexus_user *user, nexus_slice password, char *rehash)
{
    nexus_status status = nexus__hash_gate_enter(a->gate);
    if (status != NEXUS_OK)
        return status;
    status = verify(a, user ? user->password : a->dummy, password);
    if (status == NEXUS_OK && user && is_stale(a, user->password))
        status = nexus__hash_password(a, password, rehash);
    nexus__hash_gate_leave(a->gate);
    return status == NEXUS_OK && !user ? nexus__fail(NEXUS_EAUTH, "there is no such user") : status;
}
