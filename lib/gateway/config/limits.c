/* Limits in the routes file: policies with their keys, plans, and how a route chooses among them. */
#include "gateway/auth/authenticator.h"
#include "gateway/config/rows.h"
#include "gateway/filters/limit.h"

/* --- keys ---------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *word; /* with ':' a name follows */
    nexus__limit_part_kind kind;
} parts[] = {
    {"ip", NEXUS__PART_IP},       {"consumer", NEXUS__PART_CONSUMER}, {"principal", NEXUS__PART_CONSUMER},
    {"route", NEXUS__PART_ROUTE}, {"header:", NEXUS__PART_HEADER},    {"claim:", NEXUS__PART_CLAIM},
    {"api_key", NEXUS__PART_API_KEY},
};

static nexus_status load_part(nexus__loader *l, uint32_t value, void *out)
{
    nexus__limit_part *part = out;
    nexus_status status = nexus__loader_text(l, value, &part->text);
    size_t i = 0, colon = nexus__slice_find(part->text, ':');
    if (status)
        return status;
    bool named = colon < part->text.n;
    nexus_slice word = nexus__slice(part->text.p, named ? colon + 1 : colon);
    while (i < COUNT(parts) && !nexus__slice_eq_c(word, parts[i].word))
        i++;
    if (i == COUNT(parts))
        return nexus__loader_fail(l, value,
                                  "\"%s\" is no part of a key; known are ip, consumer, api_key, route, "
                                  "header:NAME, claim:NAME",
                                  part->text.p);
    part->kind = parts[i].kind;
    part->name = named ? nexus__slice_from(part->text, colon + 1) : (nexus_slice){0};
    if (named && !nexus__gw_is_token(part->name))
        return nexus__loader_fail(l, value, "\"%s\" needs a name behind the colon", part->text.p);
    return NEXUS_OK;
}

static nexus_status load_rule(nexus__loader *l, uint32_t value, void *out)
{
    nexus__limit_rule *rule = out;
    nexus_status status =
        nexus__gw_load_array(l, value, sizeof *rule->items, load_part, (void **)&rule->items, &rule->count);
    if (!status && (rule->count == 0 || rule->count > NEXUS__LIMIT_PARTS_MAX))
        return nexus__loader_fail(l, value, "a key has 1 to %d parts", NEXUS__LIMIT_PARTS_MAX);
    return status;
}

/* One rule, or a list of rules of which the first whose parts are there counts. */
static nexus_status load_key(nexus__loader *l, uint32_t value, void *out)
{
    nexus__limit_conf *policy = NEXUS__CONTAINER(out, nexus__limit_conf, rules);
    nexus__json_iter it = nexus__json_each(l->doc, value);
    bool several = nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY) && nexus__json_step(l->doc, &it) &&
                   nexus__json_is(l->doc, it.value, NEXUS__JSON_ARRAY);
    if (!several) {
        nexus__limit_rule *rule = nexus__arena_get(l->arena, sizeof *rule);
        if (!rule)
            return nexus__nomem();
        *rule = (nexus__limit_rule){0};
        policy->rules.items = rule;
        policy->rules.count = 1;
        return load_rule(l, value, rule);
    }
    nexus_status status = nexus__gw_load_array(l, value, sizeof *policy->rules.items, load_rule,
                                               (void **)&policy->rules.items, &policy->rules.count);
    if (!status && policy->rules.count > NEXUS__LIMIT_RULES_MAX)
        return nexus__loader_fail(l, value, "at most %d rules", NEXUS__LIMIT_RULES_MAX);
    return status;
}

/* --- policies ------------------------------------------------------------------------------------------------------ */

static nexus_status judge(nexus__loader *l, uint32_t value, nexus__limit_conf *p)
{
    static const nexus__limit_part address = {.kind = NEXUS__PART_IP, .text = {"ip", 2}};
    static const nexus__limit_rule by_address = {&address, 1};
    if (!nexus__gw_is_token(p->name) || p->name.n > NEXUS__LIMIT_NAME_MAX)
        return nexus__loader_fail(l, value, "a policy's name must be a token of at most %d bytes",
                                  NEXUS__LIMIT_NAME_MAX);
    if (!p->rate == !p->quota)
        return nexus__loader_fail(l, value, "needs either \"rate\" or \"quota\"");
    if (p->quota && (p->period_s || p->burst))
        return nexus__loader_fail(l, value, "\"period_s\" and \"burst\" belong to a rate; a quota has \"window_s\"");
    if (p->rate && p->window_s)
        return nexus__loader_fail(l, value, "\"window_s\" belongs to a quota; a rate has \"period_s\"");
    if (p->rate && p->calendar)
        return nexus__loader_fail(l, value, "\"window\" belongs to a quota; a rate has \"period_s\"");
    if (p->quota && !p->window_s == !p->calendar)
        return nexus__loader_fail(l, value, "a quota needs either \"window_s\" or \"window\"");
    if (p->window_s && p->quota > 16777215)
        return nexus__loader_fail(l, value, "a quota of a sliding window is at most 16777215");
    if (p->cluster && !p->rate)
        return nexus__loader_fail(l, value,
                                  "a quota of the calendar is counted for all, one of a sliding window by each "
                                  "gateway; scope \"cluster\" is for "
                                  "rates");
    if (p->without != NEXUS__WITHOUT_LOCAL && !p->cluster && !p->calendar)
        return nexus__loader_fail(l, value, "\"on_store_error\" is for policies that a store counts");
    p->kind = p->rate ? NEXUS__LIMIT_RATE : p->calendar ? NEXUS__LIMIT_CALENDAR : NEXUS__LIMIT_WINDOW;
    p->period_s = p->period_s ? p->period_s : 1;
    p->burst = p->burst ? p->burst : p->rate;
    if (p->rules.count == 0) {
        p->rules.items = &by_address;
        p->rules.count = 1;
    }
    return NEXUS_OK;
}

