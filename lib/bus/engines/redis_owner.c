/*
 * Who may write to the log in Redis.
 *
 * The owner holds a lease (a key that expires) and renews it several times before it runs out. The lease only says whether
 * somebody is there; what protects the log is the head: it names its writer by a random token, and an append counts only
 * under the writer's token and at the end that the writer believes in. So an owner that slept, was cut off or lost its
 * lease stores nothing once another one has taken the head, and epochs are counted for those who ask.
 *
 * A lease that has run out is not taken at once: whoever wants it leaves a mark (heir) and comes again a moment later. An
 * owner that lives, but was cut off together with everybody else by a restart or failover of the server, has the first
 * word, and it alone knows what had been stored: a server that comes back with less than it confirmed (an older copy, a
 * replica that had not got everything, no copy at all) has lost events that were acknowledged. The owner then moves the
 * head to where the log had ended, under a new epoch, so that no position is given to another event: what is gone is a
 * gap, of which readers and groups are told. It notes the loss in the head and steps down; who opens the log next says it.
 */
#include <stdio.h>
#include <time.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "bus/engines/redis.h"

#define LEASE_MS "1000"
#define RENEW_NS (250 * NEXUS__NS_PER_MS)
#define GRACE_MS "600"                   /* between a lease that is gone and the next owner */
#define RETRY_NS (50 * NEXUS__NS_PER_MS)
#define REOWN_NS (3 * NEXUS__NS_PER_S)   /* an outage shorter than this is nobody's trouble */

/* KEYS head, owner, heir; ARGV token, lease, grace, uuid */
static const char own_text[] =
    "local holder = redis.call('GET', KEYS[2]) "
    "if holder and holder ~= ARGV[1] then return 'owned' end "
    "local h = redis.call('HMGET', KEYS[1], 'writer', 'uuid') "
    "if h[1] and h[1] ~= '' and h[1] ~= ARGV[1] then"
    " local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)"
    " local since = tonumber(redis.call('GET', KEYS[3]) or '')"
    " if not since then redis.call('SET', KEYS[3], string.format('%.0f', now), 'PX', 10000) return 'wait' end"
    " if now - since < tonumber(ARGV[3]) then return 'wait' end "
    "end "
    "if not h[2] then redis.call('HSET', KEYS[1], 'uuid', ARGV[4], 'epoch', 0, 'end', 0, 'next_seq', 1, 'next_pos', 1,"
    " 'last_ns', 0, 'begin', 0, 'first_pos', 1) end "
    "redis.call('DEL', KEYS[3]) "
    "redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) "
    "redis.call('HINCRBY', KEYS[1], 'epoch', 1) "
    "redis.call('HSET', KEYS[1], 'writer', ARGV[1]) "
    "local all = redis.call('HMGET', KEYS[1], 'epoch', 'end', 'next_seq', 'next_pos', 'last_ns', 'begin', 'first_pos',"
    " 'uuid', 'lost') "
    "if all[9] then redis.call('HSET', KEYS[1], 'told', all[9]) redis.call('HDEL', KEYS[1], 'lost') end "
    "return all";

/* KEYS head, owner, heir; ARGV token, lease */
static const char renew_text[] =
    "local h = redis.call('HMGET', KEYS[1], 'writer', 'epoch', 'end', 'next_pos') "
    "if h[1] == ARGV[1] then"
    " redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])"
    " redis.call('DEL', KEYS[3])"
    " h[1] = 'ours' "
    "end "
    "return h";

/* KEYS head, owner, heir; ARGV token, epoch, uuid, end, next_seq, next_pos, last_ns, what was lost */
static const char mend_text[] =
    "local holder = redis.call('GET', KEYS[2]) "
    "local h = redis.call('HMGET', KEYS[1], 'epoch', 'end', 'uuid') "
    "local epoch = tonumber(h[1] or '0') "
    "if (holder and holder ~= ARGV[1]) or epoch > tonumber(ARGV[2]) or tonumber(h[2] or '0') > tonumber(ARGV[4]) then"
    " return 'owned' end "
    "if not h[3] then redis.call('HSET', KEYS[1], 'uuid', ARGV[3], 'begin', 0, 'first_pos', 1) end "
    "redis.call('HSET', KEYS[1], 'epoch', ARGV[2] + 1, 'writer', '', 'end', ARGV[4], 'next_seq', ARGV[5], 'next_pos',"
    " ARGV[6], 'last_ns', ARGV[7], 'lost', ARGV[8]) "
    "redis.call('DEL', KEYS[2], KEYS[3]) "
    "return 'mended'";

