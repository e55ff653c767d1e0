/* What replies say of limits: the fields of draft-ietf-httpapi-ratelimit-headers, X-RateLimit-*, and the 429. */
#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "gateway/filters/limit.h"

static uint32_t quota_of(const nexus__limit_conf *c)
{
    return c->kind == NEXUS__LIMIT_RATE ? c->rate : c->quota;
}

static uint32_t window_of(const nexus__limit_conf *c)
{
    if (c->kind == NEXUS__LIMIT_CALENDAR)
        return c->calendar == NEXUS__CALENDAR_DAY ? 86400 : 30 * 86400;
    return c->kind == NEXUS__LIMIT_RATE ? c->period_s : c->window_s;
}

static uint32_t seconds_up(int64_t ns)
{
    return ns <= 0 ? 0 : (uint32_t)((ns + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S);
}

static void put_name(nexus__buf *out, nexus_slice name)
{
    nexus__buf_char(out, '"');
    nexus__buf_slice_append(out, name);
    nexus__buf_char(out, '"');
}

static void put_number(nexus__buf *out, nexus_slice before, uint64_t value)
{
    nexus__buf_slice_append(out, before);
    nexus__buf_u64(out, value);
}

static void put_policies(nexus__buf *out, const nexus__limit_set *set)
{
    const char *before = "RateLimit-Policy: ";
    for (uint32_t i = 0; i < set->count; i++) {
        const nexus__limit_conf *c = set->items[i].conf;
        if (!c->enforce)
            continue;
        nexus__buf_text(out, before);
        put_name(out, c->name);
        put_number(out, NEXUS_S(";q="), quota_of(c));
        put_number(out, NEXUS_S(";w="), window_of(c));
        before = ", ";
    }
    nexus__buf_text(out, "\r\nRateLimit: ");
}

nexus_status nexus__limit_lines_open(nexus__limit_set *set, const nexus_alloc *alloc)
{
    for (uint32_t i = 0; i < set->count; i++) {
        nexus__limit_use *use = &set->items[i];
        nexus__buf lines;
        nexus__buf_init(&lines, alloc, 0);
        put_policies(&lines, set);
        put_name(&lines, use->conf->name);
        nexus__buf_text(&lines, ";r=");
        use->lines = nexus__buf_take(&lines, &use->lines_n);
        if (!use->lines)
            return nexus__nomem();
    }
    return NEXUS_OK;
}

static char *put_digits(char *at, uint32_t value)
{
    char digits[10];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    memcpy(at, digits + n, sizeof digits - n);
    return at + sizeof digits - n;
}

/* Hashed under a secret: it tells clients apart and says nothing of them. */
static char *put_partition(char *at, uint64_t key)
{
    nexus__buf out = {.p = at, .cap = 32, .max = 32};
    nexus__buf_text(&out, ";pk=:");
    nexus__base64_append(&out, &key, sizeof key);
    nexus__buf_char(&out, ':');
    return at + out.len;
}

nexus_slice nexus__limit_lines(const nexus__limit_outcome *o, char space[static NEXUS__LIMIT_LINES_MAX])
{
    const nexus__limit_use *use = o->strictest;
    char *at = space + use->lines_n;
    memcpy(space, use->lines, use->lines_n);
    at = put_digits(at, o->result.remaining);
    memcpy(at, ";t=", 3);
    at = put_digits(at + 3, seconds_up(o->result.reset_ns));
    if (use->conf->partition_key)
        at = put_partition(at, o->key);
    memcpy(at, "\r\n", 2);
    return nexus__slice(space, (size_t)(at + 2 - space));
}

void nexus__limit_legacy_lines(const nexus__limit_outcome *o, nexus__buf *out)
{
    put_number(out, NEXUS_S("X-RateLimit-Limit: "), quota_of(o->strictest->conf));
    put_number(out, NEXUS_S("\r\nX-RateLimit-Remaining: "), o->result.remaining);
    put_number(out, NEXUS_S("\r\nX-RateLimit-Reset: "), seconds_up(o->result.reset_ns));
    nexus__buf_slice_append(out, NEXUS_S("\r\n"));
}

uint32_t nexus__limit_retry_after_s(const nexus__limit_outcome *o)
{
    uint32_t s = seconds_up(o->result.retry_after_ns);
    return s ? s : 1;
}

void nexus__limit_problem(const nexus__limit_set *set, const nexus__limit_outcome *o, nexus_slice id, nexus__buf *out)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "type", "https://iana.org/assignments/http-problem-types#quota-exceeded");
    nexus__json_put_text_c(&w, "title", "Too Many Requests");
    nexus__json_put_i64(&w, "status", 429);
    nexus__buf_printf(out, ",\"detail\":\"Try again in %u s.\",\"instance\":\"urn:uuid:%.*s\"",
                      nexus__limit_retry_after_s(o), (int)id.n, id.p);
    nexus__json_put_text_c(&w, "code", "rate-limited");
    nexus__json_key(&w, "violated-policies");
    nexus__json_open(&w, '[');
    for (uint32_t i = 0; i < set->count; i++)
        if (o->denied >> i & 1)
            nexus__json_text_value(&w, set->items[i].conf->name);
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
}
