"""The gateway beside nginx, haproxy, h2o, nghttpx and a bare epoll proxy, row by row of what it is to cost.

Method: the program under test is pinned to CPU 0, the load and the upstream to CPU 1, one worker each. The figure is CPU
microseconds per unit of work (user + system time of the program from /proc), which a shared machine disturbs least; requests
a second and p99 stand beside it. In a row every program takes its turn in rounds of short samples; a sample during which
others used more than 6 % of CPU 0 is taken again while time allows. Reported is the median of the rounds, with the range.
Believe ratios inside a row, never numbers across runs."""
import argparse
import http.server
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
import threading
import time
from pathlib import Path

import cpu
from gateway_peers import Peers

ROOT = Path(__file__).resolve().parents[2]
PROXIES = ("nexus", "epoll", "haproxy", "nginx", "h2o")
CHAIN = [{"id": "all", "prefix": "/", "upstream": "app", "auth": "jwt", "roles": ["customer"],
          "limits": [{"name": "burst", "rate": 1000000, "period_s": 1, "burst": 1000000, "key": ["principal", "route"]}],
          "breaker": {}}]


# --- loads: what is sent, and what one unit of it is --------------------------------------------

class Wrk:
    unit = "us CPU per request"

    def __init__(self, path="/", connections=64, headers=(), lua=None):
        self.path, self.connections, self.headers, self.lua = path, connections, headers, lua

    def run(self, program, seconds):
        scheme = "https" if getattr(program, "tls", False) else "http"
        command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--latency"]
        for header in self.headers:
            command += ["-H", header]
        command += ["-s", self.lua] if self.lua else []
        child = subprocess.Popen(command + [f"{scheme}://127.0.0.1:{program.port}{self.path}"], stdout=subprocess.PIPE, text=True)
        text = child.stdout.read()
        _, _, usage = os.wait4(child.pid, 0)
        child.returncode = 0
        n = int(re.search(r"(\d+) requests in", text)[1])
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
        wrong = re.search(r"Non-2xx.*?: (\d+)", text)
        return {"n": n, "wrong": int(wrong[1]) if wrong else 0, "cpu": usage.ru_utime + usage.ru_stime,
                "p99_ms": float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]] if p99 else 0}


class Mebibytes(Wrk):
    unit = "us CPU per MiB"


class Handshakes:
    unit = "us CPU per handshake"

    def __init__(self, build, mode):
        self.command, self.mode = f"{build}/tests/bench/tls-load", mode

    def run(self, program, seconds):
        out = subprocess.run(["taskset", "-c", "1", self.command, str(program.port), self.mode, str(seconds)],
                             capture_output=True, text=True)
        answer = json.loads(out.stdout or '{"handshakes":0,"resumed":0}')
        n, resumed = answer["handshakes"], answer["resumed"]
        wrong = resumed if self.mode == "full" else max(0, n - resumed - 1)
        return {"n": n, "wrong": wrong, "cpu": 0, "p99_ms": 0}


class H2load:
    unit = "us CPU per request"

    def __init__(self, path="/", clients=4, streams=100):
        self.path, self.clients, self.streams = path, clients, streams

    def run(self, program, seconds):
        out = subprocess.run(["taskset", "-c", "1", "h2load", "-t1", f"-c{self.clients}", f"-m{self.streams}", f"-D{seconds}",
                              f"http://127.0.0.1:{program.port}{self.path}"], capture_output=True, text=True).stdout
        status = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
        good, *bad = map(int, status.groups()) if status else (0, 1)
        return {"n": good, "wrong": sum(bad), "cpu": 0, "p99_ms": 0}


# --- measuring ----------------------------------------------------------------------------------

def sample(program, load, seconds, others):
    """others: the processes of the load's side that live on"""
    before, apart = cpu.busy(), sum(sum(cpu.cpu_seconds(p)) for p in others)
    user, system = cpu.cpu_seconds(program.process.pid)
    began = time.monotonic()
    r = load.run(program, seconds)
    took = time.monotonic() - began
    user_after, system_after = cpu.cpu_seconds(program.process.pid)
    after = cpu.busy()
    if not r["n"] or r["wrong"]:
        raise RuntimeError(f"{r['n']} good answers, {r['wrong']} others")
    user, system = user_after - user, system_after - system
    r.update(user=user * 1e6 / r["n"], system=system * 1e6 / r["n"], us=(user + system) * 1e6 / r["n"], rps=r["n"] / took,
             foreign=max(0, (after[0] - before[0] - user - system) / took))
    return r


