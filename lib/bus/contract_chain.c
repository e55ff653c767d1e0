/* What is wrong with a set of contracts as a whole: chains of upcasters, cycles between types, promises not kept. */
#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"
#include "bus/contract.h"

static void problem(nexus__buf *out, const char *format, ...) NEXUS_PRINTF(2, 3);

static void problem(nexus__buf *out, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (out->len)
        nexus__buf_text(out, "; ");
    nexus__buf_text(out, text);
}

static bool same_type(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void twins(const nexus__contract_set *set, nexus__buf *out)
{
    for (size_t i = 1; i < set->rev_count; i++)
        if (same_type(set->revs[i]->type, set->revs[i - 1]->type) && set->revs[i]->rev == set->revs[i - 1]->rev)
            problem(out, "%s, revision %u is there twice", set->revs[i]->type, set->revs[i]->rev);
    for (size_t i = 0; i < set->step_count; i++)
        for (size_t k = i + 1; k < set->step_count && set->steps[k]->from == set->steps[i]->from &&
                               same_type(set->steps[k]->type, set->steps[i]->type);
             k++)
            if (set->steps[k]->to == set->steps[i]->to)
                problem(out, "%s has two upcasters from revision %u to %u", set->steps[i]->type, set->steps[i]->from,
                        set->steps[i]->to);
}

/* Whether revision r becomes r + 1 without a function: both are known, so that their promise is checked. */
static bool bridged(const nexus__contract_set *set, nexus_slice type, uint32_t r)
{
    return nexus__contract_rev(set, type, r) && nexus__contract_rev(set, type, r + 1);
}

/* From each upcaster on, a way leads to the latest revision. */
static void gaps(const nexus__contract_set *set, nexus__buf *out)
{
    for (size_t i = 0; i < set->step_count; i++) {
        const nexus__step *s = set->steps[i];
        nexus_slice type = nexus__slice_c(s->type);
        if (s->to < s->from || s->to == nexus__contract_latest(set, type))
            continue;
        if (!nexus__contract_step(set, type, s->to, true) && !bridged(set, type, s->to))
            problem(out, "%s has a gap: nothing leads from revision %u to %u", s->type, s->to, s->to + 1);
    }
    for (size_t i = 1; i < set->rev_count; i++) {
        const nexus__rev *r = set->revs[i], *before = set->revs[i - 1];
        if (!same_type(r->type, before->type))
            continue;
        for (uint32_t rev = before->rev; rev + 1 < r->rev; rev++)
            if (!nexus__contract_step(set, nexus__slice_c(r->type), rev, true)) {
                problem(out, "%s has a gap: revision %u is known and %u is not", r->type, r->rev, rev + 1);
                break;
            }
    }
}

/* Depth-first over the types that upcasters may emit. path: the types on the way, linked. */
typedef struct link {
    const struct link *before;
    nexus_slice type;
} link;

static bool leads_back(const nexus__contract_set *set, const link *here, nexus_slice first, uint32_t depth)
{
    for (size_t i = 0; i < set->step_count; i++) {
        const nexus__step *s = set->steps[i];
        nexus_slice list = nexus__slice_c(s->to_types);
        if (!nexus__slice_eq_c(here->type, s->type))
            continue;
        while (list.n) {
            nexus_slice next = nexus__slice_trim(nexus__slice_cut(&list, ','));
            if (!next.n || nexus__slice_eq_c(next, s->type))
                continue; /* its own type: revisions only rise */
            if (nexus__slice_eq(next, first) || depth > 64)
                return true;
            bool seen = false;
            for (const link *l = here; l; l = l->before)
                seen = seen || nexus__slice_eq(l->type, next);
            link there = {here, next};
            if (!seen && leads_back(set, &there, first, depth + 1))
                return true;
        }
    }
    return false;
}

static void cycles(const nexus__contract_set *set, nexus__buf *out)
{
    for (size_t i = 0; i < set->step_count; i++) {
        link start = {NULL, nexus__slice_c(set->steps[i]->type)};
        if (i && same_type(set->steps[i]->type, set->steps[i - 1]->type))
            continue;
        if (leads_back(set, &start, start.type, 0))
            problem(out, "the upcasters of %s lead back to it through other types", set->steps[i]->type);
    }
}

static void compare(const nexus__rev *reader, const nexus__rev *writer, const nexus__rev *told, const char *promise,
                    nexus__buf *out, bool *conflict)
{
    if (!reader->text_bytes)
        return;
    nexus_slice any = NEXUS_S("true");
    nexus_slice wrote = writer->text_bytes ? nexus__slice(writer->text, writer->text_bytes) : any;
    if (nexus_contract_compare(nexus__slice(reader->text, reader->text_bytes), wrote) == NEXUS_OK)
        return;
    char why[220];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    *conflict = true;
    problem(out, "%s, revision %u is not %s compatible and has no upcaster from %u: %s", told->type, told->rev, promise,
            told->rev - 1, why);
}

static void promises(const nexus__contract_set *set, nexus__buf *out, bool *conflict)
{
    for (size_t i = 1; i < set->rev_count; i++) {
        const nexus__rev *r = set->revs[i], *before = set->revs[i - 1];
        if (!same_type(r->type, before->type) || before->rev + 1 != r->rev || r->compat == NEXUS_COMPAT_NONE ||
            nexus__contract_step(set, nexus__slice_c(r->type), before->rev, true))
            continue;
        if (r->compat != NEXUS_COMPAT_FORWARD)
            compare(r, before, r, "backward", out, conflict);
        if (r->compat != NEXUS_COMPAT_BACKWARD)
            compare(before, r, r, "forward", out, conflict);
    }
}

void nexus__contract_problems(const nexus__contract_set *set, nexus__buf *out, bool *conflict)
{
    twins(set, out);
    gaps(set, out);
    cycles(set, out);
    bool sound = out->len == 0;
    promises(set, out, conflict);
    *conflict = *conflict && sound;
}
