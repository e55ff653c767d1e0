"""Which room stands on which floor, which public headers belong to it, and who alone may include a third party.

docs/architecture.md tells the same in words; test_layers.py holds the code against this table.
"""

ROOMS = {  # room: (floor, public headers)
    "base": (0, ["common", "status", "version", "alloc", "id", "time"]),
    "regex": (0, []),
    "crypto": (1, []),
    "json": (1, ["json", "schema"]),
    "runtime": (1, ["runtime", "sys/libevent"]),
    "router": (1, ["router"]),
    "limit": (1, ["limit"]),
    "template": (2, ["template"]),
    "observe": (2, ["log", "metrics", "trace"]),
    "wal": (3, []),
    "transfer": (3, ["client"]),
    "http": (3, ["http"]),
    "store": (3, ["db", "cache"]),
    "openapi": (4, ["openapi"]),
    "auth": (4, ["auth", "jwt", "verifier", "rbac", "apikey", "oauth", "oidc", "introspector", "audit", "secret", "roles"]),
    "bus": (4, ["event", "bus", "stream", "contract", "replay", "aggregate", "projection"]),
    "saga": (5, ["saga"]),
    "gateway": (5, ["gateway", "middleware"]),
    "ingest": (5, ["ingest", "analytics"]),
    "notify": (5, ["notify", "webhook"]),
    "service": (6, ["service", "settings"]),
}

# Rooms of one floor that may not know another room, although its floor would allow it.
FORBIDDEN = {
    "auth": {"http"},
    "bus": {"http"},
    "ingest": {"http"},
    "notify": {"http"},
}

# Third-party header (prefix): the only files or folders under lib/ that may include it.
THIRD_PARTY = {
    "openssl/": ["crypto/", "http/tls.c", "http/tls_client.c", "http/tls_clients.c",
                 "http/tls_private.h"],  # TLS of servers, and to upstreams
    "argon2.h": ["crypto/"],
    "sodium.h": ["crypto/"],
    "jansson.h": ["json/"],
    "event2/": ["runtime/"],
    "ares.h": ["runtime/"],
    "curl/": ["transfer/"],
    "nghttp2/": ["http/"],
    "sqlite3.h": ["store/"],
    "libpq-fe.h": ["store/"],
    "hiredis/": ["store/"],
    "librdkafka/": ["bus/"],
    "nats/": ["bus/"],
    "nats.h": ["bus/"],
    "zlib.h": ["gateway/coding.c", "ingest/inflate.c"],
}
