#ifndef NEXUS_AUTH_OAUTH_CERTIFICATE_H
#define NEXUS_AUTH_OAUTH_CERTIFICATE_H

#include "auth/oauth/oauth.h"
#include "json/read.h"

bool nexus__oauth_is_tls_method(nexus_slice method);
/* NEXUS_EAUTH: the call's certificate is not the client's. */
nexus_status nexus__oauth_check_certificate(nexus_oauth *oauth, const nexus__oauth_client *client,
                                            const nexus_oauth_call *call) NEXUS_MUST_CHECK;
/* x5t#S256 of the call's certificate; false: it has none. */
bool nexus__oauth_thumbprint(const nexus_oauth_call *call, char out[static NEXUS__HASH_TEXT]);

/* Of a client's metadata: "KIND:NAME" of the one tls_client_auth_… member; digests of the certificates in jwks, parted by
 * spaces. Nothing where there is none. NEXUS_EINVAL names the member. */
nexus_status nexus__oauth_read_tls_name(nexus__json *doc, nexus__buf *out) NEXUS_MUST_CHECK;
nexus_status nexus__oauth_read_certificates(nexus__json *doc, nexus__buf *out) NEXUS_MUST_CHECK;
/* Their members, as a client is shown. */
void nexus__oauth_put_certificate(nexus__json_writer *w, const nexus__oauth_client *client);

#endif
