/* Tables. Instants are nanoseconds since 1970; tokens are stored as SHA-256 only. */
#include "auth/auth_private.h"

const nexus_migration nexus__auth_migrations[] = {
    {1, "users, roles, refresh families, signing keys",
     "CREATE TABLE auth_users (id TEXT PRIMARY KEY, email TEXT NOT NULL, email_key TEXT NOT NULL UNIQUE,"
     " name TEXT NOT NULL, password TEXT NOT NULL, disabled BIGINT NOT NULL, created_at BIGINT NOT NULL,"
     " password_at BIGINT NOT NULL);"
     "CREATE TABLE auth_roles (user_id TEXT NOT NULL REFERENCES auth_users (id), role TEXT NOT NULL,"
     " granted_at BIGINT NOT NULL, PRIMARY KEY (user_id, role));"
     "CREATE TABLE auth_families (id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES auth_users (id),"
     " created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, revoked_at BIGINT, reason TEXT);"
     "CREATE INDEX auth_families_user ON auth_families (user_id);"
     "CREATE TABLE auth_refresh (hash TEXT PRIMARY KEY, family TEXT NOT NULL REFERENCES auth_families (id),"
     " created_at BIGINT NOT NULL, idle_until BIGINT NOT NULL, used_at BIGINT, successor TEXT);"
     "CREATE INDEX auth_refresh_family ON auth_refresh (family);"
     "CREATE TABLE auth_attempts (email_hash TEXT PRIMARY KEY, failures BIGINT NOT NULL,"
     " blocked_until BIGINT NOT NULL, last_at BIGINT NOT NULL);"
     "CREATE TABLE auth_resets (hash TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES auth_users (id),"
     " expires_at BIGINT NOT NULL, password_at BIGINT NOT NULL);"
     "CREATE TABLE auth_bootstrap (id BIGINT PRIMARY KEY, hash TEXT NOT NULL, expires_at BIGINT NOT NULL);"
     "CREATE TABLE auth_keys (kid TEXT PRIMARY KEY, alg TEXT NOT NULL, state TEXT NOT NULL, sealed TEXT NOT "
     "NULL,"
     " public_jwk TEXT NOT NULL, created_at BIGINT NOT NULL, changed_at BIGINT NOT NULL);"
     "CREATE TABLE auth_locks (name TEXT PRIMARY KEY, taken BIGINT NOT NULL);"
     "INSERT INTO auth_locks (name, taken) VALUES ('keys', 0);",
     NULL},
    {2, "account states, sessions, known devices, second factor",
     "ALTER TABLE auth_users ADD COLUMN locked BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE auth_users ADD COLUMN unverified BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE auth_users ADD COLUMN must_reset BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE auth_users ADD COLUMN deleted_at BIGINT;"
     "ALTER TABLE auth_users ADD COLUMN tokens_after BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE auth_resets ADD COLUMN purpose TEXT NOT NULL DEFAULT 'reset';"
     "ALTER TABLE auth_families ADD COLUMN address TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE auth_families ADD COLUMN agent TEXT NOT NULL DEFAULT '';"
     "CREATE TABLE auth_sessions (id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, previous TEXT,"
     " rotated_at BIGINT NOT NULL, rotation_due BIGINT NOT NULL DEFAULT 0,"
     " user_id TEXT NOT NULL REFERENCES auth_users (id), created_at BIGINT NOT NULL, seen_at BIGINT NOT NULL,"
     " expires_at BIGINT NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL);"
     "CREATE INDEX auth_sessions_user ON auth_sessions (user_id);"
     "CREATE INDEX auth_sessions_previous ON auth_sessions (previous);"
     "CREATE TABLE auth_devices (hash TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES auth_users (id),"
     " created_at BIGINT NOT NULL, seen_at BIGINT NOT NULL);"
     "CREATE INDEX auth_devices_user ON auth_devices (user_id);"
     "CREATE TABLE auth_totp (user_id TEXT PRIMARY KEY REFERENCES auth_users (id), sealed TEXT NOT NULL,"
     " confirmed BIGINT NOT NULL, last_step BIGINT NOT NULL, failures BIGINT NOT NULL, blocked_until BIGINT NOT NULL,"
     " created_at BIGINT NOT NULL);"
     "CREATE TABLE auth_recovery (user_id TEXT NOT NULL REFERENCES auth_users (id), hash TEXT NOT NULL,"
     " PRIMARY KEY (user_id, hash));"
     "CREATE TABLE auth_second_steps (hash TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES auth_users (id),"
     " expires_at BIGINT NOT NULL, password_at BIGINT NOT NULL);",
     NULL},
    {3, "what is over is found by its time",
     "CREATE INDEX auth_refresh_idle ON auth_refresh (idle_until);"
     "CREATE INDEX auth_families_expires ON auth_families (expires_at);",
     NULL},
};
const size_t nexus__auth_migration_count = sizeof nexus__auth_migrations / sizeof nexus__auth_migrations[0];
