"""The exported symbols are those of symbols.txt: the diff of that list is the API review.

Rewrite the list with:  python3 tests/meta/test_symbols.py build
"""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "tests/meta/symbols.txt"


def library(build):
    return Path(build) / "lib/libnexus.so"


def exported(build):
    out = subprocess.run(["nm", "-D", "--defined-only", str(library(build))], text=True, capture_output=True, check=True)
    names = {line.split()[-1].split("@")[0] for line in out.stdout.splitlines() if line.split()[1] in "TDBR"}
    return sorted(names)


def declared():
    names = set()
    for header in (ROOT / "include/nexus").rglob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = "\n".join(l for l in text.splitlines() if not l.lstrip().startswith("#"))
        for declaration in re.findall(r"NEXUS_API\b([^;]*);", text):
            match = re.search(r"\b(nexus_\w+)\s*\(", declaration)
            if match:
                names.add(match[1])
    return names


def build_folder():
    return os.environ.get("NEXUS_BUILD", str(ROOT / "build"))


def test_exported_symbols_are_the_listed_ones():
    now, listed = exported(build_folder()), LIST.read_text().split()
    assert now == listed, f"added: {sorted(set(now) - set(listed))}, gone: {sorted(set(listed) - set(now))}"


def test_what_is_declared_is_exported_and_nothing_else():
    now = set(exported(build_folder()))
    assert declared() - now == set(), "declared with NEXUS_API but not defined"
    assert now - declared() == set(), "exported but not in a public header"


def test_soname():
    out = subprocess.run(["readelf", "-d", str(library(build_folder()))], text=True, capture_output=True, check=True)
    assert "libnexus.so.0" in out.stdout


if __name__ == "__main__":
    LIST.write_text("\n".join(exported(sys.argv[1])) + "\n")
