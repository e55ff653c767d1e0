/*
 * The log in Redis: one stream, an entry a run of batches.
 *
 * The id of an entry is AT-POS: the bytes before it plus one (an id may not be 0), and its first position. So a place in
 * the log is found by id, a page is a range of ids, and ids only grow. A second stream has the ids turned round, POS-AT,
 * and nothing else: it finds a position, and costs a few bytes an entry.
 *
 * A run is stored by a script, in one step of the server: when the head still names this owner as its writer and the log
 * ends where the owner believes (redis_owner.c), entry and new end are written, else nothing. An answer that was lost is
 * looked up: the end tells whether the run had been stored.
 */
#include <stdio.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "bus/engines/redis.h"

#define PAGE_BYTES (1 << 20)
#define CONNECT_MS 2000
#define CALL_MS 8000
#define CONNECTIONS 4

/* KEYS head, log, pos; ARGV token, at, behind, next_seq, next_pos, last_ns, first_pos, at + 1, bytes */
static const char append_text[] =
    "local h = redis.call('HMGET', KEYS[1], 'writer', 'end') "
    "if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return 'no' end "
    "redis.call('XADD', KEYS[2], ARGV[8] .. '-' .. ARGV[7], 'b', ARGV[9]) "
    "redis.pcall('XADD', KEYS[3], ARGV[7] .. '-' .. ARGV[8], 'x', '') "
    "redis.call('HSET', KEYS[1], 'end', ARGV[3], 'next_seq', ARGV[4], 'next_pos', ARGV[5], 'last_ns', ARGV[6]) "
    "return 'ok'";

/* KEYS log, pos; ARGV position. The id of the last entry that begins before it, or of the first there is. */
static const char find_text[] =
    "local p = redis.call('XREVRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '-', 'COUNT', 1)[1] "
    "local e = nil "
    "if p then"
    " local pos, at = string.match(p[1], '(%d+)-(%d+)')"
    " e = redis.call('XREVRANGE', KEYS[1], at .. '-' .. pos, '-', 'COUNT', 1)[1] "
    "end "
    "if not e then e = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1] end "
    "return e and e[1] or ''";

/* KEYS head, log, pos; ARGV token, position. Entries all of whose records stand below it go. */
static const char drop_text[] =
    "if redis.call('HGET', KEYS[1], 'writer') ~= ARGV[1] then return 'no' end "
    "local p = redis.call('XREVRANGE', KEYS[3], ARGV[2], '-', 'COUNT', 1)[1] "
    "if p then"
    " local pos, at = string.match(p[1], '(%d+)-(%d+)')"
    " redis.call('XTRIM', KEYS[2], 'MINID', at .. '-' .. pos)"
    " redis.call('XTRIM', KEYS[3], 'MINID', p[1])"
    " redis.call('HSET', KEYS[1], 'begin', string.format('%.0f', at - 1), 'first_pos', pos) "
    "end "
    "return redis.call('HMGET', KEYS[1], 'begin', 'first_pos')";

/* KEYS head, blob; ARGV token, name, bytes */
static const char put_blob_text[] = "if redis.call('HGET', KEYS[1], 'writer') ~= ARGV[1] then return 'no' end "
                                    "redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) "
                                    "return 'ok'";

/* --- the URL -------------------------------------------------------------------------------------------------------- */

static bool is_name(nexus_slice name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    for (size_t i = 0; i < name.n; i++)
        if (!name.p[i] || !strchr(allowed, name.p[i]))
            return false;
    return name.n && name.n <= NEXUS__REDIS_NAME_MAX;
}

