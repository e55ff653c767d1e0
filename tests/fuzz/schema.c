/* A schema and an instance, parted by a NUL byte: compiled, and checked with and without a report. */
#include <nexus/schema.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *part = size ? memchr(data, 0, size) : NULL;
    size_t n = part ? (size_t)(part - data) : size;
    const char *json = part ? (const char *)part + 1 : "null";
    size_t json_bytes = part ? size - n - 1 : 4;
    nexus_schema_opts opts = NEXUS_SCHEMA_OPTS_INIT;
    opts.assert_format = true;
    nexus_schema *schema = NULL;
    if (nexus_schema_compile(&schema, (const char *)data, n, &opts) != NEXUS_OK)
        return 0;
    nexus_schema_report *report;
    nexus_status full = nexus_schema_check(schema, json, json_bytes, &report);
    nexus_status quick = nexus_schema_check(schema, json, json_bytes, NULL);
    bool limit = full == NEXUS_ETOOBIG || quick == NEXUS_ETOOBIG; /* a full report takes more steps */
    if ((!limit && full != quick) ||
        (full == NEXUS_EINVAL) != (nexus_schema_report_count(report) > 0 && full != NEXUS_EPROTO))
        abort();
    nexus_schema_error e = {sizeof e};
    for (size_t i = 0; nexus_schema_report_at(report, i, &e); i++)
        if (!e.keyword.n || !e.detail.n || !e.line)
            abort();
    nexus_schema_report_free(report);
    nexus_schema_free(schema);
    return 0;
}
