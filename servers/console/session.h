/* What sign_in.c and session.c share. */
#ifndef SERVERS_CONSOLE_SESSION_H
#define SERVERS_CONSOLE_SESSION_H

#include "console.h"

#define SESSION_ID_LEN 43 /* 256 bits in base64url, as the backend makes them */

char *console_copy(nexus_slice text);

/* A call to the gateway; token NULL: none. The second posts {name: value}. */
nexus_status console_call(nexus_reply **out, console *c, const char *method, nexus_slice path_query, const char *token,
                          const nexus_pair *extra, size_t extra_count, nexus_slice body);
nexus_status console_call_json(nexus_reply **out, console *c, const char *path, const char *name, nexus_slice value);

/* The entry of a session that a login gave (doc: its answer), with who it is; NULL: that could not be told. */
console_session *console_session_new(console *c, nexus_slice id, nexus_json *doc);
const char *console_session_user(const console_session *session); /* JSON */
void console_session_id(console *c, console_session *session, char out[static SESSION_ID_LEN + 1]);
/* Ends the session of the request's cookie, if there is one, here and at the backend. */
void console_session_end(console *c, const nexus_request *request);
/* The session's id in the request's cookie. */
bool console_session_cookie(const console *c, const nexus_request *request, nexus_slice *id);

#endif
