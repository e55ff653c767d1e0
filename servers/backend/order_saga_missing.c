/* Linked while the saga room is not built: orders are taken and stay pending, and the log says so. */
#include "backend/private.h"

nexus_status order_saga_open(backend *b)
{
    nexus_log_text(nexus_service_log(b->service), NEXUS_LOG_WARN, "backend", NULL,
                   NEXUS_S("this build has no saga room: orders stay pending"));
    return NEXUS_OK;
}

void order_saga_close(backend *b)
{
    (void)b;
}
