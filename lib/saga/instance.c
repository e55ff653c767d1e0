/* An instance in memory and as the data of its transition; one table says what is stored under which name. */
#include "saga/instance.h"

#include "base/status.h"
#include "base/time.h"
#include "json/write.h"

static const char *const status_names[] = {"running", "compensating", "done", "failed", "stuck"};

typedef enum field_kind { TEXT, U64, U32, I32, I64, FLAG } field_kind;

/* What is not here has a place of its own in write and read: id, status, seen, state. Zero and empty are not written. */
static const struct {
    const char *name;
    size_t at;
    field_kind kind;
} fields[] = {
    {"version", offsetof(nexus__saga_instance, version), U32},
    {"seq", offsetof(nexus__saga_instance, seq), U64},
    {"reason", offsetof(nexus__saga_instance, reason), TEXT},
    {"error", offsetof(nexus__saga_instance, error), TEXT},
    {"at_ns", offsetof(nexus__saga_instance, at_ns), I64},
    {"step_index", offsetof(nexus__saga_instance, step), U32},
    {"done", offsetof(nexus__saga_instance, done), U64},
    {"failed_step", offsetof(nexus__saga_instance, failed_step), I32},
    {"late_told", offsetof(nexus__saga_instance, late_told), FLAG},
    {"attempt", offsetof(nexus__saga_instance, attempt), U32},
    {"tries", offsetof(nexus__saga_instance, tries), U32},
    {"round", offsetof(nexus__saga_instance, round), U32},
    {"again", offsetof(nexus__saga_instance, again), FLAG},
    {"backward", offsetof(nexus__saga_instance, backward), FLAG},
    {"reported", offsetof(nexus__saga_instance, reported), FLAG},
    {"stuck_seq", offsetof(nexus__saga_instance, stuck_seq), U64},
    {"due_ns", offsetof(nexus__saga_instance, due_ns), I64},
    {"deadline_ns", offsetof(nexus__saga_instance, deadline_ns), I64},
    {"subject", offsetof(nexus__saga_instance, subject), TEXT},
    {"traceparent", offsetof(nexus__saga_instance, traceparent), TEXT},
    {"tracestate", offsetof(nexus__saga_instance, tracestate), TEXT},
    {"correlation", offsetof(nexus__saga_instance, correlation), TEXT},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static void *member(const nexus__saga_instance *i, size_t k)
{
    return (char *)(uintptr_t)i + fields[k].at;
}

static char **text_member(const nexus__saga_instance *i, size_t k)
{
    return member(i, k);
}

const char *nexus__saga_status_name(nexus__saga_status status)
{
    return status_names[status];
}

bool nexus__saga_status_of(nexus_slice name, nexus__saga_status *out)
{
    for (uint32_t s = 0; s < sizeof status_names / sizeof status_names[0]; s++)
        if (nexus__slice_eq_c(name, status_names[s])) {
            *out = (nexus__saga_status)s;
            return true;
        }
    return false;
}

nexus_status nexus__saga_set(const nexus_alloc *alloc, char **slot, nexus_slice text)
{
    char *copy = NULL;
    if (text.n && !(copy = nexus__strndup(alloc, text)))
        return nexus__nomem();
    nexus__free(alloc, *slot);
    *slot = copy;
    return NEXUS_OK;
}

nexus_status nexus__saga_instance_new(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice id)
{
    nexus__saga_instance *i = nexus__calloc(alloc, 1, sizeof *i);
    if (!i)
        return nexus__nomem();
    i->alloc = alloc;
    i->failed_step = -1;
    i->version = 1;
    nexus__buf_init(&i->state, alloc, NEXUS__SAGA_STATE_MAX);
    nexus_status status = nexus__saga_set(alloc, &i->id, id);
    if (status != NEXUS_OK) {
        nexus__saga_instance_free(i);
        return status;
    }
    *out = i;
    return NEXUS_OK;
}

void nexus__saga_instance_free(nexus__saga_instance *i)
{
    if (!i)
        return;
    nexus__free(i->alloc, i->id);
    for (size_t k = 0; k < FIELDS; k++)
        if (fields[k].kind == TEXT)
            nexus__free(i->alloc, *text_member(i, k));
    for (size_t k = 0; k < NEXUS__SAGA_SEEN; k++)
        nexus__free(i->alloc, i->seen[k]);
    nexus__buf_free(&i->state);
    nexus__free(i->alloc, i);
}

size_t nexus__saga_instance_bytes(const nexus__saga_instance *i)
{
    size_t n = sizeof *i + i->state.cap + 64, texts = 1;
    for (size_t k = 0; k < FIELDS; k++)
        if (fields[k].kind == TEXT && *text_member(i, k)) {
            n += strlen(*text_member(i, k));
            texts++;
        }
    for (size_t k = 0; k < NEXUS__SAGA_SEEN; k++)
        if (i->seen[k]) {
            n += strlen(i->seen[k]);
            texts++;
        }
    return n + texts * 24; /* an allocator's own word and rounding */
}

bool nexus__saga_has_seen(const nexus__saga_instance *i, nexus_slice event_id)
{
    for (size_t k = 0; k < NEXUS__SAGA_SEEN; k++)
        if (i->seen[k] && nexus__slice_eq_c(event_id, i->seen[k]))
            return true;
    return false;
}

nexus_status nexus__saga_see(nexus__saga_instance *i, nexus_slice event_id)
{
    char *copy = nexus__strndup(i->alloc, event_id);
    if (!copy)
        return nexus__nomem();
    nexus__free(i->alloc, i->seen[0]);
    memmove(&i->seen[0], &i->seen[1], (NEXUS__SAGA_SEEN - 1) * sizeof i->seen[0]);
    i->seen[NEXUS__SAGA_SEEN - 1] = copy;
    return NEXUS_OK;
}

int64_t nexus__saga_next_ns(const nexus__saga_instance *i)
{
    int64_t due = i->status == NEXUS__SAGA_RUNNING || i->status == NEXUS__SAGA_COMPENSATING ? i->due_ns : 0;
    if (i->status == NEXUS__SAGA_RUNNING && i->deadline_ns && (!due || i->deadline_ns < due))
        due = i->deadline_ns;
    return due;
}

/* --- as the data of a transition ------------------------------------------------------------------------------- */

static void write_field(nexus__json_writer *w, const nexus__saga_instance *i, size_t k)
{
    const void *at = member(i, k);
    switch (fields[k].kind) {
    case TEXT:
        if (*(char *const *)at)
            nexus__json_put_text_c(w, fields[k].name, *(char *const *)at);
        break;
    case U64:
        if (*(const uint64_t *)at)
            nexus__json_put_u64(w, fields[k].name, *(const uint64_t *)at);
        break;
    case U32:
        if (*(const uint32_t *)at)
            nexus__json_put_u64(w, fields[k].name, *(const uint32_t *)at);
        break;
    case I32:
        nexus__json_put_i64(w, fields[k].name, *(const int32_t *)at);
        break;
    case I64:
        if (*(const int64_t *)at)
            nexus__json_put_i64(w, fields[k].name, *(const int64_t *)at);
        break;
    case FLAG:
        if (*(const bool *)at)
            nexus__json_put_bool(w, fields[k].name, true);
    }
}

void nexus__saga_instance_write(nexus__buf *out, const nexus__saga_instance *i, const char *saga,
                                const nexus__saga_note *note)
{
    char at[32];
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__format_rfc3339(i->at_ns, at);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "saga", saga);
    nexus__json_put_text_c(&w, "id", i->id);
    nexus__json_put_text_c(&w, "status", nexus__saga_status_name(i->status));
    if (note->step)
        nexus__json_put_text_c(&w, "step", note->step);
    nexus__json_put_text_c(&w, "at", at);
    if (note->op) {
        nexus__json_put_text_c(&w, "op", note->op);
        nexus__json_put_text(&w, "why", note->why);
    }
    if (note->cause.n)
        nexus__json_put_text(&w, "cause", note->cause);
    if (note->link.n)
        nexus__json_put_text(&w, "link", note->link);
    for (size_t k = 0; k < FIELDS; k++)
        write_field(&w, i, k);
    nexus__json_key(&w, "seen");
    nexus__json_open(&w, '[');
    for (size_t k = 0; k < NEXUS__SAGA_SEEN; k++)
        if (i->seen[k])
            nexus__json_text_c_value(&w, i->seen[k]);
    nexus__json_close(&w, ']');
    nexus__json_put_raw(&w, "state", i->state.len ? nexus__buf_slice(&i->state) : NEXUS_S("{}"));
    nexus__json_close(&w, '}');
}

