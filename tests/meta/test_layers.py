"""A room includes only rooms on lower floors; servers include only public headers; third parties stay in their room."""
import os
import re
from pathlib import Path

import pytest
from rooms import FORBIDDEN, ROOMS, THIRD_PARTY

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)
OWNER = {header: room for room, (_, headers) in ROOMS.items() for header in headers}


def sources(folder):
    return sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (".c", ".h"))


def includes(path):
    return INCLUDE.findall(path.read_text())


def public_room(name):
    """The room of <nexus/NAME.h>."""
    return OWNER.get(name.removeprefix("nexus/").removesuffix(".h"))


def test_every_room_and_header_is_in_the_table():
    assert {p.name for p in (ROOT / "lib").iterdir() if p.is_dir()} == set(ROOMS)
    headers = {str(p.relative_to(ROOT / "include/nexus"))[:-2] for p in (ROOT / "include/nexus").rglob("*.h")}
    assert headers - {"nexus"} <= set(OWNER), "a public header that no room owns"


def test_nexus_h_includes_every_public_header():
    listed = {name for _, name in includes(ROOT / "include/nexus/nexus.h")}
    there = {f"nexus/{p.name}" for p in (ROOT / "include/nexus").glob("*.h")} - {"nexus/nexus.h"}
    assert listed == there


@pytest.mark.parametrize("room", ROOMS)
def test_room_includes_only_lower_floors(room):
    floor = ROOMS[room][0]
    wrong = []
    for path in sources(f"lib/{room}"):
        for _, name in includes(path):
            first = name.split("/")[0]
            other = public_room(name) if first == "nexus" else first if first in ROOMS else None
            if other in (None, room, "base"):
                continue  # base/ is the ground: its neighbours on floor 0 stand on it too
            if ROOMS[other][0] >= floor or other in FORBIDDEN.get(room, ()):
                wrong.append(f"{path.relative_to(ROOT)} includes {name} (room {other})")
    assert not wrong, "\n".join(wrong)


def test_public_headers_include_only_lower_or_own_rooms():
    wrong = []
    for path in sources("include/nexus"):
        room = OWNER.get(str(path.relative_to(ROOT / "include/nexus"))[:-2])
        if room is None:
            continue
        for _, name in includes(path):
            other = public_room(name)
            if other and other != room and ROOMS[other][0] >= ROOMS[room][0]:
                wrong.append(f"{path.name} includes {name}")
            if not name.startswith("nexus/") and name not in ("stdbool.h", "stddef.h", "stdint.h", "stdarg.h"):
                wrong.append(f"{path.name} includes {name}: no third-party or system type in the ABI")
    assert not wrong, "\n".join(wrong)


def test_servers_and_examples_use_the_public_headers_only():
    wrong = []
    for folder in ("servers", "examples"):
        for path in sources(folder):
            for kind, name in includes(path):
                own = kind == '"' and (ROOT / folder / name).exists()
                if (name.split("/")[0] in ROOMS and not own) or (kind == "<" and any(name.startswith(t) for t in THIRD_PARTY)):
                    wrong.append(f"{path.relative_to(ROOT)} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_third_parties_stay_where_they_belong():
    wrong = []
    for path in sources("lib"):
        inside = str(path.relative_to(ROOT / "lib"))
        for _, name in includes(path):
            for prefix, homes in THIRD_PARTY.items():
                if name.startswith(prefix) and not any(inside.startswith(h) for h in homes):
                    wrong.append(f"lib/{inside} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_no_dump_files():
    bad = {"util", "utils", "helpers", "common", "misc"}
    names = [p for p in sources("lib") + sources("servers") if p.stem in bad]
    assert not names, names


def test_unit_tests_mirror_the_rooms():
    assert {p.name for p in (ROOT / "tests/unit").iterdir() if p.is_dir() and p.name != "__pycache__"} <= set(ROOMS)
    empty = [room for room in ROOMS if sources(f"lib/{room}") and not sources(f"tests/unit/{room}")]
    assert not empty, f"rooms without a unit test: {empty}"