static void name_keys(nexus__redis_place *p)
{
    const struct {
        char *key;
        const char *what;
    } keys[] = {{p->head, "head"}, {p->owner, "owner"}, {p->heir, "heir"},
                {p->log, "log"},   {p->pos, "pos"},     {p->blob, "blob"}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        snprintf(keys[i].key, NEXUS__REDIS_KEY_MAX, "nexus:bus:{%s}:%s", p->name, keys[i].what);
}

nexus_status nexus__redis_place_parse(nexus__redis_place *out, const char *url, const nexus_alloc *alloc)
{
    nexus__redis_place p = {
        .config = {.alloc = alloc, .connect_timeout_ms = CONNECT_MS, .timeout_ms = CALL_MS}, .name = "nexus_bus"};
    nexus_slice rest = nexus__slice_from(nexus__slice_c(url), strlen("redis://"));
    size_t hash = nexus__slice_find(rest, '#');
    if (hash < rest.n) {
        nexus_slice name = nexus__slice_from(rest, hash + 1);
        if (!is_name(name))
            return nexus__fail(NEXUS_EINVAL, "the name behind # in the URL of a redis bus has 1 to %d letters, digits, _, . "
                               "and -", NEXUS__REDIS_NAME_MAX);
        memcpy(p.name, name.p, name.n);
        p.name[name.n] = '\0';
    }
    char *address = nexus__strndup(alloc, nexus__slice(rest.p, hash));
    if (!address)
        return nexus__nomem();
    name_keys(&p);
    nexus_status status = nexus__redis_config_parse(&p.config, address);
    nexus__free(alloc, address);
    if (status == NEXUS_OK)
        *out = p;
    else
        nexus__redis_config_free(&p.config);
    return status;
}

void nexus__redis_place_free(nexus__redis_place *place)
{
    nexus__redis_config_free(&place->config);
}

uint64_t nexus__redis_number(const nexus__redis_reply *reply, size_t i)
{
    uint64_t value = 0;
    return nexus__parse_u64(nexus__redis_reply_at(reply, i).text, &value) ? value : 0;
}

nexus_slice nexus__redis_digits(char out[static 24], uint64_t value)
{
    return nexus__slice(out, (size_t)snprintf(out, 24, "%llu", (unsigned long long)value));
}

int64_t nexus__redis_deadline(const nexus__redis_log *log)
{
    return nexus__mono_ns() + log->place.config.timeout_ms * NEXUS__NS_PER_MS;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

/* NEXUS_ECONFLICT: the head does not agree, nothing was stored. */
static nexus_status store(nexus__redis_log *log, const nexus__wal_run *run, uint64_t at)
{
    char n[7][24];
    nexus__redis_reply reply;
    if (!log->link)
        return NEXUS_ECLOSED;
    const nexus_slice words[] = {nexus__slice_c(log->place.head),
                                 nexus__slice_c(log->place.log),
                                 nexus__slice_c(log->place.pos),
                                 nexus__slice_c(log->token),
                                 nexus__redis_digits(n[0], at),
                                 nexus__redis_digits(n[1], at + run->bytes.n),
                                 nexus__redis_digits(n[2], run->next_seq),
                                 nexus__redis_digits(n[3], run->next_pos),
                                 nexus__redis_digits(n[4], (uint64_t)run->recv_ns),
                                 nexus__redis_digits(n[5], run->first_pos),
                                 nexus__redis_digits(n[6], at + 1),
                                 run->bytes};
    nexus_status status = nexus__redis_run(log->link, &log->scripts.append, words, 3, sizeof words / sizeof words[0],
                                           nexus__redis_deadline(log), &reply);
    if (status != NEXUS_OK)
        return status;
    bool stored = nexus__slice_eq_c(reply.text, "ok");
    nexus__redis_reply_free(&reply);
    return stored ? NEXUS_OK : NEXUS_ECONFLICT;
}

static bool is_cut(nexus_status status) /* no answer, or one that says later */
{
    return status == NEXUS_ECLOSED || status == NEXUS_ETIMEDOUT || status == NEXUS_EUNREACH || status == NEXUS_EPROTO ||
           status == NEXUS_EAGAIN;
}

/* After an answer that was lost or a head that did not agree: was it stored, can it be now? */
static nexus_status store_again(nexus__redis_log *log, const nexus__wal_run *run, uint64_t at, bool cut)
{
    uint64_t found = at;
    nexus_status status = cut ? nexus__redis_reown(log, &found) : nexus__redis_look(log, log->link, &found);
    if (is_cut(status))
        return nexus__fail(NEXUS_EUNKNOWN, "redis is out of reach, or another process owns the bus by now");
    if (status != NEXUS_OK || found == at + run->bytes.n)
        return status;
    if (found != at)
        return nexus__fail(NEXUS_ESTALE, "the log in redis ends elsewhere than its owner wrote: it was changed by hand");
    status = store(log, run, at);
    if (status == NEXUS_ECONFLICT && nexus__redis_look(log, log->link, &found) == NEXUS_OK && found == at + run->bytes.n)
        return NEXUS_OK; /* the first one came through after all */
    return is_cut(status) || status == NEXUS_ECONFLICT ? nexus__fail(NEXUS_EUNKNOWN, "redis is out of reach") : status;
}

static bool is_over(nexus__redis_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool over = log->locked.over;
    pthread_mutex_unlock(&log->lock);
    return over;
}

/* A replica, or a server that cannot save, may be another one at the next try. */
static nexus_status refused(nexus__redis_log *log, nexus_status status)
{
    char said[200];
    snprintf(said, sizeof said, "%s", nexus_error_message());
    if (status != NEXUS_ENOSPC) {
        nexus__redis_close(log->link);
        log->link = NULL;
    }
    if (status != NEXUS_ENOSPC && status != NEXUS_EROFS)
        nexus__redis_give_up(log); /* the log takes no more: whoever can may own it now */
    return status == NEXUS_ENOSPC ? nexus__fail(status, "%s: raise maxmemory, or let old events go (retention)", said)
                                  : nexus__fail(status, "%s", said);
}

static nexus_status append(nexus__wal_engine *e, const nexus__wal_run *run, uint64_t *end)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    if (is_over(log))
        return nexus__fail(NEXUS_ESTALE, "another process has become the owner of the bus");
    uint64_t at = log->locked.end.at; /* only this thread changes it */
    nexus_status status = store(log, run, at);
    if (is_cut(status) || status == NEXUS_ECONFLICT)
        status = store_again(log, run, at, status != NEXUS_ECONFLICT);
    if (status != NEXUS_OK)
        return refused(log, status);
    *end = at + run->bytes.n;
    pthread_mutex_lock(&log->lock);
    log->locked.end = (nexus__redis_end){*end, run->next_seq, run->next_pos, run->recv_ns};
    pthread_mutex_unlock(&log->lock);
    return NEXUS_OK;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

/* What only asks is asked once more when the connection had ended. */
static nexus_status ask(nexus__redis_log *log, const nexus_cache_script *script, const nexus_slice *words, size_t keys,
                        size_t n, nexus__redis_reply *reply)
{
    nexus_status status = NEXUS_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        nexus__redis *link;
        status = nexus__redis_take(&log->pool, &log->place.config, &link);
        if (status != NEXUS_OK)
            return status;
        int64_t deadline = nexus__redis_deadline(log);
        status = script ? nexus__redis_run(link, script, words, keys, n, deadline, reply)
                        : nexus__redis_ask(link, words, n, deadline, reply);
        nexus__redis_give(&log->pool, link);
        if (status != NEXUS_ECLOSED)
            break;
    }
    return status == NEXUS_ECLOSED ? NEXUS_EUNREACH : status;
}

/* The place of an entry, from its id. */
static uint64_t place_of(nexus_slice id)
{
    uint64_t at = 0;
    nexus_slice digits = nexus__slice_cut(&id, '-');
    return nexus__parse_u64(digits, &at) && at ? at - 1 : 0;
}

static nexus_status read_range(nexus__redis_log *log, uint64_t place, bool one, nexus__buf *out, uint64_t *next)
{
    char from[24], to[24];
    nexus__redis_reply reply;
    const nexus_slice words[] = {NEXUS_S("XRANGE"),
                                 nexus__slice_c(log->place.log),
                                 nexus__redis_digits(from, place + 1),
                                 one ? NEXUS_S("+") : nexus__redis_digits(to, place + PAGE_BYTES),
                                 NEXUS_S("COUNT"),
                                 one ? NEXUS_S("1") : NEXUS_S("100000")};
    nexus_status status = ask(log, NULL, words, 0, sizeof words / sizeof words[0], &reply);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < nexus__redis_reply_count(&reply); i++) {
        nexus__redis_reply entry = nexus__redis_reply_at(&reply, i);
        nexus__redis_reply id = nexus__redis_reply_at(&entry, 0), fields = nexus__redis_reply_at(&entry, 1);
        nexus_slice bytes = nexus__redis_reply_count(&fields) >= 2 ? nexus__redis_reply_at(&fields, 1).text : NEXUS_S("");
        nexus__buf_slice_append(out, bytes);
        *next = place_of(id.text) + (bytes.n ? bytes.n : 1);
    }
    nexus__redis_reply_free(&reply);
    return out->status;
}

