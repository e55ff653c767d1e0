/* From words to what they ask for. The order matters: each phrase marks its words as used, so that "by user" is a split and
 * not the metric "users", and what is left names the metric. */
#include "intent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP_DEFAULT 5
#define TOP_MAX 50

static bool take_dimension(copilot_intent *in, const char *word)
{
    const char *field = copilot_dimension(word, &in->dimension_noun, &in->bucket);
    if (field)
        snprintf(in->dimension, sizeof in->dimension, "%s", field);
    return field != NULL;
}

/* Finds the pattern where its last word is a dimension; other places are left alone. */
static bool split_by(copilot_intent *in, copilot_words *w, const char *pattern, size_t length, int *at)
{
    copilot_words before = *w;
    *at = copilot_words_find(w, pattern);
    if (*at >= 0 && take_dimension(in, w->lower[(size_t)*at + length - 1]))
        return true;
    *w = before;
    return false;
}

static void set_limit(copilot_intent *in, const char *word)
{
    int64_t n = copilot_number(word);
    in->limit = n < 1 ? TOP_DEFAULT : n > TOP_MAX ? TOP_MAX : (uint32_t)n;
}

static void read_split(copilot_intent *in, copilot_words *w)
{
    static const struct {
        const char *pattern;
        size_t length, number; /* place of '#', 0 = none */
    } rows[] = {
        {"by|per status class|classes", 3, 0},
        {"top|best # status|user|event *", 4, 1},
        {"top|best # *", 3, 1},
        {"top|best *", 2, 0},
        {"# most visited|viewed|popular|requested|frequent|common|active|used *", 4, 0},
        {"most visited|viewed|popular|requested|frequent|common|active|used *", 3, 0},
        {"which|what event|status|user type|types|code|codes|agent|agents", 3, 0},
        {"by|per|each event|status|user type|types|code|codes|agent|agents", 3, 0},
        {"which|what *", 2, 0},
        {"by|per|each|every *", 2, 0},
        {"broken|split|grouped down|up|by *", 3, 0},
        {"status class|classes", 2, 0},
    };
    int at;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (split_by(in, w, rows[i].pattern, rows[i].length, &at)) {
            in->limit = TOP_DEFAULT * 2;
            if (rows[i].pattern[0] == 't' || rows[i].pattern[0] == 'm' || rows[i].pattern[0] == '#')
                set_limit(in, w->lower[(size_t)at + rows[i].number]);
            return;
        }
    if ((at = copilot_words_find(w, "by|per property *")) >= 0) {
        snprintf(in->dimension, sizeof in->dimension, "properties.%s", w->plain[at + 2]);
        in->dimension_noun = w->plain[at + 2][0] ? "value" : "";
        in->limit = TOP_DEFAULT * 2;
    }
}

