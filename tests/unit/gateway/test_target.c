/* Sets of targets that change while the snapshot stands. */
#include <criterion/criterion.h>

#include "base/str.h"
#include "gateway/gateway.h"

static nexus_runtime *runtime;
static nexus_gateway *gateway;
static nexus__upstream *upstream;

static void open_all(void)
{
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    opts.loops = 1;
    opts.workers = 1;
    cr_assert_eq(nexus_runtime_open(&runtime, &opts), 0);
    cr_assert_eq(nexus_gateway_open(&gateway, runtime, NULL), 0, "%s", nexus_error_message());
    cr_assert_eq(nexus_gateway_load(gateway, "r",
                                    NEXUS_S("{\"upstreams\":{\"a\":{\"targets\":[\"http://127.0.0.1:1\","
                                            "{\"url\":\"http://127.0.0.1:2\",\"weight\":3}]}},"
                                            "\"routes\":[{\"prefix\":\"/\",\"upstream\":\"a\"}]}")),
                 0, "%s", nexus_error_message());
    upstream = gateway->locked.current->upstreams[0];
}

static void close_all(void)
{
    nexus_gateway_close(gateway);
    nexus_runtime_close(runtime);
}

static nexus__target_spec spec_of(uint32_t i, const char *ip, uint32_t weight)
{
    nexus__target_spec spec = {.conf = &upstream->conf->targets.items[i], .weight = weight};
    cr_assert(nexus__address_parse(ip, spec.conf->port, &spec.address));
    return spec;
}

Test(target_set, a_target_that_stays_keeps_its_health, .init = open_all, .fini = close_all)
{
    nexus__target_set *first = nexus__upstream_set(upstream);
    cr_assert_eq(first->count, 2);
    cr_assert_eq(first->hosts[1].weight, 3);
    nexus__target_spec specs[2] = {spec_of(1, "127.0.0.1", 5), spec_of(0, "127.0.0.9", 1)};
    cr_assert_eq(nexus__upstream_set_targets(upstream, specs, 2), 0);
    nexus__target_set *second = nexus__upstream_set(upstream);
    cr_assert_eq(second->generation, first->generation + 1);
    cr_assert_eq(second->targets[0], first->targets[1]);
    cr_assert_eq(second->hosts[0].weight, 5, "a weight may change alone");
    cr_assert_neq(second->targets[1], first->targets[0], "another address is another target");
    nexus__target_set_unref(first);
    nexus__target_set_unref(second);
}

Test(target_set, pools_follow_with_the_next_request, .init = open_all, .fini = close_all)
{
    nexus__pool *pool;
    cr_assert_eq(nexus__pool_new(&pool, &gateway->loops[0], upstream), 0);
    nexus__pool_target *kept = pool->targets[1];
    nexus__target_spec specs[1] = {spec_of(1, "127.0.0.1", 3)};
    cr_assert_eq(nexus__upstream_set_targets(upstream, specs, 1), 0);
    cr_assert_eq(nexus__upstream_pick(pool, (nexus__balance_ask){.now = 1, .random = 1}), kept);
    cr_assert_eq(pool->set->count, 1);
    cr_assert_eq(nexus__upstream_set_targets(upstream, NULL, 0), 0);
    cr_assert_null(nexus__upstream_pick(pool, (nexus__balance_ask){.now = 1, .random = 1}));
    nexus__pool_unref(pool);
}