def rounds(programs, load, bench, each=None):
    """{name: samples}; load may be a dict by name. A program that cannot do it is left out, with a word."""
    o, kept, noisy = bench.options, {n: [] for n in programs}, {n: [] for n in programs}
    load_of = load if isinstance(load, dict) else {n: load for n in programs}
    seconds = each or o.seconds
    end = time.monotonic() + (seconds + 0.2) * o.rounds * len(programs) * (1 if o.quick else 1.2)
    able = set(programs)
    while any(len(kept[n]) < o.rounds for n in able) and time.monotonic() < end:
        for name in [n for n in programs if n in able]:
            if len(kept[name]) >= o.rounds:
                continue
            try:
                if not getattr(programs[name], "warm", False):
                    load_of[name].run(programs[name], 1)
                    programs[name].warm = True
                r = sample(programs[name], load_of[name], seconds, bench.others)
                (kept if r["foreign"] <= o.foreign else noisy)[name].append(r)
            except (RuntimeError, OSError, ValueError, TypeError) as failure:
                print(f"  {name} is left out: {failure}", file=sys.stderr)
                able.discard(name)
    for name in programs:
        missing = o.rounds - len(kept[name])
        kept[name] += sorted(noisy[name], key=lambda r: r["foreign"])[:max(missing, 0)]
    return {n: v for n, v in kept.items() if v}


def middle(samples, key="us"):
    return statistics.median(s[key] for s in samples)


def rss_kib(pid):
    return sum(int(line.split()[1]) for p in cpu.tree(pid) for line in open(f"/proc/{p}/status") if line.startswith("VmRSS"))


# --- the bench ----------------------------------------------------------------------------------

class Bench:
    def __init__(self, options, folder):
        self.options, self.folder, self.missed = options, folder, []
        self.upstream = subprocess.Popen([f"{options.build}/tests/bench/gateway-upstream", "0"], stdout=subprocess.PIPE,
                                         text=True, preexec_fn=lambda: os.sched_setaffinity(0, {1}))
        self.up, self.others, self.keys = int(self.upstream.stdout.readline()), [self.upstream.pid], None
        cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                        "30", "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
        self.issuer = Issuer(options.build)
        self.peers = Peers(folder, options.build, self.up, self.issuer.url, cert, key)

    def close(self):
        self.upstream.kill()
        self.upstream.wait()
        self.issuer.close()

    def start(self, names, variant="plain"):
        wanted = [n for n in names if not self.options.peers or n in self.options.peers.split(",")]
        out = {}
        for name in wanted:
            try:
                program = self.peers.start(name, variant)
            except RuntimeError as failure:
                print(f"  {name} is left out: {failure}", file=sys.stderr)
                continue
            if program:
                out[name] = program
        return out

    def verdict(self, work, unit, value, peers, ratio, goal, met):
        """met: None when there is nothing to compare with"""
        if not met:
            self.missed.append(work)
        if self.options.json:
            print(json.dumps({"work": work, "unit": unit, "value": value and round(value, 2),
                              "peers": {n: round(v, 2) for n, v in peers.items()}, "ratio": ratio and round(ratio, 3),
                              "goal": goal, "met": met}), flush=True)
        else:
            told = "no verdict" if met is None else "met" if met else "missed"
            print(f"{work}: {'-' if value is None else f'{value:.2f}'} {unit}"
                  f"{'' if ratio is None else f', ratio {ratio:.2f}'}, goal {goal}: {told}\n", flush=True)

    def table(self, work, unit, results):
        if self.options.json:
            return
        print(f"{work} ({unit})")
        print(f"  {'':12}{'median':>9}{'range':>17}{'user/system':>15}{'a second':>11}{'p99 ms':>9}{'disturbed':>11}")
        for name, v in sorted(results.items(), key=lambda kv: middle(kv[1])):
            spread = f"{min(s['us'] for s in v):.2f}-{max(s['us'] for s in v):.2f}"
            parts = f"{middle(v, 'user'):.2f}/{middle(v, 'system'):.2f}"
            noisy = sum(s["foreign"] > self.options.foreign for s in v)
            print(f"  {name:12}{middle(v):9.2f}{spread:>17}{parts:>15}{middle(v, 'rps'):11,.0f}{middle(v, 'p99_ms'):9.2f}"
                  f"{f'{noisy} of {len(v)}':>11}")

    def compare(self, works, names, variant="plain", ours="nexus"):
        """works: (what, load, goals); goals: {None: ratio to the best peer} or {name: ratio}, all of which have to be met"""
        programs = self.start(names, variant)
        try:
            for work, load, goals in works:
                self.judge(work, load, goals, rounds(programs, load, self), ours)
        finally:
            for program in programs.values():
                program.stop()

    def judge(self, work, load, goals, results, ours):
        self.table(work, load.unit, results)
        own = middle(results[ours]) if ours in results else None
        peers = {n: middle(v) for n, v in results.items() if n != ours}
        for against, goal in goals.items():
            best = min((v for n, v in peers.items() if n != "epoll"), default=None) if against is None else peers.get(against)
            told = f"at most {goal} of {'the best peer' if against is None else against}"
            ratio = own / best if own and best else None
            self.verdict(work, load.unit, own, peers, ratio, told, None if ratio is None else ratio <= goal)


