/*
 * Published vectors whose result here is another, each with its reason. The wycheproof files check one verifier with
 * one key given beforehand; where they accept what the rules of docs/auth.md refuse, the rules win.
 */
#ifndef NEXUS_TEST_DEVIATIONS_H
#define NEXUS_TEST_DEVIATIONS_H

static const struct {
    int id; /* tcId in json_web_signature_test.json; "valid" there and refused here, but for the two named */
    const char *reason;
} jws_deviations[] = {
    {346, "the key says PS256, the token PS384: one key, one algorithm (RFC 8725, 3.1)"},
    {347, "the key's alg is ES521, which does not exist (ES512 does)"},
    {350, "the key says PS256, the token PS384: one key, one algorithm (RFC 8725, 3.1)"},
    {351, "the key's alg is ES521, which does not exist (ES512 does)"},
    {367, "published as invalid, but byte for byte the token of 357, which is published as valid"},
    {370, "published as invalid, but byte for byte the token of 357, which is published as valid"},
    {372, "the header part holds a '?': not base64url (RFC 7515, 2)"},
    {373, "the payload part holds a '?': not base64url (RFC 7515, 2)"},
};

#endif
