/*
 * The path as upstream gets it, and the target of a redirect: put together from the canonical path and what the route's
 * path captured of it. Pure.
 *
 * What comes out is brought into canonical form again, and a request whose captures would make of it anything but a plain
 * path is refused: dot segments ("/api(.*)" and "{path.1}" on "/api./admin"), or an escaped control character.
 */
#ifndef NEXUS_GATEWAY_REWRITE_H
#define NEXUS_GATEWAY_REWRITE_H

#include "gateway/loader.h"
#include "gateway/pattern.h"

typedef struct nexus__rewrite_conf {
    nexus_slice strip, add; /* prefixes */
    nexus_slice text;       /* of `to` */
    nexus__pattern to;      /* in place of both: text and {path.NAME} only */
} nexus__rewrite_conf;

static inline bool nexus__rewrite_is(const nexus__rewrite_conf *conf)
{
    return conf->strip.n || conf->add.n || conf->to.count;
}

/* What a request brings: its canonical path and the captures of it, still escaped. */
typedef struct nexus__rewrite_input {
    nexus_slice path;
    const nexus_pair *captures;
    uint32_t capture_count;
    uint32_t flags; /* NEXUS_PATH_… of its route */
} nexus__rewrite_input;

/* Bytes of room that a result may take. */
size_t nexus__rewrite_room(const nexus__rewrite_conf *conf, const nexus__rewrite_input *in);
/* *out stands in room or in in->path. NEXUS_EPERM: the request is to blame; NEXUS_EINVAL: the routes file is. */
nexus_status nexus__rewrite_path(const nexus__rewrite_conf *conf, const nexus__rewrite_input *in, char *room,
                                 nexus_slice *out) NEXUS_MUST_CHECK;

/* A target: "https://host/a/{path.x}?b={path.y}" or "/a/{path.x}". */
typedef struct nexus__redirect_conf {
    uint16_t status;
    nexus_slice text;
    nexus__pattern to;
    uint32_t path_at; /* where in the text of the first piece the path begins */
    bool has_query;   /* of its own: the client's is left out */
} nexus__redirect_conf;

/* Bytes of room that a target may take. */
size_t nexus__redirect_room(const nexus__redirect_conf *conf, const nexus__rewrite_input *in, nexus_slice query);
/* NEXUS_EPERM: the target would lead elsewhere or hold control characters; the request is to blame. */
nexus_status nexus__redirect_target(const nexus__redirect_conf *conf, const nexus__rewrite_input *in, nexus_slice query,
                                    char *room, nexus_slice *out) NEXUS_MUST_CHECK;

/* config/rewrite.c */
nexus_status nexus__rewrite_load_to(nexus__loader *l, uint32_t value, void *out /* nexus__rewrite_conf */);
nexus_status nexus__redirect_load_to(nexus__loader *l, uint32_t value, void *out /* nexus__redirect_conf */);
nexus_status nexus__rewrite_check(nexus__loader *l, uint32_t value, const nexus__rewrite_conf *conf);

#endif
