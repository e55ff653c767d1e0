#include "bus/guard.h"

#include "base/time.h"

enum { TOKEN = 1000000 };

bool nexus__guard_admits(nexus__guard *g, const nexus__guard_rule *rule, int64_t now_ns)
{
    int64_t full = (int64_t)rule->burst * TOKEN, passed = now_ns - g->at_ns;
    if (!g->at_ns || passed > NEXUS__NS_PER_S * full / TOKEN)
        g->micro = full;
    else if (passed > 0)
        g->micro += passed / NEXUS__NS_PER_US * rule->per_s;
    g->micro = g->micro < full ? g->micro : full;
    g->at_ns = !g->at_ns || passed > 0 ? now_ns - (g->at_ns ? passed % NEXUS__NS_PER_US : 0) : g->at_ns;
    return g->micro >= TOKEN;
}

void nexus__guard_take(nexus__guard *g)
{
    g->micro -= TOKEN;
}

void nexus__guard_earn(nexus__guard *g, const nexus__guard_rule *rule)
{
    g->micro += (int64_t)rule->percent * (TOKEN / 100); /* over the brim until somebody asks */
}

int64_t nexus__guard_due(const nexus__guard *g, const nexus__guard_rule *rule)
{
    int64_t missing = TOKEN - g->micro;
    return missing <= 0 ? g->at_ns : g->at_ns + (missing / rule->per_s + 1) * NEXUS__NS_PER_US;
}