/* KEYS head, owner, heir; ARGV token */
static const char release_text[] =
    "if redis.call('HGET', KEYS[1], 'writer') == ARGV[1] then"
    " redis.call('HSET', KEYS[1], 'writer', '') redis.call('DEL', KEYS[2], KEYS[3]) "
    "end "
    "return 'ok'";

nexus_status nexus__redis_owner_scripts(nexus__redis_script_set *out)
{
    nexus_status status = nexus_cache_script_init(&out->own, own_text);
    if (status == NEXUS_OK)
        status = nexus_cache_script_init(&out->renew, renew_text);
    if (status == NEXUS_OK)
        status = nexus_cache_script_init(&out->mend, mend_text);
    return status == NEXUS_OK ? nexus_cache_script_init(&out->release, release_text) : status;
}

static nexus_status run(nexus__redis_log *log, nexus__redis *link, const nexus_cache_script *script,
                        const nexus_slice *args, size_t n, nexus__redis_reply *reply)
{
    nexus_slice words[NEXUS__REDIS_WORDS_MAX] = {nexus__slice_c(log->place.head), nexus__slice_c(log->place.owner),
                                                 nexus__slice_c(log->place.heir), nexus__slice_c(log->token)};
    if (n) /* memcpy takes no NULL, even for nothing */
        memcpy(words + 4, args, n * sizeof *args);
    return nexus__redis_run(link, script, words, 3, n + 4, nexus__redis_deadline(log), reply);
}

static void rest(int64_t ns)
{
    struct timespec pause = {.tv_nsec = ns};
    nanosleep(&pause, NULL);
}

/* --- is it still ours? ---------------------------------------------------------------------------------------------- */

/* The server has less than we confirmed. The log goes on behind what it had, for whoever owns it next. */
static nexus_status mend(nexus__redis_log *log, nexus__redis *link, const nexus__redis_end *end, uint64_t there)
{
    char what[200], numbers[5][24];
    nexus__redis_reply reply;
    if (there < end->next_pos)
        snprintf(what, sizeof what, "positions %llu to %llu, which had been acknowledged", (unsigned long long)there,
                 (unsigned long long)end->next_pos - 1);
    else
        snprintf(what, sizeof what, "records of groups behind position %llu", (unsigned long long)end->next_pos - 1);
    const nexus_slice args[] = {nexus__redis_digits(numbers[0], log->epoch),
                                nexus__slice(log->uuid, sizeof log->uuid),
                                nexus__redis_digits(numbers[1], end->at),
                                nexus__redis_digits(numbers[2], end->next_seq),
                                nexus__redis_digits(numbers[3], end->next_pos),
                                nexus__redis_digits(numbers[4], (uint64_t)end->last_ns),
                                nexus__slice_c(what)};
    nexus_status status = run(log, link, &log->scripts.mend, args, sizeof args / sizeof args[0], &reply);
    if (status != NEXUS_OK)
        return status;
    bool mended = nexus__slice_eq_c(reply.text, "mended");
    nexus__redis_reply_free(&reply);
    return nexus__fail(NEXUS_ESTALE, "redis came back without %s%s", what,
                       mended ? "; their positions are not given out again"
                              : ", and another process has become the owner of the bus on what was left");
}

