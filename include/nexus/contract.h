/* What the data of each event type is, by revision: schemas, compatibility, upcasters, AsyncAPI. */
#ifndef NEXUS_CONTRACT_H
#define NEXUS_CONTRACT_H

#include <nexus/bus.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What publish does with data that its schema refuses. */
enum {
    NEXUS_CONTRACT_ENFORCE = 0, /**< NEXUS_EINVAL with the JSON pointer; nothing is stored */
    NEXUS_CONTRACT_WARN = 1,    /**< stored; on_warning is called and the publish result counts it */
    NEXUS_CONTRACT_OFF = 2      /**< stored unchecked */
};

/** What a revision promises towards the one before it. Without an upcaster between them the promise is checked. */
enum {
    NEXUS_COMPAT_BACKWARD = 0, /**< this revision's readers can read what the one before wrote */
    NEXUS_COMPAT_FORWARD = 1,  /**< readers of the one before can read what this revision writes */
    NEXUS_COMPAT_FULL = 2,     /**< both */
    NEXUS_COMPAT_NONE = 3      /**< nothing is promised, nothing checked */
};

/** A check of one's own, after the schema. Anything but NEXUS_OK refuses the event, with nexus_contract_refuse's words.
 * On the publishing thread. */
typedef nexus_status nexus_contract_check_fn(const nexus_event *event, void *user_data);
/** Called for each event that is stored although its contract refuses it. On the publishing thread. */
typedef void nexus_contract_warning_fn(const nexus_event *event, const char *message, void *user_data);

/** One revision of one event type. */
typedef struct nexus_contract {
    size_t size;
    const char *type;                      /**< no wildcards; copied */
    uint32_t rev;                          /**< from 1 */
    uint32_t mode;                         /**< NEXUS_CONTRACT_… */
    nexus_slice schema;                    /**< JSON Schema 2020-12, copied; empty = any data */
    uint32_t compat;                       /**< NEXUS_COMPAT_… */
    uint32_t reserved;                     /**< 0 */
    nexus_contract_check_fn *check;        /**< NULL = none */
    nexus_contract_warning_fn *on_warning; /**< NULL = none */
    void *user_data;                       /**< of the two above */
} nexus_contract;

#define NEXUS_CONTRACT_INIT NEXUS_SIZED(nexus_contract)
NEXUS_API void nexus_contract_init(nexus_contract *contract);

/** Where an upcaster puts what it makes. */
typedef struct nexus_upcast nexus_upcast;

/**
 * Makes events of the next revision from one: nexus_upcast_emit for each, none to leave it out. Start from a copy of
 * *event and change it. Anything but NEXUS_OK: a reader gets that status for this event, a group makes it a dead letter.
 * Any thread, several at once.
 */
typedef nexus_status nexus_upcast_fn(const nexus_event *event, nexus_upcast *out, void *user_data);

/** Hands one event over; copied. Its type is the upcaster's (the revision is set then) or one of to_types, with its rev. */
NEXUS_API nexus_status nexus_upcast_emit(nexus_upcast *out, const nexus_event *event);

/** One step between two revisions of a type. */
typedef struct nexus_upcaster {
    size_t size;
    const char *type;  /**< copied */
    uint32_t from_rev; /**< from 1; events stored without a revision count as 1 */
    uint32_t to_rev;   /**< from_rev + 1 (0 means that), or from_rev - 1: a downcaster, for those that pin a revision */
    const char *to_types; /**< other types that it may emit, comma-separated; NULL = none */
    nexus_upcast_fn *fn;
    void *user_data;
} nexus_upcaster;

#define NEXUS_UPCASTER_INIT NEXUS_SIZED(nexus_upcaster)
NEXUS_API void nexus_upcaster_init(nexus_upcaster *upcaster);

/**
 * Adds revisions and upcasters to this handle, all or none; call it at start, before anything is read. In an array the
 * stride is the first element's size; NULL and 0 are fine. Everything is checked together with what was added before,
 * and the message lists all that is wrong. NEXUS_EINVAL: a gap in a chain of upcasters, two of one revision, a cycle
 * between types, a schema that does not compile. NEXUS_ECONFLICT: a revision that is not compatible with the one before
 * it and has no upcaster from it; or this revision is known on the bus with another schema (a published one never
 * changes: add the next).
 *
 * The schemas are stored on the bus, in the stream `nexus.contracts` (one event of type `nexus.contract` for each
 * revision), for nexus_contract_load and nexus_contract_asyncapi in any process; functions and modes belong to the
 * handle. From then on publish takes rev 0 as the latest revision and checks the data; readers, groups and replays of
 * this handle get each event in its latest revision (or the one they pin with `accept_revs`). A revision newer than any
 * known here is NEXUS_EREV. What is stored never changes; `raw` of a reader gives it as it is.
 */
NEXUS_API nexus_status nexus_contract_add(nexus_bus *bus, const nexus_contract *contracts, size_t n,
                                          const nexus_upcaster *upcasters, size_t upcaster_count) NEXUS_MUST_CHECK;

/** Contracts as JSON: an array of {"type","rev","schema","mode":"enforce|warn|off","compat":"backward|forward|full|none"}. */
NEXUS_API nexus_status nexus_contract_add_json(nexus_bus *bus, const char *text, size_t n) NEXUS_MUST_CHECK;

/** Adds what is stored on the bus, with this mode; for processes that publish types which others registered. What this
 * handle has already stays as it is. */
NEXUS_API nexus_status nexus_contract_load(nexus_bus *bus, uint32_t mode) NEXUS_MUST_CHECK;

/** The words that go with a refusal: pointer (into the data, "" = all of it) and detail, both copied. Returns NEXUS_EINVAL. */
NEXUS_API nexus_status nexus_contract_refuse(const char *pointer, const char *detail);

/**
 * Whether a reader of schema `reader` can read all that schema `writer` accepts, as far as the structure shows it.
 * NEXUS_OK: yes. NEXUS_ECONFLICT: no, or it cannot be shown; the message has the pointer. A property that only the reader
 * names counts as never written. NEXUS_EINVAL: one of them is not JSON.
 */
NEXUS_API nexus_status nexus_contract_compare(nexus_slice reader, nexus_slice writer) NEXUS_MUST_CHECK;

typedef struct nexus_asyncapi_opts {
    size_t size;
    const char *title;   /**< NULL = "Events" */
    const char *version; /**< of the document; NULL = "1.0.0" */
} nexus_asyncapi_opts;

#define NEXUS_ASYNCAPI_OPTS_INIT NEXUS_SIZED(nexus_asyncapi_opts)
NEXUS_API void nexus_asyncapi_opts_init(nexus_asyncapi_opts *opts);

/**
 * AsyncAPI 3.0 of everything that is stored on the bus and of the library's own types: a channel for each type, a
 * message for each revision. opts may be NULL. nexus_free(*out).
 */
NEXUS_API nexus_status nexus_contract_asyncapi(char **out, size_t *n, nexus_bus *bus,
                                               const nexus_asyncapi_opts *opts) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
