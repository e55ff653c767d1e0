/*
 * What OAuth requests are written in: form bodies and queries, Basic credentials, lists of scopes, redirect URIs. Pure;
 * everything here reads what strangers sent.
 */
#ifndef NEXUS_AUTH_OAUTH_FORM_H
#define NEXUS_AUTH_OAUTH_FORM_H

#include "base/str.h"

enum { NEXUS__OAUTH_FORM_MAX = 16384, NEXUS__OAUTH_FIELDS_MAX = 32 };

/* An application/x-www-form-urlencoded text taken apart: each name once, values decoded. */
typedef struct nexus__oauth_form {
    char *memory;
    size_t count;
    nexus_slice names[NEXUS__OAUTH_FIELDS_MAX], values[NEXUS__OAUTH_FIELDS_MAX]; /* NUL-terminated */
} nexus__oauth_form;

/* NEXUS_EINVAL: *why (static) says what is wrong: a name that comes twice, a broken escape, control characters, no
 * UTF-8, too many or too long. Nothing to free then. */
nexus_status nexus__oauth_form_parse(nexus__oauth_form *out, nexus_slice text, const char **why);
/* The value; empty when absent or sent without one, which are the same (RFC 6749, 3.1). */
nexus_slice nexus__oauth_form_get(const nexus__oauth_form *form, const char *name);
void nexus__oauth_form_end(nexus__oauth_form *form); /* wipes */

/* "Basic …" (RFC 6749, 2.3.1: id and secret are form-encoded inside). out takes value.n bytes, the slices point into it. */
bool nexus__oauth_basic(nexus_slice value, char *out, nexus_slice *id, nexus_slice *secret);

/* Whether a list, words parted by sep, has the word. */
bool nexus__oauth_has(nexus_slice list, char sep, nexus_slice word);
/* A scope value (RFC 6749, 3.3): tokens of visible ASCII without quote and backslash, one space between, none twice. */
bool nexus__oauth_scope_valid(nexus_slice scope);
/* Whether every word of it is in the list. */
bool nexus__oauth_scope_within(nexus_slice scope, nexus_slice list);

/* Whether it may be registered: https, http to this machine, or a private scheme with a dot (RFC 8252, 7.1); absolute,
 * without user, fragment, white space, backslash, "*" and dot segments. */
bool nexus__oauth_redirect_valid(nexus_slice uri, const char **why);
/* Whether the request's URI is the registered one: the same bytes, but for the port of a loopback address (RFC 8252,
 * 7.3). */
bool nexus__oauth_redirect_is(nexus_slice registered, nexus_slice given);
/* A PKCE verifier or challenge (RFC 7636, 4.1): 43 to 128 unreserved characters. */
bool nexus__oauth_pkce_valid(nexus_slice text);

#endif
