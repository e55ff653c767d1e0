/* Shared by the files that implement nexus/auth.h. */
#ifndef NEXUS_AUTH_PRIVATE_H
#define NEXUS_AUTH_PRIVATE_H

#include <nexus/auth.h>
#include <nexus/db.h>
#include <nexus/jwt.h>
#include <nexus/limit.h>
#include <nexus/secret.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "auth/client.h"
#include "auth/common_password.h"
#include "auth/hash_gate.h"
#include "auth/sealed.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hmac.h"
#include "crypto/password.h"

#define NEXUS__USER_ROLES 32 /* as many as a token may carry */
#define NEXUS__TOKEN_TEXT 44 /* 32 random bytes as base64url, and a NUL */
#define NEXUS__HASH_TEXT 44  /* a SHA-256 the same way */

struct nexus_auth {
    const nexus_alloc *alloc;
    nexus_db *db;
    nexus_auth_opts opts; /* with defaults filled in; texts owned */
    nexus__argon2 cost;
    char dummy[NEXUS__PASSWORD_HASH_MAX]; /* verified for unknown addresses, so that they take as long */
    nexus__hash_gate *gate;
    nexus_secrets *secrets, *own_secrets; /* own: NULL when it was given */
    nexus__breach_file *breach; /* NULL: none */
    nexus__hmac *pepper;        /* NULL: none */
    nexus_limiter *limiter, *own_limiter; /* own: NULL when it was given */
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
    bool disabled, locked, unverified, must_reset, deleted;
    int64_t created_at_ns, password_at_ns;
    int64_t tokens_after_s; /* access tokens issued before it are void; what is issued now is never older */
};

struct nexus_login {
    nexus_grant *grant;                                                                        /* NULL: second step due */
    char second_step[NEXUS__TOKEN_TEXT], session[NEXUS__TOKEN_TEXT], device[NEXUS__TOKEN_TEXT]; /* "" = none */
};

int64_t nexus__auth_now_ns(const nexus_auth *auth);

/* auth_secrets.c: what is sealed in the tables of this room */
enum {
    NEXUS__SEALED_SIGNING_KEY,
    NEXUS__SEALED_SEED,
    NEXUS__SEALED_SUCCESSOR,
    NEXUS__SEALED_PEPPER,
    NEXUS__SEALED_COLUMNS
};
extern const nexus__sealed_column nexus__auth_sealed_columns[];
nexus__sealed nexus__auth_sealed(nexus_db *db, nexus_secrets *secrets);
/* Outside of transactions. */
void nexus__auth_seal_at_use(nexus_db *db, nexus_secrets *secrets, uint32_t column, nexus_slice key, nexus_slice sealed);

/* users.c */
nexus_status nexus__user_load(nexus_user **out, nexus_db *db, const char *column, nexus_slice value);
/* role NULL: a customer who has to confirm the address; user.registered is told then. */
nexus_status nexus__user_insert(nexus_user **out, nexus_auth *auth, nexus_db *tx, nexus_slice email, nexus_slice name,
                                const char *password_hash, const char *role);
nexus_status nexus__tell_registered(nexus_auth *auth, nexus_db *tx, const nexus_user *user);
nexus_status nexus__add_role(nexus_auth *auth, nexus_db *db, const char *user_id, nexus_slice role, nexus_slice tenant);
/* Rows of tenant and role. */
nexus_status nexus__user_roles(nexus_rows **out, nexus_db *db, const char *user_id);

/* gate.c: the one place that decides what a subject may get; every grant asks it at redemption. */
nexus_status nexus__subject_gate(const nexus_user *user); /* a token or a session */
nexus_status nexus__reset_gate(const nexus_user *user);   /* a new password, by the token of a mail */
nexus_status nexus__verify_gate(const nexus_user *user);  /* a confirmed address, by the token of a mail */

/* admin.c: voids what the user has, all of it, from now on; reason is a word for the records. */
nexus_status nexus__subject_revoke(nexus_auth *auth, nexus_db *tx, const nexus_user *user, const char *reason);

/* The role is one that there is, and whoever asks may give it. */
nexus_status nexus__change_role(nexus_auth *auth, nexus_db *tx, const nexus_user *user, nexus_slice role,
                                nexus_slice tenant, bool held);

/* ASCII lower case: the unique form of an address. */
void nexus__email_key(nexus_slice email, char out[static 256]);

