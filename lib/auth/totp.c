#include "auth/totp.h"

#include <stdio.h>

#include "base/status.h"
#include "crypto/hmac.h"
#include "crypto/wipe.h"

nexus_status nexus__totp_code(nexus__digest digest, nexus_slice seed, uint64_t step, int digits, char out[static 9])
{
    uint8_t message[8], code[NEXUS__DIGEST_MAX];
    nexus__hmac *hmac;
    uint32_t modulus = 1;
    for (int i = 0; i < 8; i++)
        message[i] = (uint8_t)(step >> (56 - 8 * i));
    nexus_status status = nexus__hmac_new(&hmac, digest, seed.p, seed.n);
    if (status != NEXUS_OK)
        return status;
    status = nexus__hmac_compute(hmac, &(nexus_slice){(const char *)message, sizeof message}, 1, code);
    nexus__hmac_free(hmac);
    if (status != NEXUS_OK)
        return status;
    const uint8_t *at = code + (code[nexus__digest_size(digest) - 1] & 0x0f); /* RFC 4226, 5.3 */
    uint32_t number = (uint32_t)(at[0] & 0x7f) << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    for (int i = 0; i < digits; i++)
        modulus *= 10;
    snprintf(out, 9, "%0*u", digits, number % modulus);
    nexus__wipe(code, sizeof code);
    return NEXUS_OK;
}

/* All three steps are always looked at: how long it takes says nothing of which one it was. */
nexus_status nexus__totp_check(nexus_slice seed, nexus_slice text, int64_t now_s, int64_t last_step, int64_t *step)
{
    int64_t now = now_s / NEXUS__TOTP_STEP_S, found = -1;
    char code[9];
    for (int64_t s = now - 1; s <= now + 1; s++) {
        nexus_status status = nexus__totp_code(NEXUS__SHA1, seed, (uint64_t)s, NEXUS__TOTP_DIGITS, code);
        if (status != NEXUS_OK)
            return status;
        if (nexus__slice_eq_ct(text, nexus__slice(code, NEXUS__TOTP_DIGITS)) && s > last_step && found < 0)
            found = s;
    }
    nexus__wipe(code, sizeof code);
    if (found < 0)
        return nexus__fail(NEXUS_EAUTH, "code: is wrong, or was used before");
    *step = found;
    return NEXUS_OK;
}
