/*
 * The web console: a backend for its own front end. It serves the embedded assets (pages.c), keeps the backend's sessions,
 * which the browser knows by a cookie only (sign_in.c, session.c), passes /api/ on to the gateway with the session's token
 * (proxy.c), tails events live (live.c) and shows the health of all services (status.c). No token reaches JavaScript.
 */
#ifndef SERVERS_CONSOLE_H
#define SERVERS_CONSOLE_H

#include <nexus/nexus.h>

extern const nexus_service_module console_module;

#define CONSOLE_SESSION_COOKIE "nexus_session"

typedef struct console_sessions console_sessions;
typedef struct console_session console_session;
typedef struct console_live console_live;

typedef struct console {
    nexus_service *service;
    char gateway_url[512];
    console_sessions *sessions;
    console_live *live;
} console;

nexus_status console_asset_routes(console *c);
nexus_status console_proxy_routes(console *c);
nexus_status console_status_routes(console *c);

nexus_status console_sessions_open(console_sessions **out, console *c);
void console_sessions_close(console_sessions *sessions);
nexus_status console_session_routes(console *c);

/* The session of the request's cookie, one more reference; NULL when there is none. */
console_session *console_session_of(console *c, const nexus_request *request);
void console_session_free(console_session *session);
/* Before the answer: lets the browser know the session's id when it is another one than it sent. */
void console_session_keep(console *c, nexus_request *request, console_session *session);
/* Calls the gateway as the session's user: refreshes its token in time, and once more when it is refused. A session whose
 * tokens are used up ends, and the reply is the 401. method, path_query, body: borrowed. extra: more headers. */
nexus_status console_session_call(nexus_reply **out, console *c, console_session *session, const char *method,
                                  nexus_slice path_query, const nexus_pair *extra, size_t extra_count, nexus_slice body);

nexus_status console_live_open(console_live **out, console *c);
void console_live_close(console_live *live);

/* Whether a request that changes something comes from the console's own pages (Sec-Fetch-Site, else Origin against Host);
 * answers 403 when not. */
bool console_same_origin(nexus_request *request);
/* Answers 401; the page then shows the sign-in. */
void console_refuse_unsigned(nexus_request *request);

#endif
