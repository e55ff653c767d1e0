#include "gateway/auth/expression.h"

/* --- parsing: one function for each level of the grammar ---------------------------------------------------------- */

typedef struct parser {
    nexus__auth_expression *out;
    nexus_slice text;
    size_t at, depth;
    const char *why;
} parser;

static bool fail(parser *p, const char *why)
{
    p->why = p->why ? p->why : why;
    return false;
}

static bool in_word(char c)
{
    char lower = nexus__ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

static void skip_space(parser *p)
{
    while (p->at < p->text.n && (p->text.p[p->at] == ' ' || p->text.p[p->at] == '\t'))
        p->at++;
}

static nexus_slice word(const parser *p)
{
    size_t end = p->at;
    while (end < p->text.n && in_word(p->text.p[end]))
        end++;
    return nexus__slice(p->text.p + p->at, end - p->at);
}

static bool add_node(parser *p, nexus__auth_op op, uint8_t a, uint8_t b, uint8_t *node)
{
    if (p->out->node_count == NEXUS__AUTH_NODES_MAX)
        return fail(p, "is too long: at most 32 names and operators");
    *node = p->out->node_count++;
    p->out->nodes[*node] = (nexus__auth_node){op, a, b};
    return true;
}

static bool add_term(parser *p, nexus_slice name, uint8_t *node)
{
    uint8_t i = 0;
    while (i < p->out->term_count && !nexus__slice_eq(p->out->terms[i], name))
        i++;
    if (i == NEXUS__AUTH_TERMS_MAX)
        return fail(p, "names more than 8 authenticators");
    if (i == p->out->term_count)
        p->out->terms[p->out->term_count++] = name;
    return add_node(p, NEXUS__AUTH_TERM, i, 0, node);
}

static bool parse_or(parser *p, uint8_t *node);

static bool parse_factor(parser *p, uint8_t *node)
{
    skip_space(p);
    if (p->at < p->text.n && p->text.p[p->at] == '(') {
        if (++p->depth > NEXUS__AUTH_DEPTH_MAX)
            return fail(p, "nests deeper than 16 parentheses");
        p->at++;
        if (!parse_or(p, node))
            return false;
        skip_space(p);
        if (p->at == p->text.n || p->text.p[p->at] != ')')
            return fail(p, "expects AND, OR or \")\"");
        p->at++;
        p->depth--;
        return true;
    }
    nexus_slice name = word(p);
    if (name.n == 0 || nexus__slice_ieq(name, NEXUS_S("and")) || nexus__slice_ieq(name, NEXUS_S("or")))
        return fail(p, "expects the name of an authenticator or \"(\"");
    if (!add_term(p, name, node))
        return false;
    p->at += name.n;
    return true;
}

static bool take_operator(parser *p, nexus_slice name)
{
    skip_space(p);
    if (!nexus__slice_eq(word(p), name))
        return false;
    p->at += name.n;
    return true;
}

static bool parse_and(parser *p, uint8_t *node)
{
    uint8_t right;
    if (!parse_factor(p, node))
        return false;
    while (take_operator(p, NEXUS_S("AND")))
        if (!parse_factor(p, &right) || !add_node(p, NEXUS__AUTH_AND, *node, right, node))
            return false;
    return true;
}

static bool parse_or(parser *p, uint8_t *node)
{
    uint8_t right;
    if (!parse_and(p, node))
        return false;
    while (take_operator(p, NEXUS_S("OR")))
        if (!parse_and(p, &right) || !add_node(p, NEXUS__AUTH_OR, *node, right, node))
            return false;
    return true;
}

bool nexus__auth_parse(nexus__auth_expression *out, nexus_slice text, size_t *at, const char **why)
{
    parser p = {.out = out, .text = text};
    uint8_t root;
    *out = (nexus__auth_expression){0};
    bool good = parse_or(&p, &root);
    if (good && p.at < text.n)
        good = fail(&p,
                    text.p[p.at] == ')' ? "has a \")\" without its \"(\"" : "expects AND, OR (in capitals) or the end");
    *at = p.at;
    *why = p.why;
    return good;
}

/* --- deciding ------------------------------------------------------------------------------------------------------ */

static nexus__auth_answer decide(const nexus__auth_expression *e, const nexus__auth_answer *answers, uint8_t node,
                                 uint8_t *ask)
{
    const nexus__auth_node *n = &e->nodes[node];
    if (n->op == NEXUS__AUTH_TERM) {
        *ask = n->a;
        return answers[n->a];
    }
    nexus__auth_answer a = decide(e, answers, n->a, ask);
    if (n->op == NEXUS__AUTH_AND)
        return a == NEXUS__AUTH_YES ? decide(e, answers, n->b, ask) : a;
    if (a != NEXUS__AUTH_NONE && a != NEXUS__AUTH_DENIED)
        return a;
    nexus__auth_answer b = decide(e, answers, n->b, ask);
    return b == NEXUS__AUTH_NONE ? a : b; /* who is known and denied is told so */
}

nexus__auth_answer nexus__auth_decide(const nexus__auth_expression *e,
                                      const nexus__auth_answer answers[static NEXUS__AUTH_TERMS_MAX], uint8_t *ask)
{
    return decide(e, answers, (uint8_t)(e->node_count - 1), ask);
}

static uint32_t witnesses(const nexus__auth_expression *e, const nexus__auth_answer *answers, uint8_t node)
{
    const nexus__auth_node *n = &e->nodes[node];
    if (n->op == NEXUS__AUTH_TERM)
        return answers[n->a] == NEXUS__AUTH_YES ? 1u << n->a : 0;
    uint32_t a = witnesses(e, answers, n->a);
    if (n->op == NEXUS__AUTH_OR)
        return a ? a : witnesses(e, answers, n->b);
    uint32_t b = a ? witnesses(e, answers, n->b) : 0;
    return b ? a | b : 0;
}

uint32_t nexus__auth_witnesses(const nexus__auth_expression *e,
                               const nexus__auth_answer answers[static NEXUS__AUTH_TERMS_MAX])
{
    return witnesses(e, answers, (uint8_t)(e->node_count - 1));
}
