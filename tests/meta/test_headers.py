"""Each public header compiles alone, as C99, C17 pedantic and C++17, and keeps to what FFI can use."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADERS = sorted((ROOT / "include/nexus").rglob("*.h"))
NAMES = [str(h.relative_to(ROOT / "include")) for h in HEADERS]
COMPILERS = [
    ("gcc", ["-std=c99"], "c"),
    ("gcc", ["-std=c17"], "c"),
    ("g++", ["-std=c++17"], "c++"),
]


@pytest.mark.parametrize("compiler,std,language", COMPILERS, ids=["c99", "c17", "c++17"])
def test_each_header_compiles_alone(compiler, std, language):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    failed = []
    for name in NAMES:
        run = subprocess.run(
            [compiler, "-x", language, *std, "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
             f"-I{ROOT}/include", "-"],
            input=f"#include <{name}>\nint main(void) {{ return 0; }}\n", text=True, capture_output=True)
        if run.returncode:
            failed.append(f"{name}: {run.stderr.splitlines()[:3]}")
    assert not failed, "\n".join(failed)


def declarations(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"^\s*#.*(?:\\\n.*)*$", "", text, flags=re.M)
    return re.findall(r"NEXUS_API\s+([^;{]+);", text)


def test_ffi_rules():
    wrong = []
    for header in HEADERS:
        text = header.read_text()
        if re.search(r"^\s*(unsigned|int|uint\w+_t|bool)\s+\w+\s*:\s*\d+\s*;", text, re.M):
            wrong.append(f"{header.name}: bit-field")
        if re.search(r"^static inline", text, re.M):
            wrong.append(f"{header.name}: inline function")
        for declaration in declarations(text):
            flat = " ".join(declaration.split())
            if re.match(r"(?:NEXUS_MUST_CHECK )?(?:struct )?nexus_(slice|pair|value)\s+nexus_\w+\(", flat):
                wrong.append(f"{header.name}: returns a struct by value: {flat}")
            if "..." in flat and "NEXUS_PRINTF" not in flat and "printf" not in flat:
                name = re.search(r"(nexus_\w+)\s*\(", flat)
                if name and f"{name[1]}_text" not in text and f"{name[1]}v" not in text:
                    wrong.append(f"{header.name}: variadic function without a twin: {flat}")
    assert not wrong, "\n".join(wrong)


def test_every_public_function_is_exported_and_prefixed():
    wrong = []
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        for name in re.findall(r"^NEXUS_API[^;]*?\b(\w+)\s*\(", text, re.M):
            if not name.startswith(("nexus_", "NEXUS_")):
                wrong.append(f"{header.name}: {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("compiler,std,language", COMPILERS, ids=["c99", "c17", "c++17"])
def test_initialisers_are_silent(compiler, std, language, tmp_path):
    """What every user writes first must not warn, whatever warnings he has on."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    lines = []
    for header in HEADERS:
        for name in re.findall(r"#define (NEXUS_\w+_INIT)\b", header.read_text()):
            kind = name.removesuffix("_INIT").lower()
            lines.append(f"    {{ {kind} one = {name}; if (one.size != sizeof one) return 1; }}")
    assert lines
    program = "#include <nexus/nexus.h>\nint main(void)\n{\n" + "\n".join(lines) + "\n    return 0;\n}\n"
    run = subprocess.run([compiler, "-x", language, *std, "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include",
                          "-o", str(tmp_path / "a"), "-"], input=program, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    assert subprocess.run([str(tmp_path / "a")]).returncode == 0
