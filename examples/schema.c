/* Checks JSON text against a schema: what is wrong, where, and what to do about it. */
#include <nexus/schema.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    const char *text = "{\"type\":\"object\",\"required\":[\"sku\"],\"properties\":{\"sku\":{\"type\":\"string\"},"
                       "\"quantity\":{\"type\":\"integer\",\"minimum\":1}}}";
    const char *order = "{\"quantity\":0}";
    nexus_schema *schema = NULL;
    nexus_schema_report *report = NULL;
    nexus_schema_error error = {sizeof error, {0, 0}, {0, 0}, {0, 0}, 0, 0};

    if (nexus_schema_compile(&schema, text, strlen(text), NULL) != NEXUS_OK)
        return fprintf(stderr, "%s\n", nexus_error_message()), 1;
    if (nexus_schema_check(schema, order, strlen(order), &report) == NEXUS_OK)
        puts("valid");
    for (size_t i = 0; nexus_schema_report_at(report, i, &error); i++)
        printf("%u:%u %.*s: %.*s\n", error.line, error.column, (int)error.pointer.n, error.pointer.p,
               (int)error.detail.n, error.detail.p);
    nexus_schema_report_free(report);
    nexus_schema_free(schema);
    return 0;
}
