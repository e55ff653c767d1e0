#include "service/denials.h"

#include <stdio.h>

#include "base/time.h"

enum { MINUTE_S = 60 };

static bool is_same(const nexus__denial *a, const nexus__denial *b)
{
    const char *who = *a->actor ? a->actor : a->ip, *other = *b->actor ? b->actor : b->ip;
    return strcmp(who, other) == 0 && strcmp(a->reason, b->reason) == 0 && strcmp(a->action, b->action) == 0 &&
           strcmp(a->object, b->object) == 0;
}

void nexus__denials_add(nexus__denials *d, const nexus__denial *denial)
{
    size_t i = 0;
    while (i < d->count && !is_same(&d->rows[i], denial))
        i++;
    if (i == NEXUS__DENIALS_MAX) {
        d->others++;
        return;
    }
    if (i == d->count) {
        d->rows[d->count++] = *denial;
        d->rows[i].count = 0;
        d->rows[i].told = false;
    }
    d->rows[i].count++;
}

size_t nexus__denials_due(nexus__denials *d, int64_t now_ns, bool last, nexus__denial out[static NEXUS__DENIALS_MAX + 1])
{
    size_t n = 0;
    bool over = last || now_ns - d->since_ns >= MINUTE_S * NEXUS__NS_PER_S;
    for (size_t i = 0; i < d->count; i++) {
        nexus__denial *row = &d->rows[i];
        if (row->count == 0 || (row->told && !over))
            continue;
        out[n++] = *row;
        row->count = 0;
        row->told = true;
    }
    if (!over)
        return n;
    if (d->others) {
        out[n] = (nexus__denial){.action = "access.denied", .object = "*", .reason = "more-than-can-be-told-apart",
                                 .count = d->others};
        n++;
    }
    d->count = 0;
    d->others = 0;
    d->since_ns = now_ns;
    return n;
}