class Issuer:
    """Signs ES256 tokens and publishes the key."""

    def __init__(self, build):
        os.environ.setdefault("NEXUS_LIBRARY", str(next(Path(build).glob("lib/libnexus.so.*"), "")))
        sys.path.insert(0, str(ROOT / "bindings/python"))
        import nexus
        self.key = nexus.Key.generate("ES256")
        body = json.dumps({"keys": [self.key.jwk()]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, number=0):
        now = int(time.time())
        return self.key.sign({"iss": self.url, "aud": "nexus", "sub": f"0192f0c1-{number}", "roles": ["customer"], "iat": now,
                              "exp": now + 3600}, "at+jwt")

    def close(self):
        self.server.shutdown()


# --- rows ---------------------------------------------------------------------------------------

def plain(bench):
    goals = {None: 0.85, "epoll": 1.25}
    bench.compare([("proxy, 128 B, 64 connections", Wrk(), goals), ("proxy, 4 KiB", Wrk("/4k"), goals),
                   ("proxy, ten headers", Wrk(headers=cpu.HEADERS), goals),
                   ("proxy, 512 connections", Wrk(connections=512), goals)], PROXIES)


def chain(bench):
    """Token from the cache, role, composite limit, breaker, access log to a file, metrics, trace context; and each token new."""
    o, b = bench.options, bench
    count = 12000 if o.quick else 40000
    tokens = f"{b.folder}/tokens"
    with open(tokens, "w") as f:
        f.writelines(b.issuer.token(i) + "\n" for i in range(count))
    fresh = f"{b.folder}/fresh.lua"
    Path(fresh).write_text(f'local t, i = {{}}, 0\nfor line in io.lines("{tokens}") do t[#t + 1] = "Bearer " .. line end\n'
                           'request = function() i = i % #t + 1\n wrk.headers["Authorization"] = t[i]\n return wrk.format() end\n')
    seen = Wrk(headers=[f"Authorization: Bearer {b.issuer.token()}"])
    programs = {"nexus": b.peers.start("nexus"), "chain": b.peers.start("nexus", "log", routes=CHAIN),
                "new tokens": b.peers.start("nexus", "log", routes=CHAIN), **b.start(["nginx"], "log")}
    if programs.get("nginx"):
        programs["nginx+log"] = programs.pop("nginx")
    try:
        results = rounds(programs, {n: Wrk(lua=fresh) if n == "new tokens" else seen for n in programs}, b)
    finally:
        for program in programs.values():
            program.stop()
    b.table("full chain", Wrk.unit, results)
    mid = {n: middle(v) for n, v in results.items()}
    own, nginx = mid.get("chain"), mid.get("nginx+log")
    ratio = own / nginx if own and nginx else None
    b.verdict("full chain, token seen before", Wrk.unit, own, {"nginx+log": nginx} if nginx else {}, ratio,
              "at most nginx with access log", ratio and ratio <= 1)
    bare = bare_verify(b)
    limit = mid["nexus"] + 1.15 * bare if bare and "nexus" in mid else None
    own = mid.get("new tokens")
    b.verdict("full chain, every token new", Wrk.unit, own, {"plain proxy": mid.get("nexus", 0), "bare EVP verify": bare or 0},
              own / limit if own and limit else None, "at most plain proxy + 1.15 x bare EVP verify",
              own <= limit if own and limit else None)


def bare_verify(bench):
    """us of CPU for one P-256 verification by the same OpenSSL."""
    out = subprocess.run(["taskset", "-c", "0", "openssl", "speed", "-seconds", "1", "ecdsap256"], capture_output=True,
                         text=True).stdout
    line = re.search(r"ecdsa \(nistp256\).*?([\d.]+)\s*$", out, re.M)
    return 1e6 / float(line[1]) if line else None


def large(bench):
    upload = f"{bench.folder}/upload.lua"
    Path(upload).write_text('wrk.method = "POST"\nwrk.body = string.rep("x", 1048576)\n')
    names = ("nexus", "haproxy", "nginx", "h2o")
    bench.compare([("1 MiB replies", Mebibytes("/1m", 16), {None: 1.0}),
                   ("1 MiB uploads", Mebibytes("/", 16, lua=upload), {None: 1.0})], names)


def memory(bench):
    """Streams that do not move: replies whose client reads nothing, uploads whose upstream reads nothing."""
    count = 100 if bench.options.quick else 200
    for work, text in (("memory of a stalled reply", b"GET /64m HTTP/1.1\r\nHost: b\r\n\r\n"),
                       ("memory of a stalled upload", b"POST /stall HTTP/1.1\r\nHost: b\r\nContent-Length: 67108864\r\n\r\n")):
        grown = {}
        for name, program in bench.start(("nexus", "haproxy", "nginx")).items():
            Wrk("/4k").run(program, 1)
            before, sockets = rss_kib(program.process.pid), []
            for _ in range(count):
                s = socket.create_connection(("127.0.0.1", program.port))
                s.sendall(text)
                s.setblocking(False)
                sockets.append(s)
            for _ in range(20):
                for s in sockets if text.startswith(b"POST") else ():
                    try:
                        s.send(b"x" * 65536)
                    except BlockingIOError:
                        pass
                time.sleep(0.05)
            grown[name] = (rss_kib(program.process.pid) - before) / count
            for s in sockets:
                s.close()
            program.stop()
        own = grown.pop("nexus", None)
        bench.verdict(work, "KiB", own, grown, None, "at most 64 KiB", own is not None and own <= 64)


def idle(bench):
    count = 2000 if bench.options.quick else 10000
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count, hard - 500)
    grown = {}
    for name, program in bench.start(("nexus", "haproxy", "nginx")).items():
        Wrk(connections=16).run(program, 1)
        before, sockets = rss_kib(program.process.pid), []
        try:
            for _ in range(count):
                s = socket.create_connection(("127.0.0.1", program.port))
                s.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
                sockets.append(s)
            for s in sockets:
                s.recv(4096)
            grown[name] = (rss_kib(program.process.pid) - before) * 1024 / count
        except OSError as failure:
            print(f"  {name} is left out: {failure}", file=sys.stderr)
        for s in sockets:
            s.close()
        program.stop()
    own = grown.pop("nexus", None)
    bench.verdict(f"{count:,} idle connections", "bytes each", own, grown, None, "at most 4096 bytes",
                  own is not None and own <= 4096)


