/*
 * A process that runs a saga, its commands' receiver with an inbox, and the bus itself is killed with -9 at every transition:
 * just before it is appended, and just after. Then it starts again and ends the saga. Each command must have had one effect
 * at the inbox, in order; what was done is undone once, last first; a time that came while nobody ran fires once. Fault row 28
 * of the bus page.
 */
#include <ftw.h>
#include <nexus/nexus.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct scenario {
    const char *name, *lost, *answers, *ends, *effects; /* answers: what the receiver says to payment.take; NULL = nothing */
    bool undo_fails;
} scenarios[] = {
    {"forward", "no", "captured", "done", "stock.reserve payment.take parcel.pack sale.done ", false},
    {"back", "lost", "captured", "failed",
     "stock.reserve payment.take parcel.pack payment.refund stock.release sale.failed ", false},
    {"time", "no", NULL, "failed", "stock.reserve payment.take stock.release sale.failed ", false},
    {"undo", "lost", "captured", "failed",
     "stock.reserve payment.take parcel.pack payment.refund stock.release sale.failed ", true},
};

static void fail(const char *what)
{
    fprintf(stderr, "saga-crash: %s: %s\n", what, nexus_error_message());
    exit(1);
}

static bool is(nexus_slice text, const char *other)
{
    return text.n == strlen(other) && memcmp(text.p, other, text.n) == 0;
}

/* --- the process that dies ---------------------------------------------------------------------------------------- */

static struct {
    const struct scenario *scenario;
    nexus_bus *bus;
    nexus_db *db;
    nexus_outbox_relay *relay;
    int64_t kill_at; /* transition; -1 = none */
    bool before;
    int undos;
} self;

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* In every callback: the transition that is being made is the one after those stored. */
static void die_before(void)
{
    int64_t version;
    if (self.before && nexus_stream_version(self.bus, "saga-sale-7", &version) == NEXUS_OK && version + 1 == self.kill_at)
        die();
}

static nexus_status emit(nexus_saga_ctx *ctx, const char *type)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = (nexus_slice){type, strlen(type)};
    e.data = NEXUS_S("{}");
    die_before();
    return nexus_saga_emit(ctx, &e);
}

static nexus_status reserve(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    return emit(ctx, "stock.reserve");
}

static nexus_status release(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    return emit(ctx, "stock.release");
}

static nexus_status refund(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    nexus_status status = emit(ctx, "payment.refund");
    return self.scenario->undo_fails && self.undos++ == 0 ? NEXUS_EIO : status;
}

static int32_t judge(nexus_saga_ctx *ctx, void *user_data)
{
    const nexus_event *e = nexus_saga_event(ctx);
    (void)user_data;
    die_before();
    return memmem(e->data.p, e->data.n, "lost", 4) ? NEXUS_SAGA_FAIL : NEXUS_SAGA_NEXT;
}

static nexus_saga *open_saga(void)
{
    nexus_saga_step steps[3] = {NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT};
    nexus_saga_opts opts = NEXUS_SAGA_OPTS_INIT;
    nexus_saga *saga;
    steps[0].name = "stock";
    steps[0].action = reserve;
    steps[0].on_types = "stock.reserved";
    steps[0].judge = judge;
    steps[0].undo = release;
    steps[1].name = "payment";
    steps[1].command = "payment.take";
    steps[1].on_types = "payment.taken";
    steps[1].judge = judge;
    steps[1].undo = refund;
    steps[1].backoff_ms = 10;
    steps[1].timeout_ms = self.scenario->answers ? 0 : 30;
    steps[2].name = "parcel";
    steps[2].command = "parcel.pack";
    steps[2].on_types = "parcel.packed";
    steps[2].judge = judge;
    opts.start_types = "shop.sale";
    opts.key = "subject";
    opts.done_type = "sale.done";
    opts.failed_type = "sale.failed";
    if (nexus_saga_open(&saga, self.bus, "sale", steps, 3, &opts) != NEXUS_OK)
        fail("saga");
    return saga;
}

