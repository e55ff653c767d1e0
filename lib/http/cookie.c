#include "http/cookie.h"

#include <nexus/http.h>

bool nexus__cookie_find(nexus_slice field, nexus_slice name, nexus_slice *out)
{
    while (field.n > 0) {
        nexus_slice pair = nexus__slice_trim(nexus__slice_cut(&field, ';'));
        if (nexus__slice_starts(pair, name) && pair.n > name.n && pair.p[name.n] == '=') {
            *out = nexus__slice_from(pair, name.n + 1);
            return true;
        }
    }
    return false;
}

bool nexus__cookie_in_head(const nexus__http_head *head, const char *base, nexus_slice name, nexus_slice *out)
{
    uint32_t first = head->first[NEXUS__HTTP_COOKIE];
    for (uint32_t i = first ? first - 1 : head->field_count; i < head->field_count; i++)
        if (head->fields[i].id == NEXUS__HTTP_COOKIE &&
            nexus__cookie_find(nexus__http_field_value(&head->fields[i], base), name, out))
            return true;
    return false;
}

bool nexus_request_cookie(const nexus_request *request, const char *name, nexus_slice *out)
{
    nexus_pair field;
    for (size_t i = 0; nexus_request_header_at(request, i, &field); i++)
        if (nexus__slice_ieq(field.name, NEXUS_S("cookie")) &&
            nexus__cookie_find(field.value, nexus__slice_c(name), out))
            return true;
    return false;
}
