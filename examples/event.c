/* CloudEvents without a bus: reads one event as JSON from standard input and shows it as an HTTP message. */
#include <nexus/event.h>
#include <stdio.h>

int main(void)
{
    char text[65536];
    size_t i, count, n = fread(text, 1, sizeof text, stdin);
    nexus_event_doc *doc = NULL;
    nexus_event_http *http = NULL;
    nexus_slice body;
    if (nexus_event_parse(&doc, text, n, NEXUS_EVENT_STRICT) || nexus_event_doc_count(doc) != 1 ||
        nexus_event_to_http(&http, nexus_event_doc_at(doc, 0), NEXUS_EVENT_BINARY)) {
        fprintf(stderr, "%s\n", nexus_error_message());
        nexus_event_doc_free(doc);
        return 1;
    }
    const nexus_pair *headers = nexus_event_http_headers(http, &count);
    for (i = 0; i < count; i++)
        printf("%.*s: %.*s\n", (int)headers[i].name.n, headers[i].name.p, (int)headers[i].value.n, headers[i].value.p);
    nexus_event_http_body(http, &body);
    printf("\n%.*s\n", (int)body.n, body.p);
    nexus_event_http_free(http);
    nexus_event_doc_free(doc);
    return 0;
}