static nexus_status answer(nexus_db *tx, const char *type, const char *status)
{
    char data[64];
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = (nexus_slice){type, strlen(type)};
    e.subject = NEXUS_S("7");
    e.data = (nexus_slice){data, (size_t)snprintf(data, sizeof data, "{\"status\":\"%s\"}", status)};
    return nexus_outbox_append(tx, &e, 1);
}

static nexus_status effect(nexus_db *tx, const nexus_event *e)
{
    const struct scenario *s = self.scenario;
    nexus_value row[] = {NEXUS_TEXT(e->type)};
    nexus_status status = nexus_db_exec(tx, "INSERT INTO effects (type) VALUES ($1)", row, 1, NULL);
    if (status == NEXUS_OK && is(e->type, "stock.reserve"))
        status = answer(tx, "stock.reserved", "ok");
    if (status == NEXUS_OK && is(e->type, "payment.take") && s->answers)
        status = answer(tx, "payment.taken", s->answers);
    if (status == NEXUS_OK && is(e->type, "parcel.pack"))
        status = answer(tx, "parcel.packed", s->lost);
    return status;
}

static int32_t receive(nexus_delivery *d, void *user_data)
{
    const nexus_event *e = nexus_delivery_event(d);
    nexus_db *tx;
    bool is_new;
    (void)user_data;
    if (is(e->type, "crash.end")) /* everything before it has had its effect */
        _exit(0);
    if (nexus_db_begin(&tx, self.db) != NEXUS_OK)
        return NEXUS_RETRY;
    nexus_status status = nexus_inbox_claim(tx, "receiver", e, &is_new);
    if (status == NEXUS_OK && is_new)
        status = effect(tx, e);
    if (status == NEXUS_OK)
        status = nexus_db_commit(tx);
    else
        nexus_db_rollback(tx);
    nexus_outbox_relay_wake(self.relay);
    return status == NEXUS_OK ? NEXUS_ACK : NEXUS_RETRY;
}

static void publish(const char *type, const char *id)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = (nexus_slice){id, strlen(id)};
    e.type = (nexus_slice){type, strlen(type)};
    e.subject = NEXUS_S("7");
    e.data = NEXUS_S("{}");
    if (nexus_bus_publish(self.bus, &e, 1, NULL, NULL) != NEXUS_OK)
        fail("publish");
}

static void open_all(const char *dir)
{
    char url[300];
    nexus_bus_opts bus = NEXUS_BUS_OPTS_INIT;
    nexus_group_opts group_opts = NEXUS_GROUP_OPTS_INIT;
    nexus_outbox_relay_opts relay = NEXUS_OUTBOX_RELAY_OPTS_INIT;
    nexus_group *group;
    nexus_consumer *consumer;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    bus.segment_bytes = 256 << 10;
    if (nexus_bus_open(&self.bus, url, &bus) != NEXUS_OK)
        fail("bus");
    snprintf(url, sizeof url, "sqlite:%s/db", dir);
    relay.poll_ms = 20;
    relay.source = "/receiver";
    if (nexus_db_open(&self.db, url, NULL) != NEXUS_OK || nexus_outbox_prepare(self.db) != NEXUS_OK ||
        nexus_db_exec(self.db, "CREATE TABLE IF NOT EXISTS effects (n INTEGER PRIMARY KEY, type TEXT NOT NULL)", NULL, 0,
                      NULL) != NEXUS_OK ||
        nexus_outbox_relay_open(&self.relay, self.db, self.bus, &relay) != NEXUS_OK)
        fail("database");
    group_opts.types = "stock.reserve,stock.release,payment.take,payment.refund,parcel.pack,sale.*,crash.end";
    group_opts.order = NEXUS_ORDER_TOTAL;
    group_opts.ack_wait_ms = 200;
    if (nexus_group_open(&group, self.bus, "receiver", &group_opts) != NEXUS_OK ||
        nexus_consumer_open(&consumer, group, receive, NULL, 1) != NEXUS_OK)
        fail("receiver");
}

