/* Renders a Mustache template with JSON data; {{name}} is escaped for HTML, the list is a partial. */
#include <nexus/template.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    const char *text = "<p>Dear {{name}},</p>\n<ul>\n{{#items}}\n  {{>item}}\n{{/items}}\n</ul>\n";
    const char *data = "{\"name\":\"Ada <ada@example.com>\",\"items\":[{\"sku\":\"A-1\"},{\"sku\":\"B-2\"}]}";
    const char *item = "<li>{{sku}}</li>\n";
    nexus_pair partial = {{"item", 4}, {item, strlen(item)}};
    nexus_template_opts opts = NEXUS_TEMPLATE_OPTS_INIT;
    nexus_template *tpl = NULL;
    char *out = NULL;

    opts.partials = &partial;
    opts.partial_count = 1;
    if (nexus_template_compile(&tpl, text, strlen(text), &opts) != NEXUS_OK ||
        nexus_template_render(&out, NULL, tpl, data, strlen(data), NULL) != NEXUS_OK)
        return fprintf(stderr, "%s\n", nexus_error_message()), 1;
    fputs(out, stdout);
    nexus_free(out);
    nexus_template_free(tpl);
    return 0;
}
