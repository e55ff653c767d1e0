"""Turns the assets into C: embed.py OUT.c FILE… Every file but index.html gets the hash of its content into its name, and
the others' references to it follow, so that browsers may keep it for ever. Each is stored plain and gzipped."""
import gzip
import hashlib
import re
import sys
from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml"}


def main(out, *names):
    sources = {Path(n).name: Path(n).read_bytes() for n in names}
    done = {}  # name: (path, content)

    def finish(name):
        if name not in done:
            content = sources[name]
            for other in re.findall(rb'[./\w-]+\.(?:js|css|svg)', content):
                base = other.decode().rsplit("/", 1)[-1]
                if base in sources and base != name:
                    content = content.replace(b'"' + other + b'"', b'"' + finish(base)[0].encode() + b'"')
            stem, suffix = name.rsplit(".", 1)
            digest = hashlib.sha256(content).hexdigest()[:12]
            path = "/" if name == "index.html" else f"/assets/{stem}.{digest}.{suffix}"
            done[name] = (path, content, digest)
        return done[name]

    for name in sources:
        finish(name)
    lines = ['#include "console/assets.h"', ""]
    rows = []
    for i, (name, (path, content, digest)) in enumerate(sorted(done.items())):
        packed = gzip.compress(content, 9, mtime=0)
        for kind, data in (("plain", content), ("gzip", packed)):
            lines.append(f"static const unsigned char {kind}_{i}[] = {{")
            lines += ["    " + ",".join(map(str, data[k:k + 32])) + "," for k in range(0, len(data), 32)]
            lines.append("};")
        suffix = "." + name.rsplit(".", 1)[1]
        rows.append(f'    {{"{path}", "{TYPES[suffix]}", "\\"{digest}\\"", plain_{i}, gzip_{i}, sizeof plain_{i}, sizeof gzip_{i}}},')
    lines += ["const console_asset console_assets[] = {", *rows, "};",
              f"const size_t console_asset_count = {len(rows)};", ""]
    Path(out).write_text("\n".join(lines))


main(*sys.argv[1:])
