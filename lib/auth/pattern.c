/* Permissions and the patterns that grant them: 2 to 6 segments of [a-z0-9_.-], parted by ':'. */
#include "auth/rbac.h"

static bool plain_segment(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))
            return false;
    }
    return s.n > 0;
}

/* A trailing ':' leaves an empty rest and would pass for the end. */
static bool ends_in_colon(nexus_slice text)
{
    return text.n && text.p[text.n - 1] == ':';
}

bool nexus__permission_valid(nexus_slice text)
{
    size_t segments = 0;
    if (text.n > 256 || ends_in_colon(text))
        return false;
    for (; text.n; segments++)
        if (!plain_segment(nexus__slice_cut(&text, ':')))
            return false;
    return segments >= 2 && segments <= 6;
}

const char *nexus__permission_pattern_error(nexus_slice text)
{
    size_t segments = 0;
    if (text.n > 256 || ends_in_colon(text))
        return "is too long or ends in ':'";
    for (; text.n; segments++) {
        nexus_slice segment = nexus__slice_cut(&text, ':');
        bool deep = nexus__slice_eq_c(segment, "**");
        if (deep && text.n)
            return "may have ** as its last segment only";
        if (!deep && !nexus__slice_eq_c(segment, "*") && !plain_segment(segment))
            return "has a segment that is not [a-z0-9_.-], * or **";
    }
    return segments >= 2 && segments <= 6 ? NULL : "must have 2 to 6 segments";
}

bool nexus__permission_matches(nexus_slice pattern, nexus_slice permission)
{
    while (pattern.n && permission.n) {
        nexus_slice p = nexus__slice_cut(&pattern, ':');
        if (nexus__slice_eq_c(p, "**"))
            return true;
        nexus_slice s = nexus__slice_cut(&permission, ':');
        if (!nexus__slice_eq_c(p, "*") && !nexus__slice_eq(p, s))
            return false;
    }
    return pattern.n == 0 && permission.n == 0;
}

bool nexus__pattern_covers(nexus_slice outer, nexus_slice inner)
{
    while (outer.n && inner.n) {
        nexus_slice o = nexus__slice_cut(&outer, ':');
        if (nexus__slice_eq_c(o, "**"))
            return true;
        nexus_slice i = nexus__slice_cut(&inner, ':');
        if (nexus__slice_eq_c(i, "**") || (!nexus__slice_eq_c(o, "*") && !nexus__slice_eq(o, i)))
            return false;
    }
    return outer.n == 0 && inner.n == 0;
}

bool nexus__pattern_meets(nexus_slice a, nexus_slice b)
{
    while (a.n && b.n) {
        nexus_slice x = nexus__slice_cut(&a, ':'), y = nexus__slice_cut(&b, ':');
        if (nexus__slice_eq_c(x, "**") || nexus__slice_eq_c(y, "**"))
            return true;
        if (!nexus__slice_eq_c(x, "*") && !nexus__slice_eq_c(y, "*") && !nexus__slice_eq(x, y))
            return false;
    }
    return a.n == 0 && b.n == 0;
}
