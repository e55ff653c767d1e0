/* Many threads check against one compiled schema, and render one template, at once. Run it under ThreadSanitizer. */
#include <nexus/schema.h>
#include <nexus/template.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static nexus_schema *schema;
static nexus_template *tpl;
static atomic_int wrong;

static void *work(void *unused)
{
    static const char good[] = "{\"id\":\"abc-1\",\"tree\":[[1,2],[3]],\"n\":1.50}",
                      bad[] = "{\"id\":\"?\",\"\\u0074ree\":[1,\"x\"]}";
    (void)unused;
    for (int i = 0; i < 500; i++) {
        nexus_schema_report *report = NULL;
        char *out = NULL;
        if (nexus_schema_check(schema, good, sizeof good - 1, NULL) != NEXUS_OK)
            wrong++;
        if (nexus_schema_check(schema, bad, sizeof bad - 1, &report) != NEXUS_EINVAL ||
            nexus_schema_report_count(report) != 3)
            wrong++;
        nexus_schema_report_free(report);
        if (nexus_template_render(&out, NULL, tpl, good, sizeof good - 1, NULL) != NEXUS_OK ||
            strcmp(out, "abc-1 1;2;3;") != 0)
            wrong++;
        nexus_free(out);
    }
    return NULL;
}

int main(void)
{
    static const char text[] =
        "{\"required\":[\"n\"],\"properties\":{\"id\":{\"pattern\":\"^[a-z]{1,200}-\\\\d$\"},\"tree\":{\"$ref\":\"#t\"}"
        ","
        "\"n\":{\"enum\":[1.5]}},\"$defs\":{\"t\":{\"$dynamicAnchor\":\"t\",\"anyOf\":[{\"type\":\"integer\"},"
        "{\"type\":\"array\",\"uniqueItems\":true,\"items\":{\"$dynamicRef\":\"#t\"}}]}}}";
    static const char mustache[] = "{{id}} {{#tree}}{{#.}}{{.}};{{/.}}{{/tree}}";
    pthread_t threads[8];
    if (nexus_schema_compile(&schema, text, sizeof text - 1, NULL) != NEXUS_OK ||
        nexus_template_compile(&tpl, mustache, sizeof mustache - 1, NULL) != NEXUS_OK) {
        fprintf(stderr, "%s\n", nexus_error_message());
        return 1;
    }
    for (size_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    nexus_schema_free(schema);
    nexus_template_free(tpl);
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
