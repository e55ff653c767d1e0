/*
 * Outbound HTTP and mail, through libcurl. One client per process is enough: it keeps connections, and any thread may
 * use it. Each client has one thread of its own, on which transfers run side by side.
 */
#ifndef NEXUS_CLIENT_H
#define NEXUS_CLIENT_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_runtime;

typedef struct nexus_client nexus_client;
typedef struct nexus_reply nexus_reply;

typedef struct nexus_client_opts {
    size_t size;              /**< sizeof(nexus_client_opts) */
    const nexus_alloc *alloc; /**< NULL = the C library's */
    const char *allow_cidrs;  /**< "127.0.0.0/8, fd00::/8": what guarded transfers may reach although it is private;
                                    NULL = nothing. Copied */
    const char *user_agent;   /**< NULL = "libnexus/VERSION"; copied */
    const char *ca_file;      /**< PEM bundle instead of the system's; NULL = the system's; copied */
    uint32_t connections_max; /**< at once; 0 = 256 */
    uint32_t host_connections_max; /**< at once to one host; 0 = 32 */
    uint32_t queue_max;            /**< transfers not finished; more get NEXUS_EAGAIN; 0 = 4096 */
    bool insecure;                 /**< certificates are not verified: tests and development only */
} nexus_client_opts;

#define NEXUS_CLIENT_OPTS_INIT NEXUS_SIZED(nexus_client_opts)
NEXUS_API void nexus_client_opts_init(nexus_client_opts *opts);

/**
 * Opens a client.
 * @param runtime callbacks of the async forms run on its loop 0 (borrowed until close); NULL = on the client's own
 *                thread, where they must not block
 */
NEXUS_API nexus_status nexus_client_open(nexus_client **out, struct nexus_runtime *runtime,
                                         const nexus_client_opts *opts) NEXUS_MUST_CHECK;
/** Cancels what is under way (its callbacks get NEXUS_ECANCELED) and waits for them, unless called from one. */
NEXUS_API void nexus_client_close(nexus_client *client);

/* --- HTTP ------------------------------------------------------------------------------------------------------- */

/** One request. Everything is borrowed for the call, also by the async form (which copies). */
typedef struct nexus_fetch {
    size_t size;        /**< sizeof(nexus_fetch) */
    const char *method; /**< NULL = GET, or POST with a body */
    nexus_slice url;    /**< http or https */
    const nexus_pair *headers;
    size_t header_count;
    nexus_slice body;
    uint32_t timeout_ms;         /**< for all of it; 0 = 15,000 */
    uint32_t connect_timeout_ms; /**< 0 = 2,000 */
    uint64_t reply_max_bytes;    /**< of the reply's body; 0 = 1 MiB */
    bool guard;                  /**< the address comes from a user: private, loopback, link-local and special
                                      addresses are refused (NEXUS_EPERM), whatever name leads there */
    bool follow;                 /**< follow up to 5 redirects; guarded each time; https never to http */
    bool http2;                  /**< offer HTTP/2 over TLS */
    bool http2_prior_knowledge;  /**< speak HTTP/2 at once, also without TLS (gRPC), on a connection of its own.
                                      Trailers are among the reply's headers */
    const char *ca_file;         /**< PEM authorities that the peer is verified with; NULL = the client's */
    const char *cert_file;       /**< PEM chain that we show, with key_file; NULL = none */
    const char *key_file;
    const char *connect_to; /**< "host:port" that is connected to, whatever the URL's host, which is verified; NULL = that
                                 host. Not with guard */
    bool insecure;          /**< the peer's certificate is not verified: for tests */
} nexus_fetch;

#define NEXUS_FETCH_INIT NEXUS_SIZED(nexus_fetch)
NEXUS_API void nexus_fetch_init(nexus_fetch *fetch);

/**
 * Sends the request and waits for the reply. Any reply, 404 and 500 included, is NEXUS_OK.
 * @return NEXUS_EUNREACH or NEXUS_ETIMEDOUT: nothing was sent. NEXUS_EUNKNOWN: it was sent, at least in part, and no
 *         whole reply came. NEXUS_EPERM: the guard refused the address. NEXUS_ETOOBIG: the reply is over
 *         reply_max_bytes. NEXUS_EAUTH: the peer's certificate does not verify. NEXUS_EINVAL: the URL or a header.
 *         NEXUS_EAGAIN: too many transfers. NEXUS_EDEADLK: on a loop thread or the client's own.
 */
NEXUS_API nexus_status nexus_client_fetch(nexus_client *client, const nexus_fetch *fetch,
                                          nexus_reply **out) NEXUS_MUST_CHECK;

/** status as nexus_client_fetch returns it (nexus_error_message() explains it); reply is the callee's to free, NULL
 * unless NEXUS_OK. */
