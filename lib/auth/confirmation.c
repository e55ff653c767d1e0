#include "auth/confirmation.h"

#include "auth/jose.h"
#include "base/codec.h"
#include "base/status.h"
#include "crypto/wipe.h"

/* The only member, for a token that wants two proofs is not content with one. */
static bool read_thumbprint(nexus_slice cnf, uint8_t out[static 32])
{
    nexus__json doc;
    nexus_slice text;
    uint8_t bytes[NEXUS__BASE64_DECODED_MAX(43)];
    size_t n = 0;
    nexus__json_init(&doc, NULL);
    bool good = nexus__json_scan(&doc, cnf, NULL) == NEXUS_OK && nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT) &&
                nexus__json_count(&doc, 0) == 1 && nexus__json_get_text(&doc, 0, "x5t#S256", &text) && text.n == 43 &&
                nexus__base64url_decode(text, bytes, &n) && n == 32;
    if (good)
        memcpy(out, bytes, 32);
    nexus__json_free(&doc);
    return good;
}

void nexus__confirmation_read(nexus__confirmation *out, const nexus_claims *claims)
{
    nexus_slice cnf;
    *out = (nexus__confirmation){NEXUS__CONFIRM_NONE, {0}};
    if (nexus__claims_raw(claims, "cnf", &cnf))
        out->kind = read_thumbprint(cnf, out->sha256) ? NEXUS__CONFIRM_CERT : NEXUS__CONFIRM_UNKNOWN;
}

nexus_status nexus__confirmation_check(const nexus__confirmation *c, const uint8_t *sha256)
{
    if (c->kind == NEXUS__CONFIRM_NONE)
        return NEXUS_OK;
    if (c->kind == NEXUS__CONFIRM_CERT && sha256 && nexus__equal_ct(c->sha256, sha256, sizeof c->sha256))
        return NEXUS_OK;
    return nexus__fail(NEXUS_EAUTH, c->kind == NEXUS__CONFIRM_CERT
                                        ? "token refused: it is bound to a certificate that the caller has not shown"
                                        : "token refused: its cnf asks for a proof that is not known here");
}