nexus_status nexus__redis_look(nexus__redis_log *log, nexus__redis *link, uint64_t *at)
{
    nexus__redis_reply reply;
    pthread_mutex_lock(&log->lock);
    nexus__redis_end end = log->locked.end; /* before the question: the log only grows */
    pthread_mutex_unlock(&log->lock);
    nexus_status status = run(log, link, &log->scripts.renew, &NEXUS_S(LEASE_MS), 1, &reply);
    if (status != NEXUS_OK)
        return status;
    if (nexus__redis_reply_count(&reply) < 4) {
        nexus__redis_reply_free(&reply);
        return nexus__fail(NEXUS_EPROTO, "redis gave an unreadable answer about the bus");
    }
    bool ours = nexus__slice_eq_c(nexus__redis_reply_at(&reply, 0).text, "ours");
    uint64_t epoch = nexus__redis_number(&reply, 1), there = nexus__redis_number(&reply, 3);
    *at = nexus__redis_number(&reply, 2);
    nexus__redis_reply_free(&reply);
    if (ours ? *at < end.at : epoch <= log->epoch)
        return mend(log, link, &end, there ? there : 1);
    return ours ? NEXUS_OK : nexus__fail(NEXUS_ESTALE, "another process has become the owner of the bus");
}

/* --- the pulse ------------------------------------------------------------------------------------------------------ */

static void lose(nexus__redis_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->locked.over = true;
    void (*fn)(void *) = log->locked.on_lost;
    void *user_data = log->locked.on_lost_data;
    pthread_mutex_unlock(&log->lock);
    if (fn)
        fn(user_data);
}

void nexus__redis_on_lost(nexus__wal_engine *e, void (*fn)(void *user_data), void *user_data)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    pthread_mutex_lock(&log->lock);
    log->locked.on_lost = fn;
    log->locked.on_lost_data = user_data;
    bool over = log->locked.over;
    pthread_mutex_unlock(&log->lock);
    if (over && fn)
        fn(user_data);
}

static nexus_status beat(nexus__redis_log *log, nexus__redis **link)
{
    uint64_t at;
    nexus_status status = *link ? NEXUS_OK : nexus__redis_open(link, &log->place.config);
    if (status == NEXUS_OK)
        status = nexus__redis_look(log, *link, &at);
    if (*link && !nexus__redis_alive(*link)) {
        nexus__redis_close(*link);
        *link = NULL;
    }
    return status;
}

static void release(nexus__redis_log *log, nexus__redis *link)
{
    nexus__redis_reply reply;
    if (link && run(log, link, &log->scripts.release, NULL, 0, &reply) == NEXUS_OK)
        nexus__redis_reply_free(&reply);
}

static void *pulse_main(void *arg)
{
    nexus__redis_log *log = arg;
    nexus__redis *link = NULL;
    pthread_mutex_lock(&log->lock);
    while (!log->locked.stop && !log->locked.over) {
        pthread_mutex_unlock(&log->lock);
        nexus_status status = beat(log, &link);
        if (status == NEXUS_ESTALE)
            lose(log);
        pthread_mutex_lock(&log->lock);
        int64_t until = nexus__mono_ns() + (status == NEXUS_OK ? RENEW_NS : RETRY_NS);
        while (!log->locked.stop && !log->locked.over && nexus__cond_wait_until(&log->changed, &log->lock, until))
            ;
    }
    pthread_mutex_unlock(&log->lock);
    release(log, link);
    nexus__redis_close(link);
    return NULL;
}

