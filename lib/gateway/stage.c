#include "gateway/stage.h"

#include "base/status.h"
#include "gateway/body.h"
#include "gateway/change.h"
#include "gateway/coding.h"
#include "gateway/filters/body.h"

/* --- fields ------------------------------------------------------------------------------------------------------- */

static nexus_slice field(const nexus__http_head *head, const char *base, const char *name)
{
    const nexus__http_field *f = nexus__http_find(head, base, nexus__slice_c(name));
    return f ? nexus__http_field_value(f, base) : (nexus_slice){0};
}

/* Whether any field of that name has the token in its list. */
static bool lists(const nexus__http_head *head, const char *base, nexus_slice name, nexus_slice token)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (nexus__slice_ieq(nexus__http_field_name(&head->fields[i], base), name) &&
            nexus__http_list_has(nexus__http_field_value(&head->fields[i], base), token))
            return true;
    return false;
}

/* The bytes are not upstream's any more: digests go, and a strong validator becomes a weak one. */
static bool not_the_same_bytes(nexus__call *call, const nexus__http_head *head, const char *base)
{
    static const char *const digests[] = {"Content-Digest", "Repr-Digest", "Digest", "Content-MD5", "Accept-Ranges"};
    bool good = true;
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++)
        good &= nexus__change_remove(call, NEXUS__CHANGE_REPLY, nexus__slice_c(digests[i]));
    nexus_slice tag = field(head, base, "etag");
    if (!tag.n || tag.p[0] != '"')
        return good;
    char *weak = nexus_request_alloc(call->request, tag.n + 2);
    if (!weak)
        return false;
    memcpy(weak, "W/", 2);
    memcpy(weak + 2, tag.p, tag.n);
    return good && nexus__change_set(call, NEXUS__CHANGE_REPLY, NEXUS_S("ETag"), nexus__slice(weak, tag.n + 2));
}

/* --- gzip --------------------------------------------------------------------------------------------------------- */

static bool type_listed(const nexus__compress_conf *conf, nexus_slice type)
{
    for (uint32_t i = 0; i < conf->types.count; i++) {
        nexus_slice one = conf->types.items[i];
        bool all = nexus__slice_ends(one, NEXUS_S("/")), tail = one.p[0] == '+';
        if (all && type.n > one.n && nexus__slice_ieq(nexus__slice(type.p, one.n), one))
            return true;
        if (tail && type.n > one.n && nexus__slice_ieq(nexus__slice_from(type, type.n - one.n), one))
            return true;
        if (nexus__slice_ieq(type, one))
            return true;
    }
    return false;
}

bool nexus__compress_may(const nexus__compress_conf *conf, const nexus__http_head *head, const char *base)
{
    nexus_slice type = nexus__body_type(field(head, base, "content-type"));
    if (head->status == 204 || head->status == 205 || head->status == 206 || head->status == 304 || head->status < 200)
        return false;
    if (nexus__slice_ieq(type, NEXUS_S("text/event-stream")) || !type_listed(conf, type))
        return false;
    if (nexus__coding_of(field(head, base, "content-encoding")) != NEXUS__CODING_IDENTITY)
        return false;
    if (lists(head, base, NEXUS_S("Cache-Control"), NEXUS_S("no-transform")))
        return false;
    /* BREACH: what a secret is compressed together with tells its bytes by the length */
    return !nexus__http_find(head, base, NEXUS_S("set-cookie"));
}

static bool vary(nexus__call *call, const nexus__http_head *head, const char *base)
{
    return lists(head, base, NEXUS_S("Vary"), NEXUS_S("Accept-Encoding")) ||
           lists(head, base, NEXUS_S("Vary"), NEXUS_S("*")) ||
           nexus__change_add(call, NEXUS__CHANGE_REPLY, NEXUS_S("Vary"), NEXUS_S("Accept-Encoding"));
}

static bool asks_for_gzip(const nexus__call *call)
{
    nexus_slice accept;
    return nexus_request_header(call->request, "accept-encoding", &accept) && nexus__coding_accepts_gzip(accept);
}

static struct nexus__deflater *deflater(nexus__call *call, int level)
{
    nexus__gw_loop *home = call->view->home;
    struct nexus__deflater *d = NULL;
    for (size_t i = 0; i < sizeof home->deflaters / sizeof *home->deflaters; i++) {
        d = home->deflaters[i];
        if (!d)
            continue;
        home->deflaters[i] = NULL;
        nexus__deflater_reset(d, level);
        return d;
    }
    return nexus__deflater_new(&d, level, home->gateway->traffic_alloc) ? NULL : d;
}

