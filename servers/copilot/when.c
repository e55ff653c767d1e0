/* Phrases of time. Days are those of UTC. */
#include <stdio.h>
#include <string.h>

#include "intent.h"

#define DAY_MS 86400000ll

static int64_t days_from_civil(int64_t y, int64_t m, int64_t d) /* Hinnant's algorithm */
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t z, int64_t *y, int64_t *m, int64_t *d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = yoe + era * 400 + (*m <= 2);
}

static int64_t day_of(int64_t ms)
{
    return ms / DAY_MS - (ms % DAY_MS < 0);
}

static int64_t month_start(int64_t y, int64_t m) /* m may run past the year's ends */
{
    y += (m - 1) / 12;
    m = (m - 1) % 12 + 1;
    if (m < 1)
        y--, m += 12;
    return days_from_civil(y, m, 1) * DAY_MS;
}

/* 1..12, or 0. */
static int64_t month_of(const char *word)
{
    static const char *const names[] = {"january|jan",   "february|feb", "march|mar",    "april|apr",
                                        "may",           "june|jun",     "july|jul",     "august|aug",
                                        "september|sep", "october|oct",  "november|nov", "december|dec"};
    for (int64_t i = 0; i < 12; i++)
        if (copilot_word_in(word, names[i]))
            return i + 1;
    return 0;
}

/* The day a word names; false when it names none. */
static bool date_of(const char *word, int64_t now_ms, int64_t *ms)
{
    int y, m, d;
    char rest;
    if (strcmp(word, "today") == 0 || strcmp(word, "yesterday") == 0)
        *ms = (day_of(now_ms) - (word[0] == 'y')) * DAY_MS;
    else if (sscanf(word, "%4d-%2d-%2d%c", &y, &m, &d, &rest) == 3 && m >= 1 && m <= 12 && d >= 1 && d <= 31)
        *ms = days_from_civil(y, m, d) * DAY_MS;
    else
        return false;
    return true;
}

static void set(copilot_intent *in, int64_t from, int64_t to, const char *when)
{
    in->from_ms = from;
    in->to_ms = to;
    snprintf(in->when, sizeof in->when, "%s", when);
}

static const char months[] =
    "january|jan|february|feb|march|mar|april|apr|may|june|jun|july|jul|august|aug|september|sep|"
    "october|oct|november|nov|december|dec";

/* "May 17 2015", "17 May 2015", "May 2015": a day or a month by name. */
static bool read_named(copilot_intent *in, copilot_words *w, int64_t now_ms)
{
    char pattern[256], when[96];
    int at;
    int64_t y, m, d, from;
    snprintf(pattern, sizeof pattern, "%s # #", months);
    if ((at = copilot_words_find(w, pattern)) >= 0) {
        m = month_of(w->lower[at]), d = copilot_number(w->lower[at + 1]), y = copilot_number(w->lower[at + 2]);
    } else {
        snprintf(pattern, sizeof pattern, "# %s #", months);
        at = copilot_words_find(w, pattern);
        if (at >= 0)
            d = copilot_number(w->lower[at]), m = month_of(w->lower[at + 1]), y = copilot_number(w->lower[at + 2]);
    }
    if (at >= 0 && d >= 1 && d <= 31) {
        from = days_from_civil(y, m, d) * DAY_MS;
        snprintf(when, sizeof when, "on %04d-%02d-%02d", (int)y, (int)m, (int)d);
        set(in, from, from + DAY_MS, when);
        return true;
    }
    snprintf(pattern, sizeof pattern, "%s #", months);
    if ((at = copilot_words_find(w, pattern)) >= 0) {
        m = month_of(w->lower[at]), y = copilot_number(w->lower[at + 1]);
    } else {
        snprintf(pattern, sizeof pattern, "in|during %s", months);
        if ((at = copilot_words_find(w, pattern)) < 0)
            return false;
        civil_from_days(day_of(now_ms), &y, &m, &d);
        int64_t named = month_of(w->lower[at + 1]);
        y -= named > m; /* "in December", asked in March, is the last one */
        m = named;
    }
    snprintf(when, sizeof when, "in %04d-%02d", (int)y, (int)m);
    set(in, month_start(y, m), month_start(y, m + 1), when);
    return true;
}

