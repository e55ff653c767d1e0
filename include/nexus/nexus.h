/* Everything: includes each public header of libnexus. */
#ifndef NEXUS_NEXUS_H
#define NEXUS_NEXUS_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>
#include <nexus/version.h>

#endif