void nexus__redis_give_up(nexus__redis_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->locked.over = true;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

/* --- becoming the owner --------------------------------------------------------------------------------------------- */

static nexus_status read_head(nexus__redis_log *log, const nexus__redis_reply *reply, nexus__wal_tail *tail)
{
    if (nexus__redis_reply_count(reply) < 9)
        return nexus__fail(NEXUS_EPROTO, "redis gave an unreadable answer about the bus");
    nexus_slice uuid = nexus__redis_reply_at(reply, 7).text, lost = nexus__redis_reply_at(reply, 8).text;
    log->epoch = nexus__redis_number(reply, 0);
    *tail = (nexus__wal_tail){.end = nexus__redis_number(reply, 1),
                              .next_seq = nexus__redis_number(reply, 2),
                              .next_pos = nexus__redis_number(reply, 3),
                              .last_recv_ns = (int64_t)nexus__redis_number(reply, 4),
                              .begin = nexus__redis_number(reply, 5),
                              .first_pos = nexus__redis_number(reply, 6)};
    if (uuid.n == sizeof tail->uuid)
        memcpy(tail->uuid, uuid.p, uuid.n);
    memcpy(log->uuid, tail->uuid, sizeof log->uuid);
    snprintf(tail->lost, sizeof tail->lost, "%.*s", (int)lost.n, lost.n ? lost.p : "");
    log->locked.end = (nexus__redis_end){tail->end, tail->next_seq, tail->next_pos, tail->last_recv_ns};
    return NEXUS_OK;
}

/* NEXUS_EAGAIN: the lease is free, and its last holder has the first word for a moment longer. */
static nexus_status claim(nexus__redis_log *log, nexus__wal_tail *tail)
{
    uint8_t uuid[16];
    nexus__redis_reply reply;
    nexus__random(uuid, sizeof uuid);
    const nexus_slice args[] = {NEXUS_S(LEASE_MS), NEXUS_S(GRACE_MS), nexus__slice(uuid, sizeof uuid)};
    nexus_status status = run(log, log->link, &log->scripts.own, args, 3, &reply);
    if (status != NEXUS_OK)
        return status;
    if (reply.type != NEXUS__REDIS_TEXT)
        status = read_head(log, &reply, tail);
    else if (nexus__slice_eq_c(reply.text, "owned"))
        status = nexus__fail(NEXUS_ECONFLICT, "another process owns the bus %s of this redis", log->place.name);
    else
        status = NEXUS_EAGAIN;
    nexus__redis_reply_free(&reply);
    return status;
}

static nexus_status connect_writer(nexus__redis_log *log)
{
    nexus__redis_health now;
    nexus_status status = nexus__redis_open(&log->link, &log->place.config);
    if (status == NEXUS_OK)
        status = nexus__redis_examine(log->link, nexus__redis_deadline(log), &now);
    if (status == NEXUS_OK && log->owns && (now.durable != log->health.durable || now.weaker != log->health.weaker))
        return nexus__fail(NEXUS_ESTALE, "redis syncs its file in another way than before: the bus is opened again");
    if (status == NEXUS_OK)
        log->health = now;
    return status;
}

nexus_status nexus__redis_own(nexus__wal_engine *e, nexus__wal_tail *tail)
{
    nexus__redis_log *log = (nexus__redis_log *)e;
    nexus_status status = connect_writer(log);
    int64_t until = nexus__mono_ns() + NEXUS__NS_PER_S;
    while (status == NEXUS_OK && (status = claim(log, tail)) == NEXUS_EAGAIN && nexus__mono_ns() < until) {
        rest(RETRY_NS);
        status = NEXUS_OK;
    }
    if (status == NEXUS_EAGAIN || status == NEXUS_ECLOSED || status == NEXUS_ETIMEDOUT)
        status = nexus__fail(NEXUS_EUNREACH, "redis is not ready yet");
    if (status == NEXUS_EROFS || status == NEXUS_ENOTSUP) {
        char said[200];
        snprintf(said, sizeof said, "%s", nexus_error_message());
        return nexus__fail(status, "%s: the URL of a bus names the server that takes its writes", said);
    }
    if (status != NEXUS_OK)
        return status;
    tail->durable = log->health.durable;
    tail->weaker = log->health.weaker;
    tail->sync_ms = log->health.sync_ms;
    log->owns = true;
    status = nexus__thread_start(&log->pulse, "nexus-bus-own", pulse_main, log);
    log->pulse_started = status == NEXUS_OK;
    return status;
}

nexus_status nexus__redis_reown(nexus__redis_log *log, uint64_t *at)
{
    int64_t until = nexus__mono_ns() + REOWN_NS;
    for (;;) {
        nexus__redis_close(log->link);
        log->link = NULL;
        nexus_status status = connect_writer(log);
        if (status == NEXUS_OK)
            status = nexus__redis_look(log, log->link, at);
        if (status == NEXUS_OK || status == NEXUS_ESTALE || nexus__mono_ns() >= until)
            return status;
        rest(RETRY_NS);
    }
}

void nexus__redis_disown(nexus__redis_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->locked.stop = true;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    if (log->pulse_started)
        pthread_join(log->pulse, NULL);
    else if (log->owns)
        release(log, log->link);
}
