/* How library code reports a failure. */
#ifndef NEXUS_BASE_STATUS_H
#define NEXUS_BASE_STATUS_H

#include <nexus/status.h>

/* Sets this thread's message and returns status, so that `return nexus__fail(NEXUS_EINVAL, "…")` reads as one act.
 * The message names the thing and the remedy; it is cut at 511 bytes. */
nexus_status nexus__fail(nexus_status status, const char *format, ...) NEXUS_PRINTF(2, 3);

/* The same for a failed system call: appends strerror(error) and maps ENOMEM, ENOSPC, EROFS, EACCES, ENOENT,
 * EAGAIN and ETIMEDOUT to their own codes, everything else to NEXUS_EIO. */
nexus_status nexus__fail_errno(int error, const char *format, ...) NEXUS_PRINTF(2, 3);

/* Out of memory, with the standard words. */
nexus_status nexus__nomem(void);

#endif
