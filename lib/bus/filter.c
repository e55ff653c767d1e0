#include "bus/filter.h"

#include "base/status.h"

bool nexus__types_match(nexus_slice types, nexus_slice type)
{
    while (types.n)
        if (nexus_event_type_matches(nexus__slice_trim(nexus__slice_cut(&types, ',')), type))
            return true;
    return false;
}

static bool among(nexus_slice list, nexus_slice tag)
{
    while (list.n)
        if (nexus__slice_eq(nexus__slice_trim(nexus__slice_cut(&list, ',')), tag))
            return true;
    return false;
}

bool nexus__tags_match(nexus_slice tags, const nexus_event *e)
{
    nexus_slice own = NEXUS_S("");
    for (size_t i = 0; i < e->ext_count; i++)
        if (nexus__slice_eq_c(e->ext[i].name, "tags"))
            own = e->ext[i].value;
    while (tags.n) {
        nexus_slice tag = nexus__slice_trim(nexus__slice_cut(&tags, ','));
        if (tag.n && !among(own, tag))
            return false;
    }
    return true;
}

static bool well_formed(nexus_slice pattern)
{
    if (pattern.n == 0)
        return false;
    bool more = true;
    while (more) {
        more = nexus__slice_find(pattern, '.') < pattern.n;
        nexus_slice token = nexus__slice_cut(&pattern, '.');
        bool wild = nexus__slice_find(token, '*') < token.n || nexus__slice_find(token, '>') < token.n;
        if (token.n == 0 || (wild && token.n > 1) || (token.p[0] == '>' && more))
            return false;
    }
    return true;
}

nexus_status nexus__types_check(nexus_slice types)
{
    while (types.n) {
        nexus_slice pattern = nexus__slice_trim(nexus__slice_cut(&types, ','));
        if (!well_formed(pattern))
            return nexus__fail(NEXUS_EINVAL,
                               "type pattern \"%.*s\": dotted tokens, \"*\" for one, \">\" at the end for the rest",
                               (int)(pattern.n < 100 ? pattern.n : 100), pattern.p);
    }
    return NEXUS_OK;
}

bool nexus__filter_match(const nexus__filter *f, const nexus_event *e)
{
    if (f->types.n && !nexus__types_match(f->types, e->type))
        return false;
    if (f->subject_prefix.n && !nexus__slice_starts(e->subject, f->subject_prefix))
        return false;
    if (f->source.n && !nexus__slice_eq(f->source, e->source))
        return false;
    if (f->stream.n && !nexus__slice_eq(f->stream, e->stream))
        return false;
    if (f->category.n && !(nexus__slice_starts(e->stream, f->category) && e->stream.n > f->category.n &&
                           e->stream.p[f->category.n] == '-'))
        return false;
    return !f->tags.n || nexus__tags_match(f->tags, e);
}
