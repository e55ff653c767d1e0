"""The event bus beside a bare log, SQLite, PostgreSQL, Redis streams, NATS JetStream and BullMQ.

Method: 256-byte events, everything durable before the ack unless the settings printed say otherwise. In a row every program
takes its turn in rounds, each in an empty folder; reported is the median of the rounds. Believe ratios inside a row."""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import Peers


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder, self.missed, self.peers = options, Path(folder), 0, Peers(folder, options.build)
        self.programs = Path(options.build) / "tests/bench/bus"

    # --- running programs

    def lines(self, *command):
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"  {Path(str(command[0])).name} failed and is left out", file=sys.stderr)
            return []
        return [json.loads(line) for line in done.stdout.splitlines()]

    def nexus(self, *arguments):
        place = self.folder / "bus"
        shutil.rmtree(place, ignore_errors=True)
        try:
            return self.lines(self.programs / "bench-bus", place, *arguments)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def peer(self, name, size):
        """One result of a peer's program, or nothing where the peer is not installed."""
        programs = {"sqlite": "sqlite-events", "postgres": "postgres-events", "redis": "redis-stream", "nats": "nats-stream"}
        where, program = self.peers.where(name), self.programs / programs[name]
        return self.lines(program, where, size, self.options.seconds) if where and program.exists() else []

    def bare(self, mode, size):
        program = self.programs / "bare-log"
        return self.lines(program, self.folder, mode, size, self.options.seconds) if program.exists() else []

    def rounds(self, programs):
        """{name: [results of the rounds]} of {name: function that gives a list of results}."""
        kept = {}
        for _ in range(self.options.rounds):
            for name, run in programs.items():
                os.sync()  # what the one before has left to be written, or to be freed, is no work of this one
                kept.setdefault(name, []).extend(run())
        return {name: results for name, results in kept.items() if results}

    # --- saying what came out

    def say(self, work, unit, value, peers, goals, digits=0):
        """goals = [(text, ratio or None, met or None)]."""
        for goal, ratio, met in goals:
            self.missed += met is False
            if self.options.json:
                print(json.dumps({"work": work, "unit": unit, "value": round(value, digits), "peers": {n: round(v, digits) for n, v in peers.items()},
                                  "ratio": ratio and round(ratio, 3), "goal": goal, "met": met}), flush=True)
            else:
                verdict = "no verdict" if met is None else "met" if met else "missed"
                print(f"{work}: {value:,.{digits}f} {unit}{f', ratio {ratio:.2f}' if ratio else ''}, goal {goal}: {verdict}", flush=True)
        if not self.options.json:
            for name, v in peers.items():
                print(f"    {name:10} {v:>12,.{digits}f} {unit}", flush=True)
            print(flush=True)

    @staticmethod
    def at_least(text, value, peer, factor):
        """A goal of a rate: at least factor times what the peer does."""
        return (f"at least {factor} x {text}", value / peer if peer else None, value >= factor * peer if peer else None)


def median(results, key):
    return statistics.median(r[key] for r in results)


def rates(results, key="per_s"):
    return {name: median(r, key) for name, r in results.items() if name != "nexus"}


def best(peers, *names):
    return max((peers[n] for n in names if n in peers), default=None)


# --- the rows -------------------------------------------------------------------------------------

def row_batch(b):
    for size in (1000, 100):
        results = b.rounds({"nexus": lambda: b.nexus("publish", size, b.options.seconds),
                            "ahead": lambda: b.nexus("publish", size, b.options.seconds, 4), "bare log": lambda: b.bare("append", size),
                            "sqlite": lambda: b.peer("sqlite", size), "postgres": lambda: b.peer("postgres", size)})
        peers, waits, ahead = rates(results), median(results["nexus"], "per_s"), median(results["ahead"], "per_s")
        del peers["ahead"]
        for ours, how in ((waits, "each waits for its ack"), (ahead, "up to 4 not yet acked")):
            b.say(f"in process, batches of {size:,}, {how}", "events/s", ours, peers, [
                b.at_least("the bare log", ours, peers.get("bare log"), 0.8),
                b.at_least("the best durable peer that refuses duplicates", ours, best(peers, "sqlite", "postgres"), 5)])


def row_clients(b):
    results = b.rounds({"nexus": lambda: b.nexus("clients", 4, 64, b.options.seconds), "redis": lambda: b.peer("redis", 64)})
    peers, ours = rates(results), median(results["nexus"], "per_s")
    b.say("4 processes over the socket, window 64", "events/s", ours, peers, [
        ("at least 300,000", None, ours >= 300000), b.at_least("Redis everysec, pipelined by 64", ours, peers.get("redis"), 2)])
    results = b.rounds({"nexus": lambda: b.nexus("clients", 48, 1, b.options.seconds)})
    ours, p99 = median(results["nexus"], "per_s"), median(results["nexus"], "p99_us")
    b.say("48 clients, one event at a time", "events/s", ours, {}, [("at least 25,000", None, ours >= 25000)])
    b.say("48 clients, p99", "us", p99, {}, [("at most 3,000", None, p99 <= 3000)])


