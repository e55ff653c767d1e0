/* A key's text: made, and recognised without asking anybody. */
#include "auth/apikey.h"
#include "base/codec.h"
#include "base/id.h"
#include "crypto/wipe.h"

#define PREFIX "nexus_live_"

enum { ID_AT = sizeof PREFIX - 1, CRC_LEN = 6, CRC_AT = NEXUS_APIKEY_LEN - CRC_LEN };
_Static_assert(ID_AT + NEXUS_APIKEY_ID_LEN + 1 == NEXUS__APIKEY_SECRET_AT, "form of a key");
_Static_assert(NEXUS__APIKEY_SECRET_AT + NEXUS__APIKEY_SECRET_LEN == CRC_AT, "form of a key");

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Bytes over the last multiple of 62 are thrown away: every digit is as likely as every other. */
static void random_digits(char *out, size_t n)
{
    uint8_t bytes[64];
    for (size_t done = 0; done < n;) {
        nexus__random(bytes, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes && done < n; i++)
            if (bytes[i] < 248)
                out[done++] = digits[bytes[i] % 62];
    }
    nexus__wipe(bytes, sizeof bytes);
}

static void write_checksum(const char *text, char out[static CRC_LEN])
{
    uint32_t crc = nexus__crc32(0, text, CRC_AT);
    for (int i = CRC_LEN - 1; i >= 0; i--, crc /= 62)
        out[i] = digits[crc % 62];
}

void nexus__apikey_make(const char *id, char out[static NEXUS_APIKEY_LEN + 1])
{
    memcpy(out, PREFIX, ID_AT);
    if (id)
        memcpy(out + ID_AT, id, NEXUS_APIKEY_ID_LEN);
    else
        random_digits(out + ID_AT, NEXUS_APIKEY_ID_LEN);
    out[NEXUS__APIKEY_SECRET_AT - 1] = '_';
    random_digits(out + NEXUS__APIKEY_SECRET_AT, NEXUS__APIKEY_SECRET_LEN);
    write_checksum(out, out + CRC_AT);
    out[NEXUS_APIKEY_LEN] = 0;
}

static bool is_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool nexus_apikey_parse(const char *text, size_t n, nexus_slice *id)
{
    char checksum[CRC_LEN];
    if (n != NEXUS_APIKEY_LEN || memcmp(text, PREFIX, ID_AT) != 0 || text[NEXUS__APIKEY_SECRET_AT - 1] != '_')
        return false;
    for (size_t i = ID_AT; i < n; i++)
        if (i != NEXUS__APIKEY_SECRET_AT - 1 && !is_digit(text[i]))
            return false;
    write_checksum(text, checksum);
    if (memcmp(checksum, text + CRC_AT, CRC_LEN) != 0)
        return false;
    if (id)
        *id = nexus__slice(text + ID_AT, NEXUS_APIKEY_ID_LEN);
    return true;
}
