/*
 * A handle on one connection of its own, for what lives with a session (locks, notifications). It is used by one
 * thread at a time; when its connection ends it stays ended: every call says so, nothing connects again behind it.
 */
#ifndef NEXUS_STORE_SESSION_H
#define NEXUS_STORE_SESSION_H

#include <poll.h>

#include <nexus/db.h>

/* To the same database as `like`, a pool or another session; independent of it. nexus_db_close ends it. */
nexus_status nexus__db_session(nexus_db **out, const nexus_db *like) NEXUS_MUST_CHECK;

/*
 * Waits for a notification on a channel the session listens to (*notified; those that came since the last call count),
 * for one of the n descriptors, or for the end of the time (-1 = none). fds has room for one more than n.
 * NEXUS_ENOTSUP: the engine has no notifications. NEXUS_EUNREACH: the connection is gone.
 */
nexus_status nexus__db_wait(nexus_db *session, struct pollfd *fds, size_t n, int timeout_ms,
                            bool *notified) NEXUS_MUST_CHECK;

#endif
