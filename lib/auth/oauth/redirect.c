/* Redirect URIs: what may be registered, and whether a request names what was registered (RFC 9700, 4.1.3). */
#include "auth/oauth/form.h"

/* A URI cut at its scheme and authority; rest begins with '/', '?' or is empty. */
typedef struct parts {
    nexus_slice scheme, authority, rest;
} parts;

static bool split(nexus_slice uri, parts *out)
{
    size_t colon = nexus__slice_find(uri, ':');
    if (colon == 0 || colon == uri.n)
        return false;
    out->scheme = nexus__slice(uri.p, colon);
    nexus_slice after = nexus__slice_from(uri, colon + 1);
    out->authority = (nexus_slice){after.p, 0};
    out->rest = after;
    if (!nexus__slice_starts(after, NEXUS_S("//")))
        return true;
    after = nexus__slice_from(after, 2);
    size_t n = 0;
    while (n < after.n && after.p[n] != '/' && after.p[n] != '?')
        n++;
    out->authority = nexus__slice(after.p, n);
    out->rest = nexus__slice_from(after, n);
    return true;
}

/* Host of an authority, with brackets, and its port ("" without). */
static nexus_slice host_of(nexus_slice authority, nexus_slice *port)
{
    size_t end = authority.n && authority.p[0] == '[' ? nexus__slice_find(authority, ']') + 1
                                                      : nexus__slice_find(authority, ':');
    end = end > authority.n ? authority.n : end;
    nexus_slice tail = nexus__slice_from(authority, end);
    *port = tail.n && tail.p[0] == ':' ? nexus__slice_from(tail, 1) : (nexus_slice){tail.p, 0};
    return nexus__slice(authority.p, end);
}

static bool is_loopback_address(nexus_slice host)
{
    return nexus__slice_eq_c(host, "127.0.0.1") || nexus__slice_eq_c(host, "[::1]");
}

static bool is_port(nexus_slice port)
{
    uint64_t n;
    return port.n == 0 || (port.n <= 5 && nexus__parse_u64(port, &n) && n > 0 && n < 65536);
}

/* --- registering ----------------------------------------------------------------------------------------------------- */

static bool is_scheme(nexus_slice scheme)
{
    for (size_t i = 0; i < scheme.n; i++) {
        char c = scheme.p[i];
        bool letter = c >= 'a' && c <= 'z', other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
        if (!letter && (!other || i == 0))
            return false;
    }
    return scheme.n > 0;
}

static bool is_host(nexus_slice host)
{
    bool bracketed = host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
    for (size_t i = bracketed ? 1 : 0; i < host.n - (bracketed ? 1 : 0); i++) {
        char c = host.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        if (!plain && !(bracketed && c == ':'))
            return false;
    }
    return host.n > 0 && host.n <= 255 && host.p[0] != '.' && host.p[0] != '-';
}

static bool has_dot_segment(nexus_slice rest)
{
    nexus_slice path = nexus__slice(rest.p, nexus__slice_find(rest, '?'));
    while (path.n) {
        nexus_slice segment = nexus__slice_cut(&path, '/');
        if (nexus__slice_eq_c(segment, ".") || nexus__slice_eq_c(segment, ".."))
            return true;
    }
    return false;
}

bool nexus__oauth_redirect_valid(nexus_slice uri, const char **why)
{
    parts p;
    nexus_slice port;
    *why = "must be an absolute URI of at most 2048 bytes";
    if (uri.n == 0 || uri.n > 2048 || !split(uri, &p) || !is_scheme(p.scheme))
        return false;
    *why = "must have no fragment, white space, backslash, quote or \"*\"";
    for (size_t i = 0; i < uri.n; i++)
        if (uri.p[i] <= 0x20 || uri.p[i] == 0x7f || strchr("#\\*\"<>^`{|}", uri.p[i]))
            return false;
    *why = "must have no user in it";
    if (nexus__slice_find(p.authority, '@') < p.authority.n)
        return false;
    *why = "must have no dot segments";
    if (has_dot_segment(p.rest))
        return false;
    bool https = nexus__slice_eq_c(p.scheme, "https"), http = nexus__slice_eq_c(p.scheme, "http");
    if (!https && !http) {
        *why = "a scheme of your own is a domain name turned round, such as com.example.app";
        return nexus__slice_find(p.scheme, '.') < p.scheme.n && p.rest.n > 0;
    }
    nexus_slice host = host_of(p.authority, &port);
    *why = "must have a lower-case host and, if any, a port";
    if (!is_host(host) || !is_port(port))
        return false;
    *why = "must be https, unless it is this machine";
    return https || is_loopback_address(host) || nexus__slice_eq_c(host, "localhost");
}

/* --- comparing ------------------------------------------------------------------------------------------------------- */

bool nexus__oauth_redirect_is(nexus_slice registered, nexus_slice given)
{
    parts a, b;
    nexus_slice a_port, b_port;
    if (nexus__slice_eq(registered, given))
        return registered.n > 0;
    if (!split(registered, &a) || !split(given, &b) || !nexus__slice_eq_c(a.scheme, "http") ||
        !nexus__slice_eq_c(b.scheme, "http"))
        return false;
    nexus_slice a_host = host_of(a.authority, &a_port), b_host = host_of(b.authority, &b_port);
    /* The port was given by the system when the native application began to listen. */
    return is_loopback_address(a_host) && nexus__slice_eq(a_host, b_host) && nexus__slice_eq(a.rest, b.rest) &&
           a_host.n + a_port.n + (a_port.n > 0) == a.authority.n &&
           b_host.n + b_port.n + (b_port.n > 0) == b.authority.n && is_port(b_port);
}
