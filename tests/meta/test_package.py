"""Installed into a scratch prefix, the library serves strangers: every example builds with plain cc and pkg-config,
once more through CMake's PkgConfig, and once as C++."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("NEXUS_BUILD", ROOT / "build"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    destination = tmp_path_factory.mktemp("install")
    subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--quiet", "--destdir", str(destination)],
                   check=True, capture_output=True)
    found = list(destination.rglob("nexus.pc"))
    assert len(found) == 1
    # as if it had been configured for this prefix
    found[0].write_text(re.sub(r"^prefix=", f"prefix={destination}", found[0].read_text(), flags=re.M))
    environment = dict(os.environ, PKG_CONFIG_PATH=str(found[0].parent), LD_LIBRARY_PATH=str(found[0].parent.parent))
    return destination, environment


def flags(environment, *what):
    out = subprocess.run(["pkg-config", *what, "nexus"], env=environment, text=True, capture_output=True)
    assert out.returncode == 0, out.stderr
    return out.stdout.split()


def examples():
    return sorted((ROOT / "examples").rglob("*.c"))


def test_every_example_builds_against_the_installed_library(installed, tmp_path):
    _, environment = installed
    assert examples()
    for source in examples():
        run = subprocess.run(["cc", "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", str(source), "-o", str(tmp_path / source.stem),
                              *flags(environment, "--cflags", "--libs")], env=environment, text=True, capture_output=True)
        assert run.returncode == 0, f"{source.name}: {run.stderr}"


def test_only_our_library_is_linked_by_a_user(installed):
    _, environment = installed
    assert [f for f in flags(environment, "--libs") if f.startswith("-l")] == ["-lnexus"]


def test_cmake_finds_it(installed, tmp_path):
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    _, environment = installed
    (tmp_path / "main.c").write_text('#include <nexus/nexus.h>\n#include <string.h>\n'
                                     'int main(void) { return strcmp(nexus_version(), NEXUS_VERSION); }\n')
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(user C)\nfind_package(PkgConfig REQUIRED)\n"
        "pkg_check_modules(NEXUS REQUIRED IMPORTED_TARGET nexus)\nadd_executable(user main.c)\n"
        "target_link_libraries(user PkgConfig::NEXUS)\n")
    for command in (["cmake", "-G", "Ninja", "-S", ".", "-B", "b"], ["cmake", "--build", "b"], ["b/user"]):
        run = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_cplusplus_links_it(installed, tmp_path):
    _, environment = installed
    source = tmp_path / "main.cpp"
    source.write_text('#include <nexus/nexus.h>\n#include <string>\n'
                      'int main() { return std::string(nexus_version()) == NEXUS_VERSION ? 0 : 1; }\n')
    run = subprocess.run(["g++", "-std=c++17", "-Wall", "-Wextra", "-pedantic", "-Werror", str(source), "-o", str(tmp_path / "user"),
                          *flags(environment, "--cflags", "--libs")], env=environment, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    assert subprocess.run([str(tmp_path / "user")], env=environment).returncode == 0
