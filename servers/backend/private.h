/* Shared by the files of the backend. */
#ifndef SERVERS_BACKEND_PRIVATE_H
#define SERVERS_BACKEND_PRIVATE_H

#include <pthread.h>

#include "backend/backend.h"

#define RUNNING_MAX 256

/* Requests with an Idempotency-Key that are being worked on now. */
typedef struct running {
    pthread_mutex_t lock;
    struct {
        char keys[RUNNING_MAX][96]; /* "" = free */
    } locked;
} running;

/* Pages that people see (oauth_pages.c). */
enum { OAUTH_PAGE_LOGIN, OAUTH_PAGE_SECOND, OAUTH_PAGE_CONSENT, OAUTH_PAGE_ERROR, OAUTH_PAGES };

typedef struct backend {
    nexus_service *service;
    nexus_db *db;
    nexus_bus *bus;
    nexus_auth *auth;
    nexus_apikeys *keys;
    nexus_roles *roles;
    nexus_audit *audit;
    nexus_oauth *oauth;
    nexus_template *pages[OAUTH_PAGES];
    nexus_runtime *hashers; /* threads that hash passwords: a flood of logins holds up nothing else */
    nexus_secrets *secrets;      /* seal what stands in the database */
    nexus_secrets *mail_secrets; /* and what events carry for mails */
    nexus_ring_calls data_ring, mail_ring;
    nexus_verifier *verifier;
    nexus_outbox_relay *relay;
    nexus_saga *saga;
    nexus_group *order_group, *payment_group;
    nexus_consumer *order_consumer, *payment_consumer;
    nexus_metric_family *orders_total;
    running running;
    int64_t payment_delay_ms;
    char bootstrap_file[4200];
} backend;

/* --- answer.c: what handlers say ---------------------------------------------------------------------------------- */

/* Members of a JSON body that the route's schema has checked; a missing one is empty. */
nexus_slice member(nexus_json *body, const char *name);
/* The scanned body; false: it has been answered. */
bool read_body(nexus_request *request, nexus_json **out);
/* Answers with what the writer holds and frees it. */
void reply_json(nexus_request *request, uint16_t status, nexus_json_writer *writer);
/* 422 with one finding; pointer like "/items/0/quantity". */
void reply_invalid(nexus_request *request, const char *pointer, const char *detail);
/* 422 from a library's message that begins with the member's name: "password: must have …". */
void reply_member(nexus_request *request, const char *message);
/* A failure that is not the caller's fault: 503 when trying again helps, else 500; logged. */
void reply_failure(backend *b, nexus_request *request, nexus_status status);
/* printf("%.*s") arguments of a slice. */
#define TEXT_ARGS(s) (int)(s).n, ((s).p ? (s).p : "")

/* --- events ---------------------------------------------------------------------------------------------------------- */

/* The request this thread works on, so that events written deep inside carry its trace. */
extern _Thread_local nexus_request *current_request;
/* What the work is for whose request is answered already; see answer_early. */
extern _Thread_local const nexus_event *current_cause;
/* Writes an event into the outbox of the open transaction, with the trace of current_request or of cause. */
nexus_status publish_in(nexus_db *tx, const char *type, const char *subject, nexus_slice data, const nexus_event *cause);
nexus_auth_event_fn on_auth_event; /* what auth/ tells, as an event of the user */
const char *writer_text(nexus_json_writer *writer, nexus_slice *out);

/* --- account.c: what the calls about people share ----------------------------------------------------------------------- */

/* Where the request comes from; the slices live as long as the request. */
void client_of(const nexus_request *request, nexus_auth_client *client);
/* Lets the client keep its known-device token; NULL: it has one. */
void set_device(const backend *b, nexus_request *request, const char *token);
/* What every account call may run into; wait_s: of NEXUS_ELIMIT. */
void refuse_account(backend *b, nexus_request *request, nexus_status status, uint32_t wait_s);
/* False: over 1,024 bytes, answered with 400 before anything is hashed. */
bool password_fits(nexus_request *request, nexus_json *body, const char *name);

/* A call with a JSON body that may write events, and one that hashes a password, too (called on the loop). */
typedef void account_fn(backend *b, nexus_request *request, nexus_json *body);
void with_body(nexus_request *request, backend *b, account_fn *fn);
void with_hashing(nexus_request *request, backend *b, account_fn *fn);
/*
 * Answers 202 before the work is done, so that how long the work takes tells nobody whether there is such an account. Events
 * written until answer_early_end carry the request's trace. What the body holds must have been copied.
 */
