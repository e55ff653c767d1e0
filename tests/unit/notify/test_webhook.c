/* nexus/webhook.h against the vector of the Standard Webhooks libraries. */
#include <criterion/criterion.h>
#include <stdio.h>

#include <nexus/webhook.h>

#include "base/str.h"

#define SECRET NEXUS_S("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
#define ID NEXUS_S("msg_p5jXN8AQM9LWM0D4loKWxJek")
#define BODY NEXUS_S("{\"test\": 2432232314}")
#define SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#define TIME NEXUS_S("1614265330")
static const int64_t now = 1614265330;

static nexus_status verify(nexus_slice secrets, nexus_slice signature)
{
    return nexus_webhook_verify(secrets, ID, TIME, signature, BODY, now, 0);
}

Test(webhook, published_vector)
{
    char *signature = NULL;
    size_t n = 0;
    cr_assert_eq(nexus_webhook_sign(&signature, &n, SECRET, ID, now, BODY), NEXUS_OK);
    cr_assert_str_eq(signature, SIGNATURE);
    cr_assert_eq(n, strlen(SIGNATURE));
    nexus_free(signature);
    cr_assert_eq(verify(SECRET, NEXUS_S(SIGNATURE)), NEXUS_OK);
    cr_assert_eq(verify(nexus__slice_from(SECRET, 6), NEXUS_S(SIGNATURE)), NEXUS_OK, "the prefix is optional");
    cr_assert_eq(verify(SECRET, NEXUS_S("v1a,xyz v2,abc " SIGNATURE)), NEXUS_OK, "others are passed over");
}

Test(webhook, what_was_changed_is_refused)
{
    nexus_slice good = NEXUS_S(SIGNATURE);
    cr_assert_eq(verify(SECRET, NEXUS_S("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF=")), NEXUS_EAUTH);
    cr_assert_eq(verify(SECRET, NEXUS_S("v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")), NEXUS_EAUTH);
    cr_assert_eq(verify(SECRET, NEXUS_S("")), NEXUS_EAUTH);
    cr_assert_eq(nexus_webhook_verify(SECRET, ID, TIME, good, NEXUS_S("{}"), now, 0), NEXUS_EAUTH);
    cr_assert_eq(nexus_webhook_verify(SECRET, NEXUS_S("msg_x"), TIME, good, BODY, now, 0), NEXUS_EAUTH);
    cr_assert_eq(nexus_webhook_verify(SECRET, ID, TIME, good, BODY, now + 301, 0), NEXUS_ESTALE);
    cr_assert_eq(nexus_webhook_verify(SECRET, ID, TIME, good, BODY, now - 301, 0), NEXUS_ESTALE);
    cr_assert_eq(nexus_webhook_verify(SECRET, ID, TIME, good, BODY, now + 301, 600), NEXUS_OK);
    cr_assert_eq(nexus_webhook_verify(SECRET, ID, NEXUS_S("soon"), good, BODY, now, 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_webhook_verify(SECRET, NEXUS_S("a.b"), TIME, good, BODY, now, 0), NEXUS_EINVAL);
}

Test(webhook, secrets_can_be_changed_over)
{
    char *fresh = NULL, *signature = NULL;
    char both[256];
    cr_assert_eq(nexus_webhook_secret(&fresh), NEXUS_OK);
    cr_assert(nexus__slice_starts(nexus__slice_c(fresh), NEXUS_S("whsec_")));
    snprintf(both, sizeof both, "%s whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", fresh);
    cr_assert_eq(nexus_webhook_sign(&signature, NULL, nexus__slice_c(both), ID, now, BODY), NEXUS_OK);
    cr_assert_eq(verify(SECRET, nexus__slice_c(signature)), NEXUS_OK, "a receiver with the old one");
    cr_assert_eq(verify(nexus__slice_c(fresh), nexus__slice_c(signature)), NEXUS_OK, "and one with the new");
    nexus_free(signature);
    nexus_free(fresh);
}

Test(webhook, weak_or_broken_secrets_are_refused)
{
    char *signature = NULL;
    const char *bad[] = {"", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(nexus_webhook_sign(&signature, NULL, nexus__slice_c(bad[i]), ID, now, BODY), NEXUS_EINVAL, "%s",
                     bad[i]);
    cr_assert_null(signature);
}
