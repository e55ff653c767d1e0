/* Inside the bus: the event's attributes as a table, its stored form, owned copies. */
#ifndef NEXUS_BUS_EVENT_H
#define NEXUS_BUS_EVENT_H

#include <nexus/event.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"

#define NEXUS__EVENT_EXT_MAX 32
#define NEXUS__EVENT_ATTR_MAX 65535u /* bytes of one attribute */

/* What an attribute may hold beside being legal text. */
enum nexus__attr_kind { NEXUS__ATTR_TEXT, NEXUS__ATTR_URI, NEXUS__ATTR_MEDIA };

/* The text attributes, in the order of their stored tags (1 = the first). */
typedef struct nexus__event_attr {
    const char *name;
    size_t offset; /* of the slice in nexus_event */
    bool core;     /* of CloudEvents itself; the others are extensions */
    enum nexus__attr_kind kind;
} nexus__event_attr;
extern const nexus__event_attr nexus__event_attrs[];
extern const size_t nexus__event_attr_count;
const nexus__event_attr *nexus__event_attr_find(nexus_slice name);

static inline nexus_slice *nexus__event_slot(nexus_event *e, const nexus__event_attr *a)
{
    return (nexus_slice *)(void *)((char *)e + a->offset);
}

static inline nexus_slice nexus__event_get(const nexus_event *e, const nexus__event_attr *a)
{
    return *(const nexus_slice *)(const void *)((const char *)e + a->offset);
}

/* Event i of an array whose stride is the first event's size. */
static inline const nexus_event *nexus__event_at(const nexus_event *events, size_t i)
{
    return (const nexus_event *)(const void *)((const char *)events + i * events->size);
}

/* nexus_event_check beside an event that has passed it (NULL: none): where both point to one text, it is not read again. */
nexus_status nexus__event_check_like(const nexus_event *e, const nexus_event *like);

/* What the bus sets and writes as extensions; ignored when read back in. */
bool nexus__event_attr_is_ours(nexus_slice name);
/* NEXUS_EINVAL with the attribute's name unless it is a legal extension name. */
nexus_status nexus__event_ext_name(nexus_slice name);
nexus_status nexus__event_attr_check(const char *name, enum nexus__attr_kind kind, nexus_slice value);
bool nexus__event_is_json(nexus_slice datacontenttype); /* the empty one is */

/* What the log knows a stream by; never 0. */
static inline uint64_t nexus__stream_hash(nexus_slice name)
{
    uint64_t hash = nexus__siphash((nexus__hash_key){1, 2}, name.p, name.n);
    return hash ? hash : 1;
}

/* Stored form: every attribute but data, pos, version and recv_ns. */
void nexus__event_encode(nexus__buf *out, const nexus_event *e, nexus_slice stream);

typedef struct nexus__event_view {
    nexus_event event;
    nexus_pair ext[NEXUS__EVENT_EXT_MAX];
} nexus__event_view;

/* Fills view with slices into meta and data; NEXUS_ECORRUPT when meta is not what encode wrote. view must not move. */
nexus_status nexus__event_decode(nexus__event_view *view, nexus_slice meta, nexus_slice data);

/* One allocation: view and bytes. NULL when out of memory; *status says when meta was bad. Free with nexus__free. */
nexus__event_view *nexus__event_own(const nexus_alloc *alloc, nexus_slice meta, nexus_slice data, nexus_status *status);

/* The library's own types, sorted; NULL past the end. */
const char *nexus__event_own_type(size_t i);

void nexus__event_write_json(nexus__buf *out, const nexus_event *e);

/* Documents under construction. */
struct nexus_event_doc {
    nexus__arena arena;
    nexus_event *events;
    size_t count;
};
nexus_status nexus__event_doc_new(nexus_event_doc **out, size_t count);

#endif
