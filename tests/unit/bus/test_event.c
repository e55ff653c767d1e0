/* bus/: CloudEvents, from ../shared/data/cloudevents and from the specification. */
#include "fixture.h"

static nexus_event_doc *parsed(const char *json)
{
    nexus_event_doc *doc = NULL;
    cr_assert(nexus_event_parse(&doc, json, strlen(json), NEXUS_EVENT_STRICT) == NEXUS_OK, "%s: %s", json,
              nexus_error_message());
    return doc;
}

static void refused(const char *json, const char *names)
{
    nexus_event_doc *doc = NULL;
    cr_assert(nexus_event_parse(&doc, json, strlen(json), NEXUS_EVENT_STRICT) == NEXUS_EINVAL, "%s", json);
    cr_assert(strstr(nexus_error_message(), names), "%s: %s", json, nexus_error_message());
}

#define REQUIRED "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static bool eq(nexus_slice s, const char *t)
{
    return s.n == strlen(t) && memcmp(s.p, t, s.n) == 0;
}

Test(event, the_json_form_reads_and_writes_back)
{
    nexus_event_doc *doc =
        parsed("{" REQUIRED
               ",\"time\":\"2018-04-05T03:56:24Z\",\"subject\":\"order-1\",\"comexampleextension1\":\"va\\\"lue\","
               "\"flag\":true,\"num\":5,\"rev\":3,\"traceparent\":\"00-x\",\"data\":{\"message\":\"Hello, "
               "\\u00e9\"}}");
    const nexus_event *e = nexus_event_doc_at(doc, 0);
    cr_assert(nexus_event_doc_count(doc) == 1 && nexus_event_doc_at(doc, 1) == NULL);
    cr_assert(eq(e->type, "t") && eq(e->subject, "order-1") && e->rev == 3 && e->ext_count == 3);
    cr_assert(e->time_ns == 1522900584000000000LL);
    cr_assert(eq(e->ext[0].value, "va\"lue") && eq(e->ext[1].value, "true") && eq(e->ext[2].value, "5"));
    char *text1, *text2;
    size_t n;
    cr_assert(nexus_event_format(&text1, &n, e) == NEXUS_OK && strlen(text1) == n);
    nexus_event_doc *again = parsed(text1);
    cr_assert(nexus_event_format(&text2, NULL, nexus_event_doc_at(again, 0)) == NEXUS_OK);
    cr_assert_str_eq(text1, text2);
    nexus_free(text1);
    nexus_free(text2);
    nexus_event_doc_free(doc);
    nexus_event_doc_free(again);
}

Test(event, data_is_json_text_or_base64_by_its_content_type)
{
    nexus_event_doc *doc =
        parsed("{" REQUIRED ",\"datacontenttype\":\"text/plain; charset=utf-8\",\"data\":\"Hello, \\ud83c\\udf0e!\"}");
    cr_assert(eq(nexus_event_doc_at(doc, 0)->data, "Hello, \xf0\x9f\x8c\x8e!"));
    nexus_event_doc_free(doc);
    doc = parsed("{" REQUIRED ",\"data\":\"just text\"}");
    cr_assert(eq(nexus_event_doc_at(doc, 0)->data, "\"just text\""));
    nexus_event_doc_free(doc);
    doc = parsed("{" REQUIRED ",\"datacontenttype\":\"application/octet-stream\",\"data_base64\":\"AAEC/w==\"}");
    nexus_slice data = nexus_event_doc_at(doc, 0)->data;
    cr_assert(data.n == 4 && memcmp(data.p, "\0\1\2\377", 4) == 0);
    char *text;
    cr_assert(nexus_event_format(&text, NULL, nexus_event_doc_at(doc, 0)) == NEXUS_OK);
    cr_assert(strstr(text, "\"data_base64\":\"AAEC/w==\"}"), "%s", text);
    nexus_free(text);
    nexus_event_doc_free(doc);
}

Test(event, what_is_wrong_is_named)
{
    refused("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\"}", "\"type\"");
    refused("{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/s\",\"type\":\"t\"}", "\"id\"");
    refused("{\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}", "specversion");
    refused("{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}", "specversion");
    refused("{" REQUIRED ",\"Data\":1}", "\"Data\"");
    refused("{" REQUIRED ",\"with_underscore\":\"1\"}", "with_underscore");
    refused("{" REQUIRED ",\"time\":\"yesterday\"}", "\"time\"");
    refused("{" REQUIRED ",\"subject\":\"a\\u0007b\"}", "\"subject\"");
    refused("{" REQUIRED ",\"ext\":{\"a\":1}}", "\"ext\"");
    refused("{" REQUIRED ",\"ext\":4294967296}", "\"ext\"");
    refused("{" REQUIRED ",\"dataschema\":\"not a uri\"}", "\"dataschema\"");
    refused("{" REQUIRED ",\"data\":1,\"data_base64\":\"AA==\"}", "data_base64");
    refused("{" REQUIRED ",\"data_base64\":\"?\"}", "data_base64");
    refused("[{" REQUIRED "},{}]", "event 1");
    refused("7", "object");
    char bad[] = "{" REQUIRED ",\"subject\":\"a\xff\"}";
    nexus_event_doc *doc;
    cr_assert(nexus_event_parse(&doc, bad, strlen(bad), 0) == NEXUS_EINVAL);
}

static nexus_pair pair(const char *name, const char *value)
{
    return (nexus_pair){text(name), text(value)};
}

