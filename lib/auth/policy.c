/* What an address, a password and a name may be. */
#include "auth/auth_private.h"
#include "base/utf8.h"

static bool has_control(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return true;
    return false;
}

nexus_status nexus__check_email(nexus_slice email)
{
    size_t at = nexus__slice_find(email, '@');
    nexus_slice domain = at < email.n ? nexus__slice_from(email, at + 1) : (nexus_slice){0};
    if (email.n > 254 || at == 0 || domain.n == 0 || nexus__slice_find(domain, '@') < domain.n)
        return nexus__fail(NEXUS_EINVAL, "email: must be one address like name@example.com, at most 254 bytes");
    for (size_t i = 0; i < email.n; i++)
        if (strchr(" \t()<>,;:\\\"[]", email.p[i]))
            return nexus__fail(NEXUS_EINVAL, "email: must be one address like name@example.com");
    if (has_control(email) || !nexus__utf8_valid(email) || domain.p[0] == '.' || domain.p[domain.n - 1] == '.')
        return nexus__fail(NEXUS_EINVAL, "email: must be one address like name@example.com");
    return NEXUS_OK;
}

nexus_status nexus__check_password(const nexus_auth *a, nexus_slice password)
{
    bool leaked = false;
    if (password.n < 8 || password.n > 1024)
        return nexus__fail(NEXUS_EINVAL, "password: must have 8 to 1024 bytes");
    if (memchr(password.p, 0, password.n) || !nexus__utf8_valid(password))
        return nexus__fail(NEXUS_EINVAL, "password: must be UTF-8 without NUL");
    if (nexus__password_is_common(password))
        return nexus__fail(NEXUS_EINVAL, "password: is one of the most common; choose another");
    nexus_status status = a->breach ? nexus__breach_file_has(a->breach, password, &leaked) : NEXUS_OK;
    if (status == NEXUS_OK && leaked)
        status = nexus__fail(NEXUS_EINVAL, "password: has been in a published leak; choose another");
    return status;
}

nexus_status nexus__check_name(nexus_slice name)
{
    if (name.n == 0 || name.n > 200 || has_control(name) || !nexus__utf8_valid(name))
        return nexus__fail(NEXUS_EINVAL, "name: must have 1 to 200 bytes of text without control characters");
    return NEXUS_OK;
}
