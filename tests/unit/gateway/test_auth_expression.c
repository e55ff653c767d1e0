#include <criterion/criterion.h>
#include <string.h>

#include "gateway/auth/expression.h"

enum {
    U = NEXUS__AUTH_UNASKED,
    Y = NEXUS__AUTH_YES,
    N = NEXUS__AUTH_NONE,
    D = NEXUS__AUTH_DENIED,
    B = NEXUS__AUTH_BAD,
    F = NEXUS__AUTH_FAILED
};

static nexus__auth_expression parse(const char *text)
{
    nexus__auth_expression e;
    size_t at;
    const char *why;
    cr_assert(nexus__auth_parse(&e, nexus__slice_c(text), &at, &why), "%s: %zu %s", text, at, why);
    return e;
}

static const struct {
    const char *text;
    int answers[4]; /* of a, b, c, d */
    int outcome;
    uint32_t witnesses;
} decisions[] = {
    {"a", {Y}, Y, 1},
    {"a", {N}, N, 0},
    {"a OR b", {N, Y}, Y, 2},
    {"a OR b", {Y, B}, Y, 1},
    {"a OR b", {B, Y}, B, 0}, /* wrong credentials do not fall through */
    {"a OR b", {F, Y}, F, 0},
    {"a OR b", {N, N}, N, 0},
    {"a OR b", {D, N}, D, 0},
    {"a OR b", {N, D}, D, 0},
    {"a OR b", {D, Y}, Y, 2},
    {"a AND b", {Y, Y}, Y, 3},
    {"a AND b", {Y, N}, N, 0},
    {"a AND b", {Y, D}, D, 0},
    {"a AND b", {N, B}, N, 0}, /* the second is not asked */
    {"(a AND b) OR c", {Y, D, Y}, Y, 4},
    {"(a AND b) OR c", {Y, D, N}, D, 0},
    {"(a AND b) OR c", {B, Y, Y}, B, 0},
    {"a OR b AND c", {N, Y, N}, N, 0},
    {"a OR b AND c", {N, Y, Y}, Y, 6},
    {"(a OR b) AND (c OR d)", {N, Y, N, Y}, Y, 10},
    {"a AND a", {Y}, Y, 1},
};

Test(expression, decides)
{
    for (size_t i = 0; i < sizeof decisions / sizeof *decisions; i++) {
        nexus__auth_expression e = parse(decisions[i].text);
        nexus__auth_answer answers[NEXUS__AUTH_TERMS_MAX] = {0};
        nexus__auth_answer outcome;
        uint8_t ask;
        while ((outcome = nexus__auth_decide(&e, answers, &ask)) == NEXUS__AUTH_UNASKED) {
            cr_assert_eq(answers[ask], U, "a term is asked once");
            answers[ask] = (nexus__auth_answer)decisions[i].answers[e.terms[ask].p[0] - 'a'];
        }
        cr_assert_eq(outcome, decisions[i].outcome, "%zu: %s gave %d", i, decisions[i].text, outcome);
        cr_assert_eq(nexus__auth_witnesses(&e, answers), decisions[i].witnesses, "%zu: %s", i, decisions[i].text);
    }
}

Test(expression, asks_from_left_to_right_and_no_more_than_needed)
{
    nexus__auth_expression e = parse("(jwt AND ip) OR ext");
    nexus__auth_answer answers[NEXUS__AUTH_TERMS_MAX] = {0};
    uint8_t ask;
    cr_assert_eq(nexus__auth_decide(&e, answers, &ask), NEXUS__AUTH_UNASKED);
    cr_assert(nexus__slice_eq_c(e.terms[ask], "jwt"));
    answers[ask] = NEXUS__AUTH_NONE;
    cr_assert_eq(nexus__auth_decide(&e, answers, &ask), NEXUS__AUTH_UNASKED);
    cr_assert(nexus__slice_eq_c(e.terms[ask], "ext"));
    answers[ask] = NEXUS__AUTH_YES;
    cr_assert_eq(nexus__auth_decide(&e, answers, &ask), NEXUS__AUTH_YES);
}

static const struct {
    const char *text;
    size_t at;
    const char *why;
} broken[] = {
    {"", 0, "expects the name"},
    {"   ", 3, "expects the name"},
    {"jwt OR", 6, "expects the name"},
    {"jwt or apikey", 4, "in capitals"},
    {"jwt apikey", 4, "expects AND, OR"},
    {"AND jwt", 0, "expects the name"},
    {"jwt OR OR ip", 7, "expects the name"},
    {"(jwt", 4, "expects AND, OR or \")\""},
    {"jwt)", 3, "without its"},
    {"()", 1, "expects the name"},
    {"jwt & ip", 4, "expects AND, OR"},
    {"jwt ORip", 4, "expects AND, OR"},
    {"a OR b OR c OR d OR e OR f OR g OR h OR i", 40, "more than 8"},
    {"((((((((((((((((((a", 16, "deeper"},
};

Test(expression, errors_have_a_place)
{
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        nexus__auth_expression e;
        size_t at = 999;
        const char *why = "";
        cr_assert_not(nexus__auth_parse(&e, nexus__slice_c(broken[i].text), &at, &why), "%s", broken[i].text);
        cr_assert(strstr(why, broken[i].why), "%s: %s", broken[i].text, why);
        cr_assert_eq(at, broken[i].at, "%s: %zu", broken[i].text, at);
    }
}
