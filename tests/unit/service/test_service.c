/* A service opened in this process: hosts, jobs, secrets, locks. The HTTP side is in tests/system/test_service.py. */
#include <criterion/criterion.h>
#include <nexus/http.h>
#include <nexus/service.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "service/service.h"

typedef struct mounted {
    nexus_service *service;
    pthread_mutex_t lock;
    pthread_cond_t ran;
    int runs, at_once, most_at_once;
} mounted;

static _Atomic int unmounts;

static void job(void *user_data)
{
    mounted *m = user_data;
    pthread_mutex_lock(&m->lock);
    m->at_once++;
    m->most_at_once = m->at_once > m->most_at_once ? m->at_once : m->most_at_once;
    m->runs++;
    pthread_cond_broadcast(&m->ran);
    m->at_once--;
    pthread_mutex_unlock(&m->lock);
}

static nexus_status mount(nexus_service *service, void **out)
{
    mounted *m = calloc(1, sizeof *m);
    m->service = service;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->ran, NULL);
    *out = m;
    return nexus_service_every(service, "count", 1, job, m);
}

static nexus_status mount_fails(nexus_service *service, void **out)
{
    (void)service, (void)out;
    return nexus__fail(NEXUS_ENOSPC, "no room for this one");
}

static void unmount(void *arg)
{
    mounted *m = arg;
    pthread_cond_destroy(&m->ran);
    pthread_mutex_destroy(&m->lock);
    free(m);
    atomic_fetch_add(&unmounts, 1);
}

static const nexus_service_module one = {
    .size = sizeof one, .name = "one", .text = "One.", .mount = mount, .unmount = unmount};
static const nexus_service_module two = {
    .size = sizeof two, .name = "two", .text = "Two.", .mount = mount, .unmount = unmount};
static const nexus_service_module broken = {
    .size = sizeof broken, .name = "three", .text = "Three.", .mount = mount_fails};

static char state[64];
static nexus_settings *settings;

static void begin(void)
{
    snprintf(state, sizeof state, "/tmp/nexus-service-XXXXXX");
    cr_assert(mkdtemp(state));
    char variable[96];
    snprintf(variable, sizeof variable, "NEXUS_STATE_DIR=%s", state);
    const char *const env[] = {variable, "NEXUS_ENV=development", "NEXUS_PORT_BASE=0", "NEXUS_LOG_LEVEL=off", NULL};
    nexus_settings_opts opts = NEXUS_SETTINGS_OPTS_INIT;
    opts.program = "test";
    opts.env = env;
    cr_assert_eq(nexus_settings_load(&settings, &opts), NEXUS_OK, "%s", nexus_error_message());
}

static void end(void)
{
    char command[96];
    nexus_settings_free(settings);
    snprintf(command, sizeof command, "rm -rf %s", state);
    cr_assert_eq(system(command), 0);
}

static nexus_status open_service(nexus_service **out, const nexus_service_module *module, nexus_service *host,
                                 bool exclusive)
{
    nexus_service_opts opts = NEXUS_SERVICE_OPTS_INIT;
    opts.module = module;
    opts.settings = settings;
    opts.host = host;
    opts.exclusive = exclusive;
    return nexus_service_open(out, &opts);
}

TestSuite(service, .init = begin, .fini = end);

Test(service, services_of_one_host_run_and_drain_together)
{
    nexus_service *a = NULL, *b = NULL;
    cr_assert_eq(open_service(&a, &one, NULL, true), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(open_service(&b, &two, a, true), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_service_runtime(a), nexus_service_runtime(b));
    cr_assert_neq(nexus_service_metrics(a), nexus_service_metrics(b));
    cr_assert_eq(nexus_service_start(a), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_service_start(b), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_neq(nexus_service_port(a), nexus_service_port(b));
    mounted *m = a->mounted;
    pthread_mutex_lock(&m->lock);
    while (m->runs < 5)
        pthread_cond_wait(&m->ran, &m->lock);
    pthread_mutex_unlock(&m->lock);
    nexus_service_stop(b);
    cr_assert_eq(nexus_service_run(a), NEXUS_OK);
    cr_assert_eq(m->most_at_once, 1, "a job never runs twice at a time");
    int runs = m->runs;
    nexus_service_close(a); /* the host lives on with b */
    cr_assert_geq(runs, 5);
    cr_assert_str_eq(nexus_service_state_dir(b), state);
    nexus_service_close(b);
    cr_assert_eq(atomic_load(&unmounts), 2);
}

Test(service, a_mount_that_fails_says_so_and_leaves_nothing)
{
    nexus_service *s = NULL;
    cr_assert_eq(open_service(&s, &broken, NULL, false), NEXUS_ENOSPC);
    cr_assert_str_eq(nexus_error_message(), "no room for this one");
    cr_assert_null(s);
    cr_assert_eq(open_service(&s, &one, NULL, true), NEXUS_OK, "the lock is free: %s", nexus_error_message());
    nexus_service_close(s);
}

Test(service, separate_services_share_a_state_directory_and_nexusd_does_not)
{
    nexus_service *a = NULL, *b = NULL, *c = NULL;
    cr_assert_eq(open_service(&a, &one, NULL, false), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(open_service(&b, &two, NULL, false), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(open_service(&c, &one, NULL, false), NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "one runs already"), "%s", nexus_error_message());
    cr_assert_eq(open_service(&c, &one, NULL, true), NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "separate services"), "%s", nexus_error_message());
    nexus_service_close(a);
    nexus_service_close(b);
    cr_assert_eq(open_service(&a, &one, NULL, true), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(open_service(&b, &two, NULL, false), NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "nexusd (pid"), "%s", nexus_error_message());
    nexus_service_close(a);
}

Test(service, a_secret_is_made_once_and_private)
{
    char *first = NULL, *again = NULL, path[128];
    struct stat st;
    cr_assert_eq(nexus__state_secret(&first, state, "write.key", 32), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus__state_secret(&again, state, "write.key", 32), NEXUS_OK);
    cr_assert_str_eq(first, again);
    cr_assert_eq(strlen(first), 43);
    snprintf(path, sizeof path, "%s/write.key", state);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    nexus_free(first);
    nexus_free(again);
    cr_assert_eq(nexus__state_secret(&first, state, "../escape", 32), NEXUS_EINVAL);
    cr_assert_eq(nexus__state_secret(&first, state, "short", 8), NEXUS_EINVAL);
}

Test(service, exporters_that_are_not_built_are_refused)
{
    char variable[96];
    snprintf(variable, sizeof variable, "NEXUS_STATE_DIR=%s", state);
    const char *const env[] = {variable, "NEXUS_ENV=development", "NEXUS_SENTRY_DSN=https://key@127.0.0.1/1", NULL};
    nexus_settings_opts opts = NEXUS_SETTINGS_OPTS_INIT;
    opts.program = "test";
    opts.env = env;
    nexus_settings_free(settings);
    cr_assert_eq(nexus_settings_load(&settings, &opts), NEXUS_OK);
    nexus_service *s = NULL;
    cr_assert_eq(open_service(&s, &one, NULL, false), NEXUS_ENOTSUP);
}
