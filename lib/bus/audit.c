/* What was done to a group by hand: durable, and the last of it is kept in memory to be shown. */
#include "base/status.h"
#include "bus/internal.h"
#include "json/write.h"

enum { SHOWN_MAX = 1000 };

typedef struct audit_record {
    int64_t at_ns;
    uint64_t pos;
    uint32_t what, detail_bytes;
} audit_record;

typedef struct noted {
    nexus__list node;
    audit_record r;
    char detail[];
} noted;

static nexus_status show(nexus__bgroup *g, const audit_record *r, const char *detail)
{
    noted *n = nexus__malloc(g->broker->alloc, sizeof *n + r->detail_bytes);
    if (!n)
        return nexus__nomem();
    n->r = *r;
    if (r->detail_bytes)
        memcpy(n->detail, detail, r->detail_bytes);
    nexus__list_push(&g->audit, &n->node);
    if (++g->audit_count > SHOWN_MAX) {
        noted *oldest = NEXUS__CONTAINER(g->audit.next, noted, node);
        nexus__list_remove(&oldest->node);
        nexus__free(g->broker->alloc, oldest);
        g->audit_count--;
    }
    return NEXUS_OK;
}

void nexus__bgroup_note(nexus__bgroup *g, uint32_t what, uint64_t pos, nexus_slice detail)
{
    audit_record r = {.at_ns = nexus__real_ns(), .pos = pos, .what = what, .detail_bytes = (uint32_t)detail.n};
    nexus__buf_append(&g->audits, &r, sizeof r);
    nexus__buf_slice_append(&g->audits, detail);
    if (show(g, &r, detail.p) != NEXUS_OK)
        return; /* written, though not shown */
}

nexus_status nexus__bgroup_keep_audit(nexus__bgroup *g, nexus_slice bytes)
{
    audit_record r;
    nexus_status status = NEXUS_OK;
    while (status == NEXUS_OK && bytes.n >= sizeof r) {
        memcpy(&r, bytes.p, sizeof r);
        bytes = nexus__slice_from(bytes, sizeof r);
        if (r.detail_bytes > bytes.n)
            break;
        if (r.at_ns > g->audit_until) /* a checkpoint may hold it already */
            status = show(g, &r, bytes.p);
        bytes = nexus__slice_from(bytes, r.detail_bytes);
    }
    return status;
}

void nexus__bgroup_list_audit(const nexus__bgroup *g, nexus__buf *out)
{
    for (nexus__list *n = g->audit.next; n != &g->audit; n = n->next) {
        const noted *x = NEXUS__CONTAINER(n, noted, node);
        nexus__buf_append(out, &x->r, sizeof x->r);
        nexus__buf_append(out, x->detail, x->r.detail_bytes);
    }
}

void nexus__bgroup_audit_is_kept(nexus__bgroup *g)
{
    if (g->audit_count)
        g->audit_until = NEXUS__CONTAINER(g->audit.prev, noted, node)->r.at_ns;
}

void nexus__bgroup_free_audit(nexus__bgroup *g)
{
    while (!nexus__list_empty(&g->audit)) {
        noted *n = NEXUS__CONTAINER(g->audit.next, noted, node);
        nexus__list_remove(&n->node);
        nexus__free(g->broker->alloc, n);
    }
}

nexus_status nexus__bgroup_audit(nexus__bgroup *g, nexus__buf *json)
{
    static const char *const names[] = {"", "skip", "edit", "purge", "redrive", "seek", "pause", "resume"};
    nexus__json_writer w = nexus__json_writer_on(json);
    pthread_mutex_lock(&g->lock);
    nexus__json_open(&w, '[');
    for (nexus__list *n = g->audit.next; n != &g->audit; n = n->next) {
        const noted *x = NEXUS__CONTAINER(n, noted, node);
        char text[32];
        nexus__json_open(&w, '{');
        nexus__json_put_text(&w, "at", nexus__slice(text, nexus__format_rfc3339(x->r.at_ns, text)));
        nexus__json_put_text_c(&w, "what", x->r.what < sizeof names / sizeof *names ? names[x->r.what] : "");
        nexus__json_put_u64(&w, "pos", x->r.pos);
        nexus__json_put_text(&w, "detail", nexus__slice(x->detail, x->r.detail_bytes));
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
    pthread_mutex_unlock(&g->lock);
    return json->status;
}