static nexus_status load_window(nexus__loader *l, uint32_t value, void *out)
{
    bool day = nexus__json_text_is(l->doc, value, NEXUS_S("day"));
    if (!day && !nexus__json_text_is(l->doc, value, NEXUS_S("month")))
        return nexus__loader_fail(l, value, "must be \"day\" or \"month\"; other lengths are \"window_s\"");
    *(nexus__limit_calendar *)out = day ? NEXUS__CALENDAR_DAY : NEXUS__CALENDAR_MONTH;
    return NEXUS_OK;
}

static nexus_status load_scope(nexus__loader *l, uint32_t value, void *out)
{
    bool cluster = nexus__json_text_is(l->doc, value, NEXUS_S("cluster"));
    if (!cluster && !nexus__json_text_is(l->doc, value, NEXUS_S("gateway")))
        return nexus__loader_fail(l, value, "must be \"gateway\" or \"cluster\"");
    *(bool *)out = cluster;
    return NEXUS_OK;
}

static nexus_status load_without(nexus__loader *l, uint32_t value, void *out)
{
    static const char *const words[] = {"local", "open", "closed"}; /* as nexus__limit_without */
    for (size_t i = 0; i < COUNT(words); i++)
        if (nexus__json_text_is(l->doc, value, nexus__slice_c(words[i]))) {
            *(nexus__limit_without *)out = (nexus__limit_without)i;
            return NEXUS_OK;
        }
    return nexus__loader_fail(l, value, "must be \"local\", \"open\" or \"closed\"");
}

static nexus_status load_policy(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("name", TEXT, nexus__limit_conf, name, 0, 0),
        ROW("rate", U32, nexus__limit_conf, rate, 1, 1000000000),
        ROW("period_s", U32, nexus__limit_conf, period_s, 1, 2678400),
        ROW("burst", U32, nexus__limit_conf, burst, 1, 1000000000),
        ROW("quota", U32, nexus__limit_conf, quota, 1, 4000000000u),
        ROW("window_s", U32, nexus__limit_conf, window_s, 1, 2678400),
        CALL("window", load_window, nexus__limit_conf, calendar),
        CALL("key", load_key, nexus__limit_conf, rules),
        CALL("scope", load_scope, nexus__limit_conf, cluster),
        CALL("on_store_error", load_without, nexus__limit_conf, without),
        ROW("enforce", BOOL, nexus__limit_conf, enforce, 0, 0),
        ROW("partition_key", BOOL, nexus__limit_conf, partition_key, 0, 0),
    };
    nexus__limit_conf *policy = out;
    *policy = (nexus__limit_conf){.name = NEXUS_S("default"), .enforce = true};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), policy);
    return status ? status : judge(l, value, policy);
}

nexus_status nexus__gw_load_policies(nexus__loader *l, uint32_t value, void *out)
{
    nexus__limit_policies *list = out;
    nexus_status status =
        nexus__gw_load_array(l, value, sizeof *list->items, load_policy, (void **)&list->items, &list->count);
    if (!status && list->count > NEXUS__LIMIT_POLICIES_MAX)
        return nexus__loader_fail(l, value, "at most %d policies", NEXUS__LIMIT_POLICIES_MAX);
    for (uint32_t i = 1; i < list->count && !status; i++)
        for (uint32_t k = 0; k < i; k++)
            if (nexus__slice_eq(list->items[i].name, list->items[k].name))
                return nexus__loader_fail(l, value, "two policies named \"%s\": name them apart", list->items[i].name.p);
    return status;
}

/* --- plans --------------------------------------------------------------------------------------------------------- */

static nexus_status load_timezone(nexus__loader *l, uint32_t value, void *out)
{
    nexus_slice name;
    nexus_status status = nexus__loader_text(l, value, &name);
    if (status || nexus__zone_load(out, name, l->arena) == NEXUS_OK)
        return status;
    return nexus__loader_fail(l, value, "\"%s\" is no time zone of this system (/usr/share/zoneinfo)", name.p);
}

