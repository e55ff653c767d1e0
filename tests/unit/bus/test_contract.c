/* bus/contract, evolve, asyncapi: schemas on publish, compatibility, upcasters on read, pins, the export. */
#include "fixture.h"

#include <nexus/contract.h>

#define SCHEMA_1                                                                                                       \
    "{\"type\":\"object\",\"required\":[\"total\"],\"properties\":{\"total\":{\"type\":\"integer\",\"minimum\":0}}}"
#define SCHEMA_1B                                                                                                      \
    "{\"type\":\"object\",\"required\":[\"total\"],\"properties\":{\"total\":{\"type\":\"integer\",\"minimum\":0},"    \
    "\"note\":{\"type\":\"string\"}}}"
#define SCHEMA_2                                                                                                       \
    "{\"type\":\"object\",\"required\":[\"amount\",\"currency\"],\"properties\":{\"amount\":{\"type\":\"integer\"},"   \
    "\"currency\":{\"type\":\"string\"}}}"

static nexus_contract contract(const char *type, uint32_t rev, const char *schema)
{
    nexus_contract c = NEXUS_CONTRACT_INIT;
    c.type = type;
    c.rev = rev;
    c.schema = text(schema);
    return c;
}

static nexus_upcaster upcaster(const char *type, uint32_t from, nexus_upcast_fn *fn)
{
    nexus_upcaster u = NEXUS_UPCASTER_INIT;
    u.type = type;
    u.from_rev = from;
    u.fn = fn;
    return u;
}

static nexus_status publish(nexus_bus *bus, const char *type, const char *subject, uint32_t rev, const char *data,
                            nexus_publish_result *result)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = text(type);
    e.subject = text(subject);
    e.rev = rev;
    e.data = text(data);
    return nexus_bus_publish(bus, &e, 1, NULL, result);
}

static bool is(nexus_slice s, const char *t)
{
    return s.n == strlen(t) && memcmp(s.p, t, s.n) == 0;
}

static bool said(const char *words)
{
    return strstr(nexus_error_message(), words) != NULL;
}

/* --- on publish ---- */

static nexus_status even_only(const nexus_event *e, void *user_data)
{
    ++*(int *)user_data;
    return e->data.n % 2 ? nexus_contract_refuse("/total", "is odd") : NEXUS_OK;
}

static void note_warning(const nexus_event *e, const char *message, void *user_data)
{
    cr_assert(is(e->type, "b.c") && strstr(message, "\"/total\""));
    ++*(int *)user_data;
}

static void check_publish(nexus_bus *bus)
{
    int warned = 0, checked = 0;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_contract list[3] = {contract("order.created", 1, SCHEMA_1), contract("b.c", 1, SCHEMA_1),
                              contract("d.e", 1, "")};
    list[1].mode = NEXUS_CONTRACT_WARN;
    list[1].on_warning = note_warning;
    list[1].user_data = &warned;
    list[2].check = even_only;
    list[2].user_data = &checked;
    cr_assert(nexus_contract_add(bus, list, 3, NULL, 0) == NEXUS_OK, "%s", nexus_error_message());
    uint64_t head, after;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK);
    cr_assert(publish(bus, "order.created", "o-1", 0, "{\"total\":-1}", &r) == NEXUS_EINVAL);
    cr_assert(said("\"/total\"") && said("order.created, revision 1"), "%s", nexus_error_message());
    cr_assert(publish(bus, "order.created", "o-1", 1, "{\"total\":\"x\"}", &r) == NEXUS_EINVAL && said("\"/total\""));
    cr_assert(publish(bus, "order.created", "o-1", 1, "", &r) == NEXUS_EINVAL);
    cr_assert(publish(bus, "order.created", "o-1", 2, "{\"total\":1}", &r) == NEXUS_EREV);
    cr_assert(nexus_bus_head(bus, &after) == NEXUS_OK && after == head, "nothing of it was stored");
    cr_assert(publish(bus, "order.created", "o-1", 0, "{\"total\":1}", &r) == NEXUS_OK && r.warnings == 0);
    cr_assert(publish(bus, "b.c", "o-1", 0, "{\"total\":-1}", &r) == NEXUS_OK && r.warnings == 1 && warned == 1);
    cr_assert(publish(bus, "d.e", "o-1", 0, "odd", &r) == NEXUS_EINVAL && said("is odd"));
    cr_assert(publish(bus, "d.e", "o-1", 0, "even", &r) == NEXUS_OK && checked == 2);
    cr_assert(publish(bus, "free.type", "o-1", 7, "anything", &r) == NEXUS_OK);
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *reader;
    const nexus_event *e;
    opts.types = "order.*";
    cr_assert(nexus_reader_open(&reader, bus, &opts) == NEXUS_OK);
    cr_assert(nexus_reader_next(reader, &e, 0) == NEXUS_OK && e->rev == 1, "rev 0 was taken as the latest");
    nexus_reader_close(reader);
}

