/*
 * Checkpoints: a blob is written in pieces, one message each, which say of what they are a piece; the last whole one
 * counts. The key of a message is the blob and the number of the piece, so compaction keeps the last of each. A blob that
 * was not finished has spoilt the one before it, which its CRC shows: the bus keeps two.
 */
#include <stdio.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "bus/engines/kafka.h"

typedef struct piece_head {
    uint64_t blob; /* its own number */
    uint32_t piece, pieces, crc, reserved;
} piece_head;

static nexus_slice key_of(char out[static 80], const char *name, uint32_t piece)
{
    return nexus__slice(out, (size_t)snprintf(out, 80, "%.60s.%u", name, piece));
}

nexus_status nexus__kafka_put_blob(nexus__kafka *k, const char *name, nexus_slice blob)
{
    char key[80];
    size_t most = KAFKA_MESSAGE_MAX - sizeof(piece_head);
    piece_head head = {.blob = nexus__random_u64(),
                       .pieces = (uint32_t)(blob.n / most + 1),
                       .crc = nexus__crc32c(0, blob.p, blob.n)};
    nexus__buf body;
    nexus_status status = NEXUS_OK;
    nexus__buf_init(&body, k->alloc, 0);
    for (; head.piece < head.pieces && status == NEXUS_OK; head.piece++) {
        nexus_slice rest = nexus__slice_from(blob, head.piece * most);
        nexus__buf_clear(&body);
        nexus__buf_append(&body, &head, sizeof head);
        nexus__buf_append(&body, rest.p, rest.n < most ? rest.n : most);
        status = body.status;
        if (status == NEXUS_OK)
            status = nexus__kafka_note(k, k->state_topic, key_of(key, name, head.piece), nexus__buf_slice(&body));
    }
    nexus__buf_free(&body);
    return status;
}

/* What is read of the topic, message by message. */
typedef struct gathering {
    nexus__buf *out;
    size_t start;
    piece_head head; /* the last piece taken; pieces 0: none */
} gathering;

static void gather(gathering *g, const char *name, const rd_kafka_message_t *m)
{
    char key[80];
    piece_head head;
    nexus_slice value = nexus__kafka_value(m), has = nexus__slice(m->key, m->key_len);
    if (value.n < sizeof head)
        return;
    memcpy(&head, value.p, sizeof head);
    if (!nexus__slice_eq(has, key_of(key, name, head.piece)))
        return;
    bool next = g->head.pieces && head.blob == g->head.blob && head.piece == g->head.piece + 1;
    if (!next)
        g->out->len = g->start;
    g->head = head;
    nexus__buf_slice_append(g->out, nexus__slice_from(value, sizeof head));
    if (!next && head.piece)
        g->head.blob = 0; /* its beginning is gone: nothing can follow */
}

nexus_status nexus__kafka_get_blob(nexus__kafka *k, const char *name, nexus__buf *out)
{
    int64_t first, behind;
    rd_kafka_message_t *m;
    nexus__kafka_reader r;
    gathering g = {.out = out, .start = out->len};
    nexus_status status = nexus__kafka_reader_open(&r, k, k->state_topic);
    if (status != NEXUS_OK)
        return status;
    status = nexus__kafka_range(&r, &first, &behind);
    if (status == NEXUS_OK)
        status = first < behind ? nexus__kafka_seek(&r, first) : NEXUS_EDONE;
    while (status == NEXUS_OK && r.next < behind && (status = nexus__kafka_next(&r, &m)) == NEXUS_OK) {
        gather(&g, name, m);
        rd_kafka_message_destroy(m);
    }
    nexus__kafka_reader_close(&r);
    if (status != NEXUS_OK && status != NEXUS_EDONE)
        return status;
    if (out->status != NEXUS_OK)
        return out->status;
    if (!g.head.pieces)
        return nexus__fail(NEXUS_ENOTFOUND, "there is no checkpoint %s", name);
    bool whole = g.head.piece + 1 == g.head.pieces &&
                 nexus__crc32c(0, out->p + g.start, out->len - g.start) == g.head.crc;
    return whole ? NEXUS_OK : nexus__fail(NEXUS_ECORRUPT, "the checkpoint %s fails its check", name);
}
