/* A Redis stream: XADD in pipelines over a Unix socket, XRANGE by 1,000 back.
 *     redis-stream SOCKET PIPELINE SECONDS */
#include "load.h"

#include <hiredis/hiredis.h>

static redisContext *redis;

static redisReply *reply(void *raw)
{
    redisReply *r = raw;
    if (!r || r->type == REDIS_REPLY_ERROR)
        die(r ? r->str : redis->errstr);
    return r;
}

static double replay(void)
{
    char from[64] = "-";
    uint64_t n = 0;
    double start = now_s();
    for (;;) {
        redisReply *r = reply(redisCommand(redis, "XRANGE events %s + COUNT 1000", from));
        if (r->elements)
            snprintf(from, sizeof from, "(%s", r->element[r->elements - 1]->element[0]->str);
        n += r->elements;
        size_t got = r->elements;
        freeReplyObject(r);
        if (!got)
            return (double)n / (now_s() - start);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: redis-stream SOCKET PIPELINE SECONDS");
    int window = atoi(argv[2]);
    double limit = atof(argv[3]);
    redis = redisConnectUnix(argv[1]);
    if (!redis || redis->err)
        die("redis-stream: cannot connect");
    freeReplyObject(reply(redisCommand(redis, "FLUSHALL")));
    unsigned char data[EVENT_BYTES];
    latencies times = {0};
    uint64_t n = 0;
    double start = now_s(), last = start;
    while (last - start < limit) {
        for (int i = 0; i < window; i++, n++) {
            fill(data, n);
            redisAppendCommand(redis, "XADD events * type %d stream %d data %b", (int)(n & 7),
                               (int)(next_random() % STREAMS), data, sizeof data);
        }
        for (int i = 0; i < window; i++) {
            void *r = NULL;
            if (redisGetReply(redis, &r))
                die(redis->errstr);
            freeReplyObject(reply(r));
        }
        double now = now_s();
        latencies_add(&times, now - last);
        last = now;
    }
    report(n, last - start, replay(), &times);
    redisFree(redis);
    return 0;
}