Test(contract, publish_checks_data_against_the_schema)
{
    nexus_bus *bus = bus_open(NULL);
    check_publish(bus);
    nexus_bus_close(bus);
}

Test(contract, clients_of_a_bus_check_as_its_owner_does)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    cr_assert(!nexus_bus_is_owner(client));
    check_publish(client);
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    cr_assert(publish(owner, "order.created", "o-1", 0, "{\"total\":-1}", &r) == NEXUS_OK, "not loaded here yet");
    cr_assert(nexus_contract_load(owner, NEXUS_CONTRACT_ENFORCE) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(publish(owner, "order.created", "o-1", 0, "{\"total\":-1}", &r) == NEXUS_EINVAL);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

/* --- compatibility ---- */

static const struct {
    const char *reader, *writer, *at; /* at NULL: compatible */
} pairs[] = {
    {SCHEMA_1B, SCHEMA_1, NULL},
    {SCHEMA_1, SCHEMA_1B, NULL},
    {SCHEMA_2, SCHEMA_1, "required"},
    {"{}", SCHEMA_1, NULL},
    {"true", "{\"type\":\"string\"}", NULL},
    {"false", "{\"type\":\"string\"}", "false"},
    {"{\"type\":\"number\"}", "{\"type\":\"integer\"}", NULL},
    {"{\"type\":\"integer\"}", "{\"type\":\"number\"}", "type"},
    {"{\"type\":[\"string\",\"null\"]}", "{\"type\":\"string\"}", NULL},
    {"{\"type\":\"string\"}", "{\"type\":[\"string\",\"null\"]}", "type"},
    {"{\"enum\":[1,2,3]}", "{\"enum\":[1,2]}", NULL},
    {"{\"enum\":[1,2]}", "{\"enum\":[1,2,3]}", "enum"},
    {"{\"enum\":[1,2]}", "{}", "enum"},
    {"{\"minimum\":0}", "{\"minimum\":1}", NULL},
    {"{\"minimum\":2}", "{\"minimum\":1}", "minimum"},
    {"{\"maxLength\":5}", "{\"maxLength\":10}", "maxLength"},
    {"{\"maxLength\":5}", "{}", "maxLength"},
    {"{\"pattern\":\"^a\"}", "{\"pattern\":\"^a\"}", NULL},
    {"{\"pattern\":\"^a\"}", "{\"pattern\":\"^b\"}", "pattern"},
    {"{\"properties\":{\"a\":{\"properties\":{\"b\":{\"type\":\"string\"}}}}}",
     "{\"properties\":{\"a\":{\"properties\":{\"b\":{\"type\":\"integer\"}}}}}", "/a/b"},
    {"{\"additionalProperties\":false,\"properties\":{\"a\":{}}}", "{\"properties\":{\"a\":{}}}", "additionalProperties"},
    {"{\"additionalProperties\":false,\"properties\":{\"a\":{}}}",
     "{\"additionalProperties\":false,\"properties\":{\"a\":{},\"b\":{}}}", "/b"},
    {"{\"items\":{\"type\":\"string\"}}", "{\"items\":{\"type\":\"integer\"}}", "/*"},
    {"{\"uniqueItems\":true}", "{}", "uniqueItems"},
    {"{\"$defs\":{\"a\":{\"type\":\"string\"}},\"$ref\":\"#/$defs/a\"}",
     "{\"$defs\":{\"a\":{\"type\":\"integer\"}},\"$ref\":\"#/$defs/a\"}", "$defs"},
};

Test(contract, compatibility_is_what_the_structure_shows)
{
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        nexus_status status = nexus_contract_compare(text(pairs[i].reader), text(pairs[i].writer));
        cr_assert((status == NEXUS_OK) == !pairs[i].at, "%zu: %s", i, nexus_error_message());
        if (pairs[i].at)
            cr_assert(status == NEXUS_ECONFLICT && said(pairs[i].at), "%zu: %s", i, nexus_error_message());
    }
    cr_assert(nexus_contract_compare(text("{"), text("{}")) == NEXUS_EINVAL);
}