def tls(bench):
    names, build = ("nexus", "haproxy", "nginx", "h2o"), bench.options.build
    bench.compare([("TLS 1.3, records (4 KiB replies)", Wrk("/4k"), {None: 1.0}),
                   ("TLS 1.3, resumed handshakes", Handshakes(build, "resume"), {None: 1.0}),
                   ("TLS 1.3, full handshakes", Handshakes(build, "full"), {None: 1.05})], names, "tls")


def http2(bench):
    bench.compare([("HTTP/2, 100 streams, to HTTP/1.1", H2load(), {None: 1.0})], ("nexus", "haproxy", "nginx", "nghttpx"), "h2")
    bench.compare([("HTTP/2, 100 streams, static reply", H2load("/index.html"), {"nghttpd": 1.3})], ("static", "nghttpd"), "h2", "static")


def latency(bench):
    """p99 at a fixed rate, 70 % of what nginx can do."""
    o, programs = bench.options, bench.start(("nexus", "haproxy", "nginx", "h2o"))
    if "nginx" not in programs:
        return bench.verdict("p99 at a fixed rate", "us", None, {}, None, "at most the best peer's", None)
    try:
        peak = Wrk().run(programs["nginx"], 2)["n"] / 2
        rate, found = int(peak * 0.7), {n: [] for n in programs}
        for _ in range(o.rounds if o.quick else 2 * o.rounds - 1):  # a stall of the machine spoils a round of this row
            for name, program in programs.items():
                out = subprocess.run(["taskset", "-c", "1", f"{o.build}/tests/bench/open-loop", str(program.port), "/", str(rate),
                                      str(o.seconds), "64"], capture_output=True, text=True)
                if out.returncode == 0:
                    found[name].append(json.loads(out.stdout))
    finally:
        for program in programs.values():
            program.stop()
    p99 = {n: statistics.median(r["p99_us"] for r in v) for n, v in found.items() if v}
    if not o.json:
        for name, v in found.items():
            if v:
                print(f"  {name:12} p50 {statistics.median(r['p50_us'] for r in v):8.0f}  p99 {p99[name]:8.0f}  "
                      f"p99.9 {statistics.median(r['p999_us'] for r in v):8.0f} us")
    own = p99.pop("nexus", None)
    ratio = own / min(p99.values()) if own and p99 else None
    bench.verdict(f"p99 at {rate:,} requests/s, open loop", "us", own, p99, ratio, "at most the best peer's", ratio and ratio <= 1)


