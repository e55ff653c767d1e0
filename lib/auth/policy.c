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

/* The most frequent of published leaks with eight characters or more; the long list is issue 5's. */
static const char *const common[] = {
    "password",    "12345678",  "123456789", "1234567890", "qwertyuiop", "qwerty123", "iloveyou",   "password1",
    "password123", "11111111",  "00000000",  "88888888",   "123123123",  "1q2w3e4r",  "1q2w3e4r5t", "1qaz2wsx",
    "sunshine",    "princess",  "football",  "baseball",   "superman",   "trustno1",  "starwars",   "computer",
    "whatever",    "welcome1",  "passw0rd",  "p@ssw0rd",   "letmein1",   "michelle",  "jennifer",   "corvette",
    "mercedes",    "maverick",  "samantha",  "steelers",   "87654321",   "987654321", "11223344",   "asdfghjkl",
    "zxcvbnm1",    "qazwsxedc", "abcd1234",  "abc12345",   "aa123456",   "1234qwer",  "q1w2e3r4",   "dragon123",
    "monkey123",   "admin123",  "changeme",  "internet",   "liverpool",  "butterfly", "charlie1",   "administrator",
};

nexus_status nexus__check_password(const nexus_auth *a, nexus_slice password)
{
    (void)a;
    if (password.n < 8 || password.n > 1024)
        return nexus__fail(NEXUS_EINVAL, "password: must have 8 to 1024 bytes");
    if (memchr(password.p, 0, password.n) || !nexus__utf8_valid(password))
        return nexus__fail(NEXUS_EINVAL, "password: must be UTF-8 without NUL");
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        if (nexus__slice_ieq(password, nexus__slice_c(common[i])))
            return nexus__fail(NEXUS_EINVAL, "password: is one of the most common; choose another");
    return NEXUS_OK;
}

nexus_status nexus__check_name(nexus_slice name)
{
    if (name.n == 0 || name.n > 200 || has_control(name) || !nexus__utf8_valid(name))
        return nexus__fail(NEXUS_EINVAL, "name: must have 1 to 200 bytes of text without control characters");
    return NEXUS_OK;
}
