/* Why an event is published: the one whose handler runs on this thread. */
#ifndef NEXUS_BUS_CAUSE_H
#define NEXUS_BUS_CAUSE_H

#include <nexus/event.h>

/* Sets it for this thread (NULL = none) and returns what it was; around each call of a handler. */
const nexus_event *nexus__cause_set(const nexus_event *event);
const nexus_event *nexus__cause_now(void);

/* Gives e the causationid and correlationid that follow from cause, where it has none. cause may be NULL. */
void nexus__cause_fill(nexus_event *e, const nexus_event *cause);

#endif
