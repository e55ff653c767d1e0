#include <nexus/webhook.h>

#include <stdio.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "crypto/hmac.h"
#include "crypto/wipe.h"

enum { SECRET_MIN = 24, SECRET_MAX = 64, SECRET_NEW = 32, CODE = 32, CODE_TEXT = 44 };

nexus_status nexus_webhook_secret(char **out)
{
    uint8_t bytes[SECRET_NEW];
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__random(bytes, sizeof bytes);
    nexus__buf_text(&text, "whsec_");
    nexus__base64_append(&text, bytes, sizeof bytes);
    nexus__wipe(bytes, sizeof bytes);
    char *made = nexus__buf_take(&text, NULL);
    if (!made)
        return nexus__nomem();
    *out = made;
    return NEXUS_OK;
}

/* The code of one message under one secret, as base64. */
static nexus_status compute(nexus_slice secret, nexus_slice id, nexus_slice timestamp, nexus_slice body, nexus__buf *out)
{
    uint8_t key[NEXUS__BASE64_DECODED_MAX(96)], code[NEXUS__DIGEST_MAX];
    size_t n = 0;
    if (nexus__slice_starts(secret, NEXUS_S("whsec_")))
        secret = nexus__slice_from(secret, 6);
    if (secret.n > 96 || !nexus__base64_decode(secret, key, &n) || n < SECRET_MIN || n > SECRET_MAX)
        return nexus__fail(NEXUS_EINVAL, "a webhook secret is \"whsec_\" and the base64 of %d to %d bytes", SECRET_MIN,
                           SECRET_MAX);
    nexus__hmac *hmac = NULL;
    nexus_status status = nexus__hmac_new(&hmac, NEXUS__SHA256, key, n);
    const nexus_slice pieces[] = {id, NEXUS_S("."), timestamp, NEXUS_S("."), body};
    if (status == NEXUS_OK)
        status = nexus__hmac_compute(hmac, pieces, 5, code);
    if (status == NEXUS_OK)
        nexus__base64_append(out, code, CODE);
    nexus__hmac_free(hmac);
    nexus__wipe(key, sizeof key);
    return status == NEXUS_OK ? out->status : status;
}

static nexus_status check_id(nexus_slice id)
{
    if (id.n == 0 || nexus__slice_find(id, '.') < id.n)
        return nexus__fail(NEXUS_EINVAL, "a webhook id has at least one byte and no '.'");
    return NEXUS_OK;
}

nexus_status nexus_webhook_sign(char **out, size_t *n, nexus_slice secrets, nexus_slice id, int64_t timestamp_s,
                                nexus_slice body)
{
    char time_text[24];
    nexus__buf text;
    nexus_status status = check_id(id);
    nexus_slice timestamp =
        nexus__slice(time_text, (size_t)snprintf(time_text, sizeof time_text, "%lld", (long long)timestamp_s));
    nexus__buf_init(&text, NULL, 0);
    if (status == NEXUS_OK && secrets.n == 0)
        status = nexus__fail(NEXUS_EINVAL, "a webhook needs a secret to be signed");
    while (status == NEXUS_OK && secrets.n > 0) {
        nexus_slice secret = nexus__slice_cut(&secrets, ' ');
        nexus__buf_text(&text, text.len ? " v1," : "v1,");
        status = compute(secret, id, timestamp, body, &text);
    }
    char *made = status == NEXUS_OK ? nexus__buf_take(&text, n) : NULL;
    nexus__buf_free(&text);
    if (made)
        *out = made;
    return status == NEXUS_OK && !made ? nexus__nomem() : status;
}

static nexus_status check_time(nexus_slice timestamp, int64_t now_s, uint32_t tolerance_s)
{
    int64_t at = 0, tolerance = tolerance_s ? tolerance_s : 300;
    if (!nexus__parse_i64(timestamp, &at) || at < 0)
        return nexus__fail(NEXUS_EINVAL, "webhook-timestamp is not a number of seconds");
    if (at < now_s - tolerance || at > now_s + tolerance)
        return nexus__fail(NEXUS_ESTALE, "webhook-timestamp is %lld s away from this clock: sent again by a stranger?",
                           (long long)(now_s - at));
    return NEXUS_OK;
}

/* Goes through all of them, so that the time taken does not tell which one fits. */
static bool any_fits(nexus_slice signatures, nexus_slice expected)
{
    bool fits = false;
    while (signatures.n > 0) {
        nexus_slice one = nexus__slice_cut(&signatures, ' ');
        if (nexus__slice_starts(one, NEXUS_S("v1,")))
            fits |= nexus__slice_eq_ct(nexus__slice_from(one, 3), expected);
    }
    return fits;
}

nexus_status nexus_webhook_verify(nexus_slice secrets, nexus_slice id, nexus_slice timestamp, nexus_slice signature,
                                  nexus_slice body, int64_t now_s, uint32_t tolerance_s)
{
    bool fits = false;
    nexus_status status = check_id(id);
    if (status == NEXUS_OK)
        status = check_time(timestamp, now_s, tolerance_s);
    while (status == NEXUS_OK && secrets.n > 0) {
        nexus__buf expected;
        nexus__buf_init(&expected, NULL, 0);
        status = compute(nexus__slice_cut(&secrets, ' '), id, timestamp, body, &expected);
        if (status == NEXUS_OK)
            fits |= any_fits(signature, nexus__buf_slice(&expected));
        nexus__buf_free(&expected);
    }
    if (status == NEXUS_OK && !fits)
        return nexus__fail(NEXUS_EAUTH, "no webhook signature fits: another secret, or the message was changed");
    return status;
}
