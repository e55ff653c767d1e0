#!/usr/bin/env python3
"""The proxy bench behind gateway.sh. Program under test pinned to CPU 0, load generator and upstream to CPU 1; the
figure is CPU microseconds (user + system of the program) per request; rounds over all peers, a sample is dropped when
others used more than 6 % of CPU 0; median of the kept ones."""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--build", required=True)
parser.add_argument("--reps", type=int, default=5)
parser.add_argument("--dur", type=int, default=2)
parser.add_argument("--path", default="/")
parser.add_argument("--conns", type=int, default=64)
parser.add_argument("--headers", action="store_true", help="ten headers as a browser sends them")
parser.add_argument("--only", help="names, comma separated")
parser.add_argument("--foreign", type=float, default=0.06)
parser.add_argument("--json", action="store_true")
parser.add_argument("--check", action="store_true")
args = parser.parse_args()
TICK = os.sysconf("SC_CLK_TCK")
HEADERS = ["User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
           "Accept: application/json, text/plain, */*", "Accept-Encoding: identity", "Accept-Language: en-US,en;q=0.9,de;q=0.8",
           "Cookie: sid=7f3c0f5f7f9a4b1f8a3e; theme=dark; _ga=GA1.1.1234567890.1700000000",
           "Referer: http://example.test/app/dashboard?tab=overview",
           "Authorization: Bearer " + "A" * 36 + "." + "B" * 160 + "." + "C" * 43,
           "X-Request-Id: 0af7651916cd43dd8448eb211c80319c", "X-Api-Version: 2024-06-01", "Cache-Control: no-cache"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, cpu):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(folder / "errors.log", "ab"),
                            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))


def wait_port(port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False


def tree(pid):
    pids = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
            pids += tree(int(child))
    return pids


def cpu_of(pids):
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user += int(fields[11])
        system += int(fields[12])
    return user / TICK, system / TICK


def busy0():
    for line in open("/proc/stat"):
        if line.startswith("cpu0 "):
            v = list(map(int, line.split()[1:]))
            return sum(v[i] for i in (0, 1, 2, 5, 6)) / TICK


def wrk(port, seconds):
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{args.conns}", f"-d{seconds}s", "--latency"]
    for header in HEADERS if args.headers else []:
        command += ["-H", header]
    out = subprocess.run(command + [f"http://127.0.0.1:{port}{args.path}"], capture_output=True, text=True).stdout
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    bad = re.search(r"Non-2xx.*?: (\d+)", out)
    return {"requests": int(re.search(r"(\d+) requests in", out)[1]),
            "p99_ms": float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]] if p99 else 0,
            "bad": int(bad[1]) if bad else 0}


def peers(up):
    """name -> (command, port); every configuration is written into the folder."""
    out = {}
    port = free_port()
    routes = {"version": 1, "upstreams": {"app": {"targets": [f"http://127.0.0.1:{up}"], "pool": {"idle_max": 1024}}},
              "routes": [{"id": "all", "prefix": "/", "upstream": "app"}]}
    (folder / "routes.json").write_text(json.dumps(routes))
    out["libnexus"] = ([f"{args.build}/examples/proxy", str(folder / "routes.json"), str(port)], port)
    if shutil.which("nginx"):
        port = free_port()
        temp = " ".join(f"{k}_temp_path {folder}/t{i};" for i, k in
                        enumerate(("client_body", "proxy", "fastcgi", "uwsgi", "scgi")))
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; error_log {folder}/nginx.err crit; pid {folder}/nginx.pid;\n"
            f"events {{ worker_connections 8192; }}\nhttp {{ {temp} keepalive_requests 100000000; keepalive_timeout 75s;"
            f" tcp_nodelay on; access_log off;\n upstream u {{ server 127.0.0.1:{up}; keepalive 256;"
            f" keepalive_requests 100000000; }}\n server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u;"
            f' proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
            f" proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id;"
            f" }} }} }}\n")
        out["nginx"] = (["nginx", "-c", str(folder / "nginx.conf")], port)
    if shutil.which("haproxy"):
        port = free_port()
        (folder / "haproxy.cfg").write_text(
            f"global\n  nbthread 1\n  maxconn 8000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n"
            f"  timeout server 60s\n  timeout http-keep-alive 60s\n  option http-keep-alive\n  http-reuse always\n"
            f"frontend f\n  bind 127.0.0.1:{port}\n  option forwardfor\n  default_backend b\nbackend b\n"
            f"  server s1 127.0.0.1:{up} pool-max-conn 512\n")
        out["haproxy"] = (["haproxy", "-f", str(folder / "haproxy.cfg"), "-db"], port)
    if shutil.which("h2o"):
        port = free_port()
        (folder / "h2o.conf").write_text(
            f"num-threads: 1\nuser: root\npid-file: {folder}/h2o.pid\nerror-log: {folder}/h2o.err\nhosts:\n  default:\n"
            f"    listen: {{host: 127.0.0.1, port: {port}}}\n    paths:\n      /:\n"
            f'        proxy.reverse.url: "http://127.0.0.1:{up}/"\n        proxy.timeout.keepalive: 60000\n'
            f"        proxy.preserve-host: ON\n")
        out["h2o"] = (["h2o", "-c", str(folder / "h2o.conf")], port)
    if args.only:
        out = {k: v for k, v in out.items() if k in args.only.split(",")}
    return out


