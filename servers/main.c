#include "main.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum { MODULES_MAX = 16 };

/* What a signal handler may reach: written before the handlers are installed. */
static nexus_service *first_service;
static volatile sig_atomic_t stop_signals;

static void on_signal(int number)
{
    if (number == SIGHUP)
        nexus_service_reload(first_service);
    else if (number == SIGUSR1)
        nexus_service_cycle_log(first_service);
    else if (stop_signals++ == 0)
        nexus_service_stop(first_service);
    else
        _exit(128 + number);
}

static void process_manners(void)
{
    umask(077);
#if !defined(__SANITIZE_ADDRESS__) /* whose leak check traces its own process */
    prctl(PR_SET_DUMPABLE, 0);     /* no core file and no ptrace: keys are in memory */
#endif
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

static int fail(const char *program, int code)
{
    fprintf(stderr, "%s: %s\n", program, nexus_error_message());
    return code;
}

/* Whether `name` is among the words of `list`; an empty list names everything. */
static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    if (!list || !*list)
        return true;
    for (const char *p = list; *p;) {
        size_t word = strcspn(p, ",");
        if (word == n && memcmp(p, name, n) == 0)
            return true;
        p += word + (p[word] == ',');
    }
    return false;
}

/* Every word of the list must be a module: a misspelt one would silently not run. */
static bool all_known(const char *list, const nexus_service_module *const *modules, size_t count)
{
    for (const char *p = list; p && *p;) {
        size_t word = strcspn(p, ","), i = 0;
        while (i < count && (strlen(modules[i]->name) != word || memcmp(modules[i]->name, p, word) != 0))
            i++;
        if (i == count) {
            fprintf(stderr, "nexusd: --services names \"%.*s\", which this program does not host\n", (int)word, p);
            return false;
        }
        p += word + (p[word] == ',');
    }
    return true;
}

static int run(const char *program, nexus_service **services, size_t count)
{
    first_service = services[0];
    catch_signals();
    for (size_t i = 0; i < count; i++)
        if (nexus_service_start(services[i]) != NEXUS_OK)
            return fail(program, 1);
    return nexus_service_run(services[0]) == NEXUS_OK ? 0 : fail(program, 1);
}

static int open_and_run(const char *program, const nexus_settings *settings, const nexus_service_module *const *modules,
                        size_t count)
{
    const char *list = count > 1 ? nexus_settings_text(settings, "services") : "";
    if (!all_known(list, modules, count))
        return 2;
    nexus_service *services[MODULES_MAX] = {NULL};
    size_t opened = 0;
    int code = 0;
    for (size_t i = 0; i < count && code == 0; i++) {
        if (!listed(list, modules[i]->name))
            continue;
        nexus_service_opts opts = NEXUS_SERVICE_OPTS_INIT;
        opts.module = modules[i];
        opts.settings = settings;
        opts.host = opened > 0 ? services[0] : NULL;
        opts.exclusive = count > 1;
        if (nexus_service_open(&services[opened], &opts) != NEXUS_OK)
            code = fail(program, 1);
        else
            opened++;
    }
    if (code == 0)
        code = run(program, services, opened);
    while (opened > 0)
        nexus_service_close(services[--opened]);
    return code;
}

int server_main(int argc, char **argv, const char *program, const nexus_service_module *const *modules, size_t count)
{
    static const nexus_setting host_rows[] = {
        {"services", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "Services to host, parted by commas; unset: all."}};
    nexus_settings_table tables[MODULES_MAX + 1];
    size_t table_count = 0;
    if (count > 1)
        tables[table_count++] = (nexus_settings_table){"nexusd", host_rows, 1};
    for (size_t i = 0; i < count && i < MODULES_MAX; i++)
        tables[table_count++] =
            (nexus_settings_table){modules[i]->name, modules[i]->settings, modules[i]->setting_count};

    process_manners();
    nexus_settings_opts opts = NEXUS_SETTINGS_OPTS_INIT;
    opts.program = program;
    opts.text = count > 1 ? "Hosts the nexus services in one process." : modules[0]->text;
    opts.tables = tables;
    opts.table_count = table_count;
    opts.argc = argc;
    opts.argv = (const char *const *)argv;
    opts.env = (const char *const *)environ;
    nexus_settings *settings = NULL;
    if (nexus_settings_load(&settings, &opts) != NEXUS_OK)
        return fail(program, 2);
    nexus_slice text;
    int code = 0;
    if (nexus_settings_print(settings, &text))
        fwrite(text.p, 1, text.n, stdout);
    else
        code = open_and_run(program, settings, modules, count);
    nexus_settings_free(settings);
    return code;
}
