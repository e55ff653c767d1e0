/*
 * One outbound transfer, HTTP or mail, from submission to callback.
 *
 *   queued (any thread, under the lock) -> running (client's thread, in libcurl's multi handle) -> done: the callback
 *   runs, the job is freed.
 *
 * The client's thread is the only one that touches libcurl handles after set-up.
 */
#ifndef NEXUS_TRANSFER_TRANSFER_H
#define NEXUS_TRANSFER_TRANSFER_H

#include <curl/curl.h>
#include <nexus/client.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "runtime/loop.h"
#include "transfer/guard.h"

struct nexus_reply {
    const nexus_alloc *alloc;
    nexus__buf head, body; /* head: field lines of the last response, CRLF kept */
    uint16_t status;
    uint32_t ms;
};

typedef struct nexus__transfer {
    nexus__list node;
    nexus_client *client;
    const nexus_alloc *alloc; /* the client's; it may be gone when a posted callback ends */
    CURL *easy;
    struct curl_slist *list; /* header fields, or recipients */
    struct curl_slist *connect_to; /* one entry, or NULL */
    nexus__buf body;         /* what is sent */
    size_t sent;
    bool mail, guard, refused; /* refused: the guard said no */
    bool connected;
    bool here; /* the callback wants no detour over a loop */
    char error[CURL_ERROR_SIZE];
    char refused_address[64];
    nexus_reply *reply; /* HTTP */
    bool quit;          /* we have said goodbye */
    nexus_mail_report report;
    nexus_fetch_fn *fetch_done;
    nexus_mail_fn *mail_done;
    void *user_data;
    nexus__task task;    /* posted to the loop, when callbacks run there */
    nexus_status status; /* filled when done, for callbacks that are posted to a loop */
    char message[512];
} nexus__transfer;

struct nexus_client {
    const nexus_alloc *alloc;
    struct nexus_runtime *runtime;
    nexus__guard guard;
    char *user_agent, *ca_file;
    bool insecure;
    uint32_t queue_max;
    CURLM *multi;
    pthread_t thread;
    struct {
        pthread_mutex_t mutex;
        nexus__list queue;
        pthread_cond_t idle;
        uint32_t posted; /* callbacks on their way over a loop */
        bool closing;
    } locked;
    atomic_uint refs; /* the handle, the thread, and each posted callback: the last one frees */
    atomic_uint_fast32_t pending;
    struct {
        nexus__list running;
    } on_thread;
};

/* Makes a job of a request, everything copied. */
nexus_status nexus__transfer_fetch(nexus__transfer **out, nexus_client *client,
                                   const nexus_fetch *fetch) NEXUS_MUST_CHECK;
nexus_status nexus__transfer_mail(nexus__transfer **out, nexus_client *client, const nexus_mail *mail) NEXUS_MUST_CHECK;
nexus_status nexus__transfer_new(nexus__transfer **out, nexus_client *client) NEXUS_MUST_CHECK; /* common part */
void nexus__transfer_free(nexus__transfer *t);

/* What libcurl's result means; sets the message, and the report of a mail. */
nexus_status nexus__fetch_result(nexus__transfer *t, CURLcode code);
nexus_status nexus__mail_result(nexus__transfer *t, CURLcode code);

void nexus__client_unref(nexus_client *client);

/* Queues it; done runs exactly once when this returns NEXUS_OK. Takes the job in any case. */
nexus_status nexus__client_submit(nexus__transfer *t) NEXUS_MUST_CHECK;

#endif
