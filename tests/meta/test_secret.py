"""A secret that is printed by mistake does not compile: no function that writes text, logs or JSON takes nexus_secret."""
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", f"-I{ROOT / 'lib'}"]
PROGRAM = """
#include <nexus/nexus.h>
#include <stdio.h>
#include <string.h>
#include "json/write.h"
void mistake(const nexus_secret *secret, nexus_log *log, nexus_json_writer *writer, nexus__buf *buf);
void mistake(const nexus_secret *secret, nexus_log *log, nexus_json_writer *writer, nexus__buf *buf)
{
    (void)secret, (void)log, (void)writer, (void)buf;
    %s
}
"""
FINE = ['(void)nexus_secret_equal(secret, NEXUS_S("x"));', 'nexus_log_printf(log, NEXUS_LOG_INFO, "m", NULL, "%d", secret != NULL);']
MISTAKES = [
    'nexus_log_printf(log, NEXUS_LOG_INFO, "m", NULL, "%s", secret);',
    'nexus_log_text(log, NEXUS_LOG_INFO, "m", NULL, secret);',
    'NEXUS_LOG(log, NEXUS_LOG_INFO, "m", NULL, "x", NEXUS_LOG_S("secret", secret));',
    'NEXUS_LOG(log, NEXUS_LOG_INFO, "m", NULL, "x", NEXUS_LOG_S("secret", *secret));',
    'nexus_json_put_text(writer, "secret", secret);',
    'nexus_json_put_text_c(writer, "secret", secret);',
    'nexus_json_put_raw(writer, "secret", secret);',
    'nexus__json_text_c_value(&(nexus__json_writer){buf, false}, secret);',
    'nexus__buf_text(buf, secret);',
    'nexus__buf_printf(buf, "%s", secret);',
    'printf("%s", secret);',
    'puts(secret);',
    '(void)strlen(secret);',
    '(void)sizeof *secret;',
]


def compiles(compiler, line, folder):
    source = folder / "mistake.c"
    source.write_text(PROGRAM.replace("%s\n}", line + "\n}"))
    return subprocess.run([compiler, *FLAGS, str(source)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("compiler", [c for c in ("gcc", "clang") if shutil.which(c)])
def test_a_secret_cannot_be_written(compiler, tmp_path):
    for line in FINE:
        built = compiles(compiler, line, tmp_path)
        assert built.returncode == 0, (line, built.stderr)
    for line in MISTAKES:
        assert compiles(compiler, line, tmp_path).returncode != 0, line


def test_what_it_holds_is_lent_by_one_call():
    """Of all public functions that take a secret only these may reach its bytes."""
    header = (ROOT / "include/nexus/secret.h").read_text()
    lending = [line for line in header.splitlines() if "nexus_secret *secret" in line and "NEXUS_API" in line]
    names = {line.split("(")[0].split()[-1].lstrip("*") for line in lending}
    assert names == {"nexus_secret_set", "nexus_secret_use", "nexus_secret_equal", "nexus_secret_free"}
