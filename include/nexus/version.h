/* The library's version. */
#ifndef NEXUS_VERSION_H
#define NEXUS_VERSION_H

#include <nexus/common.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEXUS_VERSION_MAJOR 0
#define NEXUS_VERSION_MINOR 1
#define NEXUS_VERSION_PATCH 0
#define NEXUS_VERSION "0.1.0"

/** The version of the library that is running, "MAJOR.MINOR.PATCH"; compare with NEXUS_VERSION of the build. */
NEXUS_API const char *nexus_version(void);

/** Whether an optional part ("postgres", "redis", "kafka", "nats") was built in. Unknown names are false. */
NEXUS_API bool nexus_has(const char *feature);

#ifdef __cplusplus
}
#endif

#endif
