/* notify/mime.c: addresses, headers, quoted-printable. */
#include <criterion/criterion.h>

#include "notify/notify.h"

Test(mime, addresses)
{
    const char *good[] = {"ada@example.com", "a.b+c@x", "o'hara@sub.example.co.uk", "x@127.example"};
    const char *bad[] = {"",
                         "ada",
                         "@x",
                         "a@",
                         "a b@x.com",
                         "a@x..com",
                         "a@x.com.",
                         ".a@x.com",
                         "a.@x.com",
                         "a@-x.com",
                         "a@x-.com",
                         "<a@x.com>",
                         "a@x.com\r\nBcc: b@x.com",
                         "a@x.com,b@x",
                         "\"a\"@x.com",
                         "a@[1.2.3.4]",
                         "gr\xc3\xbc@x.com",
                         "a..b@x.com",
                         "a@b@c"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_assert(nexus__mail_address_valid(nexus__slice_c(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(nexus__mail_address_valid(nexus__slice_c(bad[i])), "%s", bad[i]);
}

static nexus_status build(nexus__buf *out, const char *subject, const char *text, const char *html)
{
    nexus__message m = {.id = NEXUS_S("0193-id"),
                        .from = NEXUS_S("shop@example.com"),
                        .to = NEXUS_S("ada@example.com"),
                        .subject = nexus__slice_c(subject),
                        .text = nexus__slice_c(text),
                        .html = nexus__slice_c(html),
                        .date_ns = 1764000416000000000};
    nexus__buf_init(out, NULL, 0);
    return nexus__mime_append(out, &m);
}

static bool holds(const nexus__buf *b, const char *part)
{
    return nexus__slice_search(nexus__buf_slice(b), nexus__slice_c(part)) < b->len;
}

Test(mime, two_parts)
{
    nexus__buf b;
    cr_assert_eq(build(&b, "Your order", "caf\xc3\xa9 = 1\nend ", "<p>x</p>"), NEXUS_OK);
    cr_assert(holds(&b, "Date: Mon, 24 Nov 2025 16:06:56 +0000\r\n"));
    cr_assert(holds(&b, "Message-ID: <0193-id@example.com>\r\n"));
    cr_assert(holds(&b, "To: ada@example.com\r\n"));
    cr_assert(
        holds(&b, "Content-Type: multipart/alternative; boundary=\"=_nexus_0193-id\"\r\n\r\n--=_nexus_0193-id\r\n"));
    cr_assert(holds(&b, "caf=C3=A9 =3D 1\r\nend=20\r\n"), "%.*s", (int)b.len, b.p);
    cr_assert(holds(&b, "\r\n--=_nexus_0193-id--\r\n"));
    nexus__buf_free(&b);
    cr_assert_eq(build(&b, "Your order", "text", ""), NEXUS_OK);
    cr_assert(holds(&b, "Content-Type: text/plain; charset=utf-8\r\n") && !holds(&b, "multipart"));
    nexus__buf_free(&b);
}

Test(mime, headers_cannot_be_injected)
{
    nexus__buf b;
    cr_assert_eq(build(&b, "x\r\nBcc: eve@example.com", "t", ""), NEXUS_EINVAL);
    nexus__buf_free(&b);
    cr_assert_eq(build(&b, "x\nBcc: eve@example.com", "t", ""), NEXUS_EINVAL);
    nexus__buf_free(&b);
    cr_assert_eq(build(&b, "x\xff", "t", ""), NEXUS_EINVAL);
    nexus__buf_free(&b);
}

Test(mime, no_line_is_too_long)
{
    static char text[5000], subject[600];
    nexus__buf b;
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 0; i + 3 < sizeof subject; i += 2)
        memcpy(subject + i, "\xc3\xbc", 2);
    cr_assert_eq(build(&b, subject, text, text), NEXUS_OK);
    size_t line = 0;
    for (size_t i = 0; i < b.len; i++) {
        line = b.p[i] == '\n' ? 0 : line + 1;
        cr_assert_leq(line, 78);
        cr_assert((uint8_t)b.p[i] < 0x80, "seven bits");
        if (b.p[i] == '\n')
            cr_assert(i > 0 && b.p[i - 1] == '\r');
    }
    cr_assert(holds(&b, "Subject: =?UTF-8?B?"));
    nexus__buf_free(&b);
}