static void give_back(nexus__gw_loop *home, struct nexus__deflater *d)
{
    for (size_t i = 0; d && i < sizeof home->deflaters / sizeof *home->deflaters; i++)
        if (!home->deflaters[i]) {
            home->deflaters[i] = d;
            return;
        }
    nexus__deflater_free(d);
}

nexus_slice nexus__stage_code(nexus__stage *stage, const struct iovec *pieces, size_t n, bool end)
{
    nexus__buf *out = &stage->call->view->home->coded;
    nexus__buf_clear(out);
    nexus__deflater_write(stage->gzip, pieces, n, end, out);
    return nexus__buf_slice(out);
}

/* Whether what is n bytes long (or of a length nobody knows) will be compressed for this client; says so in fields. */
static bool compress(nexus__call *call, const nexus__compress_conf *conf, const nexus__http_head *head, const char *base)
{
    return conf && conf->on && nexus__compress_may(conf, head, base) && vary(call, head, base) && asks_for_gzip(call);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static nexus__stage *stage_new(nexus__call *call)
{
    nexus__stage *stage = nexus_request_alloc(call->request, sizeof *stage);
    if (!stage)
        return NULL;
    *stage = (nexus__stage){.call = call};
    nexus__buf_init(&stage->body, call->view->home->gateway->traffic_alloc, NEXUS__BODY_MAX);
    call->stage = stage;
    return stage;
}

static bool keep_head(nexus__stage *stage, const nexus__http_head *head, const char *base)
{
    size_t used = offsetof(nexus__http_head, fields) + head->field_count * sizeof *head->fields;
    stage->head = nexus_request_alloc(stage->call->request, sizeof *stage->head);
    stage->base = nexus_request_alloc(stage->call->request, head->bytes);
    if (!stage->head || !stage->base)
        return false;
    memcpy(stage->head, head, used);
    memcpy(stage->base, base, head->bytes);
    return true;
}

static enum nexus__stage_plan refuse(nexus__call *call, const char *code, const char *detail)
{
    nexus__call_problem(call, 502, code, detail);
    return NEXUS__STAGE_REFUSED;
}

static enum nexus__stage_plan no_memory(nexus__call *call)
{
    nexus__call_problem(call, 500, "out-of-memory", NULL);
    return NEXUS__STAGE_REFUSED;
}

static enum nexus__stage_plan collect(nexus__call *call, const struct nexus__transform *t, const nexus__http_head *head,
                                      const char *base, bool gzip)
{
    enum nexus__coding coding = nexus__coding_of(field(head, base, "content-encoding"));
    if (head->status == 206)
        return refuse(call, "upstream-partial", "The upstream sent a part of what this route changes as a whole.");
    if (coding == NEXUS__CODING_UNKNOWN)
        return refuse(call, "upstream-encoding", "The upstream's answer is in a coding that cannot be opened here.");
    if (head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length > NEXUS__BODY_MAX)
        return refuse(call, "upstream-body-too-big", "The upstream's answer is over the limit of what is changed.");
    nexus__stage *stage = stage_new(call);
    if (!stage || !keep_head(stage, head, base) || !not_the_same_bytes(call, stage->head, stage->base))
        return no_memory(call);
    stage->transform = t;
    stage->wants_gzip = gzip;
    stage->collecting = true;
    stage->coding = coding == NEXUS__CODING_GZIP ? NEXUS__STAGE_PACKED : NEXUS__STAGE_PLAIN;
    if (coding != NEXUS__CODING_IDENTITY && !nexus__change_remove(call, NEXUS__CHANGE_REPLY, NEXUS_S("Content-Encoding")))
        return no_memory(call);
    return NEXUS__STAGE_COLLECT;
}

static enum nexus__stage_plan stream(nexus__call *call, const nexus__compress_conf *conf, const nexus__http_head *head,
                                     const char *base)
{
    nexus__stage *stage = stage_new(call);
    if (!stage || !not_the_same_bytes(call, head, base) ||
        !nexus__change_set(call, NEXUS__CHANGE_REPLY, NEXUS_S("Content-Encoding"), NEXUS_S("gzip")) ||
        !(stage->gzip = deflater(call, (int)conf->level)))
        return no_memory(call);
    return NEXUS__STAGE_STREAM;
}

/* A transform is for JSON that is an answer; errors of upstream stay as they are. */
static const struct nexus__transform *transform_of(const nexus__call *call, const nexus__http_head *head, const char *base)
{
    const struct nexus__transform *t = nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_response_body);
    nexus_slice type = nexus__body_type(field(head, base, "content-type"));
    return t && head->status < 300 && nexus__slice_ieq(type, NEXUS_S("application/json")) ? t : NULL;
}