static void read_interval(copilot_intent *in, copilot_words *w)
{
    static const struct {
        const char *pattern, *interval;
        bool busiest;
    } rows[] = {
        {"busiest|peak|best minute|minutes", "1m", true},
        {"busiest|peak|best hour|hours", "1h", true},
        {"busiest|peak|best day|days", "1d", true},
        {"busiest|peak|best week|weeks", "1w", true},
        {"busiest|peak|best month|months", "1mo", true},
        {"by|per|each|every|a minute", "1m", false},
        {"by|per|each|every|an hour", "1h", false},
        {"by|per|each|every|a day", "1d", false},
        {"by|per|each|every|a week", "1w", false},
        {"by|per|each|every|a month", "1mo", false},
        {"hourly", "1h", false},
        {"daily", "1d", false},
        {"weekly", "1w", false},
        {"monthly", "1mo", false},
        {"over time", "1h", false},
        {"trend|history|timeline", "1h", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (copilot_words_find(w, rows[i].pattern) >= 0) {
            in->interval = rows[i].interval;
            in->busiest = rows[i].busiest;
            return;
        }
}

static void add_filter(copilot_intent *in, const char *field, const char *op, const char *value, bool numeric)
{
    if (in->filter_count == COPILOT_FILTERS_MAX)
        return;
    copilot_filter *f = &in->filters[in->filter_count++];
    snprintf(f->field, sizeof f->field, "%s", field);
    snprintf(f->op, sizeof f->op, "%s", op);
    snprintf(f->value, sizeof f->value, "%s", value);
    f->numeric = numeric;
}

static void upper(char *text)
{
    for (; *text; text++)
        if (*text >= 'a' && *text <= 'z')
            *text = (char)(*text - 32);
}

static void read_filters(copilot_intent *in, copilot_words *w)
{
    int at;
    if ((at = copilot_words_find(w, "status code #")) >= 0)
        add_filter(in, "properties.status", "eq", w->lower[at + 2], true);
    else if ((at = copilot_words_find(w, "status #")) >= 0)
        add_filter(in, "properties.status", "eq", w->lower[at + 1], true);
    if ((at = copilot_words_find(w, "for|by|of|from user|visitor|customer *")) >= 0)
        add_filter(in, "user", "eq", w->plain[at + 2], false);
    if ((at = copilot_words_find(w, "where|with * is|equals|= *")) >= 0) {
        char field[COPILOT_WORD_MAX + 16];
        snprintf(field, sizeof field, "properties.%s", w->plain[at + 1]);
        add_filter(in, field, "eq", w->plain[at + 3], copilot_number(w->lower[at + 3]) >= 0);
    }
    if ((at = copilot_words_find(w, "method|methods get|post|put|patch|delete|head")) >= 0) {
        upper(w->plain[at + 1]);
        add_filter(in, "properties.method", "eq", w->plain[at + 1], false);
    }
    if ((at = copilot_words_find(w, "in eur|usd|gbp|chf|jpy|sek|nok|dkk|pln|cad|aud")) >= 0) {
        upper(w->plain[at + 1]);
        add_filter(in, "properties.currency", "eq", w->plain[at + 1], false);
    }
    if ((at = copilot_words_find(w, "via|through|over email|sms|webhook|push|slack|discord")) >= 0)
        add_filter(in, "properties.channel", "eq", w->lower[at + 1], false);
    for (size_t i = 0; i < w->count; i++)
        if (!w->used[i] && w->plain[i][0] == '/') {
            add_filter(in, "properties.path", "eq", w->plain[i], false);
            w->used[i] = true;
        }
}

static void read_compare(copilot_intent *in, copilot_words *w)
{
    static const char *const patterns[] = {
        "compared to|with the day|week|month|hour|period before",
        "compared to|with yesterday",
        "compared to|with last|previous|the week|month|hour|day|period|previous",
        "vs|versus|than last|previous week|month|hour|day|period",
        "vs|versus|than yesterday|before|previous",
        "the period before",
        "compare|compared|growth|change|changed|vs|versus",
        "more|fewer|less|higher|lower than",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        in->compare |= copilot_words_find(w, patterns[i]) >= 0;
}

static bool asks_for_help(copilot_words *w)
{
    return copilot_words_find(w, "help") >= 0 || copilot_words_find(w, "what can you do|answer|tell") >= 0 ||
           copilot_words_find(w, "what can i ask") >= 0 || copilot_words_find(w, "which|what metrics|questions") >= 0 ||
           copilot_words_find(w, "examples") >= 0;
}

void copilot_intent_read(copilot_intent *in, nexus_slice message, int64_t now_ms)
{
    copilot_words *w = calloc(1, sizeof *w);
    memset(in, 0, sizeof *in);
    if (!w)
        return;
    copilot_words_read(w, message);
    in->help = asks_for_help(w);
    read_compare(in, w);
    copilot_when_read(in, w, now_ms);
    read_interval(in, w);
    read_filters(in, w);
    read_split(in, w);
    in->metric = copilot_metric_find(w);
    if (!in->metric && (in->dimension[0] || in->interval || in->filter_count)) {
        /* "top 5 pages", "busiest hour": nothing is named to count, so events are */
        copilot_words events;
        copilot_words_read(&events, in->dimension[0] && strcmp(in->dimension, "properties.path") == 0
                                        ? NEXUS_S("pageviews")
                                        : NEXUS_S("events"));
        in->metric = copilot_metric_find(&events);
    }
    free(w);
}
