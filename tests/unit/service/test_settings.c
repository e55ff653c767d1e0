#include <criterion/criterion.h>
#include <nexus/secret.h>
#include <nexus/settings.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const nexus_setting rows[] = {
    {"payment_timeout_ms", NEXUS_SETTING_INT, "2000", 1, 60000, NULL, "How long a payment may take."},
    {"greeting", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "What is said."},
    {"verbose", NEXUS_SETTING_BOOL, "false", 0, 0, NULL, "Says more."},
    {"ratio", NEXUS_SETTING_DOUBLE, "0.5", 0, 0, NULL, "A share."},
};
static const nexus_settings_table table = {"backend", rows, sizeof rows / sizeof rows[0]};

static nexus_status load(nexus_settings **out, const char *const *env, const char *const *argv)
{
    nexus_settings_opts opts = NEXUS_SETTINGS_OPTS_INIT;
    opts.program = "nexus-backend";
    opts.text = "The business.";
    opts.tables = &table;
    opts.table_count = 1;
    opts.env = env;
    opts.argv = argv;
    while (argv && argv[opts.argc])
        opts.argc++;
    return nexus_settings_load(out, &opts);
}

#define ARGS(...) ((const char *const[]){"nexus-backend", __VA_ARGS__, NULL})
#define ENV(...) ((const char *const[]){__VA_ARGS__, NULL})

static char *file_with(const char *text)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/nexus-settings-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void refused(const char *const *env, const char *const *argv, const char *message)
{
    nexus_settings *s = NULL;
    cr_assert_eq(load(&s, env, argv), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), message), "\"%s\" is not in \"%s\"", message, nexus_error_message());
}

