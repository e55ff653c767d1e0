/* Which events a group or a reader is about. Pure. */
#ifndef NEXUS_BUS_FILTER_H
#define NEXUS_BUS_FILTER_H

#include "bus/event.h"

/* Slices are borrowed; empty means any. types is a comma-separated list of patterns, tags one of tags: all are wanted. */
typedef struct nexus__filter {
    nexus_slice types, subject_prefix, source, stream, category, tags;
} nexus__filter;

bool nexus__filter_match(const nexus__filter *f, const nexus_event *e);
/* Whether type stands in a comma-separated list of patterns. */
bool nexus__types_match(nexus_slice types, nexus_slice type);
/* Whether the event has every tag of a comma-separated list. Its own stand in the extension `tags`, separated likewise. */
bool nexus__tags_match(nexus_slice tags, const nexus_event *e);
/* NEXUS_EINVAL names the pattern that is not well-formed. */
nexus_status nexus__types_check(nexus_slice types);

#endif
