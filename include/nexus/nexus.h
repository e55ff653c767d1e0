/* Everything: includes each public header of libnexus. */
#ifndef NEXUS_NEXUS_H
#define NEXUS_NEXUS_H

#include <nexus/alloc.h>
#include <nexus/analytics.h>
#include <nexus/apikey.h>
#include <nexus/auth.h>
#include <nexus/bus.h>
#include <nexus/cache.h>
#include <nexus/client.h>
#include <nexus/common.h>
#include <nexus/contract.h>
#include <nexus/db.h>
#include <nexus/event.h>
#include <nexus/gateway.h>
#include <nexus/http.h>
#include <nexus/id.h>
#include <nexus/ingest.h>
#include <nexus/json.h>
#include <nexus/jwt.h>
#include <nexus/limit.h>
#include <nexus/log.h>
#include <nexus/metrics.h>
#include <nexus/middleware.h>
#include <nexus/notify.h>
#include <nexus/oauth.h>
#include <nexus/oidc.h>
#include <nexus/openapi.h>
#include <nexus/rbac.h>
#include <nexus/replay.h>
#include <nexus/router.h>
#include <nexus/runtime.h>
#include <nexus/saga.h>
#include <nexus/schema.h>
#include <nexus/secret.h>
#include <nexus/service.h>
#include <nexus/settings.h>
#include <nexus/status.h>
#include <nexus/stream.h>
#include <nexus/template.h>
#include <nexus/time.h>
#include <nexus/trace.h>
#include <nexus/verifier.h>
#include <nexus/version.h>
#include <nexus/webhook.h>

#endif
