/* Connections to a Kafka cluster, and the few calls that the bus makes. */
#include "bus/engines/kafka.h"

#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/status.h"
#include "runtime/loop.h"

#define CALL_MS 3000
#define COMMIT_MS 5000

static nexus_status fail(rd_kafka_resp_err_t err, const char *what, const char *said)
{
    static const struct {
        rd_kafka_resp_err_t err;
        nexus_status status;
    } rows[] = {
        {RD_KAFKA_RESP_ERR__FENCED, NEXUS_ESTALE},
        {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, NEXUS_ESTALE},
        {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, NEXUS_ESTALE},
        {RD_KAFKA_RESP_ERR__TIMED_OUT, NEXUS_ETIMEDOUT},
        {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, NEXUS_ETIMEDOUT},
        {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, NEXUS_ETIMEDOUT},
        {RD_KAFKA_RESP_ERR__TRANSPORT, NEXUS_EUNREACH},
        {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, NEXUS_EUNREACH},
        {RD_KAFKA_RESP_ERR__RESOLVE, NEXUS_EUNREACH},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, NEXUS_EUNREACH},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, NEXUS_ENOTFOUND},
        {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, NEXUS_ENOTFOUND},
        {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, NEXUS_ENOTFOUND},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, NEXUS_ETOOBIG},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, NEXUS_EPERM},
        {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, NEXUS_EPERM},
        {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, NEXUS_EPERM},
        {RD_KAFKA_RESP_ERR__QUEUE_FULL, NEXUS_EAGAIN},
    };
    nexus_status status = NEXUS_EIO;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].err == err)
            status = rows[i].status;
    return nexus__fail(status, "Kafka: %s: %s", what, said ? said : rd_kafka_err2str(err));
}

static nexus_status result(rd_kafka_resp_err_t err, const char *what)
{
    return err == RD_KAFKA_RESP_ERR_NO_ERROR ? NEXUS_OK : fail(err, what, NULL);
}

static nexus_status take_error(rd_kafka_error_t *error, const char *what)
{
    if (!error)
        return NEXUS_OK;
    nexus_status status = fail(rd_kafka_error_code(error), what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return status;
}

/* --- clients of the library ----------------------------------------------------------------------------------------- */

/* The library logs to stderr unless told otherwise; here each call says what went wrong. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk, (void)level, (void)facility, (void)text;
}

static void on_error(rd_kafka_t *rk, int err, const char *reason, void *user_data)
{
    (void)rk, (void)err, (void)reason, (void)user_data;
}

typedef struct setting {
    const char *name, *value;
} setting;

static const setting for_all[] = {{"client.id", "nexus-bus"},
                                  {"log.connection.close", "false"},
                                  {"reconnect.backoff.ms", "50"},
                                  {"reconnect.backoff.max.ms", "500"},
                                  {NULL, NULL}};
static const setting for_writer[] = {{"transaction.timeout.ms", "10000"},
                                     {"message.timeout.ms", "5000"},
                                     {"linger.ms", "0"},
                                     {NULL, NULL}};
static const setting for_notes[] = {{"enable.idempotence", "true"},
                                    {"message.timeout.ms", "3000"},
                                    {"linger.ms", "0"},
                                    {NULL, NULL}};
/* A group has to be named, but nothing joins one: partitions are assigned, so there is no rebalance. */
static const setting for_reader[] = {{"group.id", "nexus-bus"},
                                     {"enable.auto.commit", "false"},
                                     {"enable.partition.eof", "true"},
                                     {"isolation.level", "read_committed"},
                                     {"auto.offset.reset", "earliest"},
                                     {"fetch.wait.max.ms", "50"},
                                     {"fetch.error.backoff.ms", "50"},
                                     {"queued.max.messages.kbytes", "4096"},
                                     {NULL, NULL}};

/* For calls that are answered over a topic; a broker answers at once when there is something. */
static const setting for_wire[] = {{"fetch.wait.max.ms", "10"}, {NULL, NULL}};

static bool set(rd_kafka_conf_t *conf, const setting *s, char *why, size_t n)
{
    for (; s->name; s++)
        if (rd_kafka_conf_set(conf, s->name, s->value, why, n) != RD_KAFKA_CONF_OK)
            return false;
    return true;
}

typedef void delivery_fn(rd_kafka_t *rk, const rd_kafka_message_t *m, void *user_data);

/* Its threads block all signals, as ours do. */
static rd_kafka_t *new_quietly(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t n)
{
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, n);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return rk;
}