static const char body[] = "{\"message\": \"Hello World!\"}";

static void check_http_event(const nexus_pair *headers, size_t n, const char *content)
{
    nexus_event_doc *doc;
    cr_assert(nexus_event_from_http(&doc, headers, n, text(content)) == NEXUS_OK, "%s", nexus_error_message());
    const nexus_event *e = nexus_event_doc_at(doc, 0);
    cr_assert(eq(e->id, "1234-1234-1234") && eq(e->type, "com.example.someevent") &&
              eq(e->source, "/mycontext/subcontext") && e->time_ns == 1522900584000000000LL);
    cr_assert(eq(e->data, body));
    nexus_event_doc_free(doc);
}

/* The scenarios of http-protocol-binding.feature. */
Test(event, http_binary_and_structured_mode_read_the_same)
{
    const char *types[] = {"application/json", "application/json; charset=utf-8"};
    for (int i = 0; i < 2; i++) {
        nexus_pair headers[] = {pair("Host", "example.com"),
                                pair("ce-specversion", "1.0"),
                                pair("ce-type", "com.example.someevent"),
                                pair("Ce-Time", "2018-04-05T03:56:24Z"),
                                pair("CE-ID", "1234-1234-1234"),
                                pair("ce-source", "/mycontext/subcontext"),
                                pair("Content-Type", types[i])};
        check_http_event(headers, 7, body);
    }
    const char *structured[] = {"application/cloudevents+json", "application/cloudevents+json; charset=utf-8"};
    for (int i = 0; i < 2; i++) {
        nexus_pair header = pair("Content-Type", structured[i]);
        check_http_event(
            &header, 1,
            "{\"specversion\":\"1.0\",\"type\":\"com.example.someevent\",\"time\":\"2018-04-05T03:56:24Z\","
            "\"id\":\"1234-1234-1234\",\"source\":\"/mycontext/subcontext\",\"datacontenttype\":"
            "\"application/json\",\"data\":{\"message\": \"Hello World!\"}}");
    }
}

Test(event, http_refuses_what_is_no_event)
{
    nexus_event_doc *doc;
    nexus_pair plain = pair("content-type", "application/json");
    cr_assert(nexus_event_from_http(&doc, &plain, 1, text("{}")) == NEXUS_EINVAL);
    nexus_pair avro = pair("content-type", "application/cloudevents+avro");
    cr_assert(nexus_event_from_http(&doc, &avro, 1, text("{}")) == NEXUS_ENOTSUP);
    nexus_pair batch = pair("content-type", "application/cloudevents-batch+json");
    cr_assert(nexus_event_from_http(&doc, &batch, 1, text("{" REQUIRED "}")) == NEXUS_EINVAL);
    cr_assert(nexus_event_from_http(&doc, &batch, 1, text("[{" REQUIRED "}]")) == NEXUS_OK);
    nexus_event_doc_free(doc);
}

Test(event, http_messages_read_back_in_both_modes)
{
    nexus_pair ext = pair("note", "50% of \"\xe2\x82\xac\" here");
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text("i 1");
    e.source = text("/s");
    e.type = text("a.b");
    e.subject = text("\xc3\xa9t\xc3\xa9");
    e.time_ns = 1522900584000000000LL;
    e.rev = 2;
    e.data = text(body);
    e.ext = &ext;
    e.ext_count = 1;
    for (uint32_t mode = 0; mode < 2; mode++) {
        nexus_event_http *http;
        size_t n;
        nexus_slice content;
        cr_assert(nexus_event_to_http(&http, &e, mode) == NEXUS_OK);
        const nexus_pair *headers = nexus_event_http_headers(http, &n);
        nexus_event_http_body(http, &content);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < headers[i].value.n; k++)
                cr_assert(headers[i].value.p[k] >= ' ' && headers[i].value.p[k] < 0x7f);
        nexus_event_doc *doc;
        cr_assert(nexus_event_from_http(&doc, headers, n, content) == NEXUS_OK, "%s", nexus_error_message());
        const nexus_event *back = nexus_event_doc_at(doc, 0);
        cr_assert(eq(back->id, "i 1") && eq(back->subject, "\xc3\xa9t\xc3\xa9") && back->rev == 2);
        cr_assert(back->ext_count == 1 && eq(back->ext[0].value, ext.value.p) && eq(back->data, body));
        nexus_event_doc_free(doc);
        nexus_event_http_free(http);
    }
}

Test(event, types_match_by_the_rules_of_nats)
{
    static const struct {
        const char *pattern, *type;
        bool match;
    } cases[] = {
        {"order.created", "order.created", true},
        {"order.*", "order.created", true},
        {"order.*", "order", false},
        {"order.*", "order.created.late", false},
        {"order.>", "order.created.late", true},
        {"order.>", "order", false},
        {">", "a", true},
        {">", "a.b.c", true},
        {"*", "a", true},
        {"*", "a.b", false},
        {"*.created", "order.created", true},
        {"a.*.c", "a.b.c", true},
        {"a.>.c", "a.b.c", false},
        {"order", "order.created", false},
        {"order.created", "order", false},
        {"", "a", false},
        {"a..b", "a..b", false},
        {"or*", "order", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_assert(nexus_event_type_matches(text(cases[i].pattern), text(cases[i].type)) == cases[i].match, "%s %s",
                  cases[i].pattern, cases[i].type);
}
