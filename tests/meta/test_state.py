"""A guest in someone's process: no mutable file-scope variable in lib/, and none of the calls a library must not make."""
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Per-thread state is allowed where errno-like behaviour needs it (style.md rules 8 and 26).
FORBIDDEN_CALLS = {
    "exit", "_exit", "abort", "printf", "puts", "putchar", "signal", "sigaction", "setlocale", "umask", "srand",
    "rand", "atexit", "strcpy", "strcat", "sprintf", "strtok", "gets", "system", "json_set_alloc_funcs",
    "json_object_seed", "event_set_mem_functions", "sqlite3_config", "CRYPTO_set_mem_functions", "usleep", "sleep",
}

# One call where it undoes what a dependency does to the host: libnats sets SIGPIPE when it starts.
ALLOWED_CALLS = {("lib/bus/engines/nats.c", "sigaction")}


def archive():
    return Path(os.environ.get("NEXUS_BUILD", ROOT / "build")) / "lib/libnexus-internal.a"


def test_no_mutable_file_scope_variable():
    out = subprocess.run(["nm", "-A", str(archive())], text=True, capture_output=True, check=True).stdout
    wrong = []
    for line in out.splitlines():
        parts = line.split()
        if len(parts) >= 3 and parts[-2] in "dDbBC":
            name = parts[-1]
            if name.startswith(("__", "asan", "_ITM", ".")) or "__compound_literal" in name:
                continue
            wrong.append(f"{parts[0].split(':')[-2] if ':' in parts[0] else parts[0]}: {name}")
    # thread-local symbols sit in .tbss/.tdata, which nm marks like .bss/.data: sort those out by section
    tls = subprocess.run(["readelf", "-sW", str(archive())], text=True, capture_output=True, check=True).stdout
    thread_local = {l.split()[-1] for l in tls.splitlines() if " TLS " in l}
    # relocated constant tables are in .data.rel.ro, which nm also calls d: ask objdump for the section
    sections = subprocess.run(["objdump", "-t", str(archive())], text=True, capture_output=True, check=True).stdout
    constant = {l.split()[-1] for l in sections.splitlines() if ".data.rel.ro" in l or ".rodata" in l}
    wrong = [w for w in wrong if w.rsplit(": ", 1)[1] not in thread_local | constant]
    assert not wrong, "\n".join(wrong)


def test_no_forbidden_call():
    call = re.compile(r"(?<![\w.>])(" + "|".join(sorted(FORBIDDEN_CALLS)) + r")\s*\(")
    wrong = []
    for path in sorted((ROOT / "lib").rglob("*.c")):
        text = re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\])*"', lambda m: re.sub(r"[^\n]", " ", m[0]), path.read_text(), flags=re.S)
        for number, line in enumerate(text.splitlines(), 1):
            match = call.search(line)
            if match and (str(path.relative_to(ROOT)), match[1]) not in ALLOWED_CALLS:
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {match[1]}")
    assert not wrong, "\n".join(wrong)


def test_no_constructor():
    wrong = [str(p) for p in (ROOT / "lib").rglob("*.c") if re.search(r"__attribute__\s*\(\(\s*(constructor|destructor)", p.read_text())]
    assert not wrong, wrong
