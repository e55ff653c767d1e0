"""CPU per static reply of 128 bytes: libnexus beside nginx `return 200`, haproxy `http-request return`, an h2o file; with
--h2 over HTTP/2 beside nghttpd, nginx and h2o."""
import argparse
import os
import sys
import tempfile

import cpu

OURS, AGAINST, GOAL = "libnexus", "nginx", 1.0
AGAINST_H2, GOAL_H2 = "nghttpd", 1.3


def commands(folder, server, h2):
    """{name: (command, port)} of what is installed."""
    out = {OURS: lambda port: [server, str(port)]}
    if cpu.have("nginx"):
        out["nginx"] = lambda port: cpu.nginx_static(folder, "nginx", port, h2)
    if cpu.have("nghttpd") and h2:
        os.mkdir(f"{folder}/nghttpd")
        cpu.write(f"{folder}/nghttpd/index.html", cpu.BODY[128])
        cpu.write(f"{folder}/nghttpd/4k", cpu.BODY[4096])
        out["nghttpd"] = lambda port: ["nghttpd", "--no-tls", "-n1", "-d", f"{folder}/nghttpd", str(port)]
    if cpu.have("haproxy") and not h2:
        small, large = (cpu.write(f"{folder}/{n}.json", cpu.BODY[n]) for n in (128, 4096))
        out["haproxy"] = lambda port: ["haproxy", "-db", "-f", cpu.write(f"{folder}/haproxy.cfg", cpu.HAPROXY + (
            f"frontend f\n  bind 127.0.0.1:{port}\n"
            f"  http-request return status 200 content-type application/json file {large} if {{ path /4k }}\n"
            f"  http-request return status 200 content-type application/json file {small}\n"))]
    if cpu.have("h2o"):
        os.mkdir(f"{folder}/www")
        cpu.write(f"{folder}/www/index.json", cpu.BODY[128])
        cpu.write(f"{folder}/www/4k", cpu.BODY[4096])
        user = "user: root\n" if os.getuid() == 0 else ""
        out["h2o"] = lambda port: ["h2o", "-c", cpu.write(f"{folder}/h2o.conf", (
            f"num-threads: 1\n{user}pid-file: {folder}/h2o.pid\nerror-log: {folder}/h2o.err\nfile.index: [ 'index.json' ]\n"
            f"hosts:\n  default:\n    listen: {{host: 127.0.0.1, port: {port}}}\n    paths:\n      /:\n"
            f"        file.dir: {folder}/www\n"))]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the program bench-http")
    cpu.add_options(parser)
    options = parser.parse_args()
    if not cpu.have("h2load" if options.h2 else "wrk", "taskset"):
        sys.exit("http.sh: wrk (h2load for --h2) and taskset are needed: apt-get install wrk nghttp2-client util-linux")
    if options.h2:
        options.connections = min(options.connections, 8)
    programs = {}
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
        os.chmod(folder, 0o755)
        try:
            for name, command in commands(folder, options.server, options.h2).items():
                if not options.only or name in options.only.split(","):
                    port = cpu.free_port()
                    programs[name] = cpu.Program(command(port), port, 0)
            results = cpu.measure(programs, [], options)
        finally:
            for program in programs.values():
                program.stop()
    against, goal = (AGAINST_H2, GOAL_H2) if options.h2 else (AGAINST, GOAL)
    work = f"http{'2' if options.h2 else ''} static {options.path}{' with headers' if options.headers else ''}"
    met = cpu.report(results, OURS, against, work, goal, options)
    sys.exit(1 if options.check and not met else 0)


if __name__ == "__main__":
    main()
