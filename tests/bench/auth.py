"""The rows of auth.sh. Verification: the best of laps, in CPU time of the program alone, in one run with its peers. The
token endpoint: the backend pinned to CPU 0, the load to CPU 1; what counts is requests per second of the backend's CPU time
(all of its threads, from /proc), which a shared machine disturbs least: that is its rate on one core. PostgreSQL's own time
is its own."""
import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "tests" / "bench")]
options = argparse.ArgumentParser()
options.add_argument("--build", required=True)
options.add_argument("--only", default="verify,token")
options.add_argument("--quick", action="store_true")
options.add_argument("--check", action="store_true")
options.add_argument("--json", action="store_true")
options.add_argument("--seconds", type=float, default=5)
args = options.parse_args()
os.environ["NEXUS_BUILD"] = args.build
missed = False


def report(work, unit, value, peers, ratio, goal, met):
    global missed
    missed = missed or not met
    if args.json:
        row = {"work": work, "unit": unit, "value": round(value, 3), "peers": {k: round(v, 3) for k, v in peers.items()},
               "ratio": round(ratio, 3), "goal": goal, "met": met}
        print(json.dumps(row), flush=True)
    else:
        beside = ", ".join(f"{name} {value:.2f}" for name, value in peers.items())
        print(f"{work:48} {value:10.2f} {unit:14} {beside or '-':40} ratio {ratio:5.2f} goal {goal:g} {'met' if met else 'MISSED'}",
              flush=True)


# --- verification, RBAC, keys ------------------------------------------------------------------------------------------

def verify():
    run = subprocess.run([f"{args.build}/tests/bench/bench-auth"], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    for row in rows:
        report(row["work"], row["unit"], row["value"], row["peers"], row["ratio"], row["goal"], row["met"])
    if not (ROOT / "tests" / "oauth" / "node_modules").is_dir():
        print("auth.sh: scripts/setup.sh installs jose and fast-jwt; their rows are left out", file=sys.stderr)
        return
    run = subprocess.run([shutil.which("node"), str(ROOT / "tests" / "bench" / "auth_peers.mjs"), "0.5" if args.quick else "2"],
                         capture_output=True, text=True)
    if run.returncode:
        print(f"auth.sh: jose and fast-jwt do not run here (they need Node 20): {run.stderr[-200:]}", file=sys.stderr)
        return
    for alg, peers in json.loads(run.stdout).items():
        ours = next(r["value"] for r in rows if r["work"].startswith(f"{alg} verify"))
        for name, goal in (("jose", 1.5), ("fast-jwt", 1.2)):
            ratio = peers[name] / ours
            report(f"{alg} verify, fresh token, beside {name}", "us", ours, {name: peers[name]}, ratio, goal, ratio >= goal)


# --- the token endpoint ----------------------------------------------------------------------------------------------

LUA = """wrk.method = "POST"
wrk.body = "grant_type=client_credentials"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = "Basic %s"
"""


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(world, credentials, folder, seconds):
    script = folder / "token.lua"
    script.write_text(LUA % credentials)
    pid = world.servers["backend"].process.pid
    before = cpu_seconds(pid)
    run = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds:g}s", "-s", str(script),
                          world.url("backend", "/oauth/token")], capture_output=True, text=True, check=True)
    used = cpu_seconds(pid) - before
    wrong = re.search(r"Non-2xx.*?: (\d+)", run.stdout)
    assert not wrong, run.stdout
    return int(re.search(r"(\d+) requests in", run.stdout)[1]) / used


def token_row(name, goal, env):
    from harness import Topology
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        with Topology(folder, ["backend"], {"NEXUS_LOG_LEVEL": "warn", **env}) as world:
            subprocess.run(["taskset", "-a", "-cp", "0", str(world.servers["backend"].process.pid)], capture_output=True, check=True)
            reply = world.call("POST", "/api/v1/admin/clients", {"client_name": "load", "grant_types": ["client_credentials"],
                                                                 "scope": "api"}, service="backend", token=world.bootstrap_admin())
            credentials = base64.b64encode(f"{reply.json['client_id']}:{reply.json['client_secret']}".encode()).decode()
            load(world, credentials, folder, 1)
            rate = max(load(world, credentials, folder, 2 if args.quick else args.seconds) for _ in range(2 if args.quick else 3))
    report(f"token endpoint, client credentials, {name}", "1/s of a core", rate, {}, 0, goal, rate >= goal)


def token():
    if not shutil.which("wrk"):
        print("auth.sh: apt-get install wrk; the rows of the token endpoint are left out", file=sys.stderr)
        return
    from engines import Postgres
    token_row("SQLite", 5000, {})
    with Postgres() as url:
        token_row("PostgreSQL", 3000, {"NEXUS_DATABASE_URL": url})


for row in args.only.split(","):
    {"verify": verify, "token": token}[row]()
sys.exit(args.check and missed)
