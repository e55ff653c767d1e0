/* The vocabulary: what can be measured, by what it can be split, how numbers are said. */
#include <stdlib.h>
#include <string.h>

#include "intent.h"

/* --- splitting ------------------------------------------------------------------------------- */

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c & 0x80) ||
           strchr("_./:-@%=", c) != NULL;
}

static void keep_word(copilot_words *w, const char *p, size_t n)
{
    while (n > 1 && strchr(".:-=", p[n - 1])) /* punctuation of the sentence; a lone "/" is a path */
        n--;
    if (n == 0 || n >= COPILOT_WORD_MAX || w->count == COPILOT_WORDS_MAX)
        return;
    memcpy(w->plain[w->count], p, n);
    w->plain[w->count][n] = '\0';
    for (size_t i = 0; i <= n; i++) {
        char c = w->plain[w->count][i];
        w->lower[w->count][i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    w->used[w->count++] = false;
}

void copilot_words_read(copilot_words *w, nexus_slice message)
{
    size_t start = 0;
    w->count = 0;
    for (size_t i = 0; i <= message.n; i++) {
        if (i < message.n && message.p[i] != '\0' && is_word_byte(message.p[i]))
            continue;
        keep_word(w, message.p + start, i - start);
        start = i + 1;
    }
}

bool copilot_word_in(const char *word, const char *alternatives)
{
    size_t n = strlen(word);
    for (const char *at = alternatives; *at;) {
        size_t len = strcspn(at, "|");
        if (len == n && memcmp(at, word, n) == 0)
            return true;
        at += len + (at[len] == '|');
    }
    return false;
}

int64_t copilot_number(const char *word)
{
    static const char *const names[] = {"zero",  "one",   "two",  "three", "four",   "five",  "six",
                                        "seven", "eight", "nine", "ten",   "eleven", "twelve"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(word, names[i]) == 0)
            return (int64_t)i;
    char *end;
    long long v = strtoll(word, &end, 10);
    return *word >= '0' && *word <= '9' && *end == '\0' && v < 1000000 ? v : -1;
}

static bool is_date(const char *word)
{
    size_t n = strlen(word);
    return (n == 10 && word[4] == '-' && word[7] == '-') || copilot_word_in(word, "today|yesterday");
}

static bool word_matches(const char *word, const char *token)
{
    if (strcmp(token, "*") == 0)
        return true;
    if (strcmp(token, "#") == 0)
        return copilot_number(word) >= 0;
    if (strcmp(token, "@") == 0)
        return is_date(word);
    return copilot_word_in(word, token);
}

static bool matches_at(const copilot_words *w, size_t at, const char *pattern, size_t *length)
{
    char token[256];
    size_t taken = 0;
    for (const char *p = pattern; *p; taken++) {
        size_t n = strcspn(p, " ");
        if (n >= sizeof token || at + taken >= w->count || w->used[at + taken])
            return false;
        memcpy(token, p, n);
        token[n] = '\0';
        if (!word_matches(w->lower[at + taken], token))
            return false;
        p += n + (p[n] == ' ');
    }
    *length = taken;
    return true;
}

int copilot_words_find(copilot_words *w, const char *pattern)
{
    size_t length;
    for (size_t at = 0; at < w->count; at++)
        if (matches_at(w, at, pattern, &length)) {
            for (size_t i = 0; i < length; i++)
                w->used[at + i] = true;
            return (int)at;
        }
    return -1;
}

/* --- metrics --------------------------------------------------------------------------------- */

#define ORDERS "order|orders|purchase|purchases"
#define PAYMENTS "payment|payments|charge|charges"

/* The row with most groups wins, then the earlier one. */
static const copilot_metric metrics[] = {
    {{ORDERS, "confirmed|confirm|completed|succeeded|successful|fulfilled"},
     "count",
     NULL,
     "order.confirmed",
     NULL,
     NULL,
     NULL,
     "orders were confirmed",
     false},
    {{ORDERS, "cancelled|canceled|cancel|failed|fail|rejected|aborted"},
     "count",
     NULL,
     "order.cancelled",
     NULL,
     NULL,
     NULL,
     "orders were cancelled",
     false},
    {{ORDERS, "average|mean|avg", "value|size|amount|worth"},
     "avg",
     "properties.amount",
     "payment.processed",
     "properties.status",
     "eq",
     "\"captured\"",
     "was the average captured payment",
     true},
    {{"aov"},
     "avg",
     "properties.amount",
     "payment.processed",
     "properties.status",
     "eq",
     "\"captured\"",
     "was the average captured payment",
     true},
    {{ORDERS}, "count", NULL, "order.created", NULL, NULL, NULL, "orders were placed", false},
    {{"largest|biggest|highest|maximum|max", PAYMENTS "|" ORDERS "|sale"},
     "max",
     "properties.amount",
     "payment.processed",
     "properties.status",
     "eq",
     "\"captured\"",
     "was the largest captured payment",
     true},
    {{"smallest|lowest|minimum|min", PAYMENTS "|" ORDERS "|sale"},
     "min",
     "properties.amount",
     "payment.processed",
     "properties.status",
     "eq",
     "\"captured\"",
     "was the smallest captured payment",
     true},
    {{"average|mean|avg", PAYMENTS "|sale"},
     "avg",
     "properties.amount",
     "payment.processed",
     "properties.status",
     "eq",
     "\"captured\"",
     "was the average captured payment",
     true},
    {{"revenue|sales|turnover|income|earnings|earned|earn|money"},
     "sum",
     "properties.amount",
     "payment.processed",
     "properties.status",
     "eq",
     "\"captured\"",
     "was taken in captured payments",
     true},
    {{PAYMENTS, "declined|decline|refused|failed|fail"},
     "count",
     NULL,
     "payment.processed",
     "properties.status",
     "eq",
     "\"declined\"",
     "payments were declined",
     false},
    {{PAYMENTS, "captured|successful|succeeded|paid|accepted"},
     "count",
     NULL,
     "payment.processed",
     "properties.status",
     "eq",
     "\"captured\"",
     "payments were captured",
     false},
    {{PAYMENTS, "timed|timeout|timeouts"},
     "count",
     NULL,
     "payment.processed",
     "properties.status",
     "eq",
     "\"timed_out\"",
     "payments timed out",
     false},
    {{PAYMENTS}, "count", NULL, "payment.processed", NULL, NULL, NULL, "payments were processed", false},
    {{"signup|signups|sign-up|sign-ups|registration|registrations|registered|register"},
     "count",
     NULL,
     "user.registered",
     NULL,
     NULL,
     NULL,
     "users registered",
     false},
    {{"sign|signed|signing", "up|ups"}, "count", NULL, "user.registered", NULL, NULL, NULL, "users registered", false},
    {{"new", "users|user|accounts|customers|customer|account"},
     "count",
     NULL,
     "user.registered",
     NULL,
     NULL,
     NULL,
     "users registered",
     false},
    {{"login|logins|log-ins|signin|signins|sign-ins"}, "count", NULL, "user.login", NULL, NULL, NULL, "logins happened", false},
    {{"logged|log|sign|signed", "in|ins"}, "count", NULL, "user.login", NULL, NULL, NULL, "logins happened", false},
    {{"logout|logouts"}, "count", NULL, "user.logout", NULL, NULL, NULL, "logouts happened", false},
    {{"logged|log|sign|signed", "out|outs"}, "count", NULL, "user.logout", NULL, NULL, NULL, "logouts happened", false},
    {{"password|passwords", "reset|resets|forgot|forgotten"},
     "count",
     NULL,
     "user.password_reset",
     NULL,
     NULL,
     NULL,
     "password resets were asked for",
     false},
    {{"notification|notifications|message|messages"},
     "count",
     NULL,
     "notification.sent",
     NULL,
     NULL,
     NULL,
     "notifications were sent",
     false},
    {{"email|emails|e-mail|e-mails|mail|mails"},
     "count",
     NULL,
     "notification.sent",
     "properties.channel",
     "eq",
     "\"email\"",
     "e-mails were sent",
     false},
    {{"webhook|webhooks"},
     "count",
     NULL,
     "notification.sent",
     "properties.channel",
     "eq",
     "\"webhook\"",
     "webhooks were sent",
     false},
    {{"alert|alerts|alarm|alarms"}, "count", NULL, "system.alert", NULL, NULL, NULL, "alerts were raised", false},
    {{"backup|backups"}, "count", NULL, "system.backup_completed", NULL, NULL, NULL, "backups completed", false},
    {{"health", "check|checks|change|changes"},
     "count",
     NULL,
     "system.health_check",
     NULL,
     NULL,
     NULL,
     "health changes were seen",
     false},
    {{"page|pages", "view|views|viewed|visit|visits|visited"},
     "count",
     NULL,
     "page_view",
     NULL,
     NULL,
     NULL,
     "page views were counted",
     false},
    {{"pageview|pageviews|page_view|page_views|views|hits|hit|visits|visit|requests|request"},
     "count",
     NULL,
     "page_view",
     NULL,
     NULL,
     NULL,
     "page views were counted",
     false},
    {{"server", "error|errors|failures"},
     "count",
     NULL,
     NULL,
     "properties.status",
     "gte",
     "500",
     "events had a status of 500 or more",
     false},
    {{"5xx|500s"}, "count", NULL, NULL, "properties.status", "gte", "500", "events had a status of 500 or more", false},
    {{"error|errors|failures"},
     "count",
     NULL,
     NULL,
     "properties.status",
     "gte",
     "400",
     "events had a status of 400 or more",
     false},
    {{"404|404s"}, "count", NULL, NULL, "properties.status", "eq", "404", "events had status 404", false},
    {{"not", "found"}, "count", NULL, NULL, "properties.status", "eq", "404", "events had status 404", false},
    {{"traffic|bandwidth|bytes|transferred|volume"},
     "sum",
     "properties.bytes",
     NULL,
     NULL,
     NULL,
     NULL,
     "bytes were transferred",
     false},
    {{"average|mean|avg", "response|page|reply", "size"},
     "avg",
     "properties.bytes",
     NULL,
     NULL,
     NULL,
     NULL,
     "bytes was the average size",
     false},
    {{"session|sessions"}, "uniques", "session_id", NULL, NULL, NULL, NULL, "sessions were seen", false},
    {{"user|users|visitor|visitors|people|customers|customer|uniques|who"},
     "uniques",
     "user",
     NULL,
     NULL,
     NULL,
     NULL,
     "different users were seen",
     false},
    {{"event|events|activity|happened|everything|data"}, "count", NULL, NULL, NULL, NULL, NULL, "events were counted", false},
};

static size_t groups_met(const copilot_metric *m, const copilot_words *w)
{
    size_t met = 0;
    for (; met < 3 && m->groups[met]; met++) {
        bool any = false;
        for (size_t i = 0; i < w->count && !any; i++)
            any = !w->used[i] && copilot_word_in(w->lower[i], m->groups[met]);
        if (!any)
            return 0;
    }
    return met;
}

const copilot_metric *copilot_metric_find(const copilot_words *w)
{
    const copilot_metric *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
        size_t met = groups_met(&metrics[i], w);
        if (met > most) {
            most = met;
            best = &metrics[i];
        }
    }
    return best;
}

/* --- dimensions ------------------------------------------------------------------------------ */

const char *copilot_dimension(const char *word, const char **noun, double *bucket)
{
    static const struct {
        const char *words, *field, *noun;
        double bucket;
    } rows[] = {
        {"page|pages|path|paths|url|urls|address|addresses|file|files", "properties.path", "path", 0},
        {"status|statuses|code|codes", "properties.status", "status", 0},
        {"class|classes", "properties.status", "status class", 100},
        {"method|methods|verb|verbs", "properties.method", "method", 0},
        {"referrer|referrers|referer|referers", "properties.referrer", "referrer", 0},
        {"browser|browsers|agent|agents", "properties.ua", "browser", 0},
        {"user|users|visitor|visitors|customer|customers", "user", "user", 0},
        {"event|events|type|types", "event", "event", 0},
        {"currency|currencies", "properties.currency", "currency", 0},
        {"country|countries", "properties.country", "country", 0},
        {"plan|plans", "properties.plan", "plan", 0},
        {"channel|channels", "properties.channel", "channel", 0},
        {"source|sources|service|services", "context.source", "source", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (copilot_word_in(word, rows[i].words)) {
            *noun = rows[i].noun;
            *bucket = rows[i].bucket;
            return rows[i].field;
        }
    return NULL;
}