/* on_delivery: of a producer; NULL makes a consumer. */
static nexus_status make(rd_kafka_t **out, nexus__kafka *k, const setting *more, const char *txn_id,
                         delivery_fn *on_delivery)
{
    rd_kafka_type_t type = on_delivery ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
    char why[300] = "out of memory";
    const setting servers[] = {{"bootstrap.servers", k->servers}, {NULL, NULL}};
    const setting txn[] = {{"transactional.id", txn_id}, {NULL, NULL}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool wire = more == for_wire;
    bool good = conf && set(conf, for_all, why, sizeof why) && (!wire || set(conf, for_reader, why, sizeof why)) && set(conf, servers, why, sizeof why) &&
                set(conf, more, why, sizeof why) && (!txn_id || set(conf, txn, why, sizeof why));
    rd_kafka_t *rk = NULL;
    if (good) {
        rd_kafka_conf_set_log_cb(conf, on_log);
        rd_kafka_conf_set_error_cb(conf, on_error);
        if (on_delivery)
            rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
        rk = new_quietly(type, conf, why, sizeof why);
    }
    if (!rk) { /* which takes conf only when it succeeds */
        if (conf)
            rd_kafka_conf_destroy(conf);
        return nexus__fail(NEXUS_EINVAL, "Kafka: %s", why);
    }
    *out = rk;
    return NEXUS_OK;
}

static nexus_status take_name(nexus__kafka *k, nexus_slice name)
{
    if (!name.n)
        name = NEXUS_S("nexus_bus");
    for (size_t i = 0; i < name.n; i++)
        if (name.n > KAFKA_NAME_MAX || (!isalnum((unsigned char)name.p[i]) && !strchr("._-", name.p[i])))
            return nexus__fail(NEXUS_EINVAL, "the name behind # in a kafka: URL has 1 to %d letters, digits, '.', _ and -",
                               KAFKA_NAME_MAX);
    snprintf(k->log_topic, sizeof k->log_topic, "%.*s", (int)name.n, name.p);
    snprintf(k->owner_topic, sizeof k->owner_topic, "%s-owner", k->log_topic);
    snprintf(k->state_topic, sizeof k->state_topic, "%s-state", k->log_topic);
    snprintf(k->wire_topic, sizeof k->wire_topic, "%s-wire", k->log_topic);
    return NEXUS_OK;
}

/* The operator makes the topics: how many replicas, and that they keep everything, is his to say. *out (may be NULL) knows
 * the leader, as long as it is kept. */
static nexus_status check_topic(rd_kafka_t *rk, const char *topic, rd_kafka_topic_t **out)
{
    const struct rd_kafka_metadata *found;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    if (!handle)
        return nexus__nomem();
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, handle, &found, CALL_MS);
    if (out)
        *out = handle;
    else
        rd_kafka_topic_destroy(handle);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return fail(err, "look for the topics", NULL);
    bool there = found->topic_cnt == 1 && found->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
                 found->topics[0].partition_cnt > 0;
    rd_kafka_metadata_destroy(found);
    return there ? NEXUS_OK
                 : nexus__fail(NEXUS_ENOTFOUND,
                               "Kafka has no topic %s: make it with one partition, retention.ms=-1 and retention.bytes=-1",
                               topic);
}

static nexus_status check_topics(nexus__kafka *k)
{
    const char *const topics[] = {k->log_topic, k->owner_topic, k->state_topic, k->wire_topic};
    rd_kafka_t *consumer;
    nexus_status status = make(&consumer, k, for_reader, NULL, NULL);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < sizeof topics / sizeof topics[0] && status == NEXUS_OK; i++)
        status = check_topic(consumer, topics[i], NULL);
    rd_kafka_destroy(consumer);
    return status;
}

