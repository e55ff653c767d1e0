/*
 * Tables of their own component. auth makes them, whether or not anybody opens an authorization server: a family of
 * refresh tokens that belongs to a client must not be spent without it. Instants are nanoseconds since 1970; codes,
 * secrets and one-time ids are stored as SHA-256 only.
 */
#include "auth/oauth/oauth.h"

const nexus_migration nexus__oauth_migrations[] = {
    {1, "clients, codes, grants, consents, one-time ids, revoked tokens",
     "CREATE TABLE oauth_clients (id TEXT PRIMARY KEY, name TEXT NOT NULL, method TEXT NOT NULL, secret TEXT NOT NULL,"
     " previous TEXT NOT NULL, previous_until BIGINT NOT NULL, jwks TEXT NOT NULL, redirect_uris TEXT NOT NULL,"
     " grants TEXT NOT NULL, scopes TEXT NOT NULL, roles TEXT NOT NULL, first_party BIGINT NOT NULL,"
     " resource_server BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);"
     "CREATE TABLE oauth_codes (hash TEXT PRIMARY KEY, client_id TEXT NOT NULL, user_id TEXT NOT NULL,"
     " redirect_uri TEXT NOT NULL, challenge TEXT NOT NULL, scope TEXT NOT NULL, nonce TEXT NOT NULL,"
     " auth_time BIGINT NOT NULL, expires_at BIGINT NOT NULL, used_at BIGINT, family TEXT);"
     "CREATE TABLE oauth_grants (family TEXT PRIMARY KEY REFERENCES auth_families (id), client_id TEXT NOT NULL,"
     " scope TEXT NOT NULL, auth_time BIGINT NOT NULL);"
     "CREATE INDEX oauth_grants_client ON oauth_grants (client_id);"
     "CREATE TABLE oauth_consents (user_id TEXT NOT NULL REFERENCES auth_users (id), client_id TEXT NOT NULL,"
     " scope TEXT NOT NULL, granted_at BIGINT NOT NULL, PRIMARY KEY (user_id, client_id));"
     "CREATE TABLE oauth_assertions (hash TEXT PRIMARY KEY, expires_at BIGINT NOT NULL);"
     "CREATE TABLE oauth_revoked (jti TEXT PRIMARY KEY, expires_at BIGINT NOT NULL);",
     NULL},
    {2, "certificates of clients, and refresh tokens that are bound to one",
     "ALTER TABLE oauth_clients ADD COLUMN tls_name TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE oauth_clients ADD COLUMN certs TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE oauth_clients ADD COLUMN cert_bound BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE oauth_grants ADD COLUMN cert TEXT NOT NULL DEFAULT '';",
     NULL},
};
const size_t nexus__oauth_migration_count = sizeof nexus__oauth_migrations / sizeof nexus__oauth_migrations[0];
