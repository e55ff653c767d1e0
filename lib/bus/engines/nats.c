/* The connection to a NATS server, and the few calls of JetStream that the bus makes. */
#include "bus/engines/nats.h"

#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "runtime/loop.h"

#define CALL_MS 2000
#define OPEN_TRIES 4
#define RECONNECT_MS 50
#define PING_MS 1000
#define NEW_STREAM_MS 1000 /* a stream can be seen before it listens to its subject */
#define DUPLICATES_NS (10 * NEXUS__NS_PER_S) /* the server remembers ids: a message is sent again within three seconds */
#define PAYLOAD_MIN 8192 /* the server's max_payload; it has 1 MiB unless told otherwise */

nexus_status nexus__nats_fail(natsStatus s, int js_error, const char *what)
{
    static const struct {
        int js_error;
        natsStatus nats;
        nexus_status status;
        const char *why; /* NULL: as the server or the library says it */
    } rows[] = {
        {JSNotEnabledErr, 0, NEXUS_ENOTSUP, "the server has no JetStream: start nats-server with -js"},
        {JSNotEnabledForAccountErr, 0, NEXUS_ENOTSUP, "the account has no JetStream"},
        {JSStreamNotFoundErr, 0, NEXUS_ENOTFOUND, NULL},
        {JSNoMessageFoundErr, 0, NEXUS_ENOTFOUND, NULL},
        {JSStreamWrongLastSequenceErr, 0, NEXUS_ECONFLICT, NULL},
        {JSInsufficientResourcesErr, 0, NEXUS_ENOSPC, NULL},
        {JSStorageResourcesExceededErr, 0, NEXUS_ENOSPC, NULL},
        {JSMemoryResourcesExceededErr, 0, NEXUS_ENOSPC, NULL},
        {JSAccountResourcesExceededErr, 0, NEXUS_ENOSPC, NULL},
        {JSStreamStoreFailedErr, 0, NEXUS_ENOSPC, NULL},
        {JSStreamMessageExceedsMaximumErr, 0, NEXUS_ETOOBIG, NULL},
        {0, NATS_NO_RESPONDERS, NEXUS_ENOTFOUND, "no stream takes this"},
        {0, NATS_NOT_FOUND, NEXUS_ENOTFOUND, NULL},
        {0, NATS_TIMEOUT, NEXUS_ETIMEDOUT, NULL},
        {0, NATS_NO_MEMORY, NEXUS_ENOMEM, NULL},
        {0, NATS_MAX_PAYLOAD, NEXUS_ETOOBIG, NULL},
        {0, NATS_CONNECTION_AUTH_FAILED, NEXUS_EPERM, NULL},
        {0, NATS_NOT_PERMITTED, NEXUS_EPERM, NULL},
        {0, NATS_INVALID_ARG, NEXUS_EINVAL, NULL},
        {0, NATS_ADDRESS_MISSING, NEXUS_EINVAL, NULL},
    };
    const char *said = nats_GetLastError(NULL);
    if (!said || !said[0])
        said = natsStatus_GetText(s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].js_error ? rows[i].js_error == js_error : rows[i].nats == s)
            return nexus__fail(rows[i].status, "NATS: %s: %s", what, rows[i].why ? rows[i].why : said);
    return nexus__fail(js_error ? NEXUS_EIO : NEXUS_EUNREACH, "NATS: %s: %s", what, said);
}

static nexus_status result(natsStatus s, int js_error, const char *what)
{
    return s == NATS_OK ? NEXUS_OK : nexus__nats_fail(s, js_error, what);
}

