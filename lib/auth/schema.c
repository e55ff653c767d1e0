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
};
const size_t nexus__auth_migration_count = sizeof nexus__auth_migrations / sizeof nexus__auth_migrations[0];
