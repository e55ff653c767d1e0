/* Shared by the files that implement nexus/auth.h. */
#ifndef NEXUS_AUTH_PRIVATE_H
#define NEXUS_AUTH_PRIVATE_H

#include <nexus/auth.h>
#include <nexus/db.h>
#include <nexus/jwt.h>
#include <nexus/secret.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "auth/hash_gate.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hash.h"
#include "crypto/password.h"

#define NEXUS__USER_ROLES 8
#define NEXUS__TOKEN_TEXT 44 /* 32 random bytes as base64url, and a NUL */
#define NEXUS__HASH_TEXT 44  /* a SHA-256 the same way */

struct nexus_auth {
    const nexus_alloc *alloc;
    nexus_db *db;
    nexus_auth_opts opts; /* with defaults filled in; texts owned */
    nexus__argon2 cost;
    char dummy[NEXUS__PASSWORD_HASH_MAX]; /* verified for unknown addresses, so that they take as long */
    nexus__hash_gate *gate;
    nexus_secrets *secrets;
    pthread_mutex_t lock;
    struct {
        nexus_key *active;
        int64_t look_again_ns; /* another process may have rotated */
    } locked;
};

struct nexus_user {
    char *id, *email, *name;
    char *roles[NEXUS__USER_ROLES];
    size_t role_count;
    char password[NEXUS__PASSWORD_HASH_MAX];
    bool disabled;
    int64_t password_at_ns;
};

int64_t nexus__auth_now_ns(const nexus_auth *auth);

/* users.c */
nexus_status nexus__user_load(nexus_user **out, nexus_db *db, const char *column, nexus_slice value);
nexus_status nexus__user_insert(nexus_user **out, nexus_auth *auth, nexus_db *tx, nexus_slice email, nexus_slice name,
                                const char *password_hash, const char *role);
/* The one place that decides whether a subject may get a token; every grant asks it at redemption. */
nexus_status nexus__subject_gate(const nexus_user *user);
/* ASCII lower case: the unique form of an address. */
void nexus__email_key(nexus_slice email, char out[static 256]);

/* policy.c; messages begin with the member's name */
nexus_status nexus__check_email(nexus_slice email);
nexus_status nexus__check_password(nexus_slice password);
nexus_status nexus__check_name(nexus_slice name);

/* A random token and what is stored of it. */
void nexus__token_make(char token[static NEXUS__TOKEN_TEXT]);
nexus_status nexus__token_hash(nexus_slice token, char out[static NEXUS__HASH_TEXT]);

/* refresh.c */
nexus_status nexus__grant_begin(nexus_grant **out, nexus_auth *auth, nexus_db *tx, const nexus_user *user);
/* Outside of the transaction: it may have to load the key on a connection of its own. */
nexus_status nexus__grant_sign(nexus_grant *grant, nexus_auth *auth, const nexus_user *user);
nexus_status nexus__families_revoke(nexus_auth *auth, nexus_db *tx, const char *user_id, const char *reason);

/* login.c */
nexus_status nexus__attempt_allowed(nexus_auth *auth, const char *key);
nexus_status nexus__attempt_failed(nexus_auth *auth, const char *key);

/* signing_keys.c */
nexus_status nexus__signing_key(nexus_auth *auth, nexus_key **out); /* free with nexus_key_free */
nexus_status nexus__signing_keys_open(nexus_auth *auth);

/* events: data is written by the caller between open and close of one object */
nexus_status nexus__auth_event(nexus_auth *auth, nexus_db *tx, const char *type, const char *user_id, nexus__buf *data);

/* Ends a transaction by what happened in it. */
nexus_status nexus__finish(nexus_db *tx, nexus_status status);

extern const nexus_migration nexus__auth_migrations[];
extern const size_t nexus__auth_migration_count;

#endif
