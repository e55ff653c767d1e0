#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <nexus/version.h>

/* The one piece of per-thread state of the library: errno's twin. */
static _Thread_local char last_message[512];

static const struct {
    nexus_status status;
    const char *name;
} names[] = {
    {NEXUS_OK, "NEXUS_OK"},
    {NEXUS_EINVAL, "NEXUS_EINVAL"},
    {NEXUS_ENOMEM, "NEXUS_ENOMEM"},
    {NEXUS_EAGAIN, "NEXUS_EAGAIN"},
    {NEXUS_ETIMEDOUT, "NEXUS_ETIMEDOUT"},
    {NEXUS_ENOTSUP, "NEXUS_ENOTSUP"},
    {NEXUS_ENOTFOUND, "NEXUS_ENOTFOUND"},
    {NEXUS_EPERM, "NEXUS_EPERM"},
    {NEXUS_ECONFLICT, "NEXUS_ECONFLICT"},
    {NEXUS_EUNKNOWN, "NEXUS_EUNKNOWN"},
    {NEXUS_ESTALE, "NEXUS_ESTALE"},
    {NEXUS_ECORRUPT, "NEXUS_ECORRUPT"},
    {NEXUS_EMISSING, "NEXUS_EMISSING"},
    {NEXUS_EREV, "NEXUS_EREV"},
    {NEXUS_ETOOBIG, "NEXUS_ETOOBIG"},
    {NEXUS_ENOSPC, "NEXUS_ENOSPC"},
    {NEXUS_EROFS, "NEXUS_EROFS"},
    {NEXUS_EDEADLK, "NEXUS_EDEADLK"},
    {NEXUS_ECLOSED, "NEXUS_ECLOSED"},
    {NEXUS_EIO, "NEXUS_EIO"},
    {NEXUS_EAUTH, "NEXUS_EAUTH"},
    {NEXUS_ECANCELED, "NEXUS_ECANCELED"},
    {NEXUS_EPROTO, "NEXUS_EPROTO"},
    {NEXUS_EUNREACH, "NEXUS_EUNREACH"},
    {NEXUS_EDONE, "NEXUS_EDONE"},
    {NEXUS_ELIMIT, "NEXUS_ELIMIT"},
};

const char *nexus_status_name(nexus_status status)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].status == status)
            return names[i].name;
    return "NEXUS_E?";
}

const char *nexus_error_message(void)
{
    return last_message;
}

nexus_status nexus__fail(nexus_status status, const char *format, ...)
{
    /* The arguments may point into the present message, when a caller adds context to it. */
    char text[sizeof last_message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_message, text, sizeof text);
    return status;
}

static nexus_status from_errno(int error)
{
    switch (error) {
    case ENOMEM:
        return NEXUS_ENOMEM;
    case ENOSPC:
    case EDQUOT:
        return NEXUS_ENOSPC;
    case EROFS:
        return NEXUS_EROFS;
    case EACCES:
    case EPERM:
        return NEXUS_EPERM;
    case ENOENT:
        return NEXUS_ENOTFOUND;
    case EAGAIN:
        return NEXUS_EAGAIN;
    case ETIMEDOUT:
        return NEXUS_ETIMEDOUT;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return NEXUS_EUNREACH;
    case ECONNRESET:
    case EPIPE:
        return NEXUS_ECLOSED;
    default:
        return NEXUS_EIO;
    }
}

nexus_status nexus__fail_errno(int error, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char reason[96];
    return nexus__fail(from_errno(error), "%s: %s", text, strerror_r(error, reason, sizeof reason));
}

nexus_status nexus__nomem(void)
{
    return nexus__fail(NEXUS_ENOMEM, "out of memory");
}

const char *nexus_version(void)
{
    return NEXUS_VERSION;
}

static const char *const built_in[] = {
#if NEXUS_HAVE_POSTGRES
    "postgres",
#endif
#if NEXUS_HAVE_REDIS
    "redis",
#endif
#if NEXUS_HAVE_KAFKA
    "kafka",
#endif
#if NEXUS_HAVE_NATS
    "nats",
#endif
    NULL,
};

bool nexus_has(const char *feature)
{
    for (size_t i = 0; built_in[i]; i++)
        if (strcmp(built_in[i], feature) == 0)
            return true;
    return false;
}
