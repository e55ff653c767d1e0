/* What a check found, in one arena. */
#include "base/status.h"
#include "json/schema/compiled.h"

typedef struct finding {
    struct finding *next;
    nexus_slice pointer, keyword, detail;
    uint32_t line, column;
} finding;

struct nexus_schema_report {
    nexus__arena arena;
    const nexus_alloc *alloc;
    finding *first, **last;
    size_t count, max;
    bool lost; /* out of memory */
};

nexus_status nexus__schema_report_new(nexus_schema_report **out, const nexus_alloc *alloc, uint32_t errors_max)
{
    nexus_schema_report *report = nexus__calloc(alloc, 1, sizeof *report);
    if (!report)
        return nexus__nomem();
    nexus__arena_init(&report->arena, alloc, 1024);
    report->alloc = alloc;
    report->last = &report->first;
    report->max = errors_max;
    *out = report;
    return NEXUS_OK;
}

static bool copy(nexus_schema_report *report, nexus_slice text, nexus_slice *out)
{
    *out = nexus__arena_copy(&report->arena, text);
    return out->p != NULL;
}

static void append(nexus_schema_report *report, nexus_slice pointer, const char *keyword, const char *detail,
                   nexus_slice text, size_t at)
{
    finding *f = nexus__arena_get(&report->arena, sizeof *f);
    if (!f || !copy(report, pointer, &f->pointer) || !copy(report, nexus__slice_c(keyword), &f->keyword) ||
        !copy(report, nexus__slice_c(detail), &f->detail)) {
        report->lost = true;
        return;
    }
    f->next = NULL;
    nexus__json_position(text, at, &f->line, &f->column);
    *report->last = f;
    report->last = &f->next;
    report->count++;
}

void nexus__schema_report_add(nexus_schema_report *report, const nexus__json *doc, uint32_t v, nexus_slice child,
                              const char *keyword, const char *detail)
{
    if (report->count == report->max || report->lost)
        return;
    nexus__buf pointer;
    nexus__buf_init(&pointer, report->alloc, 0);
    nexus__json_pointer_append(doc, v, &pointer);
    if (child.p)
        nexus__json_token_append(&pointer, child);
    if (pointer.status == NEXUS_OK)
        append(report, nexus__buf_slice(&pointer), keyword, detail, doc->text, doc->nodes[v].start);
    else
        report->lost = true;
    nexus__buf_free(&pointer);
}

nexus_status nexus__schema_report_fail(const nexus_schema_report *report)
{
    if (!report)
        return nexus__fail(NEXUS_EINVAL, "the JSON value does not fit the schema");
    if (report->lost)
        return nexus__nomem();
    const finding *f = report->first;
    if (!f)
        return nexus__fail(NEXUS_EINVAL, "the JSON value does not fit the schema");
    return nexus__fail(NEXUS_EINVAL, "at \"%.*s\" (line %u, column %u): %.*s", (int)f->pointer.n, f->pointer.p, f->line,
                       f->column, (int)f->detail.n, f->detail.p);
}

nexus_status nexus__schema_report_syntax(const nexus__json *doc, const nexus_alloc *alloc, nexus_schema_report **report)
{
    char words[512];
    strncpy(words, nexus_error_message(), sizeof words - 1);
    words[sizeof words - 1] = '\0';
    if (report) {
        nexus_schema_report *made = NULL;
        nexus_status status = nexus__schema_report_new(&made, alloc, 1);
        if (status != NEXUS_OK)
            return status;
        append(made, NEXUS_S(""), "json", words, doc->text, doc->error_at);
        if (made->lost) {
            nexus_schema_report_free(made);
            return nexus__nomem();
        }
        *report = made;
    }
    return nexus__fail(NEXUS_EPROTO, "not JSON: %s", words);
}

size_t nexus_schema_report_count(const nexus_schema_report *report)
{
    return report ? report->count : 0;
}

bool nexus_schema_report_at(const nexus_schema_report *report, size_t i, nexus_schema_error *out)
{
    const finding *f = report ? report->first : NULL;
    while (f && i--)
        f = f->next;
    if (!f)
        return false;
    nexus_schema_error all = {sizeof all, f->pointer, f->keyword, f->detail, f->line, f->column};
    size_t size = out->size;
    memcpy(out, &all, size < sizeof all ? size : sizeof all);
    out->size = size;
    return true;
}

void nexus_schema_report_free(nexus_schema_report *report)
{
    if (!report)
        return;
    nexus__arena_free(&report->arena);
    nexus__free(report->alloc, report);
}