def many_routes(n):
    return [{"id": f"r{i}", "path": f"/service-{i % 97}/resource-{i}/{{id:int}}/detail", "upstream": "app"} for i in range(n - 1)] + [
        {"id": "all", "prefix": "/", "upstream": "app"}]


def routes(bench):
    """The same request among 10 and among 10,000 routes, and how long a reload of the larger file takes."""
    work = "CPU per request, 10,000 routes beside 10"
    programs = {"nexus": bench.peers.start("nexus", routes=many_routes(10000)), "10 routes": bench.peers.start("nexus", routes=many_routes(10))}
    try:
        results = rounds(programs, Wrk("/service-5/resource-5/77/detail"), bench)
        program = programs["nexus"]
        states = sorted(Path(bench.folder).glob("*-state"), key=lambda p: int(p.name.split("-")[0]))[-2]
        token = (states / "admin.token").read_text().strip()
        took = [reload_ms(program.port + 10, token) for _ in range(9)]
    finally:
        for program in programs.values():
            program.stop()
    bench.table(work, Wrk.unit, results)
    own, few = middle(results["nexus"]), middle(results["10 routes"])
    bench.verdict(work, Wrk.unit, own, {"10 routes": few}, own / few, "match within 1.3 of 10 routes", own / few <= 1.3)
    ms = statistics.median(took)
    bench.verdict("reload of 10,000 routes", "ms", ms, {}, None, "less than 100 ms", ms < 100)


def reload_ms(port, token):
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.monotonic()
    connection.request("POST", "/admin/v1/reload", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    took = (time.monotonic() - began) * 1e3
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"reload: {answer.status}")
    return took


ROWS = {"plain": plain, "chain": chain, "large": large, "memory": memory, "idle": idle, "tls": tls, "http2": http2,
        "latency": latency, "routes": routes}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only", help=f"rows, comma separated: {', '.join(ROWS)}")
    parser.add_argument("--peers", help="programs, comma separated")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of a sample")
    parser.add_argument("--foreign", type=float, default=0.06, help="share of CPU 0 that others may have in a sample")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed or could not be measured")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started, too
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 1
    if not cpu.have("wrk", "taskset", "openssl"):
        sys.exit("gateway.sh: wrk, taskset and openssl are needed: apt-get install wrk util-linux openssl nginx haproxy h2o nghttp2")
    rows = options.only.split(",") if options.only else list(ROWS)
    if unknown := [r for r in rows if r not in ROWS]:
        sys.exit(f"gateway.sh: no row {unknown[0]}; there are {', '.join(ROWS)}")
    folder = tempfile.mkdtemp(prefix="nexus-bench-")
    os.chmod(folder, 0o755)
    bench = Bench(options, folder)
    try:
        for row in rows:
            ROWS[row](bench)
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if options.check and bench.missed else 0)


if __name__ == "__main__":
    main()
