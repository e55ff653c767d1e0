/* One record as one line: JSON or logfmt. Pure but for the memory of the buffer. */
#ifndef NEXUS_OBSERVE_LOG_LINE_H
#define NEXUS_OBSERVE_LOG_LINE_H

#include <nexus/log.h>

#include "base/buf.h"

typedef struct nexus__log_style {
    const char *service; /* NULL: left out */
    bool logfmt;
    bool show_secrets;
} nexus__log_style;

/* Appends the line with its newline. */
void nexus__log_line(nexus__buf *out, const nexus__log_style *style, const nexus_log_record *record, int64_t real_ns);

#endif
