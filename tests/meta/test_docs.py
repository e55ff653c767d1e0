"""Complete C programs in README.md and docs/ compile as they stand, and links between pages lead somewhere."""
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("NEXUS_BUILD", ROOT / "build"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = [(page.name, i, code) for page in PAGES
            for i, code in enumerate(re.findall(r"^```c\n(.*?)^```", page.read_text(), re.S | re.M), 1)
            if "int main(" in code]


@pytest.mark.parametrize("page,number,code", PROGRAMS, ids=[f"{p}-{i}" for p, i, _ in PROGRAMS])
def test_program_compiles(page, number, code, tmp_path):
    source = tmp_path / "program.c"
    source.write_text(code)
    run = subprocess.run(["cc", "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include", str(source),
                          f"-L{BUILD}/lib", "-lnexus", "-o", str(tmp_path / "program")], text=True, capture_output=True)
    assert run.returncode == 0, run.stderr


def test_readme_has_a_short_complete_program():
    lengths = [len(code.strip().splitlines()) for page, _, code in PROGRAMS if page == "README.md"]
    assert lengths and min(lengths) <= 25


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    broken = [link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()) if not (page.parent / link).exists()]
    assert not broken, broken


def test_settings_reference_is_up_to_date():
    program = next((BUILD / "servers").rglob("nexusd"), None)
    if program is None:
        pytest.fail("nexusd is not built")
    run = subprocess.run([str(program), "--print-settings=markdown"], text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == (ROOT / "docs/settings.md").read_text(), "run: nexusd --print-settings=markdown >docs/settings.md"
