/*
 * Whether a subject may get what it asks for. An account is in one state, the first of this table that holds; each state
 * says which of the ways in stay open. A way in that is not in the table does not exist: whoever adds a grant asks
 * nexus__subject_gate at the moment of redemption, not when the code, the token or the session was handed out.
 */
#include "auth/auth_private.h"

enum { TOKENS = 1, RESET = 2, VERIFY = 4 };

static const struct state {
    const char *name, *refusal;
    size_t flag; /* of nexus_user; the last row has none and always holds */
    uint32_t open;
} states[] = {
    {"deleted", "the account is deleted", offsetof(nexus_user, deleted), 0},
    {"disabled", "the account is disabled", offsetof(nexus_user, disabled), 0},
    {"locked", "the account is locked", offsetof(nexus_user, locked), 0},
    {"unverified", "the address is not confirmed", offsetof(nexus_user, unverified), VERIFY},
    {"password-reset", "the password must be reset", offsetof(nexus_user, must_reset), RESET},
    {"active", NULL, 0, TOKENS | RESET},
};

static const struct state *state_of(const nexus_user *user)
{
    const struct state *s = states;
    while (s->refusal && !*(const bool *)((const char *)user + s->flag))
        s++;
    return s;
}

static nexus_status pass(const nexus_user *user, uint32_t way)
{
    const struct state *s = state_of(user);
    if (s->open & way)
        return NEXUS_OK;
    return nexus__fail(NEXUS_EAUTH, "%s", s->refusal ? s->refusal : "the address is confirmed already");
}

nexus_status nexus__subject_gate(const nexus_user *user)
{
    return pass(user, TOKENS);
}

nexus_status nexus__reset_gate(const nexus_user *user)
{
    return pass(user, RESET);
}

nexus_status nexus__verify_gate(const nexus_user *user)
{
    return pass(user, VERIFY);
}

const char *nexus_user_state(const nexus_user *user)
{
    return state_of(user)->name;
}
