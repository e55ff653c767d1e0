/*
 * What a route does to bodies of answers: a JSON transform, for which a body is collected, and gzip, through which it
 * streams. Only routes that name one of the two have a stage; all others pass bytes as they come.
 */
#ifndef NEXUS_GATEWAY_STAGE_H
#define NEXUS_GATEWAY_STAGE_H

#include <sys/uio.h>

#include "gateway/gateway.h"

/* Of the filter "compress". */
typedef struct nexus__compress_conf {
    bool on;
    uint32_t level, min_bytes;
    nexus__text_list types; /* "text/" stands for all that begin so */
} nexus__compress_conf;

typedef struct nexus__stage {
    nexus__call *call;
    const struct nexus__transform *transform; /* NULL = none */
    struct nexus__deflater *gzip;             /* NULL = none */
    bool collecting;                          /* the head waits until the body is there */
    bool wants_gzip;
    enum { NEXUS__STAGE_PLAIN, NEXUS__STAGE_PACKED } coding; /* of what is collected */
    nexus__http_head *head; /* kept while collecting */
    char *base;
    nexus__buf body;
} nexus__stage;

enum nexus__stage_plan {
    NEXUS__STAGE_NOTHING,
    NEXUS__STAGE_COLLECT, /* nexus__stage_take, then nexus__stage_finish */
    NEXUS__STAGE_STREAM,  /* nexus__stage_code for every batch */
    NEXUS__STAGE_HEAD,    /* no body, but the one that there would be is another: its length is not upstream's */
    NEXUS__STAGE_REFUSED  /* answered */
};

/* With the head of an answer; sets what is to change about its fields. total: bytes of body that are there, all when
 * `whole`. */
enum nexus__stage_plan nexus__stage_open(nexus__call *call, const nexus__http_head *head, const char *base, size_t total,
                                         bool whole);
/* false: over the limit. */
bool nexus__stage_take(nexus__stage *stage, nexus_slice piece);
/* The body as it goes out, in the loop's memory, which outlives the call. false: answered. */
bool nexus__stage_finish(nexus__stage *stage, nexus_slice *out);
/* The pieces as gzip, likewise. */
nexus_slice nexus__stage_code(nexus__stage *stage, const struct iovec *pieces, size_t n, bool end);

/* Whether an answer of this kind is worth it and may be compressed, whoever asks. */
bool nexus__compress_may(const nexus__compress_conf *conf, const nexus__http_head *head, const char *base);

#endif
