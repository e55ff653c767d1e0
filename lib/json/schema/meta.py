#!/usr/bin/env python3
"""Writes meta.c from the draft 2020-12 meta-schemas: meta.py FOLDER, with metaschema.json and vocabularies/."""
import json
import os
import sys

folder = sys.argv[1]
files = [os.path.join(folder, "metaschema.json")]
files += sorted(os.path.join(folder, "vocabularies", f) for f in os.listdir(os.path.join(folder, "vocabularies")))
print("/* Written by meta.py; not edited by hand. The meta-schemas are json-schema.org's (BSD-3-Clause). */")
print('#include "json/schema/compiled.h"\n\n// clang-format off')
print("static const struct {\n    const char *uri, *text;\n} schemas[] = {")
for name in files:
    schema = json.load(open(name))
    print('    {"%s",' % schema["$id"])
    text = json.dumps(schema, separators=(",", ":"))
    lines = [text[i:i + 80] for i in range(0, len(text), 80)]
    for i, line in enumerate(lines):
        end = "}," if i + 1 == len(lines) else ""
        print('     "%s"%s' % (line.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?"), end))
print("};\n// clang-format on\n")
print("""bool nexus__schema_meta(nexus_slice uri, nexus_slice *text)
{
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++)
        if (nexus__slice_eq_c(uri, schemas[i].uri)) {
            *text = nexus__slice_c(schemas[i].text);
            return true;
        }
    return false;
}""")
