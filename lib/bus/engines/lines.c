#include "bus/engines/lines.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"

#define SILENCE_NS (3 * NEXUS__NS_PER_S)

enum { KIND_BYTES = 1, KIND_BEAT = 2, KIND_BYE = 3 };

typedef struct note { /* in front of the bytes */
    uint32_t kind, reserved;
    uint64_t number; /* of the messages with bytes, from 1 */
    uint64_t taken;  /* bytes of the other direction that have reached their end */
} note;

/* --- lines ---------------------------------------------------------------------------------------------------------- */

static nexus__line *named(nexus__lines *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->at[i].name, name) == 0)
            return &l->at[i];
    return NULL;
}

bool nexus__lines_add(nexus__lines *l, const char *name, int *far)
{
    int pair[2];
    if (l->count == NEXUS__LINES_MAX || strlen(name) >= NEXUS__LINE_NAME_MAX ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    nexus__line *line = &l->at[l->count++];
    *line = (nexus__line){.fd = pair[0], .id = l->next_id++, .heard_ns = nexus__mono_ns()};
    snprintf(line->name, sizeof line->name, "%s", name);
    nexus__buf_init(&line->out, l->alloc, 0);
    *far = pair[1];
    return true;
}

static void end(nexus__lines *l, nexus__line *line)
{
    shutdown(line->fd, SHUT_RDWR);
    close(line->fd);
    nexus__buf_free(&line->out);
    *line = l->at[--l->count];
}

static void sweep_lines(nexus__lines *l)
{
    for (size_t i = l->count; i-- > 0;)
        if (l->at[i].over)
            end(l, &l->at[i]);
}

/* --- sending -------------------------------------------------------------------------------------------------------- */

static void send_note(nexus__lines *l, nexus__line *line, uint32_t kind, nexus_slice bytes)
{
    nexus__buf message;
    note n = {.kind = kind, .number = line->sent_number + (kind == KIND_BYTES), .taken = line->taken};
    nexus__buf_init(&message, l->alloc, 0);
    nexus__buf_append(&message, &n, sizeof n);
    nexus__buf_slice_append(&message, bytes);
    bool sent = message.status == NEXUS_OK && l->send(l->user_data, line, nexus__buf_slice(&message));
    nexus__buf_free(&message);
    if (!sent) {
        line->over = true;
        return;
    }
    line->told = line->taken;
    line->sent_number = n.number;
    line->sent += bytes.n;
}

/* What the far end has written goes out, some at a time. */
static void pull(nexus__lines *l, nexus__line *line)
{
    nexus__buf bytes;
    nexus__buf_init(&bytes, l->alloc, 0);
    char *at = nexus__buf_reserve(&bytes, l->chunk);
    ssize_t n = at ? recv(line->fd, at, l->chunk, MSG_DONTWAIT) : 0;
    if (n > 0) {
        send_note(l, line, KIND_BYTES, nexus__slice(at, (size_t)n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        send_note(l, line, KIND_BYE, NEXUS_S(""));
        line->over = true;
    }
    nexus__buf_free(&bytes);
}

static void push(nexus__lines *l, nexus__line *line)
{
    while (line->out.len) {
        ssize_t n = send(line->fd, line->out.p, line->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            line->over |= errno != EAGAIN;
            break;
        }
        line->taken += (uint64_t)n;
        nexus__buf_consume(&line->out, (size_t)n);
    }
    if (!line->over && line->taken - line->told >= l->window / 4)
        send_note(l, line, KIND_BEAT, NEXUS_S(""));
}

static size_t poll_lines(const nexus__lines *l, struct pollfd *fds)
{
    for (size_t i = 0; i < l->count; i++) {
        const nexus__line *line = &l->at[i];
        bool room = line->sent - line->taken_there + l->chunk <= l->window;
        fds[i] = (struct pollfd){.fd = line->fd,
                                 .events = (short)((room ? POLLIN : 0) | (line->out.len ? POLLOUT : 0))};
    }
    return l->count;
}

static void move_lines(nexus__lines *l, const struct pollfd *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fds[i].revents & POLLOUT)
            push(l, &l->at[i]);
        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
            pull(l, &l->at[i]);
    }
}

/* --- receiving ------------------------------------------------------------------------------------------------------ */

static void on_bytes(nexus__lines *l, nexus__line *line, const note *n, nexus_slice bytes)
{
    if (n->number != line->got_number + 1 || line->out.len + bytes.n > l->window) { /* lost on the way, or no peer of ours */
        send_note(l, line, KIND_BYE, NEXUS_S(""));
        line->over = true;
        return;
    }
    line->got_number++;
    nexus__buf_slice_append(&line->out, bytes);
    line->over |= line->out.status != NEXUS_OK;
    push(l, line);
}

/* A client that we do not know: a new one, or one whose line has ended here. */
static nexus__line *line_of_stranger(nexus__lines *l, const char *name, const note *n)
{
    int far;
    bool fresh = n->kind == KIND_BYTES && n->number == 1;
    if (fresh && nexus__lines_add(l, name, &far)) {
        nexus__bus_server_welcome(l->server, far);
        return &l->at[l->count - 1];
    }
    if (n->kind != KIND_BYE) {
        nexus__line nobody = {.fd = -1, .id = l->next_id++};
        snprintf(nobody.name, sizeof nobody.name, "%s", name);
        send_note(l, &nobody, KIND_BYE, NEXUS_S(""));
    }
    return NULL;
}

void nexus__lines_receive(nexus__lines *l, const char *name, nexus_slice message)
{
    note n;
    if (message.n < sizeof n)
        return;
    memcpy(&n, message.p, sizeof n);
    nexus__line *line = !l->server ? (l->count ? &l->at[0] : NULL) : named(l, name);
    if (!line && l->server)
        line = line_of_stranger(l, name, &n);
    if (!line || line->over)
        return;
    line->heard_ns = nexus__mono_ns();
    if (n.taken > line->taken_there && n.taken <= line->sent)
        line->taken_there = n.taken;
    if (n.kind == KIND_BYTES)
        on_bytes(l, line, &n, nexus__slice_from(message, sizeof n));
    else if (n.kind == KIND_BYE || n.number != line->got_number) /* the last ones were lost */
        line->over = true;
}

void nexus__lines_nobody(nexus__lines *l, uint64_t id)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->at[i].id == id)
            l->at[i].over = true;
}