def sample(process, port):
    pids = tree(process.pid)
    before, idle = cpu_of(pids), busy0()
    began = time.monotonic()
    result = wrk(port, args.dur)
    took = time.monotonic() - began
    after, idle2 = cpu_of(pids), busy0()
    user, system = after[0] - before[0], after[1] - before[1]
    n = max(1, result["requests"])
    result.update(us=(user + system) * 1e6 / n, user=user * 1e6 / n, system=system * 1e6 / n,
                  rps=n / took, foreign=max(0, (idle2 - idle - user - system) / took))
    return result


def run():
    upstream = subprocess.Popen([f"{args.build}/tests/bench/gateway-upstream", "0"], stdout=subprocess.PIPE, text=True,
                                preexec_fn=lambda: os.sched_setaffinity(0, {1}))
    running, kept, dropped = {}, {}, {}
    try:
        up = int(upstream.stdout.readline())
        for name, (command, port) in peers(up).items():
            process = start(command, 0)
            running[name] = (process, port)
            if not wait_port(port):
                print(f"{name} did not start, see {folder}/errors.log", file=sys.stderr)
                process.kill()
                del running[name]
                continue
            wrk(port, 1)
        deadline = time.monotonic() + args.reps * len(running) * (args.dur + 1) * 3
        while time.monotonic() < deadline and any(len(kept.get(n, [])) < args.reps for n in running):
            for name, (process, port) in running.items():
                if len(kept.get(name, [])) < args.reps:
                    s = sample(process, port)
                    (kept if s["foreign"] <= args.foreign else dropped).setdefault(name, []).append(s)
    finally:
        for process, _ in running.values():
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        upstream.kill()
    for name in running:  # a machine that is never quiet: the quietest samples, and it shows in `foreign`
        need = args.reps - len(kept.get(name, []))
        if need > 0:
            kept.setdefault(name, []).extend(sorted(dropped.get(name, []), key=lambda s: s["foreign"])[:need])
    return kept


folder = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
folder.chmod(0o755)
try:
    results = run()
finally:
    shutil.rmtree(folder, ignore_errors=True)
middle = {name: statistics.median(s["us"] for s in samples) for name, samples in results.items() if samples}
ours = middle.get("libnexus")
others = {k: round(v, 2) for k, v in middle.items() if k != "libnexus"}
goal = middle.get("nginx")
met = bool(ours and goal and ours <= goal)
work = f"proxy {'4 KiB' if args.path == '/4k' else '128 B'}, {args.conns} connections" + (", ten headers" if args.headers else "")
if args.json:
    print(json.dumps({"work": work, "unit": "CPU us/request", "value": ours and round(ours, 2), "peers": others,
                      "ratio": ours and goal and round(ours / goal, 3), "goal": "<= nginx", "met": met}))
else:
    print(f"{work}\n{'peer':10} {'us/request':>10} {'min-max':>13} {'user/system':>12} {'req/s':>8} {'p99 ms':>7} {'others on CPU':>13} bad")
    for name, samples in sorted(results.items(), key=lambda kv: middle[kv[0]]):
        def mid(key):
            return statistics.median(s[key] for s in samples)
        us = [s["us"] for s in samples]
        print(f"{name:10} {mid('us'):10.2f} {min(us):6.1f}-{max(us):.1f} {mid('user'):6.1f}/{mid('system'):.1f} "
              f"{mid('rps'):8.0f} {mid('p99_ms'):7.2f} {max(s['foreign'] for s in samples):12.0%} {sum(s['bad'] for s in samples)}")
sys.exit(1 if args.check and not met else 0)
