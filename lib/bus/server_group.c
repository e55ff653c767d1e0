/* What clients ask of groups: joining, settling, reports and steering. */
#include "base/status.h"
#include "bus/server_conn.h"

static void group_wake(void *user_data)
{
    nexus__joined *j = user_data;
    atomic_store(&j->fresh, true);
    nexus__conn_poke(j->conn->wake_fd);
}

nexus__joined *nexus__conn_group(nexus__conn *c, uint32_t index)
{
    return index < c->group_count ? c->groups[index] : NULL;
}

void nexus__conn_join(nexus__conn *c, uint64_t id, nexus__wire_in *in)
{
    nexus_slice name = nexus__wire_take_text(in), bytes = nexus__wire_take_text(in);
    nexus__group_config config;
    nexus__bgroup *g = NULL;
    nexus_status status = NEXUS_OK;
    uint32_t index = 0;
    while (index < c->group_count && c->groups[index])
        index++;
    if (in->bad || !nexus__group_config_decode(bytes, &config))
        status = nexus__fail(NEXUS_EPROTO, "an unreadable group configuration");
    else if (index == NEXUS__CONN_GROUPS_MAX)
        status = nexus__fail(NEXUS_ELIMIT, "a connection joins at most %d groups", NEXUS__CONN_GROUPS_MAX);
    else
        status = nexus__broker_group(c->server->broker, name, &config, &g);
    nexus__joined *j = status == NEXUS_OK ? nexus__calloc(c->server->alloc, 1, sizeof *j) : NULL;
    if (j)
        j->member = nexus__bgroup_join(g, true);
    if (status == NEXUS_OK && (!j || !j->member))
        status = nexus__nomem();
    if (status != NEXUS_OK) {
        nexus__free(c->server->alloc, j);
        nexus__conn_reply(c, WIRE_GROUP, status, id, NEXUS_S(""));
        return;
    }
    j->conn = c;
    j->group = g;
    j->watch.fn = group_wake;
    j->watch.user_data = j;
    c->groups[index] = j;
    c->group_count += index == c->group_count;
    uint32_t answer[2] = {index, nexus__bgroup_config(g)->ack_wait_ms};
    nexus__bgroup_watch(g, &j->watch);
    nexus__conn_reply(c, WIRE_GROUP, NEXUS_OK, id, nexus__slice(answer, sizeof answer));
}

static void leave(nexus__conn *c, uint32_t index)
{
    nexus__joined *j = c->groups[index];
    if (!j)
        return;
    nexus__bgroup_unwatch(j->group, &j->watch);
    nexus__bgroup_part(j->group, j->member);
    nexus__free(c->server->alloc, j);
    c->groups[index] = NULL;
}

void nexus__conn_leave(nexus__conn *c, uint64_t id, nexus__wire_in *in)
{
    uint32_t index = nexus__wire_take_u32(in);
    if (index < c->group_count)
        leave(c, index);
    nexus__conn_reply(c, WIRE_LEAVE, NEXUS_OK, id, NEXUS_S(""));
}

void nexus__conn_leave_all(nexus__conn *c)
{
    for (uint32_t i = 0; i < c->group_count; i++)
        leave(c, i);
    c->group_count = 0;
}

void nexus__conn_settle(nexus__conn *c, uint64_t id, nexus__wire_in *in)
{
    nexus__joined *j = nexus__conn_group(c, nexus__wire_take_u32(in));
    uint64_t pos = nexus__wire_take_u64(in), token = nexus__wire_take_u64(in);
    uint32_t how = nexus__wire_take_u32(in), ms = nexus__wire_take_u32(in);
    nexus_slice reason = nexus__wire_take_text(in);
    nexus_status status = in->bad || !j || how > NEXUS__SETTLE_LAST
                              ? nexus__fail(NEXUS_EPROTO, "an unreadable settlement")
                              : nexus__bgroup_settle(j->group, pos, token, how, ms, reason);
    nexus__conn_reply(c, WIRE_SETTLE, status, id, NEXUS_S(""));
}

static nexus_status dead_letters(nexus__bgroup *g, uint16_t op, nexus__wire_in *in, nexus__buf *body)
{
    nexus__dead_query query;
    nexus__dead_report report = {0};
    nexus_status status;
    nexus__wire_take_dead_query(in, &query);
    nexus_slice data = op == WIRE_REDRIVE ? nexus__wire_take_text(in) : NEXUS_S("");
    uint32_t dry = op == WIRE_REDRIVE ? nexus__wire_take_u32(in) : 0;
    uint64_t expect = op == WIRE_PURGE ? nexus__wire_take_u64(in) : 0;
    if (in->bad)
        return nexus__fail(NEXUS_EPROTO, "an unreadable query of dead letters");
    if (op == WIRE_DEAD)
        return nexus__bgroup_dead(g, &query, body);
    if (op == WIRE_REDRIVE)
        status = nexus__bgroup_redrive(g, &query, data, dry != 0, &report);
    else
        status = nexus__bgroup_purge(g, &query, expect, &report);
    if (status == NEXUS_OK) /* else the body is the message */
        nexus__buf_append(body, &report, sizeof report);
    return status;
}

static nexus_status steer(nexus__bgroup *g, uint16_t op, nexus__wire_in *in, nexus__buf *body)
{
    nexus__seek seek;
    nexus__seek_report report;
    if (op == WIRE_EXPLAIN)
        return nexus__bgroup_explain(g, body);
    if (op == WIRE_AUDIT)
        return nexus__bgroup_audit(g, body);
    if (op == WIRE_PAUSE) {
        uint32_t pause = nexus__wire_take_u32(in);
        return in->bad ? nexus__fail(NEXUS_EPROTO, "an unreadable pause") : nexus__bgroup_pause(g, pause != 0);
    }
    nexus__wire_take(in, &seek, sizeof seek);
    nexus_status status = in->bad ? nexus__fail(NEXUS_EPROTO, "an unreadable seek") : nexus__bgroup_seek(g, &seek, &report);
    if (status == NEXUS_OK)
        nexus__buf_append(body, &report, sizeof report);
    return status;
}

void nexus__conn_group_call(nexus__conn *c, const nexus__wire_head *head, nexus__wire_in *in)
{
    nexus__joined *j = nexus__conn_group(c, nexus__wire_take_u32(in));
    if (!j) {
        nexus__conn_reply(c, head->op, nexus__fail(NEXUS_EPROTO, "no such group on this connection"), head->id, NEXUS_S(""));
        return;
    }
    nexus__buf body;
    nexus__buf_init(&body, c->server->alloc, NEXUS__WIRE_BODY_MAX);
    nexus_status status = NEXUS_OK;
    if (head->op == WIRE_SYNC) {
        status = nexus__bgroup_sync(j->group);
    } else if (head->op == WIRE_STATS) {
        nexus_group_stats stats = {.size = sizeof stats};
        nexus__bgroup_stats(j->group, &stats);
        nexus__buf_append(&body, &stats, sizeof stats);
    } else if (head->op == WIRE_WATCH) {
        j->watching = true;
        atomic_store(&j->fresh, true);
    } else if (head->op >= WIRE_EXPLAIN) {
        status = steer(j->group, head->op, in, &body);
    } else {
        status = dead_letters(j->group, head->op, in, &body);
    }
    nexus__conn_reply(c, head->op, status, head->id, nexus__buf_slice(&body));
    nexus__buf_free(&body);
}
