/* nexusd: any set of the services in one process, on the same ports and the same state. */
#include "main.h"

#ifdef NEXUSD_GATEWAY
#include "gateway/gateway.h"
#endif
#ifdef NEXUSD_BACKEND
#include "backend/backend.h"
#endif
#ifdef NEXUSD_CONSOLE
#include "console/console.h"
#endif
#ifdef NEXUSD_ANALYTICS
#include "analytics/analytics.h"
#endif
#ifdef NEXUSD_NOTIFICATION
#include "notification/notification.h"
#endif
#ifdef NEXUSD_COPILOT
#include "copilot/copilot.h"
#endif

/* The backend comes first: it holds the keys with which the others check tokens. */
static const nexus_service_module *const modules[] = {
#ifdef NEXUSD_BACKEND
    &backend_module,
#endif
#ifdef NEXUSD_NOTIFICATION
    &notification_module,
#endif
#ifdef NEXUSD_ANALYTICS
    &analytics_module,
#endif
#ifdef NEXUSD_COPILOT
    &copilot_module,
#endif
#ifdef NEXUSD_CONSOLE
    &console_module,
#endif
#ifdef NEXUSD_GATEWAY
    &gateway_module,
#endif
};

int main(int argc, char **argv)
{
    return server_main(argc, argv, "nexusd", modules, sizeof modules / sizeof modules[0]);
}
