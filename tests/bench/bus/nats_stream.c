/* A NATS JetStream file stream: asynchronous publish with Nats-Msg-Id, an ordered consumer back. Its fsync is every two minutes.
 *     nats-stream URL PENDING SECONDS */
#include "load.h"

#include <nats/nats.h>
#include <unistd.h>

static void check(natsStatus status, const char *what)
{
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
        exit(1);
    }
}

static double replay(jsCtx *js, uint64_t n)
{
    jsSubOptions options;
    jsErrCode error;
    natsSubscription *sub;
    jsSubOptions_Init(&options);
    options.Ordered = true;
    check(js_SubscribeSync(&sub, js, "events.>", NULL, &options, &error), "subscribe");
    natsSubscription_SetPendingLimits(sub, -1, -1);
    double start = now_s();
    for (uint64_t i = 0; i < n; i++) {
        natsMsg *message;
        check(natsSubscription_NextMsg(&message, sub, 5000), "replay");
        natsMsg_Destroy(message);
    }
    return (double)n / (now_s() - start);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: nats-stream URL PENDING SECONDS");
    double limit = atof(argv[3]);
    natsConnection *nc;
    jsCtx *js;
    jsOptions options;
    jsErrCode error;
    check(natsConnection_ConnectTo(&nc, argv[1]), "connect");
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = atoi(argv[2]);
    options.PublishAsync.StallWait = 5000;
    check(natsConnection_JetStream(&js, nc, &options), "jetstream");
    js_DeleteStream(js, "EVENTS", NULL, &error);
    const char *subjects[] = {"events.>"};
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = "EVENTS";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    check(js_AddStream(NULL, js, &config, NULL, &error), "add stream");
    unsigned char data[EVENT_BYTES];
    uint64_t n = 0;
    double start = now_s();
    for (; now_s() - start < limit; n++) {
        char subject[64], id[64];
        jsPubOptions publish;
        jsPubOptions_Init(&publish);
        snprintf(subject, sizeof subject, "events.%d", (int)(next_random() % 1000));
        snprintf(id, sizeof id, "%016llx%016llx", (unsigned long long)n, (unsigned long long)next_random());
        publish.MsgId = id;
        fill(data, n);
        check(js_PublishAsync(js, subject, data, sizeof data, &publish), "publish");
    }
    jsPubOptions wait;
    jsPubOptions_Init(&wait);
    wait.MaxWait = 30000;
    check(js_PublishAsyncComplete(js, &wait), "complete");
    double took = now_s() - start;
    report(n, took, replay(js, n), NULL);
    fflush(stdout);
    _exit(0); /* the library's threads need seconds to end */
}
