#include "store/session.h"

#include "base/status.h"
#include "store/db.h"

static nexus_status copy_config(nexus_db *session, const nexus_db *like)
{
    const nexus_alloc *alloc = like->config.alloc;
    session->ops = like->ops;
    session->config = like->config;
    session->config.schema = NULL;
    session->config.address = nexus__strndup(alloc, nexus__slice_c(like->config.address));
    if (!session->config.address)
        return nexus__nomem();
    if (like->config.schema && !(session->config.schema = nexus__strndup(alloc, nexus__slice_c(like->config.schema))))
        return nexus__nomem();
    return NEXUS_OK;
}

nexus_status nexus__db_session(nexus_db **out, const nexus_db *like)
{
    if (!like->config.address)
        return nexus__fail(NEXUS_ENOTSUP, "an adopted connection has no address for a second one");
    nexus_db *session = nexus__calloc(like->config.alloc, 1, sizeof *session);
    if (!session)
        return nexus__nomem();
    nexus_status status = copy_config(session, like);
    if (status == NEXUS_OK)
        status = session->ops->open(&session->link, &session->config, true);
    if (status != NEXUS_OK) {
        nexus_db_close(session);
        return status;
    }
    *out = session;
    return NEXUS_OK;
}

nexus_status nexus__db_wait(nexus_db *session, struct pollfd *fds, size_t n, int timeout_ms, bool *notified)
{
    *notified = false;
    if (!session->ops->wait)
        return nexus__fail(NEXUS_ENOTSUP, "%s sends no notifications", session->ops->kind);
    return session->ops->wait(session->link, fds, n, timeout_ms, notified);
}
