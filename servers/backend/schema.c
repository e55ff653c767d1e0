#include "backend/private.h"

static const nexus_migration migrations[] = {
    {1, "orders, payments, idempotency",
     "CREATE TABLE orders (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, email TEXT NOT NULL, status TEXT NOT NULL,"
     " amount BIGINT NOT NULL, currency TEXT NOT NULL, items TEXT NOT NULL, created_at BIGINT NOT NULL);"
     "CREATE INDEX orders_user ON orders (user_id, id);"
     "CREATE TABLE order_history (order_id TEXT NOT NULL REFERENCES orders (id), seq BIGINT NOT NULL,"
     " at BIGINT NOT NULL, status TEXT NOT NULL, reason TEXT, PRIMARY KEY (order_id, seq));"
     "CREATE TABLE order_notifications (order_id TEXT NOT NULL REFERENCES orders (id), notification_id TEXT NOT NULL,"
     " PRIMARY KEY (order_id, notification_id));"
     "CREATE TABLE payments (order_id TEXT PRIMARY KEY REFERENCES orders (id), status TEXT NOT NULL,"
     " amount BIGINT NOT NULL, currency TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);"
     "CREATE TABLE idempotency (user_id TEXT NOT NULL, operation TEXT NOT NULL, idempotency_key TEXT NOT NULL,"
     " body TEXT NOT NULL, status BIGINT NOT NULL, reply TEXT NOT NULL, created_at BIGINT NOT NULL,"
     " PRIMARY KEY (user_id, operation, idempotency_key));",
     NULL},
};

nexus_status backend_migrate(nexus_db *db)
{
    nexus_status status = nexus_outbox_prepare(db);
    return status == NEXUS_OK ? nexus_db_migrate(db, "backend", migrations, sizeof migrations / sizeof migrations[0])
                              : status;
}
