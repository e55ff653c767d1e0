/*
 * Registration whose address has to be confirmed. Everybody is answered alike; what happened is in the mail: a token, or
 * that there is an account already. An account that was never confirmed is taken over by the next registration, password
 * and all, and mails sent before are void. Somebody who reads the mails cannot tell whose registration the last one is of: when
 * the passwords differed, none of them counts, and the confirmed account waits for a new one, which the reset's mail brings.
 */
#include "auth/auth_private.h"

static const char type[] = "user.verification", purpose[] = "verify";

static nexus_status send_token(nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    char token[NEXUS__TOKEN_TEXT];
    nexus__token_make(token);
    nexus_status status = nexus__mail_token_store(a, tx, user, purpose, token);
    return status == NEXUS_OK ? nexus__mail_event(a, tx, type, user, "requested", token) : status;
}

static nexus_status take_over(nexus_auth *a, nexus_db *tx, nexus_user **user, nexus_slice name, const char *hash,
                              bool disputed)
{
    nexus_user *again;
    int64_t now = nexus__auth_now_ns(a);
    nexus_status status = nexus_db_exec(
        tx, "UPDATE auth_users SET password = $2, password_at = $3, name = $4, must_reset = CASE WHEN $5 = 1 THEN 1 ELSE"
        " must_reset END WHERE id = $1 AND unverified = 1",
        (nexus_value[]){NEXUS_TEXT_C((*user)->id), NEXUS_TEXT_C(hash),
                        NEXUS_INT(now > (*user)->password_at_ns ? now : (*user)->password_at_ns + 1), NEXUS_TEXT(name),
                        NEXUS_INT(disputed)},
        5, NULL);
    if (status == NEXUS_OK)
        status = nexus__user_load(&again, tx, "id", nexus__slice_c((*user)->id));
    if (status != NEXUS_OK)
        return status;
    nexus_user_free(*user);
    *user = again;
    return NEXUS_OK;
}

/* The mail is limited by address, the registration is not: its account is there when the next mail may go. */
static nexus_status register_in(nexus_auth *a, nexus_db *tx, nexus_slice email, nexus_slice name, const char *hash,
                                bool disputed)
{
    char key[256];
    nexus_user *user = NULL;
    nexus__email_key(email, key);
    nexus_status status = nexus__user_load(&user, tx, "email_key", nexus__slice_c(key));
    if (status == NEXUS_ENOTFOUND)
        status = nexus__user_insert(&user, a, tx, email, name, hash, NULL);
    else if (status == NEXUS_OK && user->unverified)
        status = take_over(a, tx, &user, name, hash, disputed);
    if (status == NEXUS_OK && nexus__mail_allowed(a, email))
        status = nexus__verify_gate(user) == NEXUS_OK ? send_token(a, tx, user)
                                                      : nexus__mail_event(a, tx, type, user, "exists", NULL);
    nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_check_registration(nexus_auth *a, nexus_slice email, nexus_slice password, nexus_slice name)
{
    nexus_status status = nexus__check_email(email);
    if (status == NEXUS_OK)
        status = nexus__check_password(a, password);
    return status == NEXUS_OK ? nexus__check_name(name) : status;
}

/* Whether an account waits for confirmation under another password. The same work for every address. */
static nexus_status look_for_dispute(nexus_auth *a, nexus_slice email, nexus_slice password, bool *disputed)
{
    char rehash[NEXUS__PASSWORD_HASH_MAX] = "";
    nexus_user *user = NULL;
    nexus_status status = nexus_auth_user_by_email(a, email, &user);
    if (status == NEXUS_OK || status == NEXUS_ENOTFOUND)
        status = nexus__check_user_password(a, user, password, rehash);
    *disputed = user && status == NEXUS_EAUTH;
    nexus_user_free(user);
    return status == NEXUS_EAUTH ? NEXUS_OK : status;
}

nexus_status nexus_auth_register_unverified(nexus_auth *a, nexus_slice email, nexus_slice password, nexus_slice name)
{
    char hash[NEXUS__PASSWORD_HASH_MAX];
    bool disputed = false;
    nexus_db *tx;
    nexus_status status = nexus_auth_check_registration(a, email, password, name);
    if (status == NEXUS_OK)
        status = look_for_dispute(a, email, password, &disputed);
    if (status == NEXUS_OK)
        status = nexus__hash_new_password(a, password, hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    return status == NEXUS_OK ? nexus__finish(tx, register_in(a, tx, email, name, hash, disputed)) : status;
}

nexus_status nexus_auth_verify_resend(nexus_auth *a, nexus_slice email)
{
    nexus_user *user;
    nexus_db *tx;
    nexus_status status = nexus_auth_user_by_email(a, email, &user);
    if (status != NEXUS_OK)
        return status;
    if (nexus__verify_gate(user) != NEXUS_OK || !nexus__mail_allowed(a, email))
        status = nexus__fail(NEXUS_ENOTFOUND, "nobody to confirm, or too many mails");
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, send_token(a, tx, user));
    nexus_user_free(user);
    return status;
}

static nexus_status verify_in(nexus_auth *a, nexus_db *tx, const char *hash)
{
    nexus_user *user = NULL;
    nexus_status status = nexus__mail_token_redeem(a, tx, hash, purpose, nexus__verify_gate, &user);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "UPDATE auth_users SET unverified = 0 WHERE id = $1",
                               (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1, NULL);
    if (status == NEXUS_OK)
        status = nexus__tell_registered(a, tx, user);
    nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_verify(nexus_auth *a, nexus_slice token)
{
    char hash[NEXUS__HASH_TEXT];
    nexus_db *tx;
    nexus_status status = nexus__token_hash(token, hash);
    if (status == NEXUS_OK)
        status = nexus__mail_token_look(a, hash, purpose);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    return status == NEXUS_OK ? nexus__finish(tx, verify_in(a, tx, hash)) : status;
}
