/* The passwords that everybody tries first: the 10,000 of common_passwords.txt, and whatever file of leaked ones there is. */
#ifndef NEXUS_AUTH_COMMON_PASSWORD_H
#define NEXUS_AUTH_COMMON_PASSWORD_H

#include "base/str.h"

/* FNV-1a hashes, sorted; generated from common_passwords.txt. */
extern const uint64_t nexus__common_passwords[];
extern const size_t nexus__common_password_count;

/* Without regard to ASCII case. */
bool nexus__password_is_common(nexus_slice password);

/*
 * A file of leaked passwords as Have I Been Pwned publishes it: lines "SHA1-IN-HEX:COUNT" (the count may be missing), sorted
 * by hash. It is searched where it lies; nothing of it is kept in memory.
 */
typedef struct nexus__breach_file nexus__breach_file;
/* NEXUS_EINVAL: its first line is no such line. */
nexus_status nexus__breach_file_open(nexus__breach_file **out, const nexus_alloc *alloc, const char *path) NEXUS_MUST_CHECK;
nexus_status nexus__breach_file_has(const nexus__breach_file *file, nexus_slice password, bool *found) NEXUS_MUST_CHECK;
void nexus__breach_file_close(nexus__breach_file *file);

#endif