/* Follows the saga; dies where it is told to, or ends when the saga has. */
static void live(const char *dir, int scenario, int64_t kill_at, bool before)
{
    const nexus_event *e;
    nexus_reader *reader;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    self.scenario = &scenarios[scenario];
    self.kill_at = kill_at;
    self.before = before;
    open_all(dir);
    (void)open_saga(); /* until death */
    opts.types = "saga.transition";
    if (nexus_reader_open(&reader, self.bus, &opts) != NEXUS_OK)
        fail("reader");
    publish("shop.sale", "start");
    for (;;) {
        if (nexus_reader_next(reader, &e, 20000) != NEXUS_OK)
            fail("no transition for 20 s");
        if (!before && e->version == kill_at)
            die();
        char ends[40];
        snprintf(ends, sizeof ends, "\"status\":\"%s\"", self.scenario->ends);
        if (memmem(e->data.p, e->data.n, ends, strlen(ends)))
            publish("crash.end", "end"); /* the receiver ends the process */
    }
}

/* --- the parent --------------------------------------------------------------------------------------------------- */

static int run(const char *dir, int scenario, int64_t kill_at, bool before)
{
    char words[2][24];
    int status;
    snprintf(words[0], sizeof words[0], "%d", scenario);
    snprintf(words[1], sizeof words[1], "%lld", (long long)kill_at);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "saga-crash", "--live", dir, words[0], words[1], before ? "before" : "after", (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void check(const char *dir, const struct scenario *s, const char *where)
{
    char url[300], effects[600] = "", ends[40];
    char *view;
    size_t n;
    nexus_bus *bus;
    nexus_db *db;
    nexus_rows *rows;
    snprintf(url, sizeof url, "sqlite:%s/db", dir);
    if (nexus_db_open(&db, url, NULL) != NEXUS_OK ||
        nexus_db_query(&rows, db, "SELECT type FROM effects ORDER BY n", NULL, 0) != NEXUS_OK)
        fail("effects");
    while (nexus_rows_next(rows)) {
        nexus_slice type;
        nexus_rows_text(rows, 0, &type);
        snprintf(effects + strlen(effects), sizeof effects - strlen(effects), "%.*s ", (int)type.n, type.p);
    }
    nexus_rows_free(rows);
    nexus_db_close(db);
    snprintf(url, sizeof url, "file:%s/bus", dir);
    if (nexus_bus_open(&bus, url, NULL) != NEXUS_OK || nexus_saga_get(&view, &n, bus, "sale", NEXUS_S("7")) != NEXUS_OK)
        fail("view");
    snprintf(ends, sizeof ends, "\"status\":\"%s\"", s->ends);
    if (strcmp(effects, s->effects) != 0 || !strstr(view, ends)) {
        fprintf(stderr, "saga-crash: %s, %s:\n  effects %s\n  wanted  %s\n  %s\n", s->name, where, effects, s->effects, view);
        exit(1);
    }
    nexus_free(view);
    nexus_bus_close(bus);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* False: the saga had ended before it came to that transition. */
static bool one(int scenario, int64_t kill_at, bool before)
{
    char dir[] = "/tmp/nexus-saga-crash-XXXXXX", where[60];
    if (!mkdtemp(dir))
        fail("mkdtemp");
    snprintf(where, sizeof where, "killed %s transition %lld", before ? "before" : "after", (long long)kill_at);
    int status = run(dir, scenario, kill_at, before);
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!killed && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        fail(where);
    if (killed && run(dir, scenario, -1, false) != 0)
        fail("the second life");
    check(dir, &scenarios[scenario], where);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return killed;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "--live") == 0)
        live(argv[2], atoi(argv[3]), atoll(argv[4]), strcmp(argv[5], "before") == 0);
    int kills = 0;
    for (int k = 0; k < (int)(sizeof scenarios / sizeof scenarios[0]); k++) {
        int64_t at = 0;
        while (one(k, at, true) && one(k, at, false))
            at++;
        if (at < 3) {
            fprintf(stderr, "saga-crash: %s ended after %lld transitions\n", scenarios[k].name, (long long)at);
            return 1;
        }
        kills += (int)(2 * at);
    }
    printf("killed %d times at transitions\n", kills);
    return 0;
}
