"""Who is measured by gateway.py, and how each is configured: one worker each, keep-alive on both sides, no access log
unless the variant is `log`. Every function writes what it needs into a folder and returns (command, environment)."""
import json
import os
import resource

import cpu

ROOT = os.getuid() == 0
CONNECTIONS = min(30000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100) // 2)


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


class Peers:
    """variant: plain, log (access log to a file), tls (TLS 1.3 to the client), h2 (HTTP/2 in clear text)."""

    def __init__(self, folder, build, up, jwks, cert, key):
        self.folder, self.build, self.up, self.jwks, self.cert, self.key = folder, build, up, jwks, cert, key
        self.count = 0

    def path(self, name):
        self.count += 1
        return f"{self.folder}/{self.count}-{name}"

    def start(self, name, variant="plain", **more):
        """A running cpu.Program, or None when it is not installed or has no such variant."""
        port = base_port() if name.startswith("nexus") else cpu.free_port()
        command = getattr(self, name.split("-")[0])(port, variant, **more)
        if not command or not cpu.have(command[0][0]):
            return None
        program = cpu.Program(command[0], port, 0, command[1])
        program.tls = variant == "tls"
        return program

    # --- ours -----------------------------------------------------------------------------------

    def nexus(self, port, variant, routes=None, env=None):
        binary = f"{self.build}/servers/gateway/nexus-gateway"
        if not os.path.exists(binary):
            binary = f"{self.build}/servers/nexus-gateway"
        app = {"targets": [f"http://127.0.0.1:{self.up}"], "pool": {"idle_max": 1024}}
        state = self.path("state")
        os.mkdir(state, 0o700)
        settings = {"NEXUS_ENV": "development", "NEXUS_PORT_BASE": str(port), "NEXUS_STATE_DIR": state, "NEXUS_LOOPS": "1",
                    "NEXUS_TRUSTED_PROXIES": "none", "NEXUS_JWKS_URL": f"{self.jwks}/jwks.json", "NEXUS_ISSUER": self.jwks,
                    "NEXUS_CONNECTIONS_MAX": "50000",
                    "NEXUS_ACCESS_LOG": f"{state}/access.log" if variant == "log" else "off",
                    "NEXUS_GATEWAY_ROUTES": write(f"{state}/routes.json", json.dumps(
                        {"version": 1, "upstreams": {"app": app},
                         "routes": routes or [{"id": "all", "prefix": "/", "upstream": "app"}]}))}
        if variant == "tls":
            settings.update(NEXUS_TLS_CERT=self.cert, NEXUS_TLS_KEY=self.key)
        return [binary], {**settings, **(env or {})}

    def epoll(self, port, variant):
        return ([f"{self.build}/tests/bench/epoll-proxy", str(port), str(self.up)], {}) if variant == "plain" else None

    # --- others ---------------------------------------------------------------------------------

    def nginx(self, port, variant):
        name = os.path.basename(self.path("nginx"))
        log = f"access_log {self.folder}/{name}.access;" if variant == "log" else ""
        listen = {"tls": " ssl", "h2": " http2"}.get(variant, "")
        tls = (f"ssl_certificate {self.cert}; ssl_certificate_key {self.key}; ssl_protocols TLSv1.3;"
               f" ssl_session_cache shared:s:10m;") if variant == "tls" else ""
        inside = (f"{log} client_max_body_size 100m; proxy_request_buffering off; proxy_max_temp_file_size 0;\n"
                  f" upstream u {{ server 127.0.0.1:{self.up}; keepalive 1024; keepalive_requests 100000000; }}\n"
                  f" server {{ listen 127.0.0.1:{port}{listen}; {tls} location / {{ proxy_pass http://u;"
                  f' proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
                  f" proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id;"
                  f" }} }}")
        text = cpu.NGINX.format(dir=self.folder, name=name, inside=inside)
        if variant == "log":
            text = text.replace("access_log off; ", "")
        return ["nginx", "-c", write(f"{self.folder}/{name}.conf", text)], {}

    def haproxy(self, port, variant):
        pem = write(self.path("haproxy.pem"), open(self.cert).read() + open(self.key).read())
        bind = {"tls": f" ssl crt {pem} ssl-min-ver TLSv1.3", "h2": " proto h2"}.get(variant, "")
        if variant == "log":
            return None
        return ["haproxy", "-db", "-f", write(self.path("haproxy.cfg"), cpu.HAPROXY.replace("maxconn 8000", f"maxconn {CONNECTIONS}") + (
            f"frontend f\n  bind 127.0.0.1:{port}{bind}\n  option forwardfor\n  default_backend b\n"
            f"backend b\n  server s1 127.0.0.1:{self.up} pool-max-conn 1024\n"))], {}

    def h2o(self, port, variant):
        if variant == "log":
            return None
        tls = f", ssl: {{certificate-file: {self.cert}, key-file: {self.key}, minimum-version: TLSv1.3}}" if variant == "tls" else ""
        user = "user: root\n" if ROOT else ""
        name = self.path("h2o")
        return ["h2o", "-c", write(f"{name}.conf", (
            f"num-threads: 1\n{user}max-connections: 30000\npid-file: {name}.pid\nerror-log: {name}.err\nhosts:\n  default:\n"
            f"    listen: {{host: 127.0.0.1, port: {port}{tls}}}\n    paths:\n      /:\n"
            f'        proxy.reverse.url: "http://127.0.0.1:{self.up}/"\n        proxy.timeout.keepalive: 60000\n'
            f"        proxy.preserve-host: ON\n"))], {}

    def nghttpx(self, port, variant):
        if variant != "h2":
            return None
        return ["nghttpx", f"--frontend=127.0.0.1,{port};no-tls", f"--backend=127.0.0.1,{self.up}", "--workers=1",
                "--accesslog-file=/dev/null", f"--errorlog-file={self.path('nghttpx.err')}", "--no-ocsp",
                "--backend-connections-per-host=256"], {}

    # --- static replies over HTTP/2 -------------------------------------------------------------

    def static(self, port, variant):
        return [f"{self.build}/tests/bench/bench-http", str(port)], {}

    def nghttpd(self, port, variant):
        root = self.path("www")
        os.mkdir(root)
        write(f"{root}/index.html", cpu.BODY[128])
        return ["nghttpd", "--no-tls", "-n1", "-d", root, str(port)], {}


def base_port():
    """A port with +10 free too: the gateway's admin API."""
    import random
    import socket
    while True:
        base = random.randrange(10000, 32000, 16)
        try:
            for port in (base, base + 10):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