/* Who waits until a note is stored. */
typedef struct waiter {
    atomic_int state; /* 0 on its way, 1 stored, -1 not */
    rd_kafka_resp_err_t err;
} waiter;

/* On whichever thread polls. */
static void on_noted(rd_kafka_t *rk, const rd_kafka_message_t *m, void *user_data)
{
    (void)rk, (void)user_data;
    waiter *w = m->_private;
    if (!w) /* nobody waits */
        return;
    w->err = m->err;
    atomic_store(&w->state, m->err ? -1 : 1);
}

nexus_status nexus__kafka_open(nexus__kafka **out, const char *url, const nexus_alloc *alloc)
{
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "opening a bus on Kafka blocks: not on a loop thread");
    nexus_slice text = nexus__slice_c(url);
    size_t hash = nexus__slice_find(text, '#'), scheme = sizeof "kafka://" - 1;
    nexus__kafka *k = nexus__calloc(alloc, 1, sizeof *k);
    if (!k)
        return nexus__nomem();
    k->alloc = alloc;
    nexus_status status = take_name(k, hash < text.n ? nexus__slice_from(text, hash + 1) : NEXUS_S(""));
    k->servers = nexus__strndup(alloc, nexus__slice(url + scheme, hash - scheme));
    if (status == NEXUS_OK && !k->servers)
        status = nexus__nomem();
    if (status == NEXUS_OK)
        status = check_topics(k);
    if (status == NEXUS_OK)
        status = make(&k->notes, k, for_notes, NULL, on_noted);
    if (status == NEXUS_OK)
        status = check_topic(k->notes, k->owner_topic, &k->warm[0]);
    if (status == NEXUS_OK)
        status = check_topic(k->notes, k->state_topic, &k->warm[1]);
    if (status == NEXUS_OK)
        status = check_topic(k->notes, k->wire_topic, &k->warm[2]);
    if (status != NEXUS_OK) {
        nexus__kafka_close(k);
        return status;
    }
    *out = k;
    return NEXUS_OK;
}

void nexus__kafka_close(nexus__kafka *k)
{
    if (!k)
        return;
    for (int i = 0; i < 3; i++)
        if (k->warm[i])
            rd_kafka_topic_destroy(k->warm[i]);
    if (k->notes)
        rd_kafka_destroy(k->notes);
    nexus__free(k->alloc, k->servers);
    nexus__free(k->alloc, k);
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static void on_sent(rd_kafka_t *rk, const rd_kafka_message_t *m, void *user_data)
{
    (void)rk, (void)user_data;
    nexus__kafka_sent *sent = m->_private;
    if (m->err)
        return;
    if (sent->first < 0)
        sent->first = m->offset;
    sent->last = m->offset;
}

nexus_status nexus__kafka_writer(rd_kafka_t **out, nexus__kafka *k)
{
    rd_kafka_t *writer;
    nexus_status status = make(&writer, k, for_writer, k->log_topic, on_sent);
    if (status != NEXUS_OK)
        return status;
    status = take_error(rd_kafka_init_transactions(writer, COMMIT_MS), "become the writer");
    if (status == NEXUS_OK)
        status = check_topic(writer, k->log_topic, &k->warm[3]);
    if (status != NEXUS_OK) {
        nexus__kafka_writer_close(writer, k);
        return status;
    }
    *out = writer;
    return NEXUS_OK;
}

void nexus__kafka_writer_close(rd_kafka_t *writer, nexus__kafka *k)
{
    if (!writer)
        return;
    if (k->warm[3])
        rd_kafka_topic_destroy(k->warm[3]);
    k->warm[3] = NULL;
    rd_kafka_destroy(writer);
}

nexus_status nexus__kafka_begin(rd_kafka_t *writer)
{
    return take_error(rd_kafka_begin_transaction(writer), "begin a transaction");
}

nexus_status nexus__kafka_add(rd_kafka_t *writer, const char *topic, nexus_slice value, nexus__kafka_sent *sent)
{
    return result(rd_kafka_producev(writer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                    RD_KAFKA_V_VALUE((void *)(uintptr_t)value.p, value.n),
                                    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(sent), RD_KAFKA_V_END),
                  topic);
}

nexus_status nexus__kafka_abort(rd_kafka_t *writer, nexus_status status)
{
    char why[300];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    nexus_status aborted = take_error(rd_kafka_abort_transaction(writer, COMMIT_MS), "abort a transaction");
    if (aborted == NEXUS_ESTALE)
        return aborted;
    return nexus__fail(aborted == NEXUS_OK ? status : NEXUS_EUNKNOWN, "%s", why);
}

nexus_status nexus__kafka_commit(rd_kafka_t *writer)
{
    rd_kafka_error_t *error = rd_kafka_commit_transaction(writer, COMMIT_MS);
    if (error && rd_kafka_error_is_retriable(error)) {
        rd_kafka_error_destroy(error);
        error = rd_kafka_commit_transaction(writer, COMMIT_MS);
    }
    bool abort = error && rd_kafka_error_txn_requires_abort(error);
    nexus_status status = take_error(error, "commit a transaction");
    if (status == NEXUS_OK || status == NEXUS_ESTALE)
        return status;
    return abort ? nexus__kafka_abort(writer, NEXUS_EUNREACH) : nexus__fail(NEXUS_EUNKNOWN, "%s", nexus_error_message());
}

nexus_status nexus__kafka_note(nexus__kafka *k, const char *topic, nexus_slice key, nexus_slice value)
{
    waiter w = {0};
    nexus_status status =
        result(rd_kafka_producev(k->notes, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                 RD_KAFKA_V_KEY((void *)(uintptr_t)key.p, key.n),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)value.p, value.n),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(&w), RD_KAFKA_V_END),
               topic);
    while (status == NEXUS_OK && atomic_load(&w.state) == 0) /* ends by message.timeout.ms */
        rd_kafka_poll(k->notes, 10);
    return status == NEXUS_OK && atomic_load(&w.state) < 0 ? fail(w.err, topic, NULL) : status;
}

