/* Status codes and the explanation of the last failure. */
#ifndef NEXUS_STATUS_H
#define NEXUS_STATUS_H

#include <nexus/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/** 0 is success, a negative number one of the codes below. */
typedef int32_t nexus_status;

enum {
    NEXUS_OK = 0,
    NEXUS_EINVAL = -1,     /**< an argument or input is not valid; the message names it */
    NEXUS_ENOMEM = -2,     /**< the allocator refused */
    NEXUS_EAGAIN = -3,     /**< a bounded queue is full or nothing is ready: try again later */
    NEXUS_ETIMEDOUT = -4,  /**< the deadline passed and nothing was done */
    NEXUS_ENOTSUP = -5,    /**< this engine or this build cannot do it */
    NEXUS_ENOTFOUND = -6,  /**< no such object */
    NEXUS_EPERM = -7,      /**< refused by policy or permission */
    NEXUS_ECONFLICT = -8,  /**< another version, owner or content is there already */
    NEXUS_EUNKNOWN = -9,   /**< the outcome is not known: it may have been done; a retry with the same id is safe */
    NEXUS_ESTALE = -10,    /**< the lease, token or snapshot is no longer the current one */
    NEXUS_ECORRUPT = -11,  /**< stored bytes fail their check */
    NEXUS_EMISSING = -12,  /**< stored data that should be there is gone */
    NEXUS_EREV = -13,      /**< a schema or format revision this build does not know */
    NEXUS_ETOOBIG = -14,   /**< over a size limit; nothing was done */
    NEXUS_ENOSPC = -15,    /**< disk or reserved space is used up */
    NEXUS_EROFS = -16,     /**< the store is read-only */
    NEXUS_EDEADLK = -17,   /**< a blocking call on a loop thread, or a call that would wait for itself */
    NEXUS_ECLOSED = -18,   /**< the object or the peer is closed */
    NEXUS_EIO = -19,       /**< the operating system reported an I/O error */
    NEXUS_EAUTH = -20,     /**< a credential is missing, wrong, expired or revoked */
    NEXUS_ECANCELED = -21, /**< cancelled before it was done */
    NEXUS_EPROTO = -22,    /**< the peer broke its protocol */
    NEXUS_EUNREACH = -23,  /**< no connection to the peer could be made */
    NEXUS_EDONE = -24,     /**< an iterator or a stream has ended; not a failure */
    NEXUS_ELIMIT = -25     /**< a rate, quota or concurrency limit refuses this */
};

/** The code's own name ("NEXUS_EINVAL"), a static string; "NEXUS_E?" for a number that is no code. */
NEXUS_API const char *nexus_status_name(nexus_status status);

/**
 * Why the last failing call on this thread failed, in words that name the thing and the remedy.
 * NUL-terminated, borrowed until this thread's next failing call; "" when none has failed.
 */
NEXUS_API const char *nexus_error_message(void);

#ifdef __cplusplus
}
#endif

#endif
