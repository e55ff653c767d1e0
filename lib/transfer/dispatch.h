/* Bringing a finished transfer to whoever waits: a callback, a loop, or a blocked thread. */
#ifndef NEXUS_TRANSFER_DISPATCH_H
#define NEXUS_TRANSFER_DISPATCH_H

#include "transfer/transfer.h"

/* On the client's thread: runs the callback there, or posts it to the runtime's loop 0. Ends the job. */
void nexus__client_dispatch(nexus__transfer *t);

/* NEXUS_EDEADLK where a wait would stall a loop or the client itself. */
nexus_status nexus__client_may_block(const nexus_client *c) NEXUS_MUST_CHECK;

#endif
