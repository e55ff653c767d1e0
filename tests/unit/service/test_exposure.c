/* Where the administration may listen. */
#include <criterion/criterion.h>

#include "base/status.h"
#include "service/exposure.h"

static nexus_status check(nexus__exposure e)
{
    e.service = "backend";
    return nexus__exposure_check(&e);
}

Test(exposure, the_administration_is_not_served_to_the_wire_in_the_clear)
{
    static const char *const open[] = {"0.0.0.0", "::", "10.0.0.5", "192.168.1.1", "2001:db8::1", "::ffff:10.0.0.5"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        cr_assert_eq(check((nexus__exposure){.address = open[i], .administers = true}), NEXUS_EPERM, "%s", open[i]);
        cr_assert(strstr(nexus_error_message(), "NEXUS_BIND=127.0.0.1") && strstr(nexus_error_message(), open[i]));
        cr_assert_eq(check((nexus__exposure){.address = open[i]}), NEXUS_OK);
        cr_assert_eq(check((nexus__exposure){.address = open[i], .administers = true, .tls = true}), NEXUS_OK);
        cr_assert_eq(check((nexus__exposure){.address = open[i], .administers = true, .development = true}), NEXUS_OK);
        cr_assert_eq(check((nexus__exposure){.address = open[i], .administers = true, .tls_in_front = true}), NEXUS_OK);
    }
}

Test(exposure, this_machine_may_always)
{
    static const char *const own[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        cr_assert_eq(check((nexus__exposure){.address = own[i], .administers = true}), NEXUS_OK, "%s", own[i]);
}
