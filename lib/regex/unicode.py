#!/usr/bin/env python3
"""Writes lib/regex/unicode.c: the general category of every code point, as runs."""
import unicodedata

NAMES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf",
         "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"]
runs, last = [], None
for c in range(0x110000):
    category = NAMES.index(unicodedata.category(chr(c)))
    if category != last:
        runs.append(c << 5 | category)
        last = category
print("/* Written by unicode.py from Unicode %s; not edited by hand. */" % unicodedata.unidata_version)
print('#include "regex/program.h"\n')
print("// clang-format off")
print("const uint32_t nexus__regex_unicode_count = %d;" % len(runs))
print("const uint32_t nexus__regex_unicode[] = {")
for i in range(0, len(runs), 11):
    print("    " + " ".join("0x%x," % r for r in runs[i:i + 11]))
print("};")