typedef void nexus_fetch_fn(nexus_status status, nexus_reply *reply, void *user_data);

/** The same without waiting: done runs exactly once if this returns NEXUS_OK, never otherwise. */
NEXUS_API nexus_status nexus_client_fetch_async(nexus_client *client, const nexus_fetch *fetch, nexus_fetch_fn *done,
                                                void *user_data) NEXUS_MUST_CHECK;

NEXUS_API uint16_t nexus_reply_status(const nexus_reply *reply);
NEXUS_API void nexus_reply_body(const nexus_reply *reply, nexus_slice *out); /**< borrowed from the reply */
/** First field of that name (case does not matter), trimmed; false when absent. Borrowed from the reply. */
NEXUS_API bool nexus_reply_header(const nexus_reply *reply, const char *name, nexus_slice *out);
NEXUS_API uint32_t nexus_reply_ms(const nexus_reply *reply); /**< from start to last byte */
NEXUS_API void nexus_reply_free(nexus_reply *reply);

/**
 * Whether a user-given URL is one that guarded transfers may reach: http or https, a host that resolves, and only to
 * public addresses. Resolves, so it blocks (NEXUS_EDEADLK on a loop thread). The check at connect time stands anyway:
 * names can change what they point to.
 * @return NEXUS_EINVAL, NEXUS_EPERM or NEXUS_EUNREACH (the name does not resolve)
 */
NEXUS_API nexus_status nexus_client_check_url(nexus_client *client, nexus_slice url) NEXUS_MUST_CHECK;

/* --- mail ------------------------------------------------------------------------------------------------------- */

/** One message to one SMTP server. Borrowed for the call, also by the async form (which copies). */
typedef struct nexus_mail {
    size_t size;           /**< sizeof(nexus_mail) */
    nexus_slice url;       /**< smtp://[user:password@]host[:port] or smtps://…; STARTTLS is required with a user or
                                 when the host is not loopback, see plain */
    nexus_slice from;      /**< envelope sender, without "<>" */
    const nexus_slice *to; /**< envelope recipients */
    size_t to_count;
    nexus_slice message; /**< RFC 5322 text; lines end in CRLF (a bare LF is sent as CRLF), dots are escaped here */
    uint32_t timeout_ms; /**< for all of it; 0 = 30,000 */
    bool plain;          /**< send without TLS to a host that is not loopback */
} nexus_mail;

#define NEXUS_MAIL_INIT NEXUS_SIZED(nexus_mail)
NEXUS_API void nexus_mail_init(nexus_mail *mail);

/** How far a mail got. Up to NEXUS_MAIL_DATA nothing was handed over; at NEXUS_MAIL_FINAL without a code it is not
 * known. */
enum {
    NEXUS_MAIL_CONNECT = 0,
    NEXUS_MAIL_GREETING = 1, /**< connected: banner, EHLO, STARTTLS, AUTH */
    NEXUS_MAIL_ENVELOPE = 2, /**< MAIL FROM or RCPT TO */
    NEXUS_MAIL_DATA = 3,     /**< DATA, or the message before its final dot */
    NEXUS_MAIL_FINAL = 4     /**< the final dot was sent */
};

/** What the server said. */
typedef struct nexus_mail_report {
    size_t size;       /**< sizeof(nexus_mail_report) */
    uint32_t stage;    /**< NEXUS_MAIL_…: where it ended */
    uint16_t code;     /**< last reply code at that stage (250, 450, 550 …); 0 = none came */
    char enhanced[16]; /**< "5.1.1" (RFC 3463); "" without */
    char text[256];    /**< last reply line, or why there is none; no control bytes */
    uint32_t ms;       /**< time taken */
} nexus_mail_report;

/**
 * Hands a message to an SMTP server and waits for its word.
 * @param report filled always; its size member must be set
 * @return NEXUS_OK: accepted. NEXUS_EPERM: refused for good (5yz). NEXUS_EAGAIN: refused for now (4yz). NEXUS_EUNREACH,
 *         NEXUS_ETIMEDOUT, NEXUS_EAUTH: nothing was handed over. NEXUS_EUNKNOWN: lost after the final dot; it may have
 *         been delivered. NEXUS_EDEADLK as nexus_client_fetch.
 */
NEXUS_API nexus_status nexus_client_mail(nexus_client *client, const nexus_mail *mail,
                                         nexus_mail_report *report) NEXUS_MUST_CHECK;

/** report is borrowed for the call. */
typedef void nexus_mail_fn(nexus_status status, const nexus_mail_report *report, void *user_data);
NEXUS_API nexus_status nexus_client_mail_async(nexus_client *client, const nexus_mail *mail, nexus_mail_fn *done,
                                               void *user_data) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
