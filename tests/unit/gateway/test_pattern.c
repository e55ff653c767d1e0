#include <criterion/criterion.h>

#include "gateway/pattern.h"

static nexus__arena arena;

static void open_arena(void)
{
    nexus__arena_init(&arena, NULL, 0);
}

static void close_arena(void)
{
    nexus__arena_free(&arena);
}

static bool values(void *context, const nexus__pattern_piece *piece, nexus_slice *value)
{
    (void)context;
    *value = piece->text;
    return !nexus__slice_eq_c(piece->text, "gone");
}

static void reads(const char *text, const char *expected)
{
    nexus__pattern p;
    nexus_slice v[NEXUS__PATTERN_PIECES_MAX];
    char out[200];
    size_t n = 0;
    cr_assert_eq(nexus__pattern_parse(&p, nexus__slice_c(text), &arena), NEXUS_OK, "%s: %s", text, nexus_error_message());
    size_t total = nexus__pattern_values(&p, values, NULL, v);
    for (uint32_t i = 0; i < p.count; i++) {
        memcpy(out + n, v[i].p, v[i].n);
        n += v[i].n;
    }
    cr_assert_eq(n, total);
    out[n] = 0;
    cr_assert_str_eq(out, expected);
}

Test(pattern, puts_text_and_values_together, .init = open_arena, .fini = close_arena)
{
    reads("", "");
    reads("plain", "plain");
    reads("{path.id}", "id");
    reads("a-{query.x}-{header.X-Y}-{claim.z}!", "a-x-X-Y-z!");
    reads("{principal.sub}{client.ip}{request.id}{route.id}", "");
    reads("[{query.gone}]", "[]");
    reads("{{{path.id}}}", "{id}");
    reads("{{}}", "{}");
}

Test(pattern, refuses_what_it_does_not_know, .init = open_arena, .fini = close_arena)
{
    static const char *const bad[] = {"{",       "}",          "{path}",     "{path.}",       "{x}",        "a{b",
                                      "{Path.x}", "{query.x",   "{{{",        "{principal.x}", "{client.port}", "{}",
                                      "{header.a b}", "{header.a\n}", "{request.id}}"};
    nexus__pattern p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(nexus__pattern_parse(&p, nexus__slice_c(bad[i]), &arena), NEXUS_EINVAL, "%s", bad[i]);
}

Test(pattern, knows_whose_values_it_holds, .init = open_arena, .fini = close_arena)
{
    static const struct {
        const char *text;
        bool fixed, clients;
    } rows[] = {{"x", true, false},         {"{{x}}", true, false},       {"{path.a}", false, true},
                {"{query.a}", false, true}, {"{header.a}", false, true},  {"{claim.a}", false, false},
                {"", true, false},          {"{client.ip}", false, false}, {"{route.id}{query.q}", false, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus__pattern p;
        nexus_slice text;
        cr_assert_eq(nexus__pattern_parse(&p, nexus__slice_c(rows[i].text), &arena), NEXUS_OK);
        cr_assert_eq(nexus__pattern_fixed(&p, &text), rows[i].fixed, "%s", rows[i].text);
        cr_assert_eq(nexus__pattern_is_clients(&p), rows[i].clients, "%s", rows[i].text);
    }
}
