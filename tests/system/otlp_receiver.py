"""An OpenTelemetry receiver that keeps what it gets: OTLP over HTTP in its JSON encoding."""
import http.server
import json
import threading


class Receiver:
    def __init__(self, statuses=()):
        """statuses: what the first messages are answered with; 200 afterwards"""
        self.messages, self.paths, self.statuses = [], [], list(statuses)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.statuses.pop(0) if outer.statuses else 200
                outer.paths.append((self.path, self.headers["Content-Type"]))
                if status == 200:
                    outer.messages.append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def spans(self, trace=None):
        """Every span, its attributes as a dict under "attrs" and the service that sent it under "service"."""
        out = []
        for message in list(self.messages):
            for resource in message["resourceSpans"]:
                service = values(resource["resource"]["attributes"])["service.name"]
                for scope in resource["scopeSpans"]:
                    out += [{**span, "attrs": values(span["attributes"]), "service": service} for span in scope["spans"]]
        return [s for s in out if trace in (None, s["traceId"])]


def values(attributes):
    kinds = {"stringValue": str, "intValue": int, "doubleValue": float, "boolValue": bool}
    return {a["key"]: kinds[kind](value) for a in attributes for kind, value in a["value"].items()}
