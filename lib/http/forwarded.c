#include "http/forwarded.h"

#include "http/chars.h"

/* Whether the quote at i is an escaped one, of a quoted string. */
static bool escaped(nexus_slice s, size_t i)
{
    size_t n = 0;
    while (n < i && s.p[i - n - 1] == '\\')
        n++;
    return n % 2 == 1;
}

nexus_slice nexus__forwarded_cut(nexus_slice *list)
{
    bool quoted = false;
    size_t at = list->n;
    while (at > 0 && (quoted || list->p[at - 1] != ',')) {
        at--;
        if (list->p[at] == '"' && !(quoted && escaped(*list, at)))
            quoted = !quoted;
    }
    nexus_slice element = nexus__slice_trim(nexus__slice_from(*list, at));
    list->n = at ? at - 1 : 0;
    return element;
}

static bool is_port(nexus_slice text)
{
    uint64_t port;
    return text.n <= 5 && nexus__parse_u64(text, &port) && port <= 65535;
}

bool nexus__forwarded_node(nexus_slice s, nexus__ip *out)
{
    size_t colon = nexus__slice_find(s, ':');
    if (s.n > 0 && s.p[0] == '[') {
        size_t end = nexus__slice_find(s, ']');
        if (end == s.n || (end + 1 < s.n && (s.p[end + 1] != ':' || !is_port(nexus__slice_from(s, end + 2)))))
            return false;
        s = nexus__slice(s.p + 1, end - 1);
        return nexus__slice_find(s, ':') < s.n && nexus__ip_parse(s, out);
    }
    if (colon < s.n && memchr(s.p, '.', colon) && is_port(nexus__slice_from(s, colon + 1)))
        s.n = colon;
    return nexus__ip_parse(s, out);
}

/* Cuts the first "name=value" off the pairs of an element; quotes are taken off the value, whose escapes stay: no
 * address has one. False: malformed. */
static bool cut_pair(nexus_slice *rest, nexus_slice *name, nexus_slice *value)
{
    size_t equals = nexus__slice_find(*rest, '='), end = equals + 1;
    if (equals >= rest->n)
        return false;
    *name = nexus__slice_trim(nexus__slice(rest->p, equals));
    bool quoted = end < rest->n && rest->p[end] == '"';
    if (quoted) {
        for (end++; end < rest->n && rest->p[end] != '"'; end++)
            end += rest->p[end] == '\\';
        if (end >= rest->n)
            return false;
        *value = nexus__slice(rest->p + equals + 2, end - equals - 2);
        end++;
        while (end < rest->n && (rest->p[end] == ' ' || rest->p[end] == '\t'))
            end++;
    } else {
        end += nexus__slice_find(nexus__slice_from(*rest, end), ';');
        *value = nexus__slice_trim(nexus__slice(rest->p + equals + 1, end - equals - 1));
    }
    if (end < rest->n && rest->p[end] != ';')
        return false;
    *rest = nexus__slice_from(*rest, end < rest->n ? end + 1 : end);
    return nexus__http_is_token(*name) && (quoted || nexus__http_is_token(*value));
}

bool nexus__forwarded_for(nexus_slice element, nexus__ip *out)
{
    nexus_slice name, value, node = {0};
    while (element.n > 0) {
        if (!cut_pair(&element, &name, &value))
            return false;
        if (!nexus__slice_ieq(name, NEXUS_S("for")))
            continue;
        if (node.p)
            return false; /* each parameter occurs once (RFC 7239, 4) */
        node = value;
    }
    return node.n > 0 && nexus__forwarded_node(node, out);
}

/* --- the walk ---------------------------------------------------------------------------------------------------- */

typedef struct walk {
    nexus__forwarded_trust_fn *trusts;
    const void *context;
    nexus__ip ip;
} walk;

/* The hops of one field line, from the right; false: the walk is over. */
static bool walk_line(walk *w, nexus_slice list, bool (*read)(nexus_slice, nexus__ip *))
{
    while (list.n > 0) {
        nexus_slice element = nexus__forwarded_cut(&list);
        nexus__ip next;
        if (element.n == 0)
            continue;
        if (!read(element, &next))
            return false;
        w->ip = next;
        if (!w->trusts(w->context, &next))
            return false;
    }
    return true;
}

static void walk_fields(walk *w, const nexus__http_head *head, const char *base, enum nexus__http_name id,
                        bool (*read)(nexus_slice, nexus__ip *))
{
    for (uint32_t i = head->field_count; i-- > 0;)
        if (head->fields[i].id == id && !walk_line(w, nexus__http_field_value(&head->fields[i], base), read))
            return;
}

void nexus__forwarded_resolve(const nexus__http_head *head, const char *base, nexus__forwarded_trust_fn *trusts,
                              const void *context, nexus__ip *ip)
{
    walk old = {trusts, context, *ip}, new = old;
    bool has_old = head->first[NEXUS__HTTP_X_FORWARDED_FOR], has_new = head->first[NEXUS__HTTP_FORWARDED];
    if (has_old)
        walk_fields(&old, head, base, NEXUS__HTTP_X_FORWARDED_FOR, nexus__forwarded_node);
    if (has_new)
        walk_fields(&new, head, base, NEXUS__HTTP_FORWARDED, nexus__forwarded_for);
    if (!has_old || !has_new)
        *ip = has_old ? old.ip : new.ip;
    else if (memcmp(&old.ip, &new.ip, sizeof old.ip) == 0)
        *ip = old.ip;
}
