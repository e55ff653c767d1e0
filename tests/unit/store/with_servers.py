#!/usr/bin/python3
"""Runs a test program with a real PostgreSQL, Redis and NATS of its own, in a temporary folder on free ports.

    with_servers.py [--postgres] [--redis] [--nats] PROGRAM [ARGUMENT…]

The program finds them as NEXUS_TEST_POSTGRES_URL, NEXUS_TEST_REDIS_URL and NEXUS_TEST_NATS_URL. A server whose binary is not on this
machine is left out with a line that says so; the program skips what needs it. PostgreSQL refuses root: as root it
runs as the user postgres.
"""
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from ports import free_port  # noqa: E402


def wait_for_port(port, process, what):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"{what} ended with status {process.returncode} while starting")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{what} did not open its port in 30 s")


def die_with_parent():
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def start_postgres(folder):
    """Its URL and process, or None when there is no PostgreSQL here."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [os.path.dirname(shutil.which("postgres") or "")]
    if not os.path.exists(os.path.join(found[-1], "initdb")):
        return None
    user, extra = pwd.getpwuid(os.getuid()).pw_name, {}
    if os.getuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            return None
        user = "postgres"
        extra = dict(user=owner.pw_uid, group=owner.pw_gid, extra_groups=[])
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data, port = os.path.join(folder, "data"), free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": folder}
    subprocess.run([f"{found[-1]}/initdb", "-D", data, "-U", user, "--auth=trust", "--no-sync", "--encoding=UTF8"],
                   check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment, **extra)
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off",
               "max_connections": 60, "shared_buffers": "16MB", "log_min_messages": "fatal"}
    argv = [f"{found[-1]}/postgres", "-D", data] + [a for k, v in options.items() for a in ("-c", f"{k}={v}")]
    process = subprocess.Popen(argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
                               stderr=open(os.path.join(folder, "log"), "w"), **extra)
    wait_for_port(port, process, "PostgreSQL")
    url = f"postgresql://{user}@127.0.0.1:{port}/postgres"
    # The port opens a moment before the server takes logins.
    ready = [f"{found[-1]}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, env=environment).returncode != 0:
        if process.poll() is not None:
            sys.exit(f"PostgreSQL ended with status {process.returncode} while starting")
        time.sleep(0.05)
    return url, process


def start_redis(folder):
    if not shutil.which("redis-server"):
        return None
    port = free_port()
    process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                "--appendonly", "no", "--dir", folder], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    wait_for_port(port, process, "Redis")
    return f"redis://127.0.0.1:{port}", process


def start_nats(folder):
    if not shutil.which("nats-server"):
        return None
    port = free_port()
    process = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder, "-l", folder + "/log"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    wait_for_port(port, process, "NATS")
    return f"nats://127.0.0.1:{port}", process


SERVERS = {"--postgres": ("NEXUS_TEST_POSTGRES_URL", start_postgres), "--redis": ("NEXUS_TEST_REDIS_URL", start_redis),
           "--nats": ("NEXUS_TEST_NATS_URL", start_nats)}


def main(argv):
    wanted = []
    while argv and argv[0] in SERVERS:
        wanted.append(argv.pop(0))
    processes, folders, environment = [], [], dict(os.environ)
    try:
        for option in wanted:
            variable, start = SERVERS[option]
            folders.append(tempfile.mkdtemp(prefix="nexus-test-", dir="/tmp"))
            started = start(folders[-1])
            if started is None:
                print(f"SKIP: no {option[2:]} server binary on this machine; its tests are skipped", flush=True)
                continue
            environment[variable] = started[0]
            processes.append(started[1])
        return subprocess.run(argv, env=environment).returncode
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)  # PostgreSQL: fast shutdown
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