bool nexus__kafka_send(nexus__kafka *k, const char *topic, nexus_slice key, nexus_slice value)
{
    return rd_kafka_producev(k->notes, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                             RD_KAFKA_V_KEY((void *)(uintptr_t)key.p, key.n),
                             RD_KAFKA_V_VALUE((void *)(uintptr_t)value.p, value.n),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

void nexus__kafka_poll(nexus__kafka *k)
{
    rd_kafka_poll(k->notes, 0);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

nexus_slice nexus__kafka_value(const rd_kafka_message_t *m)
{
    return nexus__slice(m->payload, m->len);
}

nexus_status nexus__kafka_reader_open(nexus__kafka_reader *r, nexus__kafka *k, const char *topic)
{
    *r = (nexus__kafka_reader){.topic = topic, .next = -1};
    return make(&r->consumer, k, topic == k->wire_topic ? for_wire : for_reader, NULL, NULL);
}

void nexus__kafka_reader_close(nexus__kafka_reader *r)
{
    if (!r->consumer)
        return;
    rd_kafka_consumer_close(r->consumer);
    rd_kafka_destroy(r->consumer);
    r->consumer = NULL;
}

nexus_status nexus__kafka_range(nexus__kafka_reader *r, int64_t *first, int64_t *behind)
{
    return result(rd_kafka_query_watermark_offsets(r->consumer, r->topic, 0, first, behind, CALL_MS), r->topic);
}

nexus_status nexus__kafka_seek(nexus__kafka_reader *r, int64_t offset)
{
    if (r->next == offset)
        return NEXUS_OK;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    if (!list)
        return nexus__nomem();
    rd_kafka_topic_partition_list_add(list, r->topic, 0)->offset = offset;
    nexus_status status = result(rd_kafka_assign(r->consumer, list), r->topic);
    rd_kafka_topic_partition_list_destroy(list);
    r->next = status == NEXUS_OK ? offset : -1;
    return status;
}

/* The library says once that it has come to the end, which may be before the last messages were stored. */
static nexus_status at_end(nexus__kafka_reader *r, int64_t offset, bool *over)
{
    int64_t first, behind;
    nexus_status status = nexus__kafka_range(r, &first, &behind);
    *over = status == NEXUS_OK && offset >= behind;
    return status;
}

nexus_status nexus__kafka_next(nexus__kafka_reader *r, rd_kafka_message_t **out)
{
    int64_t until = nexus__mono_ns() + CALL_MS * NEXUS__NS_PER_MS;
    for (;;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(r->consumer, 100);
        if (m && !m->err) {
            r->next = m->offset + 1;
            *out = m;
            return NEXUS_OK;
        }
        bool over = false;
        nexus_status status = NEXUS_OK;
        int64_t offset = r->next;
        if (m && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
            status = fail(m->err, r->topic, rd_kafka_message_errstr(m));
        else if (m)
            offset = r->next = m->offset > r->next ? m->offset : r->next; /* behind what the library keeps for itself */
        bool passing = status == NEXUS_EUNREACH || status == NEXUS_ETIMEDOUT; /* it goes on by itself */
        if (m)
            rd_kafka_message_destroy(m);
        if (status == NEXUS_OK)
            status = at_end(r, offset, &over);
        if (over)
            return NEXUS_EDONE;
        if (status != NEXUS_OK && !passing)
            return status;
        if (nexus__mono_ns() >= until)
            return nexus__fail(NEXUS_ETIMEDOUT, "Kafka: %s: no answer", r->topic);
    }
}

nexus_status nexus__kafka_wake_by(nexus__kafka_reader *r, int wake_fd)
{
    static const uint64_t one = 1;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(r->consumer);
    if (!queue)
        return nexus__nomem();
    rd_kafka_queue_io_event_enable(queue, wake_fd, &one, sizeof one);
    rd_kafka_queue_destroy(queue);
    return NEXUS_OK;
}

rd_kafka_message_t *nexus__kafka_arrived(nexus__kafka_reader *r)
{
    rd_kafka_message_t *m;
    while ((m = rd_kafka_consumer_poll(r->consumer, 0)) != NULL && m->err) /* it goes on by itself */
        rd_kafka_message_destroy(m);
    return m;
}

/* The last parcel at `from` or behind it, and before `behind`. */
static nexus_status last_from(nexus__kafka_reader *r, int64_t from, int64_t behind, nexus__parcel *out,
                              nexus__buf *body, int64_t *offset)
{
    rd_kafka_message_t *m;
    bool found = false;
    nexus_status status = nexus__kafka_seek(r, from);
    while (status == NEXUS_OK && r->next < behind && (status = nexus__kafka_next(r, &m)) == NEXUS_OK) {
        if (nexus__parcel_get(out, nexus__kafka_value(m))) {
            found = true;
            nexus__buf_clear(body);
            nexus__buf_slice_append(body, nexus__kafka_value(m));
            *offset = m->offset;
        }
        rd_kafka_message_destroy(m);
    }
    if (status == NEXUS_EDONE)
        status = body->status;
    if (status == NEXUS_OK && found && nexus__parcel_get(out, nexus__buf_slice(body)))
        return NEXUS_OK;
    return status == NEXUS_OK ? nexus__fail(NEXUS_ENOTFOUND, "the topic %s is empty", r->topic) : status;
}

nexus_status nexus__kafka_last(nexus__kafka_reader *r, nexus__parcel *out, nexus__buf *body, int64_t *offset)
{
    int64_t first, behind, where = -1;
    nexus_status status = nexus__kafka_range(r, &first, &behind);
    for (int64_t back = 32; status == NEXUS_OK; back *= 8) {
        int64_t from = behind - back > first ? behind - back : first;
        status = from < behind ? last_from(r, from, behind, out, body, &where) : NEXUS_ENOTFOUND;
        if (status != NEXUS_ENOTFOUND || from == first)
            break;
        status = NEXUS_OK;
    }
    if (status == NEXUS_ENOTFOUND && nexus__kafka_seek(r, behind) != NEXUS_OK) /* what comes is read from there */
        return NEXUS_EUNREACH;
    if (offset)
        *offset = where;
    return status;
}