static nexus_status same(const nexus_event *e, nexus_upcast *out, void *user_data)
{
    (void)user_data;
    return nexus_upcast_emit(out, e);
}

static nexus_status to_amount(const nexus_event *e, nexus_upcast *out, void *user_data)
{
    char data[200];
    long total = 0;
    (void)user_data;
    sscanf(e->data.p, "{\"total\":%ld", &total);
    snprintf(data, sizeof data, "{\"amount\":%ld,\"currency\":\"EUR\"}", total);
    nexus_event next = *e;
    next.data = text(data);
    return nexus_upcast_emit(out, &next);
}

Test(contract, an_incompatible_revision_needs_an_upcaster)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_contract one = contract("order.created", 1, SCHEMA_1), two = contract("order.created", 2, SCHEMA_2);
    nexus_contract wider = contract("order.paid", 2, SCHEMA_1B), narrow = contract("order.paid", 1, SCHEMA_1);
    nexus_upcaster up = upcaster("order.created", 1, to_amount);
    cr_assert(nexus_contract_add(bus, &one, 1, NULL, 0) == NEXUS_OK);
    cr_assert(nexus_contract_add(bus, &two, 1, NULL, 0) == NEXUS_ECONFLICT);
    cr_assert(said("revision 2") && said("amount"), "%s", nexus_error_message());
    cr_assert(nexus_contract_add(bus, &two, 1, &up, 1) == NEXUS_OK, "%s", nexus_error_message());
    nexus_contract both[] = {wider, narrow};
    cr_assert(nexus_contract_add(bus, both, 2, NULL, 0) == NEXUS_OK, "%s", nexus_error_message());
    /* Once more is fine; another schema for the same revision is not, in another process either. */
    cr_assert(nexus_contract_add(bus, &one, 1, NULL, 0) == NEXUS_OK);
    one.schema = text(SCHEMA_2);
    cr_assert(nexus_contract_add(bus, &one, 1, NULL, 0) == NEXUS_ECONFLICT);
    nexus_bus_close(bus);
}

Test(contract, a_published_revision_never_changes)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus_contract one = contract("a.b", 1, SCHEMA_1);
    uint64_t head;
    cr_assert(nexus_contract_add(bus, &one, 1, NULL, 0) == NEXUS_OK);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    one.schema = text(SCHEMA_2);
    cr_assert(nexus_contract_add(bus, &one, 1, NULL, 0) == NEXUS_ECONFLICT && said("revision 2"), "%s",
              nexus_error_message());
    one.schema = text(" " SCHEMA_1 " ");
    cr_assert(nexus_contract_add(bus, &one, 1, NULL, 0) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 1, "it is stored once");
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- chains (fault row 29) ---- */

Test(contract, broken_chains_of_upcasters_are_refused_with_a_list)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_upcaster gap[] = {upcaster("a.b", 1, same), upcaster("a.b", 3, same), upcaster("c.d", 2, same),
                            upcaster("c.d", 5, same)};
    cr_assert(nexus_contract_add(bus, NULL, 0, gap, 4) == NEXUS_EINVAL);
    cr_assert(said("a.b has a gap") && said("c.d has a gap"), "%s", nexus_error_message());
    nexus_upcaster twice[] = {upcaster("a.b", 1, same), upcaster("a.b", 1, same)};
    cr_assert(nexus_contract_add(bus, NULL, 0, twice, 2) == NEXUS_EINVAL && said("two upcasters"));
    nexus_upcaster cycle[] = {upcaster("a.b", 1, same), upcaster("c.d", 1, same), upcaster("e.f", 1, same)};
    cycle[0].to_types = "x.y, c.d";
    cycle[1].to_types = "e.f";
    cycle[2].to_types = "a.b";
    cr_assert(nexus_contract_add(bus, NULL, 0, cycle, 3) == NEXUS_EINVAL && said("lead back"), "%s",
              nexus_error_message());
    nexus_upcaster leap = upcaster("a.b", 1, same);
    leap.to_rev = 3;
    cr_assert(nexus_contract_add(bus, NULL, 0, &leap, 1) == NEXUS_EINVAL);
    nexus_contract hole[] = {contract("g.h", 1, "{}"), contract("g.h", 3, "{}")};
    cr_assert(nexus_contract_add(bus, hole, 2, NULL, 0) == NEXUS_EINVAL && said("g.h has a gap"));
    nexus_upcaster fine[] = {upcaster("a.b", 2, same), upcaster("a.b", 1, same)};
    cr_assert(nexus_contract_add(bus, NULL, 0, fine, 2) == NEXUS_OK, "%s", nexus_error_message());
    nexus_bus_close(bus);
}

