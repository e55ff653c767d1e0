/*
 * Regular expressions in time linear to the text: Thompson's construction, simulated with a set of states (Pike).
 *
 * The language is ECMA-262's with the u flag, as JSON Schema wants it: literals, ., classes, \d \w \s and their
 * complements, \b \B, ^ $, groups, |, * + ? {n,m} and their lazy
 * forms, \t \n \r \v \f \0 \cX \xHH \uHHHH \u{H…}, \p{…} and \P{…} over general categories. Look-around and
 * back-references cannot be matched in linear time and are refused when compiling.
 */
#ifndef NEXUS_REGEX_REGEX_H
#define NEXUS_REGEX_REGEX_H

#include "base/str.h"

#define NEXUS__REGEX_PATTERN_MAX 1024 /* bytes of pattern */
#define NEXUS__REGEX_STATES_MAX 10000

typedef struct nexus__regex nexus__regex; /* immutable: any number of threads may match with it */

/* NEXUS_EINVAL (a mistake in the pattern, with its place), NEXUS_ENOTSUP (look-around, back-reference, a property of
 * \p that is not a general category), NEXUS_ETOOBIG (over a limit above), NEXUS_ENOMEM. */
nexus_status nexus__regex_compile(nexus__regex **out, nexus_slice pattern, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__regex_free(nexus__regex *re);

/* Whether the pattern matches anywhere in text (UTF-8; a byte that is not counts as U+FFFD). NEXUS_ENOMEM is possible
 * for large patterns only: those of up to 128 states allocate nothing. */
nexus_status nexus__regex_search(const nexus__regex *re, nexus_slice text, bool *matched) NEXUS_MUST_CHECK;

enum { NEXUS__REGEX_GROUPS_MAX = 16 };

/* For a pattern that must match the whole text, and can then say what its groups took. Also NEXUS_ETOOBIG: more groups. */
nexus_status nexus__regex_compile_whole(nexus__regex **out, nexus_slice pattern,
                                        const nexus_alloc *alloc) NEXUS_MUST_CHECK;
/* How many groups it has, and the name of each: "2", or "id" of (?<id>…). Of compile_whole only. */
uint32_t nexus__regex_group_count(const nexus__regex *re);
nexus_slice nexus__regex_group_name(const nexus__regex *re, uint32_t i);
/* As search, and what each group took last, the empty slice where it took no part; as a backtracking matcher would say. */
nexus_status nexus__regex_groups_of(const nexus__regex *re, nexus_slice text,
                                    nexus_slice groups[static NEXUS__REGEX_GROUPS_MAX], bool *matched) NEXUS_MUST_CHECK;

#endif
