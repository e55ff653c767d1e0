"""Ports for servers that cannot take port 0.

A port that the kernel gave and took back is nobody's: until the server binds it, any connection of the machine may come to
leave from it. These are kept.
"""
import fcntl
import random
import socket
import tempfile
from pathlib import Path


class Ports:
    """A range below the kernel's ephemeral ports (no client socket takes one of it) that belongs to this process alone as
    long as it lives: test runs side by side do not take each other's ports between the look and the bind."""
    FIRST, LAST, COUNT = 10000, 32000, 256

    def __init__(self):
        folder = Path(tempfile.gettempdir()) / "nexus-test-ports"
        folder.mkdir(exist_ok=True)
        for first in random.sample(range(self.FIRST, self.LAST - self.COUNT, self.COUNT), (self.LAST - self.FIRST) // self.COUNT):
            try:
                self.lock = open(folder / str(first), "w")
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # in use, or another user's
                continue
            self.first = self.next = first
            return
        raise RuntimeError(f"every range of ports is taken: see {folder}")

    @staticmethod
    def is_free(port):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not count
            try:
                s.bind(("127.0.0.1", port))
                return True
            except OSError:
                return False

    def take(self, count):
        """The first of `count` free ports in a row; all of the range comes round before one is used again."""
        for _ in range(self.COUNT):
            if self.next + count > self.first + self.COUNT:
                self.next = self.first
            start, self.next = self.next, self.next + count
            if all(self.is_free(port) for port in range(start, start + count)):
                return start
        raise RuntimeError("no free range of ports")


def ports():
    if not hasattr(ports, "mine"):
        ports.mine = Ports()
    return ports.mine


def free_port():
    return ports().take(1)


def free_port_base():
    """A base with +0 … +10 free."""
    return ports().take(11)