/* --- on read ---- */

static nexus_status split(const nexus_event *e, nexus_upcast *out, void *user_data)
{
    nexus_event next = *e;
    (void)user_data;
    if (is(e->data, "none"))
        return NEXUS_OK;
    if (is(e->data, "throw"))
        return nexus_contract_refuse("", "cannot be read");
    for (int i = 0; i < 2; i++) {
        next.data = text(i ? "right" : "left");
        next.type = text(i ? "part.made" : "whole.made");
        next.rev = 1;
        nexus_status status = nexus_upcast_emit(out, &next);
        if (status != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

static nexus_status older(const nexus_event *e, nexus_upcast *out, void *user_data)
{
    nexus_event next = *e;
    (void)user_data;
    next.data = text("downcast");
    return nexus_upcast_emit(out, &next);
}

static void add_steps(nexus_bus *bus)
{
    nexus_upcaster steps[4] = {upcaster("order.created", 1, to_amount), upcaster("order.created", 2, same),
                               upcaster("whole.made", 1, split), upcaster("order.created", 3, older)};
    steps[2].to_types = "part.made";
    steps[3].to_rev = 2;
    cr_assert(nexus_contract_add(bus, NULL, 0, steps, 4) == NEXUS_OK, "%s", nexus_error_message());
}

static void read_evolved(nexus_bus *bus)
{
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->rev == 3 && e->pos == 1 && e->version == 0);
    cr_assert(is(e->data, "{\"amount\":5,\"currency\":\"EUR\"}"), "%.*s", (int)e->data.n, e->data.p);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->rev == 3 && is(e->data, "three") && e->pos == 2);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && is(e->data, "left") && e->rev == 2 && e->pos == 3);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && is(e->data, "right") && is(e->type, "part.made") && e->pos == 3);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EINVAL && said("at position 5"), "%s", nexus_error_message());
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EREV && said("event 6"), "%s", nexus_error_message());
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && is(e->type, "free.type") && e->rev == 9);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    nexus_reader_close(r);
    opts.accept_revs = "order.created=2, free.type=9";
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->rev == 2 && e->data.p[2] == 'a',
              "up to the pin, no further");
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->rev == 2 && is(e->data, "downcast"));
    nexus_reader_close(r);
    opts.accept_revs = "order.created";
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_EINVAL && said("accept_revs"));
    opts.accept_revs = NULL;
    opts.raw = true;
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->rev == 1 && is(e->data, "{\"total\":5}"));
    nexus_reader_close(r);
}

static void fill(nexus_bus *bus)
{
    cr_assert(publish(bus, "order.created", "o-1", 1, "{\"total\":5}", NULL) == NEXUS_OK);
    cr_assert(publish(bus, "order.created", "o-1", 3, "three", NULL) == NEXUS_OK);
    cr_assert(publish(bus, "whole.made", "w-1", 1, "both", NULL) == NEXUS_OK);
    cr_assert(publish(bus, "whole.made", "w-2", 1, "none", NULL) == NEXUS_OK);
    cr_assert(publish(bus, "whole.made", "w-3", 1, "throw", NULL) == NEXUS_OK);
    cr_assert(publish(bus, "order.created", "o-2", 4, "from the future", NULL) == NEXUS_OK);
    cr_assert(publish(bus, "free.type", "f-1", 9, "x", NULL) == NEXUS_OK);
}

Test(contract, readers_get_the_latest_revision_or_the_one_they_pin)
{
    nexus_bus *bus = bus_open(NULL);
    fill(bus);
    add_steps(bus);
    read_evolved(bus);
    nexus_bus_close(bus);
}

Test(contract, readers_of_a_client_do_so_too)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    fill(owner);
    add_steps(client);
    read_evolved(client);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

