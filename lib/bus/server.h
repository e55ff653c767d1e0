/* The owner's side of DIR/bus.sock: serves a broker to the other processes of this user. */
#ifndef NEXUS_BUS_SERVER_H
#define NEXUS_BUS_SERVER_H

#include "bus/broker.h"
#include "bus/wire.h"

typedef struct nexus__bus_server nexus__bus_server;

/* broker is borrowed until close. dir NULL: listens nowhere, connections come by welcome. caps: told to clients, with the durability (durability.h). */
nexus_status nexus__bus_server_open(nexus__bus_server **out, nexus__broker *broker, const char *dir,
                                    const nexus_alloc *alloc, uint32_t connections_max,
                                    uint64_t caps) NEXUS_MUST_CHECK;
/* Serves a connected stream socket, which it takes; one too many is closed. */
void nexus__bus_server_welcome(nexus__bus_server *server, int fd);
void nexus__bus_server_close(nexus__bus_server *server);

/* A publish as a client sends it (WIRE_PUBLISH); done as of nexus__broker_publish. */
void nexus__publish_body_encode(nexus__buf *out, const nexus_event *events, size_t n,
                                const nexus__publish_terms *terms);
/* acks, when there are some: settled in the same commit. */
nexus_status nexus__publish_body(nexus__broker *b, const nexus_alloc *alloc, nexus_slice body,
                                 const nexus__commit_ack *acks, size_t n_acks, nexus__publish_done_fn *done,
                                 void *user_data, nexus_publish_result *result) NEXUS_MUST_CHECK;

/* The one event of a publish without terms, with slices into body, which nexus__broker_publish_each takes. False: it is
 * another kind of publish, or none. */
bool nexus__publish_body_plain(nexus_slice body, nexus__event_view *view);

/* Whether a reader wants the record; then view is filled, with slices into the record. */
bool nexus__read_wants(const nexus__read_request *r, const nexus__wal_record *record, nexus__event_view *view);

/* Tells a reader of the log what the request is after, which must live as long as it. */
void nexus__read_select(const nexus__read_request *r, nexus__wal_reader *reader);

/* One page of events for a reader: appends {event} to out, counts them, and says where to go on. */
nexus_status nexus__broker_read_page(nexus__broker *b, const nexus_alloc *alloc, const nexus__read_request *r,
                                     nexus__buf *out, uint32_t *count, uint64_t *next) NEXUS_MUST_CHECK;

#endif