static nexus_status read_runs(nexus__wal_engine *e, uint64_t place, nexus__buf *out, uint64_t *next)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    nexus_status status = read_range(log, place, false, out, next);
    if (status == NEXUS_OK && !out->len) /* what stood there is gone: the next entry there is */
        status = read_range(log, place, true, out, next);
    return status;
}

static nexus_status find(nexus__wal_engine *e, uint64_t pos, uint64_t *place)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    char digits[24];
    nexus__redis_reply reply;
    const nexus_slice words[] = {nexus__slice_c(log->place.log), nexus__slice_c(log->place.pos),
                                 nexus__redis_digits(digits, pos)};
    nexus_status status = ask(log, &log->scripts.find, words, 2, 3, &reply);
    if (status != NEXUS_OK)
        return status;
    *place = place_of(reply.text);
    nexus__redis_reply_free(&reply);
    return NEXUS_OK;
}

static nexus_status overtaken(nexus__redis_reply *reply)
{
    nexus__redis_reply_free(reply);
    return nexus__fail(NEXUS_ESTALE, "another process has become the owner of the bus");
}

static nexus_status drop_below(nexus__wal_engine *e, uint64_t pos, uint64_t *first_pos, uint64_t *begin)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    char digits[24];
    nexus__redis_reply reply;
    const nexus_slice words[] = {nexus__slice_c(log->place.head), nexus__slice_c(log->place.log),
                                 nexus__slice_c(log->place.pos), nexus__slice_c(log->token),
                                 nexus__redis_digits(digits, pos)};
    nexus_status status = ask(log, &log->scripts.drop, words, 3, 5, &reply);
    if (status != NEXUS_OK)
        return status;
    if (nexus__redis_reply_count(&reply) < 2)
        return overtaken(&reply);
    *begin = nexus__redis_number(&reply, 0);
    *first_pos = nexus__redis_number(&reply, 1);
    nexus__redis_reply_free(&reply);
    return NEXUS_OK;
}