static void deliver_evolved(nexus_bus *bus)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.backoff_base_ms = 1;
    opts.backoff_cap_ms = 2;
    opts.max_deliver = 2;
    nexus_group *g = join(bus, "g", &opts);
    nexus_delivery *d = take(g, 5000);
    cr_assert(d && nexus_delivery_event(d)->rev == 3 && data_is(d, "{\"amount\":5,\"currency\":\"EUR\"}"));
    cr_assert(is(nexus_delivery_original(d)->data, "{\"total\":5}") && nexus_delivery_event_count(d) == 1);
    cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    d = take(g, 5000);
    cr_assert(d && data_is(d, "three") && nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    d = take(g, 5000);
    cr_assert(d && nexus_delivery_event_count(d) == 2 && is(nexus_delivery_event_at(d, 1)->data, "right"));
    cr_assert(nexus_delivery_event_at(d, 2) == NULL && nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    /* What is left out is passed over, what throws is a dead letter, what is too new goes back until it is one. */
    size_t got;
    bool too_new = false;
    for (;;) {
        nexus_status status = nexus_group_fetch(g, &d, 1, 5000, &got);
        if (status == NEXUS_EREV) {
            too_new = true;
            continue;
        }
        cr_assert(status == NEXUS_OK && got == 1, "%s", nexus_error_message());
        break;
    }
    cr_assert(is(nexus_delivery_event(d)->type, "free.type") && nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    nexus_group_stats stats = {.size = sizeof stats};
    do {
        nexus_status status = nexus_group_fetch(g, &d, 1, 1, &got);
        too_new = too_new || status == NEXUS_EREV;
        cr_assert((status == NEXUS_OK || status == NEXUS_EREV) && got == 0);
        cr_assert(nexus_group_read_stats(g, &stats) == NEXUS_OK);
    } while (stats.dead < 2);
    cr_assert(too_new && stats.floor == 7);
    char *json;
    cr_assert(nexus_group_dead(&json, NULL, g, NULL) == NEXUS_OK);
    cr_assert(strstr(json, "cannot be read") && strstr(json, "revision 4"), "%s", json);
    nexus_free(json);
    nexus_group_close(g);
}

Test(contract, groups_get_evolved_events_and_bury_what_cannot_be)
{
    nexus_bus *bus = bus_open(NULL);
    fill(bus);
    add_steps(bus);
    deliver_evolved(bus);
    nexus_bus_close(bus);
}

Test(contract, members_in_other_processes_too)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    fill(owner);
    add_steps(client);
    deliver_evolved(client);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

/* --- export ---- */

Test(contract, asyncapi_holds_what_is_stored_and_the_librarys_own_types)
{
    nexus_bus *bus = bus_open(NULL);
    const char *json = "[{\"type\":\"order.shipped\",\"rev\":1,\"schema\":{\"type\":\"object\"},\"mode\":\"warn\"},"
                       "{\"type\":\"order.shipped\",\"rev\":2,\"compat\":\"none\",\"schema\":{\"type\":\"array\"}},"
                       "{\"type\":\"order.created\",\"rev\":1,\"schema\":{\"type\":\"object\",\"maxProperties\":77}}]";
    char *out;
    cr_assert(nexus_contract_add_json(bus, json, strlen(json)) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_contract_asyncapi(&out, NULL, bus, NULL) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(strstr(out, "\"asyncapi\":\"3.0.0\"") && strstr(out, "\"order.shipped.rev2\"") &&
              strstr(out, "user.login"));
    cr_assert(strstr(out, "\"maxProperties\":77") && !strstr(out, "\"minItems\":1"), "its own order.created gives way");
    cr_assert(strstr(out, "{\"$ref\":\"#/components/messages/order.shipped.rev1\"}"), "%s", out);
    nexus_free(out);
    const char *bad = "[{\"type\":\"a.b\",\"rev\":1,\"mode\":\"loud\"}]";
    cr_assert(nexus_contract_add_json(bus, bad, strlen(bad)) == NEXUS_EINVAL && said("loud"));
    nexus_bus_close(bus);
}

/* --- tags and causes ---- */

Test(source, filters_by_tags)
{
    nexus_bus *bus = bus_open(NULL);
    const char *tags[] = {"customer-1", "customer-1, sku-7", "sku-77,customer-1", ""};
    for (int i = 0; i < 4; i++) {
        nexus_event e = NEXUS_EVENT_INIT;
        nexus_pair ext = {text("tags"), text(tags[i])};
        e.type = text("a.b");
        e.subject = text("s");
        e.ext = &ext;
        e.ext_count = tags[i][0] != 0;
        cr_assert(nexus_bus_publish(bus, &e, 1, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
    }
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *r;
    const nexus_event *e;
    opts.tags = "sku-7,customer-1";
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->pos == 2);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    nexus_reader_close(r);
    nexus_group_opts group = NEXUS_GROUP_OPTS_INIT;
    group.tags = "customer-1";
    nexus_group *g = join(bus, "tagged", &group);
    for (uint64_t pos = 1; pos <= 3; pos++) {
        nexus_delivery *d = take(g, 1000);
        cr_assert(d && nexus_delivery_event(d)->pos == pos && nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    nexus_group_close(g);
    group.tags = "customer-2";
    cr_assert(nexus_group_open(&g, bus, "tagged", &group) == NEXUS_ECONFLICT && said("tags"));
    nexus_bus_close(bus);
}

static int32_t answer(nexus_delivery *d, void *user_data)
{
    nexus_bus *bus = user_data;
    nexus_event e = NEXUS_EVENT_INIT;
    (void)d;
    e.type = text("answer.given");
    e.subject = text("a");
    return nexus_bus_publish(bus, &e, 1, NULL, NULL) == NEXUS_OK ? NEXUS_ACK : NEXUS_RETRY;
}

Test(source, what_a_handler_publishes_names_its_cause)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    nexus_consumer *c;
    const nexus_event *e;
    nexus_reader *r;
    nexus_event first = NEXUS_EVENT_INIT;
    opts.types = "question.*";
    nexus_group *g = join(bus, "g", &opts);
    cr_assert(nexus_consumer_open(&c, g, answer, bus, 1) == NEXUS_OK);
    first.type = text("question.asked");
    first.subject = text("q");
    first.id = text("q-1");
    cr_assert(nexus_bus_publish(bus, &first, 1, NULL, NULL) == NEXUS_OK);
    nexus_reader_opts reading = NEXUS_READER_OPTS_INIT;
    reading.types = "answer.*";
    cr_assert(nexus_reader_open(&r, bus, &reading) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 10000) == NEXUS_OK);
    cr_assert(is(e->causationid, "q-1") && is(e->correlationid, "q-1"));
    nexus_consumer_close(c);
    /* The same for one that fetches; a conversation keeps its name. */
    first.id = text("q-2");
    first.correlationid = text("talk-1");
    cr_assert(nexus_bus_publish(bus, &first, 1, NULL, NULL) == NEXUS_OK);
    nexus_delivery *d = take(g, 5000);
    nexus_publish_opts publish_opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus_event e2 = NEXUS_EVENT_INIT;
    cr_assert(d);
    publish_opts.cause = d;
    e2.type = text("answer.given");
    cr_assert(nexus_bus_publish(bus, &e2, 1, &publish_opts, NULL) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && is(e->causationid, "q-2") && is(e->correlationid, "talk-1"));
    nexus_delivery_free(d);
    nexus_reader_close(r);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(source, readers_say_when_they_caught_up_and_fell_behind)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    nexus_bus *both[] = {owner, client};
    for (int i = 0; i < 3; i++)
        put(owner, "a.b", "s", "{}");
    for (int k = 0; k < 2; k++) {
        nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
        nexus_reader *r;
        const nexus_event *e;
        opts.signals = true;
        opts.behind = 600;
        opts.start = k ? NEXUS_START_END : NEXUS_START_FIRST;
        cr_assert(nexus_reader_open(&r, both[k], &opts) == NEXUS_OK);
        for (int i = 0; i < 3 && !k; i++)
            cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && nexus_reader_signal(r) == NEXUS_SIGNAL_NONE);
        cr_assert(nexus_reader_next(r, &e, 60000) == NEXUS_EDONE, "at once, the first time");
        cr_assert(nexus_reader_signal(r) == NEXUS_SIGNAL_CAUGHT_UP && nexus_reader_signal(r) == NEXUS_SIGNAL_NONE);
        uint64_t head;
        cr_assert(nexus_bus_head(owner, &head) == NEXUS_OK && nexus_reader_position(r) == head);
        nexus_event batch[1000];
        for (int i = 0; i < 1000; i++) {
            nexus_event_init(&batch[i]);
            batch[i].type = text("a.b");
            batch[i].data = text("{}");
        }
        cr_assert(nexus_bus_publish(owner, batch, 1000, NULL, NULL) == NEXUS_OK);
        bool behind = false, again = false;
        nexus_status status;
        while ((status = nexus_reader_next(r, &e, 0)) == NEXUS_OK)
            behind |= nexus_reader_signal(r) == NEXUS_SIGNAL_FELL_BEHIND;
        again = nexus_reader_signal(r) == NEXUS_SIGNAL_CAUGHT_UP;
        cr_assert(status == NEXUS_EDONE && behind && again);
        nexus_reader_close(r);
    }
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}