Test(settings, defaults_hold_where_nothing_is_set)
{
    nexus_settings *s = NULL;
    cr_assert_eq(load(&s, NULL, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_settings_int(s, "payment_timeout_ms"), 2000);
    cr_assert_eq(nexus_settings_int(s, "port_base"), 3000);
    cr_assert_str_eq(nexus_settings_text(s, "env"), "production");
    cr_assert_str_eq(nexus_settings_text(s, "greeting"), "");
    cr_assert_float_eq(nexus_settings_double(s, "ratio"), 0.5, 1e-9);
    cr_assert_not(nexus_settings_is_set(s, "payment_timeout_ms"));
    nexus_settings_free(s);
}

Test(settings, flags_win_over_environment_and_that_over_the_file)
{
    char config[128];
    char *path = file_with("{\"greeting\": \"file\", \"ratio\": 0.25,\n \"backend\": {\"payment_timeout_ms\": 7},"
                           " \"gateway\": {\"of_another_process\": 1}}");
    snprintf(config, sizeof config, "--config=%s", path);
    nexus_settings *s = NULL;
    cr_assert_eq(load(&s, ENV("NEXUS_GREETING=env", "NEXUS_PAYMENT_TIMEOUT_MS=8", "PATH=/bin"),
                      ARGS(config, "--payment-timeout-ms", "9", "--verbose", "--dev")),
                 NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_settings_int(s, "payment_timeout_ms"), 9);
    cr_assert_str_eq(nexus_settings_text(s, "greeting"), "env");
    cr_assert_float_eq(nexus_settings_double(s, "ratio"), 0.25, 1e-9);
    cr_assert(nexus_settings_bool(s, "verbose"));
    cr_assert_str_eq(nexus_settings_text(s, "env"), "development");
    nexus_settings_free(s);
    unlink(path);
}

Test(settings, a_value_can_stand_in_a_file_of_its_own)
{
    char variable[128];
    char *path = file_with("from a file\n");
    snprintf(variable, sizeof variable, "NEXUS_GREETING_FILE=%s", path);
    nexus_settings *s = NULL;
    cr_assert_eq(load(&s, ENV(variable), NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_str_eq(nexus_settings_text(s, "greeting"), "from a file");
    nexus_settings_free(s);
    refused(ENV(variable, "NEXUS_GREETING=too"), NULL, "both set");
    unlink(path);
    refused(ENV("NEXUS_PORT_BASE=x"), NULL, "NEXUS_PORT_BASE: \"x\" is no whole number");
}

Test(settings, mistakes_are_named_with_their_place_and_remedy)
{
    refused(NULL, ARGS("--payment-timeut-ms=1"), "did you mean --payment-timeout-ms?");
    refused(NULL, ARGS("--payment-timeout-ms=0"), "--payment-timeout-ms: 0 is not between 1 and 60000");
    refused(NULL, ARGS("--env=prod"), "\"prod\" is not one of production,development");
    refused(NULL, ARGS("--greeting"), "--greeting needs a value");
    refused(NULL, ARGS("stray"), "\"stray\" is no flag");
    refused(NULL, ARGS("--database-url=oracle:x"), "scheme \"oracle\" is not one of");
    refused(NULL, ARGS("--xyzzyplugh=1"), "unknown flag --xyzzyplugh=1; --help lists");
    static const struct {
        const char *text, *message;
    } files[] = {
        {"{\n  \"prot_base\": 1}", ":2:3: unknown setting \"prot_base\"; did you mean \"port_base\"?"},
        {"{\"backend\": {\"port_base\": 1}}", ":1:14: unknown setting \"port_base\""},
        {"{\"greeting\": [1]}", ":1:14: \"greeting\" takes a string"},
        {"{\"port_base\": \"x\"}", ":1:15: \"x\" is no whole number"},
        {"{\"port_base\": 1,}", ":1:1"},
        {"[]", ":1:1: settings are one JSON object"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char config[128];
        char *path = file_with(files[i].text);
        snprintf(config, sizeof config, "--config=%s", path);
        refused(NULL, ARGS(config), files[i].message);
        unlink(path);
    }
}

Test(settings, production_refuses_sample_secrets)
{
    refused(ENV("NEXUS_WRITE_KEY=changeme-please-now"), NULL, "write_key: a sample");
    refused(ENV("NEXUS_WRITE_KEY=short"), NULL, "write_key");
    nexus_settings *s = NULL;
    cr_assert_eq(load(&s, ENV("NEXUS_WRITE_KEY=short"), ARGS("--dev")), NEXUS_OK);
    nexus_settings_free(s);
    cr_assert_eq(load(&s, ENV("NEXUS_WRITE_KEY=8f1d6a2c9be04753a1f2"), NULL), NEXUS_OK);
    nexus_settings_free(s);
}

Test(settings, pages_are_printed_instead_of_running)
{
    static const struct {
        const char *flag, *holds;
    } pages[] = {
        {"--help", "--payment-timeout-ms=2000"},
        {"--version", "nexus-backend 0."},
        {"--print-defaults", "\"payment_timeout_ms\":2000"},
        {"--print-settings=markdown",
         "| `NEXUS_PAYMENT_TIMEOUT_MS`<br>`--payment-timeout-ms` | integer 1–60000 | `2000` |"},
        {"--check-config", "settings are fine"},
    };
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        nexus_settings *s = NULL;
        nexus_slice text;
        cr_assert_eq(load(&s, NULL, ARGS(pages[i].flag)), NEXUS_OK, "%s", nexus_error_message());
        cr_assert(nexus_settings_print(s, &text));
        char *copy = strndup(text.p, text.n);
        cr_assert(strstr(copy, pages[i].holds), "%s", copy);
        free(copy);
        nexus_settings_free(s);
    }
    refused(NULL, ARGS("--check-config", "--port-base=x"), "no whole number");
}

Test(settings, printed_defaults_are_a_valid_file)
{
    nexus_settings *s = NULL, *again = NULL;
    nexus_slice text;
    cr_assert_eq(load(&s, NULL, ARGS("--print-defaults")), NEXUS_OK);
    cr_assert(nexus_settings_print(s, &text));
    char *copy = strndup(text.p, text.n), config[128];
    char *path = file_with(copy);
    snprintf(config, sizeof config, "--config=%s", path);
    cr_assert_eq(load(&again, NULL, ARGS(config)), NEXUS_OK, "%s", nexus_error_message());
    unlink(path);
    free(copy);
    nexus_settings_free(s);
    nexus_settings_free(again);
}

/* --- references ----------------------------------------------------------------------------------------------------- */

Test(settings, a_value_may_refer_to_variables_and_files_from_every_source)
{
    nexus_settings *s = NULL;
    char text[160];
    char *path = file_with("pass${env:WHO}\r\n\n");
    snprintf(text, sizeof text, "a ${env:WHO}, ${file:%s}! ${other}", path);
    char env[200], flag[200], expected[] = "a ann, pass${env:WHO}! ${other}";
    snprintf(env, sizeof env, "NEXUS_GREETING=%s", text);
    snprintf(flag, sizeof flag, "--greeting=%s", text);
    cr_assert_eq(load(&s, ENV("WHO=ann", env), NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_eq(nexus_settings_text(s, "greeting"), expected);
    nexus_settings_free(s);
    cr_assert_eq(load(&s, ENV("WHO=ann"), ARGS(flag)), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_eq(nexus_settings_text(s, "greeting"), expected);
    nexus_settings_free(s);
    unlink(path);
    path = file_with("{\"greeting\": \"${env:WHO}\", \"backend\": {\"payment_timeout_ms\": \"${env:MS}\"}}");
    cr_assert_eq(load(&s, ENV("WHO=ann", "MS=1234"), ARGS("--config", path)), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_eq(nexus_settings_text(s, "greeting"), "ann");
    cr_expect_eq(nexus_settings_int(s, "payment_timeout_ms"), 1234);
    nexus_settings_free(s);
    unlink(path);
}

Test(settings, a_reference_that_leads_nowhere_is_refused_by_the_name_of_its_setting)
{
    static const struct {
        const char *value, *why;
    } bad[] = {{"${env:NOBODY}", "${env:NOBODY}, which is not set"},
               {"${file:relative}", "begins with /"},
               {"${env:}", "a reference that is not"},
               {"x${env:OPEN", "a reference that is not"}};
    char env[128];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(env, sizeof env, "NEXUS_GREETING=%s", bad[i].value);
        refused(ENV(env), NULL, bad[i].why);
        refused(ENV(env), NULL, "NEXUS_GREETING: \"greeting\"");
    }
    nexus_settings *s = NULL;
    cr_expect_neq(load(&s, ENV("NEXUS_GREETING=${file:/nowhere/at/all}"), NULL), NEXUS_OK);
    cr_expect(strstr(nexus_error_message(), "\"greeting\" refers to a file: cannot open /nowhere/at/all"), "%s",
              nexus_error_message());
}

Test(settings, a_refusal_does_not_show_what_a_reference_stands_for)
{
    refused(ENV("WORD=hunter2", "NEXUS_PAYMENT_TIMEOUT_MS=${env:WORD}"), NULL, "\"payment_timeout_ms\"");
    cr_expect_not(strstr(nexus_error_message(), "hunter2"), "%s", nexus_error_message());
    refused(ENV("WORD=70000", "NEXUS_PAYMENT_TIMEOUT_MS=${env:WORD}"), NULL, "\"payment_timeout_ms\"");
    cr_expect_not(strstr(nexus_error_message(), "70000"), "%s", nexus_error_message());
}

Test(settings, what_a_file_variable_names_is_taken_as_it_is)
{
    nexus_settings *s = NULL;
    char env[128], *path = file_with("${env:HOME}");
    snprintf(env, sizeof env, "NEXUS_GREETING_FILE=%s", path);
    cr_assert_eq(load(&s, ENV(env), NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_eq(nexus_settings_text(s, "greeting"), "${env:HOME}");
    nexus_settings_free(s);
    unlink(path);
}

/* --- secrets ---------------------------------------------------------------------------------------------------------- */

static const nexus_setting secret_rows[] = {
    {"pass_phrase", NEXUS_SETTING_SECRET, NULL, 0, 0, NULL, "A secret."},
    {"store_url", NEXUS_SETTING_URL, NULL, 0, 0, NULL, "Where."},
};
static const nexus_settings_table secret_table = {"backend", secret_rows, sizeof secret_rows / sizeof secret_rows[0]};

static nexus_status load_secrets(nexus_settings **out, const char *const *env, const char *flag)
{
    nexus_settings_opts opts = NEXUS_SETTINGS_OPTS_INIT;
    const char *const argv[] = {"nexus-backend", flag};
    opts.program = "nexus-backend";
    opts.tables = &secret_table;
    opts.table_count = 1;
    opts.env = env;
    opts.argv = argv;
    opts.argc = flag ? 2 : 1;
    return nexus_settings_load(out, &opts);
}

static void write_to(const char *path, const char *text)
{
    char fresh[128]; /* another file under the name, as orchestrators do it */
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *f = fopen(fresh, "we");
    cr_assert(f);
    fputs(text, f);
    fclose(f);
    cr_assert_eq(rename(fresh, path), 0);
}

static bool phrase_is(const nexus_settings *s, const char *text)
{
    return nexus_secret_equal(nexus_settings_secret(s, "pass_phrase"), (nexus_slice){text, strlen(text)});
}

static uint32_t reread(const nexus_settings *s, nexus_status expected)
{
    uint32_t changed = 99;
    cr_expect_eq(nexus_settings_reread(s, &changed), expected, "%s", nexus_error_message());
    return changed;
}

Test(settings, a_secret_is_lent_by_its_own_call_only)
{
    nexus_settings *s = NULL;
    cr_assert_eq(load_secrets(&s, ENV("NEXUS_PASS_PHRASE=correct horse battery"), NULL), NEXUS_OK, "%s",
                 nexus_error_message());
    cr_expect(phrase_is(s, "correct horse battery"));
    cr_expect_str_eq(nexus_settings_text(s, "pass_phrase"), "");
    cr_expect(nexus_settings_is_set(s, "pass_phrase"));
    cr_expect_null(nexus_settings_secret(s, "store_url"));
    nexus_settings_free(s);
    cr_expect_eq(load_secrets(&s, ENV("NEXUS_PASS_PHRASE=changeme and more of it"), NULL), NEXUS_EINVAL);
    cr_expect_not(strstr(nexus_error_message(), "more of it"), "%s", nexus_error_message());
}

Test(settings, secrets_in_files_are_read_again_when_those_change)
{
    nexus_settings *s = NULL;
    char env[200], *path = file_with("correct horse battery\n");
    snprintf(env, sizeof env, "NEXUS_PASS_PHRASE=${env:FRONT}${file:%s}", path);
    cr_assert_eq(load_secrets(&s, ENV("FRONT=${file:/no/reference/this}", env), NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_expect(phrase_is(s, "${file:/no/reference/this}correct horse battery"));
    cr_expect_eq(reread(s, NEXUS_OK), 0);
    write_to(path, "another horse battery\n");
    cr_expect_eq(reread(s, NEXUS_OK), 1);
    cr_expect(phrase_is(s, "${file:/no/reference/this}another horse battery"));
    cr_expect_eq(reread(s, NEXUS_OK), 0);
    nexus_settings_free(s);
    snprintf(env, sizeof env, "NEXUS_PASS_PHRASE_FILE=%s", path);
    cr_assert_eq(load_secrets(&s, ENV(env), NULL), NEXUS_OK, "%s", nexus_error_message());
    write_to(path, "a third horse battery");
    cr_expect_eq(reread(s, NEXUS_OK), 1);
    cr_expect(phrase_is(s, "a third horse battery"));
    nexus_settings_free(s);
    unlink(path);
}

Test(settings, what_is_no_secret_any_more_leaves_the_last_one_and_is_told_once)
{
    nexus_settings *s = NULL;
    char env[200], *path = file_with("correct horse battery");
    snprintf(env, sizeof env, "NEXUS_PASS_PHRASE=${file:%s}", path);
    cr_assert_eq(load_secrets(&s, ENV(env), NULL), NEXUS_OK, "%s", nexus_error_message());
    static const char *const bad[] = {"", "\n", "changeme", "short"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_to(path, bad[i]);
        cr_expect_eq(reread(s, NEXUS_EINVAL), 0, "%zu", i);
        cr_expect(strstr(nexus_error_message(), "pass_phrase"), "%s", nexus_error_message());
        cr_expect_eq(reread(s, NEXUS_OK), 0, "%zu", i);
        cr_expect(phrase_is(s, "correct horse battery"), "%zu", i);
    }
    unlink(path);
    cr_expect_eq(reread(s, NEXUS_ENOTFOUND), 0);
    cr_expect_eq(reread(s, NEXUS_OK), 0);
    write_to(path, "it is here again, longer");
    cr_expect_eq(reread(s, NEXUS_OK), 1);
    cr_expect(phrase_is(s, "it is here again, longer"));
    nexus_settings_free(s);
    unlink(path);
}

Test(settings, what_is_in_force_is_printed_with_secrets_masked_by_their_type)
{
    nexus_settings *s = NULL;
    nexus_slice page;
    char env[200], *path = file_with("correct horse battery");
    snprintf(env, sizeof env, "NEXUS_PASS_PHRASE=${file:%s}", path);
    cr_assert_eq(load_secrets(&s, ENV(env, "NEXUS_STORE_URL=http://ann:hunter2@store.example/x", "NEXUS_PORT_BASE=${env:BASE}",
                                      "BASE=4000"), "--print-config"), NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_settings_print(s, &page));
    char *text = strndup(page.p, page.n);
    cr_assert(text);
    cr_expect(strstr(text, "\"pass_phrase\":\"[redacted]\""), "%s", text);
    cr_expect(strstr(text, "\"store_url\":\"http://ann:[redacted]@store.example/x\""), "%s", text);
    cr_expect(strstr(text, "\"port_base\":\"${env:BASE}\""), "%s", text);
    cr_expect(strstr(text, "\"http2\":true"), "%s", text);
    cr_expect_not(strstr(text, "horse"), "%s", text);
    cr_expect_not(strstr(text, "hunter2"), "%s", text);
    free(text);
    nexus_settings_free(s);
    unlink(path);
}