static nexus_status read_field(nexus__saga_instance *i, nexus__json *doc, size_t k)
{
    uint32_t v = nexus__json_get(doc, 0, fields[k].name);
    void *at = member(i, k);
    nexus_slice text;
    int64_t number = 0;
    if (fields[k].kind == TEXT)
        return nexus__json_text(doc, v, &text) ? nexus__saga_set(i->alloc, at, text) : NEXUS_OK;
    if (fields[k].kind == U64)
        (void)!nexus__json_u64(doc, v, at);
    else if (fields[k].kind == FLAG)
        (void)!nexus__json_bool(doc, v, at);
    else if (!nexus__json_i64(doc, v, &number))
        return NEXUS_OK;
    else if (fields[k].kind == U32)
        *(uint32_t *)at = (uint32_t)number;
    else if (fields[k].kind == I32)
        *(int32_t *)at = (int32_t)number;
    else
        *(int64_t *)at = number;
    return NEXUS_OK;
}

static nexus_status read_members(nexus__saga_instance *i, nexus__json *doc)
{
    nexus_status status = NEXUS_OK;
    for (size_t k = 0; k < FIELDS && status == NEXUS_OK; k++)
        status = read_field(i, doc, k);
    nexus__json_iter it = nexus__json_each(doc, nexus__json_get(doc, 0, "seen"));
    while (status == NEXUS_OK && nexus__json_step(doc, &it)) {
        nexus_slice id;
        if (nexus__json_text(doc, it.value, &id))
            status = nexus__saga_see(i, id);
    }
    nexus_slice name;
    if (nexus__json_get_text(doc, 0, "status", &name))
        (void)!nexus__saga_status_of(name, &i->status);
    i->seq++; /* of the next transition */
    i->version += i->version == 0;
    nexus__buf_slice_append(&i->state, nexus__json_raw(doc, nexus__json_get(doc, 0, "state")));
    return status == NEXUS_OK && i->state.status != NEXUS_OK ? nexus__nomem() : status;
}

