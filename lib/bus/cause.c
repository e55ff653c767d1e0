#include "bus/cause.h"

#include <stddef.h>

/* Per-thread, as the last error is: what a handler publishes is caused by what it handles, through any depth of calls. */
static _Thread_local const nexus_event *handled;

const nexus_event *nexus__cause_set(const nexus_event *event)
{
    const nexus_event *before = handled;
    handled = event;
    return before;
}

const nexus_event *nexus__cause_now(void)
{
    return handled;
}

void nexus__cause_fill(nexus_event *e, const nexus_event *cause)
{
    if (!cause)
        return;
    if (!e->causationid.n)
        e->causationid = cause->id;
    if (!e->correlationid.n)
        e->correlationid = cause->correlationid.n ? cause->correlationid : cause->id;
}