def row_single(b):
    results = b.rounds({"nexus": lambda: b.nexus("publish", 1, b.options.seconds), "bare write": lambda: b.bare("one", 1),
                        "socket": lambda: b.nexus("clients", 1, 1, b.options.seconds)})
    ours, socket = median(results["nexus"], "p50_us"), median(results["socket"], "p50_us")
    bare = median(results["bare write"], "p50_us") if "bare write" in results else None
    peers = {"bare write": bare} if bare else {}
    b.say("one event at a time, in process, p50", "us", ours, peers,
          [("at most 1.3 x a bare O_DSYNC write", ours / bare if bare else None, ours <= 1.3 * bare if bare else None)], 1)
    b.say("one event at a time, over the socket, p50", "us", socket, peers,
          [("at most 1.3 x a bare O_DSYNC write + 120 us", None, socket <= 1.3 * bare + 120 if bare else None)], 1)


def row_consume(b):
    programs = {"nexus": lambda: b.nexus("consume", 200000 if b.options.quick else 1000000)}
    modules = Path.home() / ".cache/nexus-bench/node_modules/bullmq"
    if shutil.which("node") and modules.exists() and b.peers.where("redis"):
        programs["bullmq"] = lambda: b.lines("node", Path(__file__).with_name("bullmq.mjs"), b.peers.redis_port, 20000)
    results = b.rounds(programs)
    ours = median(results["nexus"], "per_s")
    b.say("a group of 4 members, 10,000 keys, acknowledged", "events/s", ours, rates(results), [("at least 200,000", None, ours >= 200000)])


def row_replay(b):
    results = b.rounds({"nexus": lambda: b.nexus("publish", 1000, b.options.seconds), **{
        name: lambda name=name, size=size: b.peer(name, size)
        for name, size in (("sqlite", 1000), ("postgres", 1000), ("redis", 1000), ("nats", 4000))}})
    peers, ours = rates(results, "replay_per_s"), median(results["nexus"], "replay_per_s")
    b.say("replay, CRC verified", "events/s", ours, peers, [
        ("at least 5,000,000", None, ours >= 5e6), b.at_least("SQLite", ours, peers.get("sqlite"), 1.3),
        b.at_least("the best of Redis, NATS, PostgreSQL", ours, best(peers, "redis", "nats", "postgres"), 5)])


def row_open(b):
    size = (256 << 20) if b.options.quick else 1 << 30
    results = b.rounds({"nexus": lambda: b.nexus("open", size)})
    ours = median(results["nexus"], "p50_us") / 1e6
    b.say(f"a log of {size >> 20:,} MiB after kill -9, to the first publish", "s", ours, {},
          [("under 1 s for 1 GiB", None, ours < size / (1 << 30))], 2)


def row_behind(b):
    events = 1000000 if b.options.quick else 10000000
    idle, catching = [], []
    for _ in range(b.options.rounds):
        alone, beside = b.nexus("behind", events, b.options.seconds)
        idle.append(alone)
        catching.append(beside)
    alone, beside = median(idle, "p99_us"), median(catching, "p99_us")
    b.say(f"publish p99 while a group {events:,} behind catches up", "us", beside, {"idle": alone},
          [("at most 2 x idle", beside / alone, beside <= 2 * alone)])


def row_poison(b):
    place = b.folder / "poison"
    fine, poisoned = [], []
    for _ in range(b.options.rounds):
        alone, beside = b.lines(b.programs / "bench-bus-poison", place, b.options.seconds)
        fine.append(alone)
        poisoned.append(beside)
        shutil.rmtree(place, ignore_errors=True)
    idle, ours = median(fine, "p99_us"), median(poisoned, "p99_us")
    b.say("stored to handled, 10,000/s, one key of 1,000 always fails, p99 of the others", "us", ours, {"none fails": idle},
          [("within 10 % of none failing", ours / idle, ours <= 1.1 * idle)])


def row_saga(b):
    program = Path(b.options.build) / "tests/bench/bench-saga"
    if not program.exists():
        return
    done = subprocess.run([program, "--json"], stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        row = json.loads(line)
        b.say(row["work"], row["unit"], row["value"], row.get("peers", {}), [(row["goal"], row.get("ratio"), row["met"])])


ROWS = {name[4:]: function for name, function in globals().items() if name.startswith("row_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only", help="rows, comma separated: " + " ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="one round of a second, smaller logs")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--dir", default="/tmp", help="a disk to measure on; a folder is made in it")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 3)
    wanted = options.only.split(",") if options.only else list(ROWS)
    for name in wanted:
        if name not in ROWS:
            parser.error(f"no row '{name}'; there are {', '.join(ROWS)}")
    if not (Path(options.build) / "tests/bench/bus/bench-bus").exists():
        sys.exit(f"bus.sh: {options.build} has no benches: meson setup {options.build} -Dtests=true && ninja -C {options.build}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the servers too
    with tempfile.TemporaryDirectory(prefix="nexus-bench-", dir=options.dir) as folder:
        b = Bench(options, folder)
        try:
            for name in wanted:
                ROWS[name](b)
        finally:
            b.peers.stop()
        if not options.json:
            for name, settings in b.peers.settings.items():
                if name in b.peers.places and b.peers.places[name]:
                    print(f"{name}: {settings}")
    sys.exit(1 if options.check and b.missed else 0)


if __name__ == "__main__":
    main()