nexus_slice nexus__nats_data(natsMsg *m)
{
    return nexus__slice(natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
}

/* --- connecting ----------------------------------------------------------------------------------------------------- */

static nexus_status take_name(nexus__nats *n, nexus_slice name)
{
    if (!name.n)
        name = NEXUS_S("nexus_bus");
    for (size_t i = 0; i < name.n; i++)
        if (name.n > NATS_NAME_MAX || (!isalnum((unsigned char)name.p[i]) && name.p[i] != '_' && name.p[i] != '-'))
            return nexus__fail(NEXUS_EINVAL, "the name behind # in a nats: URL has 1 to %d letters, digits, _ and -",
                               NATS_NAME_MAX);
    snprintf(n->name, sizeof n->name, "%.*s", (int)name.n, name.p);
    snprintf(n->log_subject, sizeof n->log_subject, "%s.log", n->name);
    snprintf(n->state_stream, sizeof n->state_stream, "%s_state", n->name);
    snprintf(n->owner_stream, sizeof n->owner_stream, "%s_owner", n->name);
    snprintf(n->owner_subject, sizeof n->owner_subject, "%s.owner", n->name);
    return NEXUS_OK;
}

/* The library prints what goes wrong beside a call; here each call says it itself. */
static void on_error(natsConnection *c, natsSubscription *s, natsStatus err, void *user_data)
{
    (void)c, (void)s, (void)err, (void)user_data;
}

enum { HOSTS_MAX = 16 };

/* hosts is cut into its names. */
static natsStatus set_servers(natsOptions *opts, char *hosts)
{
    const char *list[HOSTS_MAX];
    int n = 0;
    char *rest = NULL;
    for (char *host = strtok_r(hosts, ",", &rest); host && n < HOSTS_MAX; host = strtok_r(NULL, ",", &rest))
        list[n++] = host;
    return n ? natsOptions_SetServers(opts, list, n) : NATS_ADDRESS_MISSING;
}

static natsStatus set_up(natsOptions *opts, char *hosts)
{
    natsStatus s = set_servers(opts, hosts);
    if (s == NATS_OK)
        s = natsOptions_SetName(opts, "nexus-bus");
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(opts, CALL_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxReconnect(opts, -1);
    if (s == NATS_OK)
        s = natsOptions_SetReconnectWait(opts, RECONNECT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetReconnectJitter(opts, RECONNECT_MS, RECONNECT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(opts, PING_MS);
    if (s == NATS_OK)
        s = natsOptions_SetSendAsap(opts, true);
    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(opts, on_error, NULL);
    return s;
}

/* Its threads block all signals, as ours do; and the host's SIGPIPE stays what it was: the library sets it for all of the
 * process when it starts, although it writes to sockets without raising it. */
static natsStatus connect_quietly(natsConnection **out, natsOptions *opts)
{
    sigset_t all, mask;
    struct sigaction pipe;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    sigaction(SIGPIPE, NULL, &pipe);
    natsStatus s = nats_Open(-1);
    sigaction(SIGPIPE, &pipe, NULL);
    if (s == NATS_OK)
        s = natsConnection_Connect(out, opts);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return s;
}

static nexus_status connect_to(nexus__nats *n, nexus_slice hosts)
{
    natsOptions *opts = NULL;
    jsOptions js;
    char *list = nexus__strndup(n->alloc, hosts);
    if (!list)
        return nexus__nomem();
    natsStatus s = natsOptions_Create(&opts);
    if (s == NATS_OK)
        s = set_up(opts, list);
    if (s == NATS_OK)
        s = connect_quietly(&n->connection, opts);
    jsOptions_Init(&js);
    js.Wait = CALL_MS;
    if (s == NATS_OK)
        s = natsConnection_JetStream(&n->js, n->connection, &js);
    natsOptions_Destroy(opts);
    int64_t most = s == NATS_OK ? natsConnection_GetMaxPayload(n->connection) : 0;
    if (s == NATS_OK && most < PAYLOAD_MIN)
        s = NATS_MAX_PAYLOAD;
    n->payload_max = (size_t)most - NATS_HEADERS_MAX;
    nexus__free(n->alloc, list);
    return result(s, 0, "connect");
}

nexus_status nexus__nats_open(nexus__nats **out, const char *url, const nexus_alloc *alloc)
{
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "opening a bus on NATS blocks: not on a loop thread");
    nexus_slice text = nexus__slice_c(url);
    size_t hash = nexus__slice_find(text, '#');
    nexus__nats *n = nexus__calloc(alloc, 1, sizeof *n);
    if (!n)
        return nexus__nomem();
    n->alloc = alloc;
    nexus_status status = take_name(n, hash < text.n ? nexus__slice_from(text, hash + 1) : NEXUS_S(""));
    if (status == NEXUS_OK)
        status = connect_to(n, nexus__slice(url, hash));
    if (status != NEXUS_OK) {
        nexus__nats_close(n);
        return status;
    }
    *out = n;
    return NEXUS_OK;
}

void nexus__nats_close(nexus__nats *n)
{
    if (!n)
        return;
    jsCtx_Destroy(n->js);
    natsConnection_Destroy(n->connection);
    nexus__free(n->alloc, n);
}

/* --- streams -------------------------------------------------------------------------------------------------------- */

/* Somebody may have made the stream, with replicas, say: it is used as it is, if it keeps what it is given. */
static nexus_status keeps_all(const jsStreamConfig *c, bool log)
{
    const char *bad = NULL;
    if (log && c->MaxAge)
        bad = "max_age";
    else if (log && c->MaxMsgsPerSubject > 0)
        bad = "max_msgs_per_subject";
    else if (log && c->Discard == js_DiscardOld && (c->MaxMsgs > 0 || c->MaxBytes > 0))
        bad = "discard=old with max_msgs or max_bytes";
    else if (log && c->Retention != js_LimitsPolicy)
        bad = "a retention other than limits";
    else if (log && c->MaxMsgSize > 0)
        bad = "max_msg_size";
    return bad ? nexus__fail(NEXUS_EINVAL, "the stream %s has %s: it would forget or refuse events of the log", c->Name, bad)
               : NEXUS_OK;
}

static natsStatus get_or_add(nexus__nats *n, jsStreamInfo **info, jsStreamConfig *config, const char *subject,
                             jsErrCode *code)
{
    natsStatus s = js_GetStreamInfo(info, n->js, config->Name, NULL, code);
    if (s == NATS_OK || (s != NATS_NOT_FOUND && *code != JSStreamNotFoundErr))
        return s;
    config->Subjects = &subject;
    config->SubjectsLen = 1;
    return js_AddStream(info, n->js, config, NULL, code);
}

/* A server with a busy disk is given some time: it makes folders and files, and asking again does no harm. */
static nexus_status make_stream(nexus__nats *n, jsStreamConfig *config, const char *subject, bool log)
{
    jsErrCode code = 0;
    jsStreamInfo *info = NULL;
    natsStatus s = NATS_TIMEOUT;
    for (int i = 0; i < OPEN_TRIES && s == NATS_TIMEOUT; i++)
        s = get_or_add(n, &info, config, subject, &code);
    nexus_status status = s == NATS_NO_RESPONDERS ? nexus__nats_fail(s, JSNotEnabledErr, "open the streams")
                                                  : result(s, code, "open the streams");
    if (status == NEXUS_OK)
        status = keeps_all(info->Config, log);
    jsStreamInfo_Destroy(info);
    return status;
}

nexus_status nexus__nats_streams(nexus__nats *n)
{
    jsStreamConfig log, state, owner;
    char states[NATS_SUBJECT_MAX];
    snprintf(states, sizeof states, "%s.state.>", n->name);
    jsStreamConfig_Init(&log);
    log.Name = n->name;
    log.AllowDirect = true;
    log.Duplicates = DUPLICATES_NS;
    jsStreamConfig_Init(&state);
    state.Name = n->state_stream;
    state.MaxMsgsPerSubject = 1;
    jsStreamConfig_Init(&owner);
    owner.Name = n->owner_stream;
    owner.MaxMsgsPerSubject = 1;
    owner.MaxAge = NATS_LEASE_MS * NEXUS__NS_PER_MS;
    nexus_status status = make_stream(n, &log, n->log_subject, true);
    if (status == NEXUS_OK)
        status = make_stream(n, &state, states, false);
    if (status == NEXUS_OK)
        status = make_stream(n, &owner, n->owner_subject, false);
    return status;
}

nexus_status nexus__nats_log_range(nexus__nats *n, uint64_t *first, uint64_t *last)
{
    jsErrCode code = 0;
    jsStreamInfo *info = NULL;
    natsStatus s = js_GetStreamInfo(&info, n->js, n->name, NULL, &code);
    if (s == NATS_OK) {
        *first = info->State.FirstSeq;
        *last = info->State.LastSeq;
    }
    jsStreamInfo_Destroy(info);
    return s == NATS_NOT_FOUND ? nexus__nats_fail(s, JSStreamNotFoundErr, "the stream of the log")
                               : result(s, code, "the stream of the log");
}

/* --- publishing ----------------------------------------------------------------------------------------------------- */

static natsStatus set_headers(natsMsg *m, const nexus__nats_put *put)
{
    char seq[24];
    natsStatus s = NATS_OK;
    snprintf(seq, sizeof seq, "%llu", (unsigned long long)put->seq);
    if (put->after != NATS_ANYWHERE)
        s = natsMsgHeader_Set(m,
                              put->after == NATS_AFTER_LAST ? "Nats-Expected-Last-Sequence"
                                                            : "Nats-Expected-Last-Subject-Sequence",
                              seq);
    return s == NATS_OK && put->id ? natsMsgHeader_Set(m, "Nats-Msg-Id", put->id) : s;
}

/* Nobody listens: nothing was stored, so it can be sent again as it is. */
static natsStatus publish_patiently(nexus__nats *n, natsMsg *m, jsPubOptions *opts, jsPubAck **ack, jsErrCode *code)
{
    int64_t until = nexus__mono_ns() + NEW_STREAM_MS * NEXUS__NS_PER_MS;
    natsStatus s;
    while ((s = js_PublishMsg(ack, n->js, m, opts, code)) == NATS_NO_RESPONDERS && nexus__mono_ns() < until)
        nats_Sleep(10);
    return s;
}

nexus_status nexus__nats_publish(nexus__nats *n, const nexus__nats_put *put, uint64_t *seq)
{
    natsMsg *m = NULL;
    jsPubAck *ack = NULL;
    jsErrCode code = 0;
    jsPubOptions opts;
    jsPubOptions_Init(&opts);
    opts.MaxWait = put->wait_ms ? put->wait_ms : 1000;
    natsStatus s = natsMsg_Create(&m, put->subject, NULL, put->data.p, (int)put->data.n);
    if (s == NATS_OK)
        s = set_headers(m, put);
    if (s == NATS_OK)
        s = publish_patiently(n, m, &opts, &ack, &code);
    if (s == NATS_NO_RESPONDERS)
        code = 0;
    nexus_status status = result(s, code, put->subject);
    if (status == NEXUS_OK && seq)
        *seq = ack->Sequence;
    jsPubAck_Destroy(ack);
    natsMsg_Destroy(m);
    return status;
}

/* --- getting -------------------------------------------------------------------------------------------------------- */

nexus_status nexus__nats_last(nexus__nats *n, natsMsg **out, const char *stream, const char *subject)
{
    jsErrCode code = 0;
    natsStatus s = js_GetLastMsg(out, n->js, stream, subject, NULL, &code);
    return result(s, code, subject);
}

nexus_status nexus__nats_at_or_after(nexus__nats *n, natsMsg **out, uint64_t seq)
{
    jsDirectGetMsgOptions opts;
    jsDirectGetMsgOptions_Init(&opts);
    opts.Sequence = seq;
    opts.NextBySubject = n->log_subject;
    return result(js_DirectGetMsg(out, n->js, n->name, NULL, &opts), 0, "read the log");
}

/* A replica answers for itself and may be behind: what it has not got, the leader is asked for. */
static nexus_status ask_leader(nexus__nats *n, natsMsg **out, uint64_t seq)
{
    jsErrCode code = 0;
    natsStatus s = js_GetMsg(out, n->js, n->name, seq, NULL, &code);
    nexus_status status = result(s, code, "read the log");
    return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
}

static natsStatus ask_window(nexus__nats *n, const char *inbox, uint64_t seq, unsigned count)
{
    char subject[NATS_SUBJECT_MAX], reply[NATS_SUBJECT_MAX], body[40];
    natsStatus s = NATS_OK;
    snprintf(subject, sizeof subject, "$JS.API.DIRECT.GET.%s", n->name);
    for (unsigned i = 0; i < count && s == NATS_OK; i++) {
        snprintf(reply, sizeof reply, "%s.%u", inbox, i);
        int len = snprintf(body, sizeof body, "{\"seq\":%llu}", (unsigned long long)(seq + i));
        s = natsConnection_PublishRequest(n->connection, subject, reply, body, len);
    }
    return s;
}

/* Answers come in any order; the last token of the subject is the number of the question. */
static natsStatus take_answer(natsSubscription *sub, natsMsg *out[static NATS_WINDOW], int64_t until)
{
    natsMsg *m = NULL;
    const char *seq = NULL;
    int64_t left = (until - nexus__mono_ns()) / NEXUS__NS_PER_MS;
    natsStatus s = natsSubscription_NextMsg(&m, sub, left > 0 ? left : 1);
    if (s != NATS_OK)
        return s;
    const char *dot = strrchr(natsMsg_GetSubject(m), '.');
    unsigned i = dot ? (unsigned)strtoul(dot + 1, NULL, 10) : NATS_WINDOW;
    if (i < NATS_WINDOW && !out[i] && natsMsgHeader_Get(m, "Nats-Sequence", &seq) == NATS_OK)
        out[i] = m;
    else
        natsMsg_Destroy(m);
    return NATS_OK;
}

nexus_status nexus__nats_window(nexus__nats *n, natsMsg *out[static NATS_WINDOW], uint64_t seq, unsigned count)
{
    natsInbox *inbox = NULL;
    natsSubscription *sub = NULL;
    char all[NATS_SUBJECT_MAX];
    int64_t until = nexus__mono_ns() + CALL_MS * NEXUS__NS_PER_MS;
    memset(out, 0, NATS_WINDOW * sizeof *out);
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "reading a log on NATS blocks: do it on a worker, not on a loop thread");
    natsStatus s = natsInbox_Create(&inbox);
    if (s == NATS_OK) {
        snprintf(all, sizeof all, "%s.*", inbox);
        s = natsConnection_SubscribeSync(&sub, n->connection, all);
    }
    if (s == NATS_OK)
        s = ask_window(n, inbox, seq, count);
    for (unsigned i = 0; i < count && s == NATS_OK; i++)
        s = take_answer(sub, out, until);
    nexus_status status = result(s, 0, "read the log");
    for (unsigned i = 0; i < count && status == NEXUS_OK; i++)
        if (!out[i])
            status = ask_leader(n, &out[i], seq + i);
    natsSubscription_Destroy(sub);
    natsInbox_Destroy(inbox);
    for (unsigned i = 0; i < count && status != NEXUS_OK; i++) {
        natsMsg_Destroy(out[i]);
        out[i] = NULL;
    }
    return status;
}
