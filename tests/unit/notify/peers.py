#!/usr/bin/python3
"""The other side of notifications: a real SMTP server and a real webhook receiver whose answers are scripted.

    peers.py PROGRAM [ARGUMENT…]    runs a test program that finds them as NEXUS_TEST_SMTP_URL and NEXUS_TEST_HOOK_URL
    from peers import Smtp, Hooks   the same for tests in Python

What the SMTP server says is decided by the recipient's local part, up to the first "-":
    ok, later (450 once), closing (421 once), greylist (451 4.7.1 once), gone (550 5.1.1), policy (550 5.7.1),
    full (452 twice), content (554 after the data), drop (takes the data and the dot, then closes without a word)
What the receiver answers is decided by the path:
    /ok, /flaky (503 once), /throttled (429 with Retry-After: 1, once), /gone (410), /redirect (301), /broken (500)
"""
import collections
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from ports import free_port  # noqa: E402

try:
    from aiosmtpd.controller import Controller
except ImportError:
    Controller = None

ONCE = {"later": "450 4.2.1 Try again later", "closing": "421 4.3.2 Closing for maintenance",
        "greylist": "451 4.7.1 Greylisted", "full": "452 4.2.2 Mailbox full"}
ALWAYS = {"gone": "550 5.1.1 No such user", "policy": "550 5.7.1 Not from you"}


class Smtp:
    def __init__(self):
        self.messages, self.seen = [], collections.Counter()
        self.port = free_port()  # aiosmtpd's controller cannot take port 0
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self.controller.start()
        self.url = f"smtp://127.0.0.1:{self.port}"

    def stop(self):
        self.controller.stop()

    async def handle_RCPT(self, server, session, envelope, address, options):
        what = address.split("@")[0].split("-")[0]
        self.seen[address] += 1
        if what in ALWAYS:
            return ALWAYS[what]
        if what in ONCE and self.seen[address] <= (2 if what == "full" else 1):
            return ONCE[what]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        what = envelope.rcpt_tos[0].split("@")[0].split("-")[0]
        self.messages.append(envelope)
        if what == "content":
            return "554 5.6.0 Not this"
        if what == "drop":
            server.transport.close()
        return "250 2.0.0 Taken"


class Hooks:
    def __init__(self):
        outer = self
        self.calls, self.seen = [], collections.Counter()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                what = self.path.strip("/").split("/")[0]
                outer.seen[self.path] += 1
                outer.calls.append((self.path, dict((k.lower(), v) for k, v in self.headers.items()), body))
                first = outer.seen[self.path] == 1
                status = {"flaky": 503 if first else 204, "throttled": 429 if first else 200, "gone": 410,
                          "redirect": 301, "broken": 500}.get(what, 200)
                answer = b"" if status == 204 else b"thank you"
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                if status == 301:
                    self.send_header("Location", "/ok/redirected")
                if status != 204:
                    self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def main(argv):
    if Controller is None:
        print("SKIP: no aiosmtpd on this machine (apt install python3-aiosmtpd); tests with real peers are skipped",
              flush=True)
        return subprocess.run(argv).returncode
    smtp, hooks = Smtp(), Hooks()
    try:
        run = subprocess.run(argv, env=dict(os.environ, NEXUS_TEST_SMTP_URL=smtp.url, NEXUS_TEST_HOOK_URL=hooks.url))
        if run.returncode != 0:
            print("recipients:", dict(smtp.seen), "paths:", dict(hooks.seen))
        return run.returncode
    finally:
        smtp.stop()
        hooks.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
