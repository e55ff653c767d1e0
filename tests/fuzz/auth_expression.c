/* Any text is an expression or an error with a place in it; an expression decides in as many questions as it has terms,
 * and says yes only for witnesses. */
#include <stdlib.h>

#include "gateway/auth/expression.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play(const nexus__auth_expression *e, uint32_t seed)
{
    nexus__auth_answer answers[NEXUS__AUTH_TERMS_MAX] = {0}, outcome;
    uint8_t ask = 0;
    uint32_t asked = 0;
    while ((outcome = nexus__auth_decide(e, answers, &ask)) == NEXUS__AUTH_UNASKED) {
        if (++asked > e->term_count || answers[ask] != NEXUS__AUTH_UNASKED)
            abort();
        answers[ask] = (nexus__auth_answer)(NEXUS__AUTH_YES + seed % 5);
        seed = seed / 5 + 1;
    }
    if (outcome != NEXUS__AUTH_YES)
        return;
    uint32_t witnesses = nexus__auth_witnesses(e, answers);
    for (uint8_t i = 0; i < e->term_count; i++)
        if (witnesses >> i & 1 && answers[i] != NEXUS__AUTH_YES)
            abort();
    if (!witnesses)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__auth_expression e;
    size_t at;
    const char *why = NULL;
    if (size > 4096)
        return 0;
    if (nexus__auth_parse(&e, (nexus_slice){(const char *)data, size}, &at, &why)) {
        for (uint32_t seed = 0; seed < 200; seed++)
            play(&e, seed * 31);
    } else if (!why || at > size) {
        abort();
    }
    return 0;
}
