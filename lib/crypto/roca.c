#include <openssl/bn.h>

#include "crypto/pkey.h"

/*
 * Keys of the flawed generator (Nemec et al. 2017, "The Return of Coppersmith's Attack") are k * M + (65537^a
 * mod M) with M a primorial: modulo each small prime they lie in the group that 65537 generates. A random
 * modulus passes all of these primes with a chance of about 2^-27.
 */
static const uint8_t primes[] = {3,   5,   7,   11,  13,  17,  19,  23,  29,  31,  37,  41,  43,
                                 47,  53,  59,  61,  67,  71,  73,  79,  83,  89,  97,  101, 103,
                                 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167};

static bool in_group(unsigned residue, unsigned prime)
{
    unsigned power = 1;
    do {
        if (power == residue)
            return true;
        power = power * (65537 % prime) % prime;
    } while (power != 1);
    return false;
}

bool nexus__roca_marked(nexus_slice modulus)
{
    BIGNUM *n = BN_bin2bn((const uint8_t *)modulus.p, (int)modulus.n, NULL);
    bool marked = n;
    for (size_t i = 0; i < sizeof primes && marked; i++)
        marked = in_group((unsigned)BN_mod_word(n, primes[i]), primes[i]);
    BN_free(n);
    return marked;
}
