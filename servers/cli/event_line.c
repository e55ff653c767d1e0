#include "cli/event_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/combined.h"

static const char *const fields[] = {"id",      "event",      "user_id",    "anonymous_id", "timestamp",
                                     "sent_at", "session_id", "properties", "context"};

static bool equals(nexus_slice a, const char *b)
{
    return a.n == strlen(b) && memcmp(a.p, b, a.n) == 0;
}

static bool is_field(nexus_slice name)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (equals(name, fields[i]))
            return true;
    return false;
}

bool event_rules_map(event_rules *rules, const char *text)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ",");
        const char *eq = memchr(p, '=', n);
        if (!eq || eq == p || rules->map_count == EVENT_MAPS_MAX)
            return cli_fail("--map is from=to,from=to with at most %d pairs", EVENT_MAPS_MAX), false;
        nexus_slice to = {eq + 1, (size_t)(p + n - eq - 1)};
        if (!is_field(to))
            return cli_fail("--map: \"%.*s\" is no field of an event", (int)to.n, to.p), false;
        rules->maps[rules->map_count].from = (nexus_slice){p, (size_t)(eq - p)};
        rules->maps[rules->map_count++].to = to;
        p += n + (p[n] == ',');
    }
    return true;
}

/* FNV-1a with a strong end: tells lines apart, guards nothing. */
uint64_t event_hash(uint64_t seed, nexus_slice text)
{
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * 0x100000001b3u;
    h ^= h >> 30;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 27;
    h *= 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

/* The same line of the same file has the same id in every import: file (by its first line), line number, content. */
static void put_id(nexus_json_writer *out, const event_rules *rules, nexus_slice line, uint64_t number)
{
    char id[64];
    snprintf(id, sizeof id, "line-%016llx%016llx", (unsigned long long)event_hash(rules->seed + number, line),
             (unsigned long long)event_hash(~rules->seed ^ (number << 20), line));
    nexus_json_put_text_c(out, "id", id);
}

/* --- combined ----------------------------------------------------------------------------------------------------- */

/* \" and \\ as themselves, \xHH as the byte. */
static nexus_slice unescaped(nexus_slice text, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n && n < cap; i++) {
        char hex[3] = {0};
        if (text.p[i] == '\\' && i + 3 < text.n && text.p[i + 1] == 'x') {
            memcpy(hex, text.p + i + 2, 2);
            out[n++] = (char)strtol(hex, NULL, 16);
            i += 3;
            continue;
        }
        if (text.p[i] == '\\' && i + 1 < text.n)
            i++;
        out[n++] = text.p[i];
    }
    return (nexus_slice){out, n};
}

static void put_field(nexus_json_writer *out, const char *name, nexus_slice text)
{
    char memory[8192];
    if (text.n > 0 && !(text.n == 1 && text.p[0] == '-'))
        nexus_json_put_text(out, name, unescaped(text, memory, sizeof memory));
}

static const char *combined_line(const event_rules *rules, nexus_slice line, uint64_t number, nexus_json_writer *out)
{
    combined entry;
    const char *wrong = combined_parse(line, &entry);
    if (wrong)
        return wrong;
    const char *query = memchr(entry.target.p ? entry.target.p : "", '?', entry.target.n);
    size_t path_len = query ? (size_t)(query - entry.target.p) : entry.target.n;
    nexus_json_open_object(out, NULL);
    put_id(out, rules, line, number);
    nexus_json_put_text_c(out, "event", rules->event ? rules->event : "page_view");
    nexus_json_put_text_c(out, "timestamp", entry.time);
    nexus_json_put_text(out, "user_id", entry.host);
    nexus_json_open_object(out, "properties");
    put_field(out, "method", entry.method);
    put_field(out, "path", (nexus_slice){entry.target.p, path_len});
    if (query)
        put_field(out, "query", (nexus_slice){query + 1, entry.target.n - path_len - 1});
    nexus_json_put_int(out, "status", entry.status);
    if (entry.bytes >= 0)
        nexus_json_put_int(out, "bytes", entry.bytes);
    put_field(out, "referrer", entry.referrer);
    put_field(out, "ua", entry.agent);
    put_field(out, "remote_user", entry.user);
    nexus_json_close(out);
    nexus_json_close(out);
    return NULL;
}

/* --- ndjson ------------------------------------------------------------------------------------------------------- */

static nexus_slice target_of(const event_rules *rules, nexus_slice name)
{
    for (size_t i = 0; i < rules->map_count; i++)
        if (rules->maps[i].from.n == name.n && memcmp(rules->maps[i].from.p, name.p, name.n) == 0)
            return rules->maps[i].to;
    return is_field(name) ? name : (nexus_slice){0};
}

/* Writes the members that are fields; returns by `seen` which of id and event were there. */
static void put_fields(const event_rules *rules, nexus_json *line, nexus_json_writer *out, bool *id, bool *event)
{
    nexus_json_iter it = {0};
    while (nexus_json_step(line, NEXUS_JSON_ROOT, &it)) {
        char name[64];
        nexus_slice raw, to = target_of(rules, it.name);
        if (to.n == 0 || equals(to, "properties"))
            continue;
        *id |= equals(to, "id");
        *event |= equals(to, "event");
        snprintf(name, sizeof name, "%.*s", (int)to.n, to.p);
        nexus_json_raw(line, it.value, &raw);
        nexus_json_put_raw(out, name, raw);
    }
}

/* The properties, and every member that is no field of an event. */
static void put_properties(const event_rules *rules, nexus_json *line, nexus_json_writer *out)
{
    nexus_json_iter it = {0};
    nexus_json_open_object(out, "properties");
    while (nexus_json_step(line, NEXUS_JSON_ROOT, &it)) {
        nexus_slice raw, to = target_of(rules, it.name);
        nexus_json_iter inner = {0};
        char name[512];
        if (to.n > 0 && !equals(to, "properties"))
            continue;
        if (to.n == 0) {
            snprintf(name, sizeof name, "%.*s", (int)it.name.n, it.name.p);
            nexus_json_raw(line, it.value, &raw);
            nexus_json_put_raw(out, name, raw);
            continue;
        }
        while (nexus_json_step(line, it.value, &inner)) {
            snprintf(name, sizeof name, "%.*s", (int)inner.name.n, inner.name.p);
            nexus_json_raw(line, inner.value, &raw);
            nexus_json_put_raw(out, name, raw);
        }
    }
    nexus_json_close(out);
}

static const char *ndjson_line(const event_rules *rules, nexus_slice text, uint64_t number, nexus_json_writer *out)
{
    nexus_json *line = NULL;
    if (nexus_json_parse(&line, text) != NEXUS_OK)
        return nexus_error_message();
    if (nexus_json_type(line, NEXUS_JSON_ROOT) != NEXUS_JSON_OBJECT) {
        nexus_json_free(line);
        return "not a JSON object";
    }
    bool id = false, event = false;
    nexus_json_open_object(out, NULL);
    put_fields(rules, line, out, &id, &event);
    put_properties(rules, line, out);
    if (!id)
        put_id(out, rules, text, number);
    if (!event && rules->event)
        nexus_json_put_text_c(out, "event", rules->event);
    nexus_json_close(out);
    nexus_json_free(line);
    return NULL;
}

const char *event_line(const event_rules *rules, nexus_slice line, uint64_t number, nexus_json_writer *out)
{
    return rules->combined ? combined_line(rules, line, number, out) : ndjson_line(rules, line, number, out);
}