/* "from 2015-05-17 to 2015-05-19", "since yesterday", "before 2015-05-19", "on 2015-05-17". */
static bool read_dates(copilot_intent *in, copilot_words *w, int64_t now_ms)
{
    char when[96];
    int64_t from, to;
    int at = copilot_words_find(w, "from|between @ to|until|till|and @");
    if (at >= 0 && date_of(w->lower[at + 1], now_ms, &from) && date_of(w->lower[at + 3], now_ms, &to)) {
        snprintf(when, sizeof when, "from %s to %s", w->lower[at + 1], w->lower[at + 3]);
        set(in, from, to + DAY_MS, when);
        return true;
    }
    if ((at = copilot_words_find(w, "since|after|from @")) >= 0 && date_of(w->lower[at + 1], now_ms, &from)) {
        snprintf(when, sizeof when, "since %s", w->lower[at + 1]);
        set(in, from, now_ms + 1, when);
        return true;
    }
    if ((at = copilot_words_find(w, "before|until @")) >= 0 && date_of(w->lower[at + 1], now_ms, &to)) {
        snprintf(when, sizeof when, "before %s", w->lower[at + 1]);
        set(in, INT64_MIN, to, when);
        return true;
    }
    if ((at = copilot_words_find(w, "@")) >= 0 && date_of(w->lower[at], now_ms, &from)) {
        bool named = w->lower[at][0] == 't' || w->lower[at][0] == 'y';
        snprintf(when, sizeof when, "%s%s", named ? "" : "on ", w->lower[at]);
        set(in, from, w->lower[at][0] == 't' ? now_ms + 1 : from + DAY_MS, when);
        return true;
    }
    return false;
}

static bool read_span(copilot_intent *in, copilot_words *w, int64_t now_ms)
{
    static const struct {
        const char *many, *one, *noun;
        int64_t ms;
    } units[] = {
        {"last|past|previous # minute|minutes|min|mins", "last|past minute", "minute", 60000},
        {"last|past|previous # hour|hours|hrs", "last|past hour", "hour", 3600000},
        {"last|past|previous # day|days", "last|past day", "day", DAY_MS},
        {"last|past|previous # week|weeks", "past week", "week", 7 * DAY_MS},
        {"last|past|previous # month|months", "past month", "month", 30 * DAY_MS},
        {"last|past|previous # year|years", "past year", "year", 365 * DAY_MS},
    };
    char when[96];
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        int at = copilot_words_find(w, units[i].many);
        int64_t n = at >= 0 ? copilot_number(w->lower[at + 1]) : 1;
        if (at < 0 && (at = copilot_words_find(w, units[i].one)) < 0)
            continue;
        if (n == 1)
            snprintf(when, sizeof when, "in the last %s", units[i].noun);
        else
            snprintf(when, sizeof when, "in the last %lld %ss", (long long)n, units[i].noun);
        set(in, now_ms - n * units[i].ms, now_ms + 1, when);
        return true;
    }
    return false;
}

/* "this week", "last month", "this year": the calendar's own. Weeks begin on Monday. */
static bool read_calendar(copilot_intent *in, copilot_words *w, int64_t now_ms)
{
    int64_t y, m, d, today = day_of(now_ms), monday = today - (today + 3) % 7;
    civil_from_days(today, &y, &m, &d);
    const struct {
        const char *pattern, *when;
        int64_t from, to;
    } rows[] = {
        {"this week", "this week", monday * DAY_MS, now_ms + 1},
        {"last|previous week", "last week", (monday - 7) * DAY_MS, monday * DAY_MS},
        {"this month", "this month", month_start(y, m), now_ms + 1},
        {"last|previous month", "last month", month_start(y, m - 1), month_start(y, m)},
        {"this year", "this year", month_start(y, 1), now_ms + 1},
        {"last|previous year", "last year", month_start(y - 1, 1), month_start(y, 1)},
        {"this hour", "this hour", now_ms / 3600000 * 3600000, now_ms + 1},
        {"right now", "in the last 5 minutes", now_ms - 300000, now_ms + 1},
        {"now|currently", "in the last 5 minutes", now_ms - 300000, now_ms + 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (copilot_words_find(w, rows[i].pattern) >= 0) {
            set(in, rows[i].from, rows[i].to, rows[i].when);
            return true;
        }
    return false;
}

static bool read_ever(copilot_intent *in, copilot_words *w)
{
    static const char *const patterns[] = {
        "of all time", "all time", "all-time", "ever",       "in total",
        "overall",     "so far",   "total",    "altogether", "since the beginning|start"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (copilot_words_find(w, patterns[i]) >= 0) {
            set(in, INT64_MIN, INT64_MAX, "");
            return true;
        }
    return false;
}

void copilot_when_read(copilot_intent *in, copilot_words *w, int64_t now_ms)
{
    if (read_span(in, w, now_ms) || read_calendar(in, w, now_ms) || read_dates(in, w, now_ms) ||
        read_named(in, w, now_ms) || read_ever(in, w))
        return;
    set(in, now_ms - DAY_MS, now_ms + 1, "in the last 24 hours");
    in->when_assumed = true;
}
