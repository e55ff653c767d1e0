/*
 * A compiled template: one flat array of operations for the text and all partials.
 *
 * Text is cut at line ends, because a partial that stands alone on its line is indented line by line. Blocks (template
 * inheritance) keep the indentation of the place where they stand and lose the one they were written with; see parse.c.
 */
#ifndef NEXUS_TEMPLATE_PROGRAM_H
#define NEXUS_TEMPLATE_PROGRAM_H

#include <nexus/template.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"

typedef enum nexus__template_kind {
    NEXUS__TEMPLATE_TEXT,     /* text, at most one line */
    NEXUS__TEMPLATE_VALUE,    /* {{name}} */
    NEXUS__TEMPLATE_RAW,      /* {{{name}}} and {{&name}} */
    NEXUS__TEMPLATE_SECTION,  /* {{#name}} … */
    NEXUS__TEMPLATE_INVERTED, /* {{^name}} … */
    NEXUS__TEMPLATE_PARTIAL,  /* {{>name}} */
    NEXUS__TEMPLATE_PARENT,   /* {{<name}} … */
    NEXUS__TEMPLATE_BLOCK,    /* {{$name}} … */
} nexus__template_kind;

typedef struct nexus__template_op {
    uint8_t kind;
    bool dynamic;     /* partial, parent: the name is looked up in the data */
    bool own_line;    /* partial, parent, block: begins a line, whose white space is in indent */
    bool blank;       /* text: an empty line, which is never indented */
    uint32_t end;     /* section, inverted, parent, block: where what follows begins */
    nexus_slice text; /* text, or the name */
    nexus_slice indent;
} nexus__template_op;

typedef struct nexus__template_unit { /* the template itself, or a partial */
    uint32_t start, end;
} nexus__template_unit;

struct nexus_template {
    nexus__arena arena;
    const nexus_alloc *alloc;
    nexus__template_op *ops;
    uint32_t count, cap;
    nexus__template_unit main;
    nexus__map partials; /* name to nexus__template_unit */
    bool refuse_raw;
    uint32_t depth_max;
};

/* parse.c. Appends the operations of one text, which the template's arena already holds. */
nexus_status nexus__template_parse(nexus_template *tpl, nexus_slice name, nexus_slice text,
                                   nexus__template_unit *out) NEXUS_MUST_CHECK;

/* escape.c. Appends text as the target wants it; false for a number that is no NEXUS_ESCAPE_…. */
bool nexus__template_escape(nexus__buf *out, int32_t escape, nexus_slice text);

#endif