/* --- checkpoints ---------------------------------------------------------------------------------------------------- */

static nexus_status put_blob(nexus__wal_engine *e, const char *name, nexus_slice blob)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    nexus__redis_reply reply;
    const nexus_slice words[] = {nexus__slice_c(log->place.head), nexus__slice_c(log->place.blob),
                                 nexus__slice_c(log->token), nexus__slice_c(name), blob};
    nexus_status status = ask(log, &log->scripts.put_blob, words, 2, 5, &reply);
    if (status != NEXUS_OK)
        return status;
    if (!nexus__slice_eq_c(reply.text, "ok"))
        return overtaken(&reply);
    nexus__redis_reply_free(&reply);
    return NEXUS_OK;
}

static nexus_status get_blob(nexus__wal_engine *e, const char *name, nexus__buf *out)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    nexus__redis_reply reply;
    const nexus_slice words[] = {NEXUS_S("HGET"), nexus__slice_c(log->place.blob), nexus__slice_c(name)};
    nexus_status status = ask(log, NULL, words, 0, 3, &reply);
    if (status != NEXUS_OK)
        return status;
    bool there = reply.type == NEXUS__REDIS_TEXT;
    if (there)
        nexus__buf_slice_append(out, reply.text);
    nexus__redis_reply_free(&reply);
    return there ? out->status : nexus__fail(NEXUS_ENOTFOUND, "there is no checkpoint %s", name);
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

static void close_link(void *link)
{
    nexus__redis_close(link);
}

static void close_log(nexus__wal_engine *e)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    nexus__redis_disown(log);
    nexus__redis_close(log->link);
    nexus__pool_free(&log->pool, close_link);
    nexus__redis_place_free(&log->place);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->changed);
    nexus__free(log->alloc, log);
}

static const nexus__wal_engine_ops ops = {
    .size = sizeof(nexus__wal_engine_ops),
    .name = "redis",
    .drops = true,
    .own = nexus__redis_own,
    .append = append,
    .read = read_runs,
    .find = find,
    .drop_below = drop_below,
    .put_blob = put_blob,
    .get_blob = get_blob,
    .on_lost = nexus__redis_on_lost,
    .close = close_log,
};

static nexus_status make_scripts(nexus__redis_script_set *s)
{
    const struct {
        nexus_cache_script *script;
        const char *text;
    } all[] = {{&s->append, append_text}, {&s->find, find_text}, {&s->drop, drop_text}, {&s->put_blob, put_blob_text}};
    nexus_status status = nexus__redis_owner_scripts(s);
    for (size_t i = 0; i < sizeof all / sizeof all[0] && status == NEXUS_OK; i++)
        status = nexus_cache_script_init(all[i].script, all[i].text);
    return status;
}

nexus_status nexus__redis_log_open(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc)
{
    uint8_t token[16];
    nexus__redis_log *log = nexus__calloc(alloc, 1, sizeof *log);
    if (!log)
        return nexus__nomem();
    log->alloc = alloc;
    log->base.ops = &ops;
    nexus__random(token, sizeof token);
    nexus__hex_write(log->token, token, sizeof token);
    nexus_status status = nexus__redis_place_parse(&log->place, url, alloc);
    if (status != NEXUS_OK) {
        nexus__free(alloc, log);
        return status;
    }
    status = make_scripts(&log->scripts);
    if (status == NEXUS_OK)
        status = nexus__pool_init(&log->pool, alloc, CONNECTIONS);
    if (status != NEXUS_OK) {
        nexus__redis_place_free(&log->place);
        nexus__free(alloc, log);
        return status;
    }
    pthread_mutex_init(&log->lock, NULL);
    nexus__cond_init(&log->changed);
    *out = &log->base;
    return NEXUS_OK;
}
