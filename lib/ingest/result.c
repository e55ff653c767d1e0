#include "ingest/result.h"

#include "base/status.h"
#include "json/write.h"

nexus_ingest_result *nexus__result_new(const nexus_alloc *alloc, uint32_t entries_max)
{
    nexus_ingest_result *r = nexus__calloc(alloc, 1, sizeof *r);
    if (!r)
        return NULL;
    r->alloc = alloc;
    r->counts.size = sizeof r->counts;
    nexus__buf_init(&r->json, alloc, 0);
    nexus__arena_init(&r->arena, alloc, 0);
    r->entries = nexus__calloc(alloc, entries_max ? entries_max : 1, sizeof *r->entries);
    if (!r->entries) {
        nexus_ingest_result_free(r);
        return NULL;
    }
    return r;
}

static void write_warnings(nexus__json_writer *w, uint32_t warnings)
{
    nexus__buf text;
    if (warnings == 0)
        return;
    nexus__buf_init(&text, NULL, 0);
    nexus__event_warnings(&text, warnings);
    nexus__json_put_text(w, "warning", nexus__buf_slice(&text));
    nexus__buf_free(&text);
}

static void write_entry(nexus__json_writer *w, const nexus__entry *e)
{
    static const char *const states[] = {"valid", "accepted", "duplicate", "rejected", "retry"};
    if (e->event.id.n != 0)
        nexus__json_put_text(w, "id", e->event.id);
    nexus__json_put_text_c(w, "status", states[e->state]);
    if (e->fault) {
        nexus__json_put_text_c(w, "code", nexus__event_code_name(e->fault->code));
        nexus__json_put_text_c(w, "field", e->fault->field);
        nexus__json_put_text_c(w, "message", e->fault->message);
    }
    write_warnings(w, e->warnings);
}

static void write_batch(nexus_ingest_result *r, nexus__json_writer *w, bool all)
{
    nexus__json_put_u64(w, "accepted", r->counts.accepted);
    nexus__json_put_u64(w, "duplicate", r->counts.duplicate);
    nexus__json_put_u64(w, "rejected", r->counts.rejected);
    nexus__json_put_u64(w, "retry", r->counts.retry);
    nexus__json_key(w, "results");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < r->entry_count; i++) {
        if (r->entries[i].state <= NEXUS__ENTRY_ACCEPTED && !all)
            continue;
        nexus__json_open(w, '{');
        nexus__json_put_u64(w, "index", i);
        write_entry(w, &r->entries[i]);
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

static void count_entries(nexus_ingest_result *r)
{
    for (uint32_t i = 0; i < r->entry_count; i++)
        switch (r->entries[i].state) {
        case NEXUS__ENTRY_ACCEPTED:
            r->counts.accepted++;
            break;
        case NEXUS__ENTRY_DUPLICATE:
            r->counts.duplicate++;
            break;
        case NEXUS__ENTRY_REJECTED:
            r->refused[r->refused_count++] = i;
            r->counts.rejected++;
            break;
        default: /* still valid: an atomic batch that was refused because of others */
            r->counts.retry += r->entries[i].state == NEXUS__ENTRY_RETRY;
            break;
        }
}

nexus_status nexus__result_finish(nexus_ingest_result *r, bool batch, bool all)
{
    r->refused = nexus__arena_get(&r->arena, (r->entry_count + 1) * sizeof *r->refused);
    if (!r->refused)
        return nexus__nomem();
    count_entries(r);
    nexus__json_writer w = nexus__json_writer_on(&r->json);
    nexus__json_open(&w, '{');
    if (batch)
        write_batch(r, &w, all);
    else
        write_entry(&w, &r->entries[0]);
    nexus__json_close(&w, '}');
    nexus__buf_char(&r->json, '\0'); /* kept behind the text for C callers; not counted */
    return r->json.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
}

void nexus_ingest_result_counts(const nexus_ingest_result *result, nexus_ingest_counts *counts)
{
    size_t size = counts->size < sizeof *counts ? counts->size : sizeof *counts;
    nexus_ingest_counts all = result->counts;
    all.size = counts->size;
    memcpy(counts, &all, size);
}

const char *nexus_ingest_result_json(const nexus_ingest_result *result, size_t *len)
{
    if (len)
        *len = result->json.len - 1;
    return result->json.p;
}

bool nexus_ingest_result_error(const nexus_ingest_result *result, size_t i, nexus_ingest_error *error)
{
    if (i >= result->refused_count)
        return false;
    const nexus__event_fault *fault = result->entries[result->refused[i]].fault;
    nexus_ingest_error all = {.size = error->size,
                              .index = result->refused[i],
                              .code = nexus__slice_c(nexus__event_code_name(fault->code)),
                              .field = nexus__slice_c(fault->field),
                              .message = nexus__slice_c(fault->message)};
    memcpy(error, &all, error->size < sizeof all ? error->size : sizeof all);
    return true;
}

void nexus_ingest_result_free(nexus_ingest_result *result)
{
    if (!result)
        return;
    nexus__buf_free(&result->json);
    nexus__arena_free(&result->arena);
    nexus__free(result->alloc, result->entries);
    nexus__free(result->alloc, result);
}