/* policy.c; messages begin with the member's name */
nexus_status nexus__check_email(nexus_slice email);
nexus_status nexus__check_password(const nexus_auth *auth, nexus_slice password);
nexus_status nexus__check_name(nexus_slice name);

/* A random token and what is stored of it. */
void nexus__token_make(char token[static NEXUS__TOKEN_TEXT]);
nexus_status nexus__token_hash(nexus_slice token, char out[static NEXUS__HASH_TEXT]);

/* refresh.c; a grant for a session has no refresh token */
nexus_status nexus__grant_for_session(nexus_grant **out, const char *session_id);
nexus_status nexus__grant_note(nexus_db *tx, const nexus_grant *grant, const nexus_auth_client *client);
nexus_status nexus__grant_begin(nexus_grant **out, nexus_auth *auth, nexus_db *tx, const nexus_user *user);
/* Outside of the transaction: it may have to load the key on a connection of its own. */
nexus_status nexus__grant_sign(nexus_grant *grant, nexus_auth *auth, const nexus_user *user);
nexus_status nexus__families_revoke(nexus_auth *auth, nexus_db *tx, const char *user_id, const char *reason);
/* Ends one family, and tells the verifiers; *changes (may be NULL) is 0 when it had ended before. */
nexus_status nexus__family_revoke(nexus_auth *auth, nexus_db *tx, const char *family, const char *reason,
                                  int64_t *changes);
nexus_status nexus__refresh_insert(nexus_auth *auth, nexus_db *tx, const char *hash, const char *family);

/* auth.c: tells of a token that is about to be given ("token.issued"); client_id "" = the first party; tx NULL when the grant
 * writes nothing. What fails keeps it from being given. */
nexus_status nexus__tell_token(nexus_auth *auth, nexus_db *tx, const char *user_id, nexus_slice client_id,
                               const char *grant);

/* What is known of a refresh token that somebody presents. */
typedef struct nexus__presented {
    char hash[NEXUS__HASH_TEXT];
    char family[NEXUS__UUID_LEN + 1], user_id[NEXUS__UUID_LEN + 1];
    char client_id[NEXUS__UUID_LEN + 1]; /* whose family it is; "" = the first party's */
    bool used, revoked;
    int64_t used_at, idle_until, expires_at;
    char successor[256]; /* sealed */
} nexus__presented;

/* By p->hash. NEXUS_EAUTH: nobody's. */
nexus_status nexus__refresh_look_up(nexus__presented *p, nexus_db *tx);
/* Trades the token of p->hash for its successor, if its family is the client's ("" = the first party). *reuse: it came
 * again after the grace, the family has ended: commit, and refuse. NEXUS_EAUTH: not to be traded. */
nexus_status nexus__refresh_exchange(nexus__presented *p, nexus_auth *auth, nexus_db *tx, const char *client_id,
                                     char token[static NEXUS__TOKEN_TEXT], bool *reuse);

/*
 * throttle.c: what wrong guesses cost. One attempt is judged by the account it aims at and by where it comes from; one
 * from a device that the account knows is judged by its own record alone, so that nobody else can lock its owner out.
 */
typedef struct nexus__attempt {
    char key[NEXUS__HASH_TEXT]; /* of auth_attempts: the address, or the device */
    bool known_device;
    nexus_slice client; /* address, or empty */
} nexus__attempt;

nexus_status nexus__throttle_open(nexus_auth *auth);
void nexus__throttle_close(nexus_auth *auth);
/* NEXUS_ELIMIT: not now; *wait_s says when. */
nexus_status nexus__attempt_begin(nexus__attempt *out, nexus_auth *auth, nexus_slice email,
                                  const nexus_auth_client *client, uint32_t *wait_s);
nexus_status nexus__attempt_failed(const nexus__attempt *attempt, nexus_auth *auth);
nexus_status nexus__attempt_cleared(const nexus__attempt *attempt, nexus_db *tx);
/* Wrong guesses from an address, whatever they aimed at: whether more are taken from it, and one more. */
nexus_status nexus__address_allowed(nexus_auth *auth, nexus_slice client, uint32_t *wait_s);
void nexus__address_failed(nexus_auth *auth, nexus_slice client);
/* Whether one more mail may go to an address for which somebody from this client asked. */
bool nexus__mail_allowed(nexus_auth *auth, nexus_slice email);
/* Seconds that the count of failures buys: 0 for the first ones, then 1, 2, 4 … at most 15 minutes. */
uint32_t nexus__backoff_s(int64_t failures);

