/* Any bytes through the scanner, strict and lenient; what is accepted is read and written back. */
#include <stdlib.h>

#include "json/equal.h"
#include "json/read.h"
#include "json/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool good)
{
    if (!good)
        abort();
}

/* Every value is found again under its own pointer, and is equal to itself. */
static void read_all(nexus__json *doc)
{
    nexus__buf pointer;
    nexus__buf_init(&pointer, NULL, 0);
    for (uint32_t v = 0; v < doc->count && v < 200; v++) {
        nexus_slice text;
        double number;
        bool is_text = nexus__json_is(doc, v, NEXUS__JSON_STRING);
        require(nexus__json_text(doc, v, &text) == is_text);
        if (is_text)
            require(nexus__json_text_is(doc, v, text));
        (void)nexus__json_double(doc, v, &number);
        nexus__buf_clear(&pointer);
        nexus__json_pointer_append(doc, v, &pointer);
        uint32_t found = nexus__json_pointer(doc, 0, nexus__buf_slice(&pointer));
        /* a name is found as its value; names over 256 bytes with '~' or '/' are not looked for */
        require(found == v || (is_text && found == v + 1) || pointer.len > 200);
        require(nexus__json_equal(doc, v, doc, v));
    }
    (void)nexus__json_hash(doc, 0, 7);
    nexus__buf_free(&pointer);
}

static void write_value(nexus__json_writer *w, nexus__json *doc, uint32_t v)
{
    nexus__json_type type = nexus__json_type_of(doc, v);
    nexus_slice text;
    if (type == NEXUS__JSON_STRING) {
        require(nexus__json_text(doc, v, &text));
        nexus__json_text_value(w, text);
        return;
    }
    if (type != NEXUS__JSON_ARRAY && type != NEXUS__JSON_OBJECT) {
        nexus__json_raw_value(w, nexus__json_raw(doc, v));
        return;
    }
    nexus__json_open(w, type == NEXUS__JSON_ARRAY ? '[' : '{');
    for (nexus__json_iter it = nexus__json_each(doc, v); nexus__json_step(doc, &it);) {
        if (it.object && nexus__json_text(doc, it.key, &text))
            nexus__json_key_slice(w, text);
        write_value(w, doc, it.value);
    }
    nexus__json_close(w, type == NEXUS__JSON_ARRAY ? ']' : '}');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__json doc, again;
    nexus__json_init(&doc, NULL);
    nexus__json_init(&again, NULL);
    nexus_slice text = nexus__slice(data, size);
    bool lenient = nexus__json_scan(&doc, text, &(nexus__json_limits){.lenient = true}) == NEXUS_OK;
    bool strict = nexus__json_scan(&doc, text, NULL) == NEXUS_OK;
    require(lenient || !strict);
    if (strict) {
        read_all(&doc);
        nexus__buf out;
        nexus__buf_init(&out, NULL, 0);
        nexus__json_writer w = nexus__json_writer_on(&out);
        write_value(&w, &doc, 0);
        require(nexus__json_scan(&again, nexus__buf_slice(&out), NULL) == NEXUS_OK);
        require(nexus__json_equal(&doc, 0, &again, 0));
        nexus__buf_free(&out);
    }
    nexus__json_free(&again);
    nexus__json_free(&doc);
    return 0;
}
