#include "gateway/change.h"

#include <nexus/verifier.h>
#include <stdio.h>

#include "gateway/gateway.h"

enum { LIST_MIN = 8 };

/* --- lists in the request's memory -------------------------------------------------------------------------------- */

static nexus__gw_headers_conf *own_of(nexus__call *call, enum nexus__change_side side)
{
    nexus__gw_headers_conf **own = side == NEXUS__CHANGE_REQUEST ? &call->request_own : &call->reply_own;
    if (!*own) {
        *own = nexus_request_alloc(call->request, sizeof **own);
        if (*own)
            **own = (nexus__gw_headers_conf){0};
    }
    return *own;
}

/* Room for one more; lists double, beginning at LIST_MIN. */
static void *room(nexus__call *call, void *items, uint32_t count, size_t size)
{
    if (count % LIST_MIN || (count & (count - 1)))
        return items;
    void *more = nexus_request_alloc(call->request, (count ? 2 * count : LIST_MIN) * size);
    if (more && count)
        memcpy(more, items, count * size);
    return more;
}

static bool push_pair(nexus__call *call, nexus__pair_list *list, nexus_slice name, nexus_slice value)
{
    nexus_pair *items = room(call, list->items, list->count, sizeof *items);
    if (!items)
        return false;
    items[list->count] = (nexus_pair){name, value};
    list->items = items;
    list->count++;
    return true;
}

bool nexus__change_set(nexus__call *call, enum nexus__change_side side, nexus_slice name, nexus_slice value)
{
    nexus__gw_headers_conf *own = own_of(call, side);
    return own && push_pair(call, &own->set, name, value);
}

bool nexus__change_add(nexus__call *call, enum nexus__change_side side, nexus_slice name, nexus_slice value)
{
    nexus__gw_headers_conf *own = own_of(call, side);
    return own && push_pair(call, &own->add, name, value);
}

bool nexus__change_remove(nexus__call *call, enum nexus__change_side side, nexus_slice name)
{
    nexus__gw_headers_conf *own = own_of(call, side);
    if (!own)
        return false;
    nexus_slice *items = room(call, own->remove.items, own->remove.count, sizeof *items);
    if (!items)
        return false;
    items[own->remove.count] = name;
    own->remove.items = items;
    own->remove.count++;
    return true;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool capture(nexus__call *call, nexus_slice name, nexus_slice *out)
{
    for (uint32_t i = 0; i < call->capture_count; i++) {
        if (!nexus__slice_eq(call->captures[i].name, name))
            continue;
        nexus_slice raw = call->captures[i].value;
        char *text = nexus_request_alloc(call->request, raw.n + 1);
        if (!text)
            return false;
        *out = nexus__slice(text, nexus_path_decode(raw, text));
        return true;
    }
    return false;
}

static bool claim(nexus__call *call, const char *name, nexus_slice *out)
{
    int64_t number;
    char digits[24];
    const nexus_claims *claims = call->principal ? nexus_principal_claims(call->principal) : NULL;
    if (!claims)
        return false;
    if (nexus_claims_text(claims, name, out))
        return true;
    if (!nexus_claims_int(claims, name, &number))
        return false;
    int n = snprintf(digits, sizeof digits, "%lld", (long long)number);
    char *text = nexus_request_alloc(call->request, (size_t)n + 1);
    if (!text)
        return false;
    memcpy(text, digits, (size_t)n + 1);
    *out = nexus__slice(text, (size_t)n);
    return true;
}

static bool value_of(void *context, const nexus__pattern_piece *piece, nexus_slice *out)
{
    nexus__call *call = context;
    switch (piece->source) {
    case NEXUS__PATTERN_TEXT:
        break;
    case NEXUS__PATTERN_PATH:
        return capture(call, piece->text, out);
    case NEXUS__PATTERN_QUERY:
        return nexus_request_query_param(call->request, piece->text.p, out);
    case NEXUS__PATTERN_HEADER:
        return nexus_request_header(call->request, piece->text.p, out);
    case NEXUS__PATTERN_CLAIM:
        return claim(call, piece->text.p, out);
    case NEXUS__PATTERN_SUBJECT:
        if (call->principal)
            nexus_principal_subject(call->principal, out);
        return call->principal != NULL;
    case NEXUS__PATTERN_CLIENT_IP:
        nexus_request_remote_ip(call->request, out);
        return true;
    case NEXUS__PATTERN_REQUEST_ID:
        nexus_request_id(call->request, out);
        return true;
    case NEXUS__PATTERN_ROUTE_ID:
        *out = call->route->conf->id;
        return true;
    }
    return false;
}

nexus_slice nexus__change_text(nexus__call *call, const nexus__pattern *pattern)
{
    nexus_slice values[NEXUS__PATTERN_PIECES_MAX];
    size_t n = nexus__pattern_values(pattern, value_of, call, values);
    char *text = nexus_request_alloc(call->request, n + 1), *at = text;
    for (uint32_t i = 0; text && i < pattern->count; i++) {
        memcpy(at, values[i].p, values[i].n);
        at += values[i].n;
    }
    return nexus__slice(text, n);
}

/* --- the route's fields ------------------------------------------------------------------------------------------- */

/* A field that comes out empty is not sent; one of that name that came along goes all the same. */
static bool fill(nexus__call *call, enum nexus__change_side side, const nexus__gw_filled *field)
{
    nexus_slice value = nexus__change_text(call, &field->value);
    if (!value.p) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return false;
    }
    value = nexus__slice_trim(value);
    if (!nexus__http_is_value(value)) {
        bool theirs = nexus__pattern_is_clients(&field->value);
        nexus__call_problem(call, theirs ? 400 : 500, theirs ? "bad-header-value" : "header-transform",
                            theirs ? "Something of the request would break the header it goes into."
                                   : "A header of this route cannot be made: its value holds a control character.");
        return false;
    }
    bool done = !value.n      ? field->add || nexus__change_remove(call, side, field->name)
                : field->add ? nexus__change_add(call, side, field->name, value)
                             : nexus__change_set(call, side, field->name, value);
    if (!done)
        nexus__call_problem(call, 500, "out-of-memory", NULL);
    return done;
}

bool nexus__change_fill(nexus__call *call)
{
    const nexus__gw_route_conf *conf = call->route->conf;
    for (uint32_t i = 0; i < conf->request.filled.count; i++)
        if (!fill(call, NEXUS__CHANGE_REQUEST, &conf->request.filled.items[i]))
            return false;
    for (uint32_t i = 0; i < conf->response.filled.count; i++)
        if (!fill(call, NEXUS__CHANGE_REPLY, &conf->response.filled.items[i]))
            return false;
    return true;
}