typedef struct early {
    char traceparent[NEXUS_TRACEPARENT_LEN + 1], correlationid[65];
    nexus_event cause;
} early;
void answer_early(early *e, nexus_request *request);
void answer_early_end(backend *b, nexus_status status, const char *what);
nexus_status hashers_open(backend *b);
nexus_status add_rows(backend *b, nexus_route *rows, size_t count);

/* --- orders.c ---------------------------------------------------------------------------------------------------------- */

typedef struct order_total {
    int64_t amount;
    char currency[4];
} order_total;

/* Adds up the items. False: *pointer and *detail (static text) say what is wrong. */
bool order_add_up(nexus_json *body, order_total *total, char pointer[64], const char **detail);
nexus_status order_insert(backend *b, nexus_db *tx, nexus_slice user_id, nexus_json *body, const order_total *total,
                          char id[NEXUS_ID_LEN + 1]);
/* Writes the order as JSON. user_id empty = anybody's. NEXUS_ENOTFOUND. */
nexus_status order_write(nexus_db *db, nexus_slice id, nexus_slice user_id, nexus_json_writer *writer, const char *name);
/* Moves a pending order on and adds to its history; a second time changes nothing. */
nexus_status order_settle(nexus_db *tx, nexus_slice id, const char *status, nexus_slice reason, bool *changed);
nexus_status order_note(nexus_db *tx, nexus_slice id, nexus_slice notification_id);

/* --- idempotency.c ----------------------------------------------------------------------------------------------------- */

typedef struct idempotency {
    nexus_slice user_id, key; /* key empty: none was sent */
    const char *operation;
    char running[96];
} idempotency;

/* Reads the header. False: answered (bad key, or the same is running: 409). */
bool idempotency_begin(idempotency *i, backend *b, nexus_request *request, const char *operation, nexus_slice user_id);
/* Claims the key inside the transaction. *replay: the stored answer (free it) of an earlier request with the same body.
 * NEXUS_ECONFLICT: another body. */
nexus_status idempotency_claim(const idempotency *i, nexus_db *tx, nexus_slice body, char **replay, uint16_t *status);
nexus_status idempotency_store(const idempotency *i, nexus_db *tx, uint16_t status, nexus_slice reply);
void idempotency_end(idempotency *i, backend *b);
nexus_status idempotency_expire(backend *b);

/* --- the rest ------------------------------------------------------------------------------------------------------------ */

nexus_status backend_migrate(nexus_db *db);
nexus_status payments_open(backend *b);
nexus_status order_events_open(backend *b);
nexus_status order_saga_open(backend *b);
void order_saga_close(backend *b);
nexus_status account_routes(backend *b);
nexus_status oauth_routes(backend *b); /* opens b->oauth */
nexus_status oauth_pages(backend *b);
void oauth_pages_close(backend *b);
nexus_status login_routes(backend *b);
nexus_status me_routes(backend *b);
nexus_status user_routes(backend *b);
nexus_status order_routes(backend *b);
nexus_status keys_open(backend *b);
nexus_status audit_open(backend *b);
nexus_status secret_routes(backend *b);
nexus_status audit_routes(backend *b);
/* Records what auth/ tells, inside of its transaction: a failure rolls it back. */
nexus_status audit_event(backend *b, const char *type, nexus_slice subject, nexus_slice data);
/* The same of what somebody, or a part of the server, does. */
nexus_status audit_as(backend *b, nexus_slice actor, const char *action, nexus_slice object, nexus_slice detail);
/* Records, counted, that somebody was not let. */
void audit_denied(backend *b, const nexus_request *request, const char *action, nexus_slice object);
nexus_status key_routes(backend *b);

/* --- roles.c: what roles allow, here and for the other services; and who may give what --------------------------------- */

nexus_status roles_open(backend *b);
void roles_close(backend *b);
/* After a change: what holds from now on holds in this process at once. */
void roles_take(backend *b);
/* Whose roles count; the actor lives as long as the request. */
void actor_of(const nexus_request *request, nexus_roles_actor *actor);
/* Nobody gives what he does not hold, nor touches who holds more. False: refused with 403, and recorded as a denied action. */
bool holds_roles(backend *b, nexus_request *request, const char *action, nexus_slice object, const nexus_slice *names,
                 size_t count);
bool holds_scopes(backend *b, nexus_request *request, const char *action, nexus_slice object, nexus_slice tenant,
                  nexus_slice words);
bool holds_all_of_user(backend *b, nexus_request *request, const char *action, nexus_slice user_id);
void refuse_not_held(backend *b, nexus_request *request, const char *action, nexus_slice object, const char *why);
nexus_status role_routes(backend *b);

#endif
