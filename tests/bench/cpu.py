"""CPU per request of servers, side by side. The method of http_bench.py.

Method: the program under test is pinned to CPU 0, wrk and whatever stands behind it to CPU 1, one worker each. The figure
is CPU microseconds per request, (user + system time of the program's processes from /proc/PID/stat) / requests. Peers take
turns in rounds of short samples; a sample during which other processes used more than 6 % of CPU 0 (or 12 % of CPU 1) is
taken again, as long as time allows, and else the quietest are kept. Reported is the median of the rounds, and the range.
Believe a ratio of one run, never a number across runs.
"""
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HZ = os.sysconf("SC_CLK_TCK")
BODY = {}
for size in (128, 4096):
    head = '{"ok":true,"service":"upstream","n":%d,"pad":"' % size
    BODY[size] = head + "x" * (size - len(head) - 2) + '"}'

HEADERS = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Accept: application/json, text/plain, */*", "Accept-Encoding: identity", "Accept-Language: en-US,en;q=0.9,de;q=0.8",
    "Cookie: sid=7f3c0f5f7f9a4b1f8a3e; theme=dark; _ga=GA1.1.1234567890.1700000000",
    "Referer: http://example.test/app/dashboard?tab=overview",
    "Authorization: Bearer " + "A" * 36 + "." + "B" * 160 + "." + "C" * 43,
    "X-Request-Id: 0af7651916cd43dd8448eb211c80319c", "X-Api-Version: 2024-06-01", "Cache-Control: no-cache"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def have(*programs):
    return all(shutil.which(p) or os.access(p, os.X_OK) for p in programs)


def tree(pid):
    out = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in open(f"/proc/{pid}/task/{task}/children").read().split():
                out += tree(int(child))
    except OSError:
        pass
    return out


def cpu_seconds(pid):
    """(user, system) of a process and its children."""
    user = system = 0
    for p in tree(pid):
        fields = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        user += int(fields[11])
        system += int(fields[12])
    return user / HZ, system / HZ


def busy():
    out = {}
    for line in open("/proc/stat"):
        if match := re.match(r"cpu(\d+) (.*)", line):
            v = list(map(int, match[2].split()))
            out[int(match[1])] = (v[0] + v[1] + v[2] + v[5] + v[6]) / HZ
    return out


class Program:
    """A program under test (cpu 0) or behind one (cpu 1)."""

    def __init__(self, command, port, cpu, env=None):
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env=dict(os.environ, **(env or {})),
                                        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        end = time.time() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.time() > end or self.process.poll() is not None:
                    self.stop()
                    raise RuntimeError(f"{command[0]} does not answer on port {port}")
                time.sleep(0.05)

    def stop(self):
        children = tree(self.process.pid)[1:]
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for child in children:
            try:
                os.kill(child, signal.SIGTERM)
            except OSError:
                pass


def wrk(port, seconds, path, connections, headers):
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for header in headers:
        command += ["-H", header]
    run = subprocess.Popen(command + [f"http://127.0.0.1:{port}{path}"], stdout=subprocess.PIPE, text=True)
    text = run.stdout.read()
    _, _, usage = os.wait4(run.pid, 0)
    run.returncode = 0
    requests = int(re.search(r"(\d+) requests in", text)[1])
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    wrong = re.search(r"Non-2xx.*?: (\d+)", text)
    return {"requests": requests, "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
            "p99_ms": float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]], "wrong": int(wrong[1]) if wrong else 0,
            "cpu": usage.ru_utime + usage.ru_stime}


def h2load(port, seconds, path, connections, headers, streams=100):
    """The same over HTTP/2 (prior knowledge), that many streams on each connection. Times are of the log that it writes."""
    with tempfile.NamedTemporaryFile(prefix="nexus-h2load-") as log:
        command = ["taskset", "-c", "1", "h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds),
                   "--log-file", log.name]
        for header in headers:
            command += ["-H", header]
        run = subprocess.Popen(command + [f"http://127.0.0.1:{port}{path}"], stdout=subprocess.PIPE, text=True)
        text = run.stdout.read()
        _, _, usage = os.wait4(run.pid, 0)
        run.returncode = 0
        times = sorted(int(line.rsplit(b"\t", 1)[1]) for line in log)
    requests = int(re.search(r"(\d+) succeeded", text)[1])
    return {"requests": requests, "rps": requests / seconds, "p99_ms": times[len(times) * 99 // 100] / 1000 if times else 0,
            "wrong": sum(map(int, re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text).groups())),
            "cpu": usage.ru_utime + usage.ru_stime}


def load(port, options, seconds=None, headers=()):
    if options.h2:
        return h2load(port, seconds or options.seconds, options.path, options.connections, headers)
    return wrk(port, seconds or options.seconds, options.path, options.connections, headers)


def sample(program, behind, options):
    before, others = busy(), sum(sum(cpu_seconds(b.process.pid)) for b in behind)
    user0, system0 = cpu_seconds(program.process.pid)
    start = time.time()
    r = load(program.port, options, headers=HEADERS if options.headers else [])
    took = time.time() - start
    user1, system1 = cpu_seconds(program.process.pid)
    after = busy()
    others = sum(sum(cpu_seconds(b.process.pid)) for b in behind) - others
    if r["requests"] == 0 or r["wrong"]:
        raise RuntimeError(f"port {program.port}: {r['requests']} requests, {r['wrong']} of them not 2xx")
    r["user"] = (user1 - user0) * 1e6 / r["requests"]
    r["system"] = (system1 - system0) * 1e6 / r["requests"]
    r["us"] = r["user"] + r["system"]
    own = user1 - user0 + system1 - system0
    r["foreign"] = max((after[0] - before[0] - own) / took, (after[1] - before[1] - others - r["cpu"]) / took / 2, 0)
    return r


def measure(programs, behind, options):
    """{name: samples}; programs = {name: Program}."""
    kept, noisy = {n: [] for n in programs}, {n: [] for n in programs}
    for p in programs.values():
        load(p.port, options, 1)
    end = time.time() + options.deadline
    while any(len(v) < options.rounds for v in kept.values()) and time.time() < end:
        for name, program in programs.items():
            if len(kept[name]) < options.rounds:
                r = sample(program, behind, options)
                (kept if r["foreign"] <= 0.06 else noisy)[name].append(r)
                if not options.json:
                    print(f"  {name:16} {r['us']:6.2f} us{'' if r['foreign'] <= 0.06 else '  (disturbed)'}", file=sys.stderr)
    for name in programs:
        missing = options.rounds - len(kept[name])
        kept[name] += sorted(noisy[name], key=lambda r: r["foreign"])[:max(missing, 0)]
    return {n: v for n, v in kept.items() if v}


def median(samples, key="us"):
    return statistics.median(s[key] for s in samples)


def table(results):
    print(f"{'':18}{'us/request':>12}{'range':>16}{'user/system':>16}{'requests/s':>12}{'p99 ms':>9}{'disturbed':>11}")
    for name, v in sorted(results.items(), key=lambda kv: median(kv[1])):
        spread = f"{min(s['us'] for s in v):.2f}-{max(s['us'] for s in v):.2f}"
        parts = f"{median(v, 'user'):.2f}/{median(v, 'system'):.2f}"
        noisy = sum(s["foreign"] > 0.06 for s in v)
        print(f"{name:18}{median(v):12.2f}{spread:>16}{parts:>16}{median(v, 'rps'):12,.0f}{median(v, 'p99_ms'):9.2f}"
              f"{f'{noisy} of {len(v)}':>11}")


def report(results, ours, against, work, goal, options):
    """Prints; returns whether the goal (ratio to `against` at most `goal`) was met; None when it could not be measured."""
    peers = {n: round(median(v), 3) for n, v in results.items() if n != ours}
    ratio = median(results[ours]) / median(results[against]) if against in results else None
    met = ratio is not None and ratio <= goal
    if options.json:
        print(json.dumps({"work": work, "unit": "us CPU per request", "value": round(median(results[ours]), 3), "peers": peers,
                          "ratio": ratio and round(ratio, 3), "goal": f"at most {goal} of {against}", "met": met}))
    else:
        table(results)
        if ratio is None:
            print(f"{against} is not installed: no verdict")
        else:
            print(f"{ours} / {against} = {ratio:.2f}, goal at most {goal:.2f}: {'met' if met else 'missed'}")
    return met


def add_options(parser):
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of a sample")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--path", default="/", help="/4k for 4 KiB")
    parser.add_argument("--headers", action="store_true", help="ten real header fields")
    parser.add_argument("--h2", action="store_true", help="HTTP/2, 100 streams on each connection; needs h2load")
    parser.add_argument("--deadline", type=int, default=300, help="seconds for all samples together")
    parser.add_argument("--only", help="peers to run, comma separated")


NGINX = """daemon off; worker_processes 1; error_log {dir}/{name}.err crit; pid {dir}/{name}.pid;
events {{ worker_connections 8192; }}
http {{ client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4;
 scgi_temp_path {dir}/t5; access_log off; keepalive_requests 100000000; keepalive_timeout 75s; tcp_nodelay on;
 {inside} }}
"""

HAPROXY = """global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  option http-keep-alive
  http-reuse always
"""


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def nginx_static(folder, name, port, h2=False):
    body = BODY[4096]
    parts = [body[i:i + 1024] for i in range(0, 4096, 1024)]  # nginx's own limit of a token
    inside = (f"server {{ listen 127.0.0.1:{port}{' http2' if h2 else ''}; http2_max_requests 100000000; default_type application/json;\n"
              f" location = /4k {{ set $p0 '{parts[0]}'; return 200 '${{p0}}{''.join(parts[1:])}'; }}\n"
              f" location / {{ return 200 '{BODY[128]}'; }} }}")
    return ["nginx", "-c", write(f"{folder}/{name}.conf", NGINX.format(dir=folder, name=name, inside=inside))]