static nexus_status load_plan(nexus__loader *l, uint32_t value, nexus__gw_plan_conf *plan)
{
    static const nexus__loader_row rows[] = {
        {"policies", NEXUS__LOADER_CALL, offsetof(nexus__gw_plan_conf, policies), 0, 0, nexus__gw_load_policies, true},
        CALL("timezone", load_timezone, nexus__gw_plan_conf, zone),
    };
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), plan);
    for (uint32_t i = 0; i < plan->policies.count && !status; i++)
        plan->policies.items[i].zone = plan->zone;
    return status;
}

nexus_status nexus__gw_load_plans(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_config *c = NEXUS__CONTAINER(out, nexus__gw_config, plans);
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be an object of plans");
    c->plans.items = nexus__arena_get(l->arena, (nexus__json_count(l->doc, value) + 1) * sizeof *c->plans.items);
    if (!c->plans.items)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus__gw_plan_conf *plan = &c->plans.items[c->plans.count++];
        *plan = (nexus__gw_plan_conf){0};
        nexus_status status = nexus__loader_text(l, it.key, &plan->name);
        size_t mark = nexus__loader_push(l, plan->name);
        status = status ? status : load_plan(l, it.value, plan);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

static nexus_status load_choice(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("consumers", nexus__loader_pairs, nexus__gw_limits_conf, plan.consumers),
        ROW("claim", TEXT, nexus__gw_limits_conf, plan.claim, 0, 0),
        ROW("header", TEXT, nexus__gw_limits_conf, plan.header, 0, 0),
        ROW("default", TEXT, nexus__gw_limits_conf, plan.otherwise, 0, 0),
    };
    nexus__gw_limits_conf *c = NEXUS__CONTAINER(out, nexus__gw_limits_conf, plan);
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    c->plan.chosen = true;
    if (!status && c->plan.header.n && !nexus__gw_is_token(c->plan.header))
        return nexus__loader_fail(l, value, "\"%s\" is no name of a header field", c->plan.header.p);
    return status;
}

/* --- what a route says --------------------------------------------------------------------------------------------- */

static nexus_status load_headers(nexus__loader *l, uint32_t value, void *out)
{
    bool off = nexus__json_text_is(l->doc, value, NEXUS_S("off"));
    if (!off && !nexus__json_text_is(l->doc, value, NEXUS_S("draft")))
        return nexus__loader_fail(l, value, "must be \"draft\" or \"off\"");
    *(bool *)out = off;
    return NEXUS_OK;
}

nexus_status nexus__gw_load_limits(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("policies", nexus__gw_load_policies, nexus__gw_limits_conf, policies),
        CALL("plan", load_choice, nexus__gw_limits_conf, plan),
        ROW("cost", U32, nexus__gw_limits_conf, cost, 1, 1000000),
        CALL("headers", load_headers, nexus__gw_limits_conf, silent),
        ROW("legacy_headers", BOOL, nexus__gw_limits_conf, legacy, 0, 0),
    };
    nexus__gw_limits_conf *c = out;
    c->cost = 1;
    c->config = NEXUS__CONTAINER(l->arena, nexus__gw_config, arena);
    if (nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY))
        return nexus__gw_load_policies(l, value, &c->policies);
    return nexus__loader_object(l, value, rows, COUNT(rows), c);
}

/* --- what they say of each other: plans may stand behind the routes ------------------------------------------------ */

static bool has_plan(nexus__loader *l, nexus_slice name)
{
    uint32_t plans = nexus__json_get(l->doc, 0, "plans");
    return nexus__json_is(l->doc, plans, NEXUS__JSON_OBJECT) &&
           nexus__json_is(l->doc, nexus__json_get(l->doc, plans, name.p), NEXUS__JSON_OBJECT);
}

static nexus_status check_plans(nexus__loader *l, uint32_t value, const nexus__gw_limits_conf *c)
{
    if (c->plan.otherwise.n && !has_plan(l, c->plan.otherwise))
        return nexus__loader_fail(l, value, "no plan \"%s\"", c->plan.otherwise.p);
    for (uint32_t i = 0; i < c->plan.consumers.count; i++)
        if (!has_plan(l, c->plan.consumers.items[i].value))
            return nexus__loader_fail(l, value, "no plan \"%s\"", c->plan.consumers.items[i].value.p);
    return NEXUS_OK;
}

static bool names_caller(const nexus__limit_policies *policies)
{
    for (uint32_t i = 0; i < policies->count; i++)
        for (uint32_t r = 0; r < policies->items[i].rules.count; r++)
            for (uint32_t k = 0; k < policies->items[i].rules.items[r].count; k++) {
                nexus__limit_part_kind kind = policies->items[i].rules.items[r].items[k].kind;
                if (kind == NEXUS__PART_CONSUMER || kind == NEXUS__PART_CLAIM || kind == NEXUS__PART_API_KEY)
                    return true;
            }
    return false;
}

nexus_status nexus__gw_check_limits(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route,
                                    const void *conf)
{
    const nexus__gw_limits_conf *c = conf;
    uint32_t at = nexus__json_get(l->doc, value, "limits");
    if (names_caller(&c->policies) && !nexus__gw_filter_conf(route, &nexus__gw_filter_auth))
        return nexus__loader_fail(l, at, "a limit by consumer, api_key or claim needs \"auth\" on the same route");
    return check_plans(l, at, c);
}