enum nexus__stage_plan nexus__stage_open(nexus__call *call, const nexus__http_head *head, const char *base, size_t total,
                                         bool whole)
{
    const struct nexus__transform *t = transform_of(call, head, base);
    const nexus__compress_conf *conf = nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_compress);
    bool gzip = compress(call, conf, head, base);
    if (head->framing == NEXUS__HTTP_LENGTH_NONE) {
        if (t && !not_the_same_bytes(call, head, base))
            return no_memory(call);
        return call->method == NEXUS_METHOD_HEAD && (t || gzip) ? NEXUS__STAGE_HEAD : NEXUS__STAGE_NOTHING;
    }
    if (t)
        return collect(call, t, head, base, gzip);
    bool known = whole || head->framing == NEXUS__HTTP_LENGTH_FIXED;
    uint64_t length = head->framing == NEXUS__HTTP_LENGTH_FIXED ? head->length : total;
    if (!gzip || (known && length < conf->min_bytes))
        return NEXUS__STAGE_NOTHING;
    return stream(call, conf, head, base);
}

/* --- collecting --------------------------------------------------------------------------------------------------- */

bool nexus__stage_take(nexus__stage *stage, nexus_slice piece)
{
    nexus__buf_slice_append(&stage->body, piece);
    return stage->body.status == NEXUS_OK;
}

static bool fail(nexus__stage *stage, nexus_status status)
{
    nexus__call *call = stage->call;
    if (status == NEXUS_ENOMEM)
        (void)no_memory(call);
    else if (status == NEXUS_ETOOBIG)
        (void)refuse(call, "upstream-body-too-big", "The upstream's answer is over the limit of what is changed.");
    else
        (void)refuse(call, "response-transform", "The upstream's answer is not the JSON that it says it is.");
    return false;
}

static nexus_status open_coding(nexus__stage *stage)
{
    nexus__buf open;
    nexus__buf_init(&open, stage->body.alloc, 0);
    nexus_status status = nexus__coding_open(&open, nexus__buf_slice(&stage->body), NEXUS__BODY_MAX);
    nexus__buf_free(&stage->body);
    stage->body = open;
    return status;
}

static nexus_slice text_of(void *context, const nexus__pattern *pattern)
{
    return nexus__change_text(context, pattern);
}

static nexus_status change(nexus__stage *stage)
{
    nexus__gw_loop *home = stage->call->view->home;
    nexus_status status = nexus__body_scan(&home->json, nexus__buf_slice(&stage->body));
    nexus__buf_clear(&home->text);
    if (!status)
        nexus__transform_apply(stage->transform, &home->json, text_of, stage->call, &home->text);
    nexus__body_scanned(&home->json);
    return status ? status : home->text.status;
}

bool nexus__stage_finish(nexus__stage *stage, nexus_slice *out)
{
    nexus__call *call = stage->call;
    nexus__gw_loop *home = call->view->home;
    const nexus__compress_conf *conf = nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_compress);
    nexus_status status = stage->coding == NEXUS__STAGE_PACKED && stage->body.len ? open_coding(stage) : NEXUS_OK;
    if (!stage->body.len)
        nexus__buf_clear(&home->text);
    else if (!status)
        status = change(stage);
    if (status)
        return fail(stage, status);
    *out = nexus__buf_slice(&home->text);
    if (!stage->wants_gzip || out->n < conf->min_bytes)
        return true;
    stage->gzip = deflater(call, (int)conf->level);
    if (!stage->gzip ||
        !nexus__change_set(call, NEXUS__CHANGE_REPLY, NEXUS_S("Content-Encoding"), NEXUS_S("gzip")))
        return fail(stage, NEXUS_ENOMEM);
    *out = nexus__stage_code(stage, &(struct iovec){(char *)(uintptr_t)out->p, out->n}, 1, true);
    return true;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

void nexus__stage_close(nexus__stage *stage)
{
    if (!stage)
        return;
    nexus__buf_free(&stage->body);
    give_back(stage->call->view->home, stage->gzip);
    stage->gzip = NULL;
}

void nexus__stage_free_scratch(nexus__gw_loop *home)
{
    nexus__json_free(&home->json);
    nexus__buf_free(&home->text);
    nexus__buf_free(&home->coded);
    for (size_t i = 0; i < sizeof home->deflaters / sizeof *home->deflaters; i++)
        nexus__deflater_free(home->deflaters[i]);
}
