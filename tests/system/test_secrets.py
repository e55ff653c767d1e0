"""The key ring of the real servers: rotated while they run, and refused when it is no secret."""
import base64
import os
import subprocess

from harness import Topology, binary, problem

PASSWORD = "correct horse battery"


def nexus(world, *words):
    env = {**world.env, "NEXUS_TOKEN": world.admin, "PATH": os.environ["PATH"]}
    return subprocess.run([binary("nexus"), "secrets", *words], env=env, capture_output=True, text=True, timeout=60)


def keys(run):
    assert run.returncode == 0, run
    return [line.split() for line in run.stdout.splitlines()]


def test_rotation_goes_on_under_the_servers_and_an_old_key_leaves_when_nothing_needs_it(tmp_path):
    with Topology(tmp_path, ["backend", "gateway"]) as t:
        t.admin = t.bootstrap_admin()
        user = t.register("ann@example.com", PASSWORD)
        key = t.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"]}, token=user).json["key"]
        problem(t.call("GET", "/api/v1/admin/secrets", token=user), 403)
        problem(t.call("POST", "/api/v1/admin/secrets/rotate", token=user), 403)
        old, kek = keys(nexus(t, "status"))
        assert old[1] == "sealing" and int(old[2]) >= 2 and kek[1:] == ["wrapping", "0"]
        in_use = nexus(t, "rotate", "--retire", old[0])
        assert in_use.returncode == 1 and "still sealed" in in_use.stderr, in_use
        done = nexus(t, "rotate")
        assert "sealed again" in done.stderr, done
        new, kept, new_kek, old_kek = keys(done)
        assert new[1] == "sealing" and new[2] == old[2] and kept == [old[0], "opening", "0"]
        assert new_kek[1] == "wrapping" and old_kek == [kek[0], "unwrapping", "0"]
        assert (t.state / "secrets.key").stat().st_mode & 0o777 == 0o600
        for kid in (old[0], kek[0]):
            retired = nexus(t, "rotate", "--retire", kid)
            assert retired.returncode == 0, retired
        assert nexus(t, "rotate", "--retire", "x").returncode == 2
        trail = t.call("GET", "/api/v1/admin/audit?action=secrets.*", token=t.admin).json["items"]
        assert [(r["action"], r["outcome"]) for r in trail] == [
            ("secrets.retire", "done"), ("secrets.retire", "denied"), ("secrets.rotate", "done"), ("secrets.retire", "done"),
            ("secrets.retire", "done")]
    with t:  # after a restart only the new key is there
        assert t.login("ann@example.com", PASSWORD)
        bearer = (t.state / "admin.token").read_text().strip()
        checked = t.call("POST", "/internal/v1/keys/check", {"key": key}, token=bearer, service="backend")
        assert checked.status == 200, checked


def test_the_rings_of_webhooks_and_mails_are_rotated_by_their_names(tmp_path):
    with Topology(tmp_path, ["backend", "gateway", "notification"]) as t:
        t.admin = t.bootstrap_admin()
        user = t.register("ann@example.com", PASSWORD)
        made = t.call("POST", "/api/v1/notifications/endpoints", {"url": "http://127.0.0.1:9/x", "events": ["order.*"]},
                      token=user)
        assert made.status == 201, made
        problem(t.call("POST", "/api/v1/notifications/secrets/rotate", token=user), 403)
        old, _ = keys(nexus(t, "status", "--ring", "notification"))
        assert old[1:] == ["sealing", "1"]
        assert nexus(t, "rotate", "--retire", old[0], "--ring", "notification").returncode == 1
        new, kept, *_ = keys(nexus(t, "rotate", "--ring", "notification"))
        assert new[1:] == ["sealing", "1"] and kept == [old[0], "opening", "0"]
        assert nexus(t, "rotate", "--retire", old[0], "--ring", "notification").returncode == 0
        old, *_ = keys(nexus(t, "status", "--ring", "mail"))
        new, kept, *_ = keys(nexus(t, "rotate", "--ring", "mail"))
        assert kept[:2] == [old[0], "opening"] and new[0] != old[0]
        lately = nexus(t, "rotate", "--retire", old[0], "--ring", "mail")
        assert lately.returncode == 1 and "still in use" in lately.stderr, lately
        assert nexus(t, "status", "--ring", "frob").returncode == 2
    found = subprocess.run([binary("nexus"), "audit", "verify", "--dir", str(t.state / "audit" / "notification")],
                           env={**t.env, "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and "5 records" in found.stdout, found  # who was not let, too


def test_with_a_key_encryption_key_from_elsewhere_the_state_directory_opens_nothing_alone(tmp_path):
    def kek(byte):
        return base64.urlsafe_b64encode(bytes([byte, *range(31)])).decode().rstrip("=")

    file = tmp_path / "kek"
    file.write_text(kek(1) + "\n")
    t = Topology(tmp_path, ["backend"], {"NEXUS_SECRETS_KEK": "${file:%s}" % file})
    with t:
        t.register("ann@example.com", PASSWORD, service="backend")
    for ring in ("secrets.key", "mail.keys"):
        assert all(line.startswith("data ") for line in (t.state / ring).read_text().splitlines())
    file.write_text(kek(2) + "\n")
    run = subprocess.run([binary("nexus-backend")], env={**t.env, "PATH": os.environ["PATH"]}, capture_output=True,
                         text=True, timeout=60)
    assert run.returncode != 0 and "not among the key-encryption keys" in run.stderr, run
    file.write_text(f"{kek(2)},{kek(1)}\n")  # the new one wraps
    with t:
        pass
    file.write_text(kek(2) + "\n")
    with t:
        assert t.login("ann@example.com", PASSWORD, service="backend")


def test_a_key_file_that_others_can_read_refuses_the_start(tmp_path):
    t = Topology(tmp_path, ["backend"])
    with t:
        pass
    (t.state / "secrets.key").chmod(0o644)
    run = subprocess.run([binary("nexus-backend")], env={**t.env, "PATH": os.environ["PATH"]}, capture_output=True,
                         text=True, timeout=60)
    assert run.returncode != 0 and "chmod 600" in run.stderr, run