nexus_status nexus__saga_instance_read(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice data)
{
    nexus__json doc;
    nexus_slice id;
    nexus__saga_instance *i = NULL;
    nexus__json_init(&doc, alloc);
    nexus_status status = nexus__json_scan(&doc, data, NULL);
    if (status == NEXUS_OK && (!nexus__json_get_text(&doc, 0, "id", &id) || !id.n))
        status = nexus__fail(NEXUS_ECORRUPT, "a saga transition has no id");
    if (status == NEXUS_OK)
        status = nexus__saga_instance_new(&i, alloc, id);
    if (status == NEXUS_OK)
        status = read_members(i, &doc);
    nexus__json_free(&doc);
    if (status != NEXUS_OK) {
        nexus__saga_instance_free(i);
        return status;
    }
    *out = i;
    return NEXUS_OK;
}

nexus_status nexus__saga_instance_copy(nexus__saga_instance **out, const nexus__saga_instance *from)
{
    nexus__saga_instance *i = NULL;
    nexus_status status = nexus__saga_instance_new(&i, from->alloc, nexus__slice_c(from->id));
    if (status != NEXUS_OK)
        return status;
    char *id = i->id;
    nexus__buf state = i->state;
    *i = *from; /* numbers; every text is set anew below */
    i->id = id;
    i->state = state;
    for (size_t k = 0; k < FIELDS; k++)
        if (fields[k].kind == TEXT)
            *text_member(i, k) = NULL;
    memset(i->seen, 0, sizeof i->seen);
    for (size_t k = 0; status == NEXUS_OK && k < FIELDS; k++)
        if (fields[k].kind == TEXT)
            status = nexus__saga_set(i->alloc, text_member(i, k), nexus__slice_c(*text_member(from, k)));
    for (size_t k = 0; status == NEXUS_OK && k < NEXUS__SAGA_SEEN; k++)
        status = nexus__saga_set(i->alloc, &i->seen[k], nexus__slice_c(from->seen[k]));
    nexus__buf_slice_append(&i->state, nexus__buf_slice(&from->state));
    if (status == NEXUS_OK && i->state.status != NEXUS_OK)
        status = nexus__nomem();
    if (status != NEXUS_OK) {
        nexus__saga_instance_free(i);
        return status;
    }
    *out = i;
    return NEXUS_OK;
}
