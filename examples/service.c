/*
 * A whole server: settings, health, metrics, docs, validation and drain come with it; the greeting is ours.
 *
 *     ./service --dev --port-base=8000 --greeting=Servus &
 *     curl 'http://127.0.0.1:8007/api/v1/hello?name=Ada'     # and /health, /metrics, /api/docs
 */
#include <nexus/nexus.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

static nexus_service *service;

static void on_signal(int number)
{
    if (number == SIGHUP)
        nexus_service_reload(service);
    else
        nexus_service_stop(service);
}

static void hello(nexus_request *request, void *user_data)
{
    char text[256];
    nexus_slice name = NEXUS_S("stranger");
    (void)nexus_request_query_param(request, "name", &name);
    int n = snprintf(text, sizeof text, "%s, %.*s!\n", (const char *)user_data, (int)name.n, name.p);
    nexus_request_reply(request, 200, "text/plain; charset=utf-8", (nexus_slice){text, (size_t)n});
}

static nexus_status hello_mount(nexus_service *s, void **out)
{
    static const nexus_param name = {"name", "query", "{\"type\":\"string\",\"maxLength\":64}", "Who is greeted.",
                                     false};
    nexus_route route = NEXUS_ROUTE_INIT;
    route.method = "GET";
    route.path = "/api/v1/hello";
    route.handler = hello;
    route.user_data = (void *)(uintptr_t)nexus_settings_text(nexus_service_settings(s), "greeting");
    route.operation_id = "hello";
    route.summary = "Greets";
    route.roles = "public";
    route.params = &name;
    route.param_count = 1;
    *out = s;
    return nexus_service_route(s, &route, 1);
}

static const nexus_setting rows[] = {
    {"greeting", NEXUS_SETTING_TEXT, "Hello", 0, 0, NULL, "What it says before the name."},
};
static const nexus_service_module module = {.size = sizeof module,
                                            .name = "hello",
                                            .text = "Says hello.",
                                            .port_offset = 7,
                                            .settings = rows,
                                            .setting_count = 1,
                                            .mount = hello_mount};

static int run(const nexus_settings *settings)
{
    nexus_service_opts opts = NEXUS_SERVICE_OPTS_INIT;
    opts.module = &module;
    opts.settings = settings;
    nexus_status status = nexus_service_open(&service, &opts);
    if (status == NEXUS_OK) {
        signal(SIGTERM, on_signal);
        signal(SIGINT, on_signal);
        signal(SIGHUP, on_signal);
        status = nexus_service_start(service);
    }
    if (status == NEXUS_OK)
        status = nexus_service_run(service);
    if (status != NEXUS_OK)
        fprintf(stderr, "service: %s\n", nexus_error_message());
    nexus_service_close(service);
    return status == NEXUS_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    const nexus_settings_table table = {module.name, rows, 1};
    nexus_settings_opts opts = NEXUS_SETTINGS_OPTS_INIT;
    nexus_settings *settings = NULL;
    nexus_slice page;
    opts.program = "service";
    opts.text = module.text;
    opts.tables = &table;
    opts.table_count = 1;
    opts.argc = argc;
    opts.argv = (const char *const *)argv;
    opts.env = (const char *const *)environ;
    if (nexus_settings_load(&settings, &opts) != NEXUS_OK) {
        fprintf(stderr, "service: %s\n", nexus_error_message());
        return 2;
    }
    int code = 0;
    if (nexus_settings_print(settings, &page))
        fwrite(page.p, 1, page.n, stdout);
    else
        code = run(settings);
    nexus_settings_free(settings);
    return code;
}
