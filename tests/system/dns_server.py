"""A name server for tests: UDP on a free port, its records change while it runs."""
import socket
import struct
import threading


class NameServer:
    """records: {("a.test", "A"): (ttl, ["127.0.0.1", …]), ("_s._tcp.test", "SRV"): (ttl, [(priority, weight, port, host), …])}
    `mode` says how it behaves: "answers", "silent" or "fails" (SERVFAIL)."""
    TYPES = {"A": 1, "AAAA": 28, "SRV": 33}

    def __init__(self, records=None):
        self.records, self.mode, self.asked = dict(records or {}), "answers", []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
                if reply := self.reply(query):
                    self.socket.sendto(reply, peer)
            except OSError:
                return

    def reply(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        name = ".".join(labels).lower()
        word = next((w for w, n in self.TYPES.items() if n == kind), str(kind))
        self.asked.append((name, word))
        if self.mode == "silent":
            return None
        known = any(n == name for n, _ in self.records)
        ttl, values = self.records.get((name, word), (0, []))
        code = 2 if self.mode == "fails" else 0 if known else 3
        answers = b"" if code else b"".join(self.record(kind, ttl, v) for v in values)
        return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 0 if code else len(values), 0, 0) + question + answers

    def record(self, kind, ttl, value):
        if kind == 1:
            data = socket.inet_aton(value)
        elif kind == 28:
            data = socket.inet_pton(socket.AF_INET6, value)
        else:
            priority, weight, port, host = value
            data = struct.pack(">HHH", priority, weight, port) + b"".join(
                bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"
        return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data

    def close(self):
        self.socket.close()