/* device.c */
nexus_status nexus__device_is_known(nexus_auth *auth, nexus_slice token, const char *email_key, bool *known);
nexus_status nexus__device_add(nexus_auth *auth, nexus_db *tx, const char *user_id, char token[static NEXUS__TOKEN_TEXT]);

/* mail_token.c: purpose is "reset" or "verify"; the event carries the token for the mail (NULL: it tells only) */
nexus_status nexus__mail_token_store(nexus_auth *auth, nexus_db *tx, const nexus_user *user, const char *purpose,
                                     const char *token);
nexus_status nexus__mail_event(nexus_auth *auth, nexus_db *tx, const char *type, const nexus_user *user,
                               const char *stage, const char *token);
/* Looked at before anything costly: a made-up token costs no hash. */
nexus_status nexus__mail_token_look(nexus_auth *auth, const char *hash, const char *purpose);
/* Spends it and says whose it was. NEXUS_EAUTH: not live, or the gate refuses. */
nexus_status nexus__mail_token_redeem(nexus_auth *auth, nexus_db *tx, const char *hash, const char *purpose,
                                      nexus_status (*gate)(const nexus_user *user), nexus_user **out);
nexus_status nexus__mail_token_dead(void);

/* sessions.c */
nexus_status nexus__session_begin(nexus_auth *auth, nexus_db *tx, const nexus_user *user,
                                  const nexus_auth_client *client, char id[static NEXUS__UUID_LEN + 1],
                                  char token[static NEXUS__TOKEN_TEXT]);

/* Whose session it is, and since when he is signed in. NEXUS_EAUTH. */
nexus_status nexus__session_person(nexus_auth *auth, nexus_slice token, nexus_user **out, int64_t *signed_in_s);

/* second_factor.c */
nexus_status nexus__second_factor_due(nexus_auth *auth, const nexus_user *user, bool *due);
/* NEXUS_EAUTH: wrong or seen before; NEXUS_ELIMIT: too many wrong ones. */
nexus_status nexus__second_factor_check(nexus_auth *auth, const nexus_user *user, nexus_slice code, uint32_t *wait_s);

/* hashing.c; the first does not ask the gate */
nexus_status nexus__hash_password(const nexus_auth *auth, nexus_slice password, char hash[static NEXUS__PASSWORD_HASH_MAX]);
nexus_status nexus__hash_new_password(nexus_auth *auth, nexus_slice password, char hash[static NEXUS__PASSWORD_HASH_MAX]);
/* One hash for everybody: of the user, or of nobody (user NULL). rehash is written when the cost has changed. */
nexus_status nexus__check_user_password(nexus_auth *auth, const nexus_user *user, nexus_slice password, char *rehash);

/* signing_keys.c */
nexus_status nexus__signing_key(nexus_auth *auth, nexus_key **out); /* free with nexus_key_free */
nexus_status nexus__signing_keys_open(nexus_auth *auth);

/* events: data is written by the caller between open and close of one object */
nexus_status nexus__auth_event(nexus_auth *auth, nexus_db *tx, const char *type, const char *user_id, nexus__buf *data);

/* Tells every verifier, as the event auth.revoked, that tokens end before their time: kind is "token" (id is a jti,
 * which may be forgotten at expires_s), "session" (a sid), "client" (a client_id) or "subject" (a user's). */
nexus_status nexus__auth_revoke(nexus_auth *auth, nexus_db *tx, const char *kind, const char *id, int64_t expires_s);

/* Gives the text away when all went well, and frees it. */
nexus_status nexus__hand_over(nexus__buf *text, nexus_status status, char **out, size_t *n);
/* Ends a transaction by what happened in it. */
nexus_status nexus__finish(nexus_db *tx, nexus_status status);

extern const nexus_migration nexus__auth_migrations[];
extern const size_t nexus__auth_migration_count;
/* The pepper is one of the sealed columns that reseal.c walks: its table is made with the others. */
extern const nexus_migration nexus__apikey_migrations[];
extern const size_t nexus__apikey_migration_count;
extern const nexus_migration nexus__role_migrations[]; /* they come after auth's own */
extern const size_t nexus__role_migration_count;
extern const nexus_migration nexus__oauth_migrations[];
extern const size_t nexus__oauth_migration_count;

#endif
