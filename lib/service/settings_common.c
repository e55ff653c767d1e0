/* What every server can be told. */
#include "service/settings.h"

static const nexus_setting rows[] = {
    {"env", NEXUS_SETTING_CHOICE, "production", 0, 0, "production,development",
     "Development binds 127.0.0.1 and opens the inspection pages; production refuses sample secrets. --dev "
     "is the same "
     "as --env=development."},
    {"port_base", NEXUS_SETTING_INT, "3000", 0, 65500, NULL,
     "Services listen on this port +0 (gateway) to +5 (copilot). 0: any free ports, for tests."},
    {"bind", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Address to listen on; unset: 127.0.0.1 in development, 0.0.0.0 in production."},
    {"state_dir", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Where databases, the bus, keys and secrets live; unset: ./var in the repository, else "
     "$XDG_STATE_HOME/nexus."},
    {"log_level", NEXUS_SETTING_CHOICE, "info", 0, 0, "trace,debug,info,warn,error,fatal,off",
     "Records below this level are not written."},
    {"log_format", NEXUS_SETTING_CHOICE, "auto", 0, 0, "auto,json,logfmt", "auto: logfmt on a terminal, else JSON."},
    {"log_file", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "Appends the log to this file too; unset: standard error only."},
    {"database_url", NEXUS_SETTING_URL, NULL, 0, 0, "sqlite,postgresql,postgres",
     "SQL database; unset: sqlite:$STATE/<service>.db. On PostgreSQL each service has a schema of its own."},
    {"redis_url", NEXUS_SETTING_URL, NULL, 0, 0, "memory,redis", "Cache and shared limits; unset: memory."},
    {"bus_url", NEXUS_SETTING_URL, NULL, 0, 0, "file,memory,sqlite,postgresql,postgres,redis,nats,kafka",
     "Event bus; unset: file:$STATE/bus. On PostgreSQL url#NAME names the schema, on Redis the keys, on NATS the streams, on "
     "Kafka the topics; nexus_bus when left out."},
    {"bus_retention_hours", NEXUS_SETTING_INT, "0", 0, 1000000, NULL,
     "Files of the event log all of whose events are older may go; 0: kept for ever. For the process that owns a bus of "
     "files, or on SQLite, PostgreSQL or Redis, where a file is 8 MiB of the log."},
    {"bus_retention_mib", NEXUS_SETTING_INT, "0", 0, 1000000000, NULL,
     "The oldest files of the event log may go when there are more MiB of them; 0: kept for ever."},
    {"bus_retention_hard", NEXUS_SETTING_BOOL, "false", 0, 0, NULL,
     "They go although a group has not passed them: it gets an event nexus.gap instead. Otherwise they wait for it."},
    {"bus_compact_types", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Types of events, patterns parted by commas, of which the event log keeps the last one of each key. For the process that "
     "owns a bus of files."},
    {"bus_tombstone_hours", NEXUS_SETTING_INT, "24", 1, 100000, NULL,
     "A last event without data stays so long; then nothing of its key is left."},
    {"bus_shred_types", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "Types of events, patterns parted by commas, whose data is stored sealed with a key of the subject, which can be deleted. "
     "For every process that publishes them."},
    {"bus_durability", NEXUS_SETTING_CHOICE, "always", 0, 0, "always,interval,os",
     "When a publish is answered: when it is on the disk, or at once; then a power cut can take the end of the log. The owner "
     "gives it to all; a client that asks for more is refused."},
    {"bus_durability_ms", NEXUS_SETTING_INT, "100", 1, 3600000, NULL,
     "With bus_durability interval: on the disk within so many ms."},
    {"issuer", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Issuer of access tokens; unset: http://127.0.0.1:PORT of the gateway."},
    {"jwks_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Where the keys that verify tokens are published; unset: the backend on this machine."},
    {"roles_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Where the backend gives out what roles allow, with the bearer of $STATE/admin.token; unset: on this machine."},
    {"outbound_allow", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "CIDRs, parted by commas, that addresses given by users may reach although they are private."},
    {"trusted_proxies", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "CIDRs, parted by commas, of the proxies whose X-Forwarded-For, Forwarded and X-Request-Id are believed; none: "
     "nobody. Unset: this machine in development, nobody in production."},
    {"proxy_protocol", NEXUS_SETTING_BOOL, "false", 0, 0, NULL,
     "Connections from trusted_proxies begin with a header of the PROXY protocol, version 2, that names the client; from "
     "others it earns nothing."},
    {"http2", NEXUS_SETTING_BOOL, "true", 0, 0, NULL,
     "HTTP/2 is spoken: over TLS by ALPN, else with clients that begin with its preface."},
    {"http2_streams_max", NEXUS_SETTING_INT, "100", 1, 10000, NULL, "Requests at a time on a connection of HTTP/2."},
    {"http2_resets_max", NEXUS_SETTING_INT, "100", 1, 1000000, NULL,
     "Requests that a client of HTTP/2 may reset, or make the server reset, in 30 s; then the connection ends."},
    {"secrets_kek", NEXUS_SETTING_SECRET, NULL, 0, 0, NULL,
     "Keys that wrap the data keys of $STATE/*.key, base64url of 32 bytes each, separated by commas: the first wraps, all "
     "unwrap. Unset: the files hold one in clear."},
    {"write_key", NEXUS_SETTING_SECRET, NULL, 0, 0, NULL,
     "Key that ingestion asks for; unset: $STATE/write.key, made at the first start."},
    {"access_log", NEXUS_SETTING_TEXT, "log", 0, 0, NULL,
     "Where a line for each request goes: log (among the other lines), off, or a file of its own."},
    {"access_log_sample", NEXUS_SETTING_DOUBLE, "1", 0, 0, NULL,
     "Share of the requests that get a line, 0 to 1, chosen by trace; statuses from 400 on always do."},
    {"otlp_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "OpenTelemetry receiver that spans are sent to (OTLP over HTTP, JSON); without a path /v1/traces is added. Unset: "
     "none."},
    {"otlp_sample", NEXUS_SETTING_DOUBLE, "1", 0, 0, NULL,
     "Share of the traces that begin here and are sampled, 0 to 1; others bring the decision in traceparent."},
    {"sentry_dsn", NEXUS_SETTING_URL, NULL, 0, 0, "http,https", "Error reports; not built yet: setting it is refused."},
    {"drain_ms", NEXUS_SETTING_INT, "10000", 0, 600000, NULL,
     "Time that running requests get to finish when the process is asked to end."},
    {"head_timeout_ms", NEXUS_SETTING_INT, "10000", 100, 600000, NULL,
     "Time for the head of a request from its first byte; then 408."},
    {"body_window_ms", NEXUS_SETTING_INT, "5000", 100, 600000, NULL,
     "A body that brings less than 1 KiB/s over such a time is answered with 408."},
    {"idle_timeout_ms", NEXUS_SETTING_INT, "60000", 100, 3600000, NULL,
     "Time that a connection may rest between requests, or a reply may make no progress."},
    {"connections_max", NEXUS_SETTING_INT, "10000", 1, 10000000, NULL,
     "Connections at a time; further ones wait in the listen queue."},
    {"memory_max_mib", NEXUS_SETTING_INT, "1024", 16, 1048576, NULL,
     "Memory of a process for connections, requests and what is buffered of them. From 80 % on connections end after "
     "their answer, from 90 % requests are 503, from 95 % nothing is accepted."},
    {"loops", NEXUS_SETTING_INT, "0", 0, 256, NULL, "Event loops; 0: one for each core."},
    {"workers", NEXUS_SETTING_INT, "0", 0, 1024, NULL, "Threads for handlers that block; 0: 8."},
    {"tls_cert", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "PEM file of the certificate chain; unset: plain HTTP."},
    {"tls_key", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "PEM file of the private key that belongs to tls_cert."},
    {"tls_client_cert", NEXUS_SETTING_CHOICE, "off", 0, 0, "off,optional,required,any",
     "What TLS clients are asked for: a certificate of tls_client_ca, if they have one or in any case; or any, verified or "
     "not. Needs tls_cert."},
    {"tls_client_ca", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL, "PEM file of the authorities whose clients are good."},
    {"tls_client_crl", NEXUS_SETTING_TEXT, NULL, 0, 0, NULL,
     "PEM file of what they have revoked: a current list for each authority, else nobody passes. Unset: not checked."},
    {"client_cert_header", NEXUS_SETTING_BOOL, "false", 0, 0, NULL,
     "Client-Cert and Client-Cert-Chain (RFC 9440) of trusted_proxies are believed. The proxies must take out what clients send "
     "under these names, as the gateway does."},
    {"tls_in_front", NEXUS_SETTING_BOOL, "false", 0, 0, NULL,
     "Something in front of the service ends TLS. Outside development what has the administration starts without TLS only on "
     "a loopback address, or when this is said."},
};

const nexus_settings_table nexus__settings_common = {"common", rows, sizeof rows / sizeof rows[0]};
