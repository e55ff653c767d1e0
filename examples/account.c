/*
 * An account as an aggregate, and all balances as a projection.
 *     account DIR NAME deposit|withdraw CENTS
 *     account DIR NAME
 */
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nexus_slice slice(const char *text)
{
    return (nexus_slice){text, strlen(text)};
}

static int64_t number(nexus_slice digits)
{
    char text[24] = "";
    memcpy(text, digits.p, digits.n < 23 ? digits.n : 23);
    return strtoll(text, NULL, 10);
}

/* What one event means for a balance; its data is the sum in cents. */
static int64_t change(const nexus_event *e)
{
    bool in = nexus_event_type_matches(slice("account.deposited"), e->type);
    return in ? number(e->data) : -number(e->data);
}

/* --- the aggregate: decides what may happen ---- */

static nexus_status apply(void *state, const nexus_event *e)
{
    *(int64_t *)state += change(e);
    return NEXUS_OK;
}

static void reset(void *state)
{
    *(int64_t *)state = 0;
}

static nexus_status save(void *state, nexus_slice *out)
{
    *out = (nexus_slice){state, sizeof(int64_t)};
    return NEXUS_OK;
}

static nexus_status restore(void *state, nexus_slice bytes)
{
    if (bytes.n != sizeof(int64_t))
        return NEXUS_EINVAL;
    memcpy(state, bytes.p, bytes.n);
    return NEXUS_OK;
}

static nexus_status move(nexus_bus *bus, const char *stream, bool in, int64_t cents, uint64_t *pos)
{
    nexus_aggregate account = NEXUS_AGGREGATE_INIT;
    account.apply = apply;
    account.reset = reset;
    account.save = save;
    account.restore = restore;
    account.rev = 1;
    for (;;) {
        int64_t balance;
        char sum[24];
        nexus_aggregate_report report = {.size = sizeof report};
        nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
        nexus_publish_result result = NEXUS_PUBLISH_RESULT_INIT;
        nexus_event e = NEXUS_EVENT_INIT;
        nexus_status status = nexus_aggregate_load(bus, stream, &account, &balance, &report);
        if (status != NEXUS_OK)
            return status;
        if (!in && balance < cents) {
            fprintf(stderr, "only %lld cents are there\n", (long long)balance);
            return NEXUS_EPERM;
        }
        snprintf(sum, sizeof sum, "%lld", (long long)cents);
        e.type = slice(in ? "account.deposited" : "account.withdrawn");
        e.subject = slice(stream);
        e.data = slice(sum);
        opts.expect = report.version >= 0 ? report.version : NEXUS_EXPECT_NO_STREAM;
        status = nexus_bus_publish(bus, &e, 1, &opts, &result);
        *pos = result.last;
        if (status != NEXUS_ECONFLICT) /* else somebody was faster: look again, decide again */
            return status;
    }
}

/* --- the projection: what people look at ---- */

static int32_t project(nexus_projection_tx *tx, const nexus_event *e, void *user_data)
{
    nexus_slice had = {"0", 1};
    char text[24];
    (void)user_data;
    nexus_status status = nexus_projection_fetch(tx, e->subject, &had);
    if (status != NEXUS_OK && status != NEXUS_ENOTFOUND)
        return NEXUS_RETRY;
    snprintf(text, sizeof text, "%lld", (long long)(number(had) + change(e)));
    return nexus_projection_put(tx, e->subject, slice(text)) == NEXUS_OK ? NEXUS_ACK : NEXUS_RETRY;
}

static nexus_status show(nexus_bus *bus, uint64_t pos)
{
    nexus_projection_opts opts = NEXUS_PROJECTION_OPTS_INIT;
    nexus_projection *balances;
    char *json;
    opts.types = "account.*";
    opts.handler = project;
    nexus_status status = nexus_projection_open(&balances, bus, "balances", &opts);
    if (status != NEXUS_OK)
        return status;
    status = nexus_projection_wait(balances, pos, 10000);
    if (status == NEXUS_OK)
        status = nexus_projection_list(&json, NULL, balances, slice("account-"), slice(""), 0);
    if (status == NEXUS_OK) {
        puts(json);
        nexus_free(json);
    }
    nexus_projection_close(balances);
    return status;
}

int main(int argc, char **argv)
{
    char url[300], stream[100];
    nexus_bus *bus;
    uint64_t pos = 0;
    bool moves = argc == 5 && (strcmp(argv[3], "deposit") == 0 || strcmp(argv[3], "withdraw") == 0);
    if (argc != 3 && !moves) {
        fprintf(stderr, "usage: account DIR NAME [deposit|withdraw CENTS]\n");
        return 2;
    }
    snprintf(url, sizeof url, "file:%s", argv[1]);
    snprintf(stream, sizeof stream, "account-%s", argv[2]);
    if (nexus_bus_open(&bus, url, NULL) != NEXUS_OK) {
        fprintf(stderr, "%s\n", nexus_error_message());
        return 1;
    }
    nexus_status status = nexus_bus_head(bus, &pos);
    if (status == NEXUS_OK && moves)
        status = move(bus, stream, argv[3][0] == 'd', strtoll(argv[4], NULL, 10), &pos);
    if (status == NEXUS_OK)
        status = show(bus, pos);
    if (status != NEXUS_OK && status != NEXUS_EPERM)
        fprintf(stderr, "%s\n", nexus_error_message());
    nexus_bus_close(bus);
    return status == NEXUS_OK ? 0 : 1;
}