/* --- over time ------------------------------------------------------------------------------------------------------ */

static void beat_lines(nexus__lines *l, int64_t now_ns)
{
    if (now_ns - l->beat_ns < NEXUS__LINES_BEAT_MS * NEXUS__NS_PER_MS)
        return;
    l->beat_ns = now_ns;
    for (size_t i = 0; i < l->count; i++) {
        nexus__line *line = &l->at[i];
        if (now_ns - line->heard_ns > SILENCE_NS)
            line->over = true;
        else if (!line->over)
            send_note(l, line, KIND_BEAT, NEXUS_S(""));
    }
}

void nexus__lines_hang_up(nexus__lines *l, bool say_so)
{
    for (size_t i = 0; i < l->count && say_so; i++)
        send_note(l, &l->at[i], KIND_BYE, NEXUS_S(""));
    while (l->count)
        end(l, &l->at[0]);
}

/* --- a turn --------------------------------------------------------------------------------------------------------- */

void nexus__lines_turn(nexus__lines *l, int wake_fd, int more_fd, void (*hear)(void *user_data))
{
    struct pollfd fds[NEXUS__LINES_MAX + 2];
    uint64_t times;
    size_t n = poll_lines(l, fds);
    fds[n] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
    fds[n + 1] = (struct pollfd){.fd = more_fd, .events = POLLIN};
    poll(fds, n + 2, NEXUS__LINES_BEAT_MS);
    if (fds[n].revents & POLLIN && read(wake_fd, &times, sizeof times) < 0)
        times = 0; /* somebody else's turn took it */
    move_lines(l, fds, n);
    sweep_lines(l);
    hear(l->user_data);
    beat_lines(l, nexus__mono_ns());
    sweep_lines(l);
}
