/*
 * Checkpoints: NAME.state.blob.X says in which of two slots the blob X lies and how it ends, NAME.state.blob.X.SLOT.I are
 * its pieces. The slot that is not in use is written, then the first message changes: a blob is there whole, or the one
 * before it is. Owners that overlap can spoil one at worst, which its CRC shows.
 */
#include <stdio.h>

#include "base/codec.h"
#include "base/status.h"
#include "bus/engines/nats.h"

typedef struct blob_head {
    uint32_t slot, pieces, crc, reserved;
    uint64_t bytes;
} blob_head;

static void piece_subject(char out[static NATS_SUBJECT_MAX], const nexus__nats *n, const char *name, uint32_t slot,
                          const char *piece)
{
    snprintf(out, NATS_SUBJECT_MAX, "%s.state.blob.%s.%u.%s", n->name, name, slot, piece);
}

static void head_subject(char out[static NATS_SUBJECT_MAX], const nexus__nats *n, const char *name)
{
    snprintf(out, NATS_SUBJECT_MAX, "%s.state.blob.%s", n->name, name);
}

static nexus_status read_head(nexus__nats *n, const char *name, blob_head *out)
{
    char subject[NATS_SUBJECT_MAX];
    natsMsg *m = NULL;
    head_subject(subject, n, name);
    nexus_status status = nexus__nats_last(n, &m, n->state_stream, subject);
    if (status == NEXUS_ENOTFOUND)
        return nexus__fail(status, "there is no checkpoint %s", name);
    if (status != NEXUS_OK)
        return status;
    nexus_slice data = nexus__nats_data(m);
    if (data.n == sizeof *out)
        memcpy(out, data.p, sizeof *out);
    else
        status = nexus__fail(NEXUS_ECORRUPT, "the checkpoint %s is not one of ours", name);
    natsMsg_Destroy(m);
    return status;
}

static nexus_status empty_slot(nexus__nats *n, const char *name, uint32_t slot)
{
    char subject[NATS_SUBJECT_MAX];
    jsOptions opts;
    jsErrCode code = 0;
    piece_subject(subject, n, name, slot, "*");
    jsOptions_Init(&opts);
    opts.Stream.Purge.Subject = subject;
    natsStatus s = js_PurgeStream(n->js, n->state_stream, &opts, &code);
    return s == NATS_OK ? NEXUS_OK : nexus__nats_fail(s, code, "empty the slot of a checkpoint");
}

static nexus_status put_pieces(nexus__nats *n, const char *name, nexus_slice blob, blob_head *head)
{
    char subject[NATS_SUBJECT_MAX], number[16];
    size_t most = n->payload_max;
    nexus_status status = NEXUS_OK;
    for (size_t at = 0; at < blob.n && status == NEXUS_OK; at += most) {
        nexus_slice piece = nexus__slice(blob.p + at, blob.n - at < most ? blob.n - at : most);
        snprintf(number, sizeof number, "%u", head->pieces++);
        piece_subject(subject, n, name, head->slot, number);
        const nexus__nats_put put = {.subject = subject, .data = piece};
        status = nexus__nats_publish(n, &put, NULL);
    }
    return status;
}

nexus_status nexus__nats_put_blob(nexus__nats *n, const char *name, nexus_slice blob)
{
    char subject[NATS_SUBJECT_MAX];
    blob_head before = {.slot = 1}, head = {.bytes = blob.n, .crc = nexus__crc32c(0, blob.p, blob.n)};
    nexus_status status = read_head(n, name, &before);
    if (status != NEXUS_OK && status != NEXUS_ENOTFOUND && status != NEXUS_ECORRUPT)
        return status;
    head.slot = !before.slot;
    status = empty_slot(n, name, head.slot);
    if (status == NEXUS_OK)
        status = put_pieces(n, name, blob, &head);
    if (status != NEXUS_OK)
        return status;
    head_subject(subject, n, name);
    const nexus__nats_put put = {.subject = subject, .data = nexus__slice(&head, sizeof head)};
    status = nexus__nats_publish(n, &put, NULL);
    return status == NEXUS_OK ? empty_slot(n, name, before.slot) : status;
}

nexus_status nexus__nats_get_blob(nexus__nats *n, const char *name, nexus__buf *out)
{
    char subject[NATS_SUBJECT_MAX], number[16];
    blob_head head;
    size_t start = out->len;
    nexus_status status = read_head(n, name, &head);
    for (uint32_t i = 0; status == NEXUS_OK && i < head.pieces; i++) {
        natsMsg *m = NULL;
        snprintf(number, sizeof number, "%u", i);
        piece_subject(subject, n, name, head.slot, number);
        status = nexus__nats_last(n, &m, n->state_stream, subject);
        if (status == NEXUS_OK)
            nexus__buf_slice_append(out, nexus__nats_data(m));
        natsMsg_Destroy(m);
    }
    if (status == NEXUS_OK)
        status = out->status;
    bool whole = status == NEXUS_OK && out->len - start == head.bytes &&
                 nexus__crc32c(0, out->p + start, out->len - start) == head.crc;
    if (whole || (status != NEXUS_OK && status != NEXUS_ENOTFOUND))
        return status;
    return out->len == start && status == NEXUS_ENOTFOUND
               ? status
               : nexus__fail(NEXUS_ECORRUPT, "the checkpoint %s fails its check", name);
}
