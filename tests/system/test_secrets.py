"""The key ring of the real servers: rotated while they run, and refused when it is no secret."""
import os
import subprocess

from harness import Topology, binary, problem

PASSWORD = "correct horse battery"


def nexus(world, *words):
    env = {**world.env, "NEXUS_TOKEN": world.admin, "PATH": os.environ["PATH"]}
    return subprocess.run([binary("nexus"), "secrets", *words], env=env, capture_output=True, text=True, timeout=60)


def test_rotation_goes_on_under_the_servers_and_an_old_key_leaves_when_nothing_needs_it(tmp_path):
    with Topology(tmp_path, ["backend", "gateway"]) as t:
        t.admin = t.bootstrap_admin()
        user = t.register("ann@example.com", PASSWORD)
        key = t.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"]}, token=user).json["key"]
        problem(t.call("GET", "/api/v1/admin/secrets", token=user), 403)
        problem(t.call("POST", "/api/v1/admin/secrets/rotate", token=user), 403)
        [old] = [line.split() for line in nexus(t, "status").stdout.splitlines()]
        assert old[1] == "sealing" and int(old[2]) >= 2
        in_use = nexus(t, "rotate", "--retire", old[0])
        assert in_use.returncode == 1 and "still sealed" in in_use.stderr, in_use
        done = nexus(t, "rotate")
        assert done.returncode == 0 and "sealed again" in done.stderr, done
        new, kept = [line.split() for line in done.stdout.splitlines()]
        assert new[1] == "sealing" and new[2] == old[2] and kept == [old[0], "opening", "0"]
        assert (t.state / "secrets.key").stat().st_mode & 0o777 == 0o600
        retired = nexus(t, "rotate", "--retire", old[0])
        assert retired.returncode == 0, retired
        assert nexus(t, "rotate", "--retire", "x").returncode == 2
        trail = t.call("GET", "/api/v1/admin/audit?action=secrets.*", token=t.admin).json["items"]
        assert [(r["action"], r["outcome"]) for r in trail] == [
            ("secrets.retire", "done"), ("secrets.retire", "denied"), ("secrets.rotate", "done"), ("secrets.retire", "done")]
    with t:  # after a restart only the new key is there
        assert t.login("ann@example.com", PASSWORD)
        bearer = (t.state / "admin.token").read_text().strip()
        checked = t.call("POST", "/internal/v1/keys/check", {"key": key}, token=bearer, service="backend")
        assert checked.status == 200, checked


def test_a_key_file_that_others_can_read_refuses_the_start(tmp_path):
    t = Topology(tmp_path, ["backend"])
    with t:
        pass
    (t.state / "secrets.key").chmod(0o644)
    run = subprocess.run([binary("nexus-backend")], env={**t.env, "PATH": os.environ["PATH"]}, capture_output=True,
                         text=True, timeout=60)
    assert run.returncode != 0 and "chmod 600" in run.stderr, run
