/* Fields that a route sets and removes, of requests and of replies. */
#include "gateway/config/rows.h"

bool nexus__gw_is_token(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] <= ' ' || (uint8_t)s.p[i] >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", s.p[i]))
            return false;
    return s.n > 0;
}

bool nexus__gw_is_value(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((uint8_t)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

nexus_status nexus__gw_load_headers(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("set", nexus__loader_pairs, nexus__gw_headers_conf, set),
        CALL("remove", nexus__loader_texts, nexus__gw_headers_conf, remove),
    };
    static const char *const framing[] = {"connection", "content-length", "transfer-encoding", "host", "upgrade",
                                          "te",         "trailer"};
    nexus__gw_headers_conf *h = out;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), h);
    for (uint32_t i = 0; !status && i < h->set.count + h->remove.count; i++) {
        bool set = i < h->set.count;
        nexus_slice name = set ? h->set.items[i].name : h->remove.items[i - h->set.count];
        if (!nexus__gw_is_token(name) || (set && !nexus__gw_is_value(h->set.items[i].value)))
            return nexus__loader_fail(l, value, "\"%s\" is no header", name.p);
        for (size_t k = 0; k < COUNT(framing); k++)
            if (nexus__slice_ieq(name, nexus__slice_c(framing[k])))
                return nexus__loader_fail(l, value, "\"%s\" belongs to the connection; the gateway sets it", name.p);
    }
    return status;
}
