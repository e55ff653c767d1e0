/*
 * Connections carried by messages that may get lost (of NATS, of Redis's PUBLISH). To the owner's server and to a client
 * each looks like the socket of a `file:` bus.
 *
 * A line is one connection: a socket pair whose far end belongs to the server or the client. Messages are numbered in each
 * direction: when one was lost the line is over, and what was on its way is asked again on the next one. Each message also
 * says how many bytes its sender has taken, and nobody sends more than `window` beyond that, so a slow side fills no
 * memory. A side that says nothing for three seconds, as a stopped process does, is hung up on.
 *
 * One thread, the porter's, makes all calls.
 */
#ifndef NEXUS_BUS_ENGINES_LINES_H
#define NEXUS_BUS_ENGINES_LINES_H

#include <poll.h>

#include "base/buf.h"
#include "bus/server.h"

enum { NEXUS__LINES_MAX = 512, NEXUS__LINE_NAME_MAX = 256, NEXUS__LINES_BEAT_MS = 400 };

typedef struct nexus__line {
    int fd;
    char name[NEXUS__LINE_NAME_MAX]; /* where the other side listens */
    uint64_t id;
    nexus__buf out;                   /* towards fd */
    uint64_t sent_number, got_number; /* messages with bytes */
    uint64_t sent, taken_there;       /* bytes from here: sent, and arrived at their end */
    uint64_t taken, told;             /* bytes from there: arrived at fd, and what of that the other side knows */
    int64_t heard_ns;
    bool over;
} nexus__line;

typedef struct nexus__lines {
    const nexus_alloc *alloc;
    nexus__bus_server *server; /* NULL: the client's side, with one line */
    /* Sends a message to where the line's other side listens; false: it cannot. */
    bool (*send)(void *user_data, const nexus__line *line, nexus_slice message);
    void *user_data;
    size_t chunk, window; /* bytes of a message, and under way in one direction of a line */
    nexus__line at[NEXUS__LINES_MAX];
    size_t count;
    uint64_t next_id;
    int64_t beat_ns;
} nexus__lines;

/* The near end stays here; *far is the other one. False: there are too many, or the system has no more sockets. */
bool nexus__lines_add(nexus__lines *lines, const char *name, int *far);
/* A turn of the porter: waits for bytes, for wake_fd (an eventfd), for more_fd (-1: none) or for the next beat; moves bytes, has
 * hear take the messages that have come, and tells the other sides of it. hear gets the user_data of send. */
void nexus__lines_turn(nexus__lines *lines, int wake_fd, int more_fd, void (*hear)(void *user_data));
/* A message from the side that listens at name. */
void nexus__lines_receive(nexus__lines *lines, const char *name, nexus_slice message);
/* Nobody listens at the other end of the line any more. */
void nexus__lines_nobody(nexus__lines *lines, uint64_t id);
void nexus__lines_hang_up(nexus__lines *lines, bool say_so);

#endif
