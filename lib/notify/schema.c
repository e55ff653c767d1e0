/* The tables. Instants are nanoseconds since 1970. */
#include "notify/notify.h"

static const nexus_migration steps[] = {
    {1, "notifications, deliveries, attempts",
     "CREATE TABLE notify_notifications ("
     " id TEXT PRIMARY KEY, owner TEXT NOT NULL, user_id TEXT NOT NULL, idem_key TEXT UNIQUE, request_hash TEXT NOT "
     "NULL,"
     " template TEXT NOT NULL, category TEXT NOT NULL, event_id TEXT NOT NULL, event_type TEXT NOT NULL,"
     " subject TEXT NOT NULL, order_id TEXT NOT NULL, traceparent TEXT NOT NULL, correlationid TEXT NOT NULL,"
     " created_at BIGINT NOT NULL,"
     /* 0: nothing was sent yet; 1: to be announced; 2: announced */
     " announce BIGINT NOT NULL, announce_channel TEXT NOT NULL, announce_status TEXT NOT NULL);"
     "CREATE INDEX notify_notifications_announce ON notify_notifications (id) WHERE announce = 1;"
     "CREATE TABLE notify_deliveries ("
     " id TEXT PRIMARY KEY, notification_id TEXT NOT NULL REFERENCES notify_notifications (id),"
     " channel TEXT NOT NULL, recipient TEXT NOT NULL, endpoint_id TEXT NOT NULL, status TEXT NOT NULL,"
     " attempts BIGINT NOT NULL, due_at BIGINT NOT NULL, lease_until BIGINT NOT NULL, lease TEXT NOT NULL,"
     " expires_at BIGINT NOT NULL, subject TEXT NOT NULL, text_body TEXT NOT NULL, html_body TEXT NOT NULL,"
     " created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);"
     "CREATE INDEX notify_deliveries_notification ON notify_deliveries (notification_id);"
     "CREATE INDEX notify_deliveries_due ON notify_deliveries (channel, due_at) WHERE status IN ('queued', 'sending');"
     "CREATE INDEX notify_deliveries_captured ON notify_deliveries (id) WHERE status = 'captured';"
     "CREATE TABLE notify_attempts ("
     " delivery_id TEXT NOT NULL REFERENCES notify_deliveries (id), n BIGINT NOT NULL, at BIGINT NOT NULL,"
     " ms BIGINT NOT NULL, code BIGINT NOT NULL, outcome TEXT NOT NULL, response TEXT NOT NULL, error TEXT NOT NULL,"
     " next_at BIGINT NOT NULL, PRIMARY KEY (delivery_id, n))",
     NULL},
    {2, "templates, preferences, endpoints",
     "CREATE TABLE notify_templates (id TEXT PRIMARY KEY, subject TEXT NOT NULL, text_body TEXT NOT NULL,"
     " html_body TEXT NOT NULL, updated_at BIGINT NOT NULL);"
     "CREATE TABLE notify_preferences (recipient TEXT NOT NULL, category TEXT NOT NULL, channel TEXT NOT NULL,"
     " wanted BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (recipient, category, channel));"
     "CREATE TABLE notify_endpoints (id TEXT PRIMARY KEY, owner TEXT NOT NULL, everybody BIGINT NOT NULL,"
     " url TEXT NOT NULL, events TEXT NOT NULL, secret TEXT NOT NULL, created_at BIGINT NOT NULL,"
     " disabled_at BIGINT NOT NULL, disabled_why TEXT NOT NULL);"
     "CREATE INDEX notify_endpoints_owner ON notify_endpoints (owner)",
     NULL},
};

nexus_status nexus__notify_migrate(nexus_db *db)
{
    return nexus_db_migrate(db, "notify", steps, sizeof steps / sizeof steps[0]);
}
