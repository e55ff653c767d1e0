/* Verifying and repairing the directory of a bus that is not open, for operators: what the log's own inspection finds, and
 * the checkpoints, as JSON. */
#include "wal/inspect.h"

#include <stdio.h>

#include "base/status.h"
#include "bus/internal.h"
#include "bus/state.h"
#include "json/write.h"

static nexus_status dir_of(const char *url, const char **dir)
{
    nexus_slice text = nexus__slice_c(url);
    if (!nexus__slice_starts(text, NEXUS_S("file:")) || text.n == 5)
        return nexus__fail(NEXUS_EINVAL, "bus URL \"%s\": only file:DIR can be verified", url ? url : "");
    *dir = url + 5;
    return NEXUS_OK;
}

static void write_finding(const nexus__wal_finding *f, void *user_data)
{
    nexus__json_writer *w = user_data;
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "file", f->file);
    nexus__json_put_u64(w, "offset", f->at);
    nexus__json_put_u64(w, "bytes", f->bytes);
    if (f->to_pos) {
        nexus__json_put_u64(w, "from", f->from_pos);
        nexus__json_put_u64(w, "to", f->to_pos);
    }
    nexus__json_put_text_c(w, "what", f->what);
    nexus__json_close(w, '}');
}

/* One that is bad is removed when repairing: the other one and the log make up for it. */
static void check_checkpoint(nexus__wal *wal, const char *name, bool repair, nexus__json_writer *w, uint32_t *good,
                             uint32_t *bad)
{
    char *blob, file[48];
    size_t n;
    nexus_status status = nexus__wal_checkpoint_read(wal, name, &blob, &n);
    *good += status == NEXUS_OK;
    if (status == NEXUS_OK)
        nexus__free(NULL, blob);
    if (status == NEXUS_OK || status == NEXUS_ENOTFOUND)
        return;
    snprintf(file, sizeof file, "%s.ckpt", name);
    nexus__wal_finding f = {.file = file, .what = "the checkpoint fails its check"};
    write_finding(&f, w);
    ++*bad;
    if (repair)
        nexus__wal_checkpoint_remove(wal, name);
}

static nexus_status check_checkpoints(const char *dir, bool repair, nexus__json_writer *w, uint32_t *good, uint32_t *bad)
{
    nexus__wal *wal;
    uint64_t end;
    nexus_status status = nexus__wal_view_open(&wal, dir, NULL, &end);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < 2; i++)
        check_checkpoint(wal, nexus__state_names[i], repair, w, good, bad);
    nexus__wal_close(wal);
    return NEXUS_OK;
}

static nexus_status inspect(const char *dir, bool repair, nexus__buf *json)
{
    nexus__json_writer w = nexus__json_writer_on(json);
    nexus__wal_inspection found;
    uint32_t good = 0, bad = 0;
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "bad");
    nexus__json_open(&w, '[');
    nexus_status status = nexus__wal_inspect(dir, NULL, repair, write_finding, &w, &found);
    if (status == NEXUS_OK)
        status = check_checkpoints(dir, repair, &w, &good, &bad);
    nexus__json_close(&w, ']');
    if (status != NEXUS_OK)
        return status;
    bool stateless = found.first_pos > 1 && !good;
    if (stateless && repair)
        status = nexus__broker_rescue(dir);
    nexus__json_put_bool(&w, "ok", !found.findings && !bad && !stateless);
    nexus__json_put_bool(&w, "state_lost", stateless);
    nexus__json_put_u64(&w, "files", found.files);
    nexus__json_put_u64(&w, "bytes", found.bytes);
    nexus__json_put_u64(&w, "batches", found.batches);
    nexus__json_put_u64(&w, "records", found.records);
    nexus__json_put_u64(&w, "first", found.first_pos);
    nexus__json_put_u64(&w, "last", found.last_pos);
    nexus__json_put_u64(&w, "tail_bytes", found.tail_bytes);
    nexus__json_put_u64(&w, "checkpoints", good);
    nexus__json_put_u64(&w, "repaired", found.repaired);
    nexus__json_close(&w, '}');
    return status == NEXUS_OK ? json->status : status;
}

static nexus_status report(char **out, size_t *n, const char *url, bool repair)
{
    const char *dir = NULL;
    nexus__buf json;
    nexus__buf_init(&json, NULL, 0);
    nexus_status status = dir_of(url, &dir);
    if (status == NEXUS_OK)
        status = inspect(dir, repair, &json);
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(&json, out, n);
    nexus__buf_free(&json);
    return status;
}

nexus_status nexus_bus_verify(char **out, size_t *n, const char *url)
{
    return report(out, n, url, false);
}

nexus_status nexus_bus_repair(char **out, size_t *n, const char *url)
{
    return report(out, n, url, true);
}
