"""Certificates made on the fly with the openssl command, and a client that has one.

    c = Certificates(folder); ca = c.authority("partners"); till = c.client("till", ca="partners", san="URI:spiffe://x/till")
"""
import base64
import hashlib
import socket
import ssl
import subprocess
from pathlib import Path

from harness import SLOW, Reply


def openssl(*args, **more):
    run = subprocess.run(["openssl", *map(str, args)], capture_output=True, **more)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


class Certificates:
    """Authorities, and what they sign. PEM files in a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)

    def path(self, name):
        return self.folder / name

    def key(self, name):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.path(f"{name}.key"))
        return self.path(f"{name}.key")

    def authority(self, name):
        self.key(name)
        openssl("req", "-x509", "-new", "-key", self.path(f"{name}.key"), "-out", self.path(f"{name}.pem"), "-subj", f"/CN={name}",
                "-days", "30")
        self.path(f"{name}.index").write_text("")
        self.path(f"{name}.serial").write_text("1000")
        self.path(f"{name}.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.path(name + '.index')}\nserial={self.path(name + '.serial')}\n"
            f"certificate={self.path(name + '.pem')}\nprivate_key={self.path(name + '.key')}\nnew_certs_dir={self.folder}\n"
            "default_md=sha256\npolicy=p\ndefault_crl_days=7\nunique_subject=no\n[p]\norganizationName=optional\n"
            "commonName=optional\n")
        return self.path(f"{name}.pem")

    def make(self, name, ca, san=None, subject=None, ext="", days=("-days", "30")):
        """(certificate, key); ext: further lines of extensions."""
        key, request, cert, file = self.key(name), self.path(f"{name}.csr"), self.path(f"{name}.pem"), self.path(f"{name}.ext")
        openssl("req", "-new", "-key", key, "-out", request, "-subj", subject or f"/CN={name}")
        file.write_text((f"subjectAltName={san}\n" if san else "") + ext)
        openssl("ca", "-batch", "-notext", "-config", self.path(f"{ca}.cnf"), "-in", request, "-out", cert, "-extfile", file, *days)
        return cert, key

    def server(self, name, ca, san):
        return self.make(name, ca, san, ext="extendedKeyUsage=serverAuth\n")

    def client(self, name, ca, san=None, **more):
        return self.make(name, ca, san, ext="extendedKeyUsage=clientAuth\n", **more)

    def self_signed(self, name):
        key = self.key(name)
        openssl("req", "-x509", "-new", "-key", key, "-out", self.path(f"{name}.pem"), "-subj", f"/CN={name}", "-days", "30")
        return self.path(f"{name}.pem"), key

    def revoke(self, ca, cert=None):
        """The authority's list, with the certificate in it."""
        if cert:
            openssl("ca", "-config", self.path(f"{ca}.cnf"), "-revoke", cert)
        openssl("ca", "-config", self.path(f"{ca}.cnf"), "-gencrl", "-out", self.path(f"{ca}.crl"))
        return self.path(f"{ca}.crl")


def der(cert):
    return openssl("x509", "-in", cert, "-outform", "der")


def thumbprint(cert):
    """x5t#S256 of RFC 8705."""
    return base64.urlsafe_b64encode(hashlib.sha256(der(cert)).digest()).decode().rstrip("=")


class Refused(Exception):
    """The handshake, or the connection right after it, was refused."""


def context(cert=None, version=None, alpn=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    if cert:
        c.load_cert_chain(*map(str, cert))
    if version:
        c.minimum_version = c.maximum_version = version
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


class Client:
    """One TLS connection to a port of this machine, kept alive."""

    def __init__(self, port, server_name, cert=None, version=None, session=None, tls=None):
        self.name = server_name
        raw = socket.create_connection(("127.0.0.1", port), 10 * SLOW)
        try:
            self.socket = (tls or context(cert, version)).wrap_socket(raw, server_hostname=server_name, session=session)
        except (ssl.SSLError, ConnectionError) as why:
            raw.close()
            raise Refused(str(why)) from None
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def call(self, method, path, body=b"", host=None, headers=()):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or self.name}", *(f"{k}: {v}" for k, v in dict(headers).items())]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        try:
            self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            status = self.file.readline()
        except (ssl.SSLError, ConnectionError) as why:
            raise Refused(str(why)) from None
        if not status:
            raise Refused("closed")
        fields = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            fields[name.title()] = value.strip()
        return Reply(int(status.split()[1]), Fields(fields), self.file.read(int(fields.get("Content-Length", 0))))


class Fields(dict):
    def get(self, name, default=None):
        return super().get(name.title(), default)


def ask(port, server_name, path, cert=None, method="GET", body=b"", **more):
    with Client(port, server_name, cert, more.pop("version", None)) as c:
        return c.call(method, path, body, **more)
