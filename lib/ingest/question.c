#include "ingest/question.h"

#include <math.h>
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "ingest/instant.h"

#define DAY_MS 86400000ll
#define LIMIT_DEFAULT 100

typedef struct word {
    const char *text;
    int value;
} word;

static const word field_words[] = {{"event", NEXUS__FIELD_EVENT},           {"user", NEXUS__FIELD_USER},
                                   {"user_id", NEXUS__FIELD_USER_ID},       {"anonymous_id", NEXUS__FIELD_ANONYMOUS_ID},
                                   {"session_id", NEXUS__FIELD_SESSION_ID}, {NULL, 0}};
static const word agg_words[] = {{"count", NEXUS__AGG_COUNT},
                                 {"uniques", NEXUS__AGG_UNIQUES},
                                 {"sum", NEXUS__AGG_SUM},
                                 {"avg", NEXUS__AGG_AVG},
                                 {"min", NEXUS__AGG_MIN},
                                 {"max", NEXUS__AGG_MAX},
                                 {NULL, 0}};
static const word op_words[] = {{"eq", NEXUS__OP_EQ},
                                {"ne", NEXUS__OP_NE},
                                {"in", NEXUS__OP_IN},
                                {"gt", NEXUS__OP_GT},
                                {"gte", NEXUS__OP_GTE},
                                {"lt", NEXUS__OP_LT},
                                {"lte", NEXUS__OP_LTE},
                                {"prefix", NEXUS__OP_PREFIX},
                                {"contains", NEXUS__OP_CONTAINS},
                                {"exists", NEXUS__OP_EXISTS},
                                {NULL, 0}};

static bool find_word(const word *words, nexus_slice text, int *out)
{
    for (; words->text; words++)
        if (nexus__slice_eq_c(text, words->text)) {
            *out = words->value;
            return true;
        }
    return false;
}

/* --- fields ---------------------------------------------------------------------------------- */

static nexus_status read_field(nexus__event_rows *rows, nexus_slice name, const char *pointer, nexus__field *field)
{
    int kind;
    *field = (nexus__field){.name = name};
    if (find_word(field_words, name, &kind)) {
        field->kind = (nexus__field_kind)kind;
        return NEXUS_OK;
    }
    if (!nexus__slice_starts(name, NEXUS_S("properties.")) && !nexus__slice_starts(name, NEXUS_S("context.")))
        return nexus__fail(NEXUS_EINVAL,
                           "%s: \"%.*s\" is no field; use event, user, user_id, anonymous_id, session_id, "
                           "properties.NAME or context.NAME",
                           pointer, (int)(name.n < 80 ? name.n : 80), name.p);
    field->kind = NEXUS__FIELD_CELL;
    field->key = nexus__event_rows_number(rows, name);
    return NEXUS_OK;
}

static nexus__fact text_fact(uint32_t number)
{
    nexus__fact fact = {.type = number == NEXUS__EVENT_ROWS_NO_TEXT ? 0 : NEXUS__CELL_TEXT};
    fact.text = number;
    return fact;
}

nexus__fact nexus__field_fact(const nexus__field *field, const nexus__row *row)
{
    nexus__fact fact = {0};
    switch (field->kind) {
    case NEXUS__FIELD_EVENT:
        return text_fact(row->name);
    case NEXUS__FIELD_USER:
        return text_fact(row->user_id != NEXUS__EVENT_ROWS_NO_TEXT ? row->user_id : row->anonymous_id);
    case NEXUS__FIELD_USER_ID:
        return text_fact(row->user_id);
    case NEXUS__FIELD_ANONYMOUS_ID:
        return text_fact(row->anonymous_id);
    case NEXUS__FIELD_SESSION_ID:
        return text_fact(row->session_id);
    default:
        break;
    }
    for (uint32_t i = 0; i < row->cell_count; i++)
        if (row->cells[i].key == field->key) {
            fact.type = row->cells[i].type;
            fact.text = row->cells[i].text;
            if (fact.type == NEXUS__CELL_NUMBER && field->bucket != 0)
                fact.number = floor(fact.number / field->bucket) * field->bucket;
            if (fact.type == NEXUS__CELL_NUMBER && fact.number == 0)
                fact.number = 0; /* -0 and 0 are one group */
            break;
        }
    return fact;
}

/* --- filters --------------------------------------------------------------------------------- */

static bool value_equal(const nexus__filter_value *v, nexus__fact fact)
{
    if (fact.type == NEXUS__CELL_TEXT)
        return fact.text == v->number_of_text;
    if (fact.type == NEXUS__CELL_NUMBER)
        return v->numeric && fact.number == v->number;
    return fact.type == NEXUS__CELL_BOOL && v->truth == (int8_t)fact.text;
}

static bool any_equal(const nexus__filter *f, nexus__fact fact)
{
    for (uint32_t i = 0; i < f->value_count; i++)
        if (value_equal(&f->values[i], fact))
            return true;
    return false;
}

static bool compares(nexus__filter_op op, double order)
{
    switch (op) {
    case NEXUS__OP_GT:
        return order > 0;
    case NEXUS__OP_GTE:
        return order >= 0;
    case NEXUS__OP_LT:
        return order < 0;
    default:
        return order <= 0;
    }
}

bool nexus__question_matches(const nexus__filter *f, const nexus__event_rows *rows, const nexus__row *row)
{
    nexus__fact fact = nexus__field_fact(&f->field, row);
    switch (f->op) {
    case NEXUS__OP_EQ:
    case NEXUS__OP_IN:
        return any_equal(f, fact);
    case NEXUS__OP_NE:
        return !any_equal(f, fact);
    case NEXUS__OP_EXISTS:
        return (fact.type != 0) == (f->values[0].truth != 0);
    case NEXUS__OP_PREFIX:
        return fact.type == NEXUS__CELL_TEXT &&
               nexus__slice_starts(nexus__event_rows_text(rows, (uint32_t)fact.text), f->values[0].text);
    case NEXUS__OP_CONTAINS: {
        if (fact.type != NEXUS__CELL_TEXT)
            return false;
        nexus_slice text = nexus__event_rows_text(rows, (uint32_t)fact.text);
        return f->values[0].text.n == 0 || nexus__slice_search(text, f->values[0].text) < text.n;
    }
    default:
        return fact.type == NEXUS__CELL_NUMBER && f->values[0].numeric &&
               compares(f->op, fact.number - f->values[0].number);
    }
}

static nexus_status read_value(nexus__question *q, nexus__event_rows *rows, uint32_t v, nexus__filter_value *out)
{
    *out = (nexus__filter_value){.number_of_text = NEXUS__EVENT_ROWS_UNKNOWN, .truth = -1};
    nexus__json_type type = nexus__json_type_of(&q->doc, v);
    if (type == NEXUS__JSON_TRUE || type == NEXUS__JSON_FALSE)
        out->truth = type == NEXUS__JSON_TRUE;
    if (!nexus__json_text(&q->doc, v, &out->text)) {
        out->text = nexus__json_raw(&q->doc, v);
        out->numeric = nexus__json_double(&q->doc, v, &out->number);
    } else {
        out->numeric = nexus__parse_double(out->text, &out->number);
        if (nexus__slice_eq_c(out->text, "true") || nexus__slice_eq_c(out->text, "false"))
            out->truth = out->text.p[0] == 't';
    }
    if (type == NEXUS__JSON_ARRAY || type == NEXUS__JSON_OBJECT)
        return nexus__fail(NEXUS_EINVAL, "/filters: a value is a string, a number or a boolean (an array with op in)");
    out->number_of_text = nexus__event_rows_number(rows, out->text);
    return NEXUS_OK;
}

static nexus_status read_values(nexus__question *q, nexus__event_rows *rows, uint32_t v, nexus__filter *f)
{
    bool many = nexus__json_is(&q->doc, v, NEXUS__JSON_ARRAY) && f->op <= NEXUS__OP_IN;
    f->value_count = many ? nexus__json_count(&q->doc, v) : 1;
    if (f->value_count > NEXUS__FILTER_VALUES_MAX)
        return nexus__fail(NEXUS_EINVAL, "/filters: at most %d values", NEXUS__FILTER_VALUES_MAX);
    f->values = nexus__arena_get(&q->arena, (f->value_count + 1) * sizeof *f->values);
    if (!f->values)
        return nexus__nomem();
    if (f->op == NEXUS__OP_EXISTS && v == NEXUS__JSON_NONE) {
        f->values[0] = (nexus__filter_value){.truth = 1};
        return NEXUS_OK;
    }
    if (v == NEXUS__JSON_NONE)
        return nexus__fail(NEXUS_EINVAL, "/filters: value is needed");
    if (!many)
        return read_value(q, rows, v, &f->values[0]);
    for (uint32_t i = 0; i < f->value_count; i++) {
        nexus_status st = read_value(q, rows, nexus__json_element(&q->doc, v, i), &f->values[i]);
        if (st != NEXUS_OK)
            return st;
    }
    return NEXUS_OK;
}

static nexus_status read_filter(nexus__question *q, nexus__event_rows *rows, uint32_t v)
{
    nexus_slice name, op_text;
    int op = NEXUS__OP_EQ;
    if (q->filter_count == NEXUS__FILTERS_MAX)
        return nexus__fail(NEXUS_EINVAL, "/filters: at most %d", NEXUS__FILTERS_MAX);
    nexus__filter *f = &q->filters[q->filter_count++];
    if (!nexus__json_get_text(&q->doc, v, "field", &name))
        return nexus__fail(NEXUS_EINVAL, "/filters: each is an object {field, op, value}");
    nexus_status st = read_field(rows, name, "/filters", &f->field);
    if (st != NEXUS_OK)
        return st;
    if (nexus__json_get(&q->doc, v, "op") != NEXUS__JSON_NONE &&
        (!nexus__json_get_text(&q->doc, v, "op", &op_text) || !find_word(op_words, op_text, &op)))
        return nexus__fail(NEXUS_EINVAL, "/filters: op is one of eq ne in gt gte lt lte prefix contains exists");
    f->op = (nexus__filter_op)op;
    return read_values(q, rows, nexus__json_get(&q->doc, v, "value"), f);
}

/* --- measures and groups --------------------------------------------------------------------- */

static nexus_status read_measure(nexus__question *q, nexus__event_rows *rows, uint32_t v)
{
    nexus_slice agg_text = NEXUS_S("count"), name;
    int agg;
    if (q->measure_count == NEXUS__MEASURES_MAX)
        return nexus__fail(NEXUS_EINVAL, "/measures: at most %d", NEXUS__MEASURES_MAX);
    nexus__measure *m = &q->measures[q->measure_count++];
    if (!nexus__json_is(&q->doc, v, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "/measures: each is an object {agg, field, as}");
    if (nexus__json_get(&q->doc, v, "agg") != NEXUS__JSON_NONE && !nexus__json_get_text(&q->doc, v, "agg", &agg_text))
        return nexus__fail(NEXUS_EINVAL, "/measures: agg is a string");
    if (!find_word(agg_words, agg_text, &agg))
        return nexus__fail(NEXUS_EINVAL, "/measures: agg is one of count uniques sum avg min max");
    m->agg = (nexus__agg)agg;
    m->as = agg_text;
    if (nexus__json_get_text(&q->doc, v, "field", &name)) {
        nexus_status st = read_field(rows, name, "/measures", &m->field);
        if (st != NEXUS_OK)
            return st;
    } else if (m->agg == NEXUS__AGG_UNIQUES) {
        m->field = (nexus__field){.kind = NEXUS__FIELD_USER, .name = NEXUS_S("user")};
    } else if (m->agg != NEXUS__AGG_COUNT) {
        return nexus__fail(NEXUS_EINVAL, "/measures: %.*s needs a field", (int)agg_text.n, agg_text.p);
    }
    nexus__json_get_text(&q->doc, v, "as", &m->as);
    return NEXUS_OK;
}

static nexus_status add_group(nexus__question *q, nexus__event_rows *rows, nexus_slice name, double bucket)
{
    for (uint32_t i = 0; i < q->group_count; i++)
        if (nexus__slice_eq(q->groups[i].name, name)) {
            if (bucket != 0)
                q->groups[i].bucket = bucket;
            return NEXUS_OK;
        }
    if (q->group_count == NEXUS__QUERY_GROUPS_MAX)
        return nexus__fail(NEXUS_EINVAL, "/group_by: at most %d fields", NEXUS__QUERY_GROUPS_MAX);
    nexus_status st = read_field(rows, name, "/group_by", &q->groups[q->group_count]);
    q->groups[q->group_count++].bucket = bucket;
    return st;
}

static nexus_status read_group(nexus__question *q, nexus__event_rows *rows, uint32_t v)
{
    nexus_slice name;
    if (!nexus__json_text(&q->doc, v, &name))
        return nexus__fail(NEXUS_EINVAL, "/group_by: each is the name of a field");
    return add_group(q, rows, name, 0);
}

static nexus_status read_buckets(nexus__question *q, nexus__event_rows *rows, uint32_t v)
{
    nexus_status st = NEXUS_OK;
    if (v != NEXUS__JSON_NONE && !nexus__json_is(&q->doc, v, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "/bucket: an object of field and width, {\"properties.status\":100}");
    for (nexus__json_iter it = nexus__json_each(&q->doc, v); st == NEXUS_OK && nexus__json_step(&q->doc, &it);) {
        nexus_slice name;
        double width;
        if (!nexus__json_double(&q->doc, it.value, &width) || width <= 0)
            return nexus__fail(NEXUS_EINVAL, "/bucket: a width is a number above 0");
        if (!nexus__json_text(&q->doc, it.key, &name))
            return nexus__nomem();
        st = add_group(q, rows, name, width);
    }
    return st;
}

typedef nexus_status item_fn(nexus__question *q, nexus__event_rows *rows, uint32_t v);

static nexus_status read_list(nexus__question *q, nexus__event_rows *rows, const char *name, item_fn *read)
{
    uint32_t v = nexus__json_get(&q->doc, 0, name);
    nexus_status st = NEXUS_OK;
    if (v != NEXUS__JSON_NONE && !nexus__json_is(&q->doc, v, NEXUS__JSON_ARRAY))
        return nexus__fail(NEXUS_EINVAL, "/%s: an array is expected", name);
    for (nexus__json_iter it = nexus__json_each(&q->doc, v); st == NEXUS_OK && nexus__json_step(&q->doc, &it);)
        st = read(q, rows, it.value);
    return st;
}

/* --- time ------------------------------------------------------------------------------------ */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

bool nexus__question_instant(nexus_slice text, int64_t now_ms, int64_t tz_ms, int64_t *out)
{
    int64_t span, today = floor_div(now_ms + tz_ms, DAY_MS) * DAY_MS - tz_ms;
    if (text.n > 1 && text.p[0] == '-' && nexus__span_parse(nexus__slice_from(text, 1), &span)) {
        *out = now_ms - span;
        return true;
    }
    if (nexus__slice_eq_c(text, "now"))
        *out = now_ms;
    else if (nexus__slice_eq_c(text, "today"))
        *out = today;
    else if (nexus__slice_eq_c(text, "yesterday"))
        *out = today - DAY_MS;
    else
        return nexus__instant_parse(text, out);
    return true;
}

static nexus_status read_instant(nexus__question *q, const char *name, int64_t now_ms, int64_t *out)
{
    uint32_t v = nexus__json_get(&q->doc, 0, name);
    nexus_slice text;
    double number;
    if (nexus__json_type_of(&q->doc, v) <= NEXUS__JSON_NULL)
        return NEXUS_OK;
    if (nexus__json_double(&q->doc, v, &number) && nexus__instant_from_number(number, out))
        return NEXUS_OK;
    if (nexus__json_text(&q->doc, v, &text) && nexus__question_instant(text, now_ms, q->tz_ms, out))
        return NEXUS_OK;
    return nexus__fail(NEXUS_EINVAL, "/%s: RFC 3339, YYYY-MM-DD, Unix time, now, today, yesterday or -24h", name);
}

static nexus_status read_range(nexus__question *q, int64_t now_ms)
{
    nexus_slice text;
    int64_t span;
    uint32_t v = nexus__json_get(&q->doc, 0, "range");
    if (v == NEXUS__JSON_NONE)
        return NEXUS_OK;
    if (!nexus__json_text(&q->doc, v, &text))
        return nexus__fail(NEXUS_EINVAL, "/range: 24h, 7d, today, yesterday or all");
    if (nexus__slice_eq_c(text, "all"))
        return NEXUS_OK;
    q->to_ms = now_ms + 1;
    if (nexus__span_parse(text, &span)) {
        q->from_ms = now_ms - span;
        return NEXUS_OK;
    }
    if (!nexus__slice_eq_c(text, "today") && !nexus__slice_eq_c(text, "yesterday"))
        return nexus__fail(NEXUS_EINVAL, "/range: 24h, 7d, today, yesterday or all");
    nexus__question_instant(text, now_ms, q->tz_ms, &q->from_ms);
    if (text.p[0] == 'y')
        q->to_ms = q->from_ms + DAY_MS;
    return NEXUS_OK;
}

static nexus_status read_tz(nexus__question *q)
{
    nexus_slice text;
    uint64_t hours, minutes;
    uint32_t v = nexus__json_get(&q->doc, 0, "tz");
    if (v == NEXUS__JSON_NONE)
        return NEXUS_OK;
    if (!nexus__json_text(&q->doc, v, &text))
        return nexus__fail(NEXUS_EINVAL, "/tz: a string is expected");
    if (nexus__slice_eq_c(text, "UTC") || nexus__slice_eq_c(text, "Z"))
        return NEXUS_OK;
    if (text.n != 6 || (text.p[0] != '+' && text.p[0] != '-') || text.p[3] != ':' ||
        !nexus__parse_u64(nexus__slice(text.p + 1, 2), &hours) ||
        !nexus__parse_u64(nexus__slice(text.p + 4, 2), &minutes) || hours > 14 || minutes > 59)
        return nexus__fail(NEXUS_EINVAL, "/tz: \"UTC\" or a fixed offset \"+02:00\"; names of zones are not supported");
    q->tz_ms = (int64_t)(hours * 60 + minutes) * 60000 * (text.p[0] == '-' ? -1 : 1);
    return NEXUS_OK;
}

static nexus_status read_interval(nexus__question *q)
{
    nexus_slice text;
    uint32_t v = nexus__json_get(&q->doc, 0, "interval");
    if (nexus__json_type_of(&q->doc, v) <= NEXUS__JSON_NULL)
        return NEXUS_OK;
    if (!nexus__json_text(&q->doc, v, &text))
        return nexus__fail(NEXUS_EINVAL, "/interval: a string such as 1h is expected");
    q->interval_text = text;
    if (nexus__slice_eq_c(text, "1mo")) {
        q->interval = NEXUS__INTERVAL_MONTH;
        return NEXUS_OK;
    }
    return nexus__span_parse(text, &q->interval) ? NEXUS_OK
                                                 : nexus__fail(NEXUS_EINVAL, "/interval: 30s, 1m, 1h, 1d, 1w or 1mo");
}

/* Weeks begin on Monday: 1970-01-05 was one. */
static int64_t origin_of(const nexus__question *q)
{
    return q->interval % (7 * DAY_MS) == 0 ? 4 * DAY_MS : 0;
}

int64_t nexus__interval_of(const nexus__question *q, int64_t ms)
{
    if (q->interval != NEXUS__INTERVAL_MONTH)
        return floor_div(ms + q->tz_ms - origin_of(q), q->interval);
    nexus__civil civil;
    nexus__civil_from_seconds(floor_div(ms + q->tz_ms, 1000), &civil);
    return (int64_t)civil.year * 12 + civil.month - 1;
}

int64_t nexus__interval_start(const nexus__question *q, int64_t ordinal)
{
    if (q->interval != NEXUS__INTERVAL_MONTH)
        return ordinal * q->interval + origin_of(q) - q->tz_ms;
    int64_t year = floor_div(ordinal, 12);
    return nexus__days_from_civil((int32_t)year, (int32_t)(ordinal - year * 12) + 1, 1) * DAY_MS - q->tz_ms;
}

/* --- the whole ------------------------------------------------------------------------------- */

static nexus_status read_order(nexus__question *q)
{
    nexus_slice text;
    uint32_t v = nexus__json_get(&q->doc, 0, "order");
    if (v == NEXUS__JSON_NONE)
        return NEXUS_OK;
    if (!nexus__json_text(&q->doc, v, &text))
        return nexus__fail(NEXUS_EINVAL, "/order: a string is expected");
    q->ascending = !(text.n > 0 && text.p[0] == '-');
    text = q->ascending ? text : nexus__slice_from(text, 1);
    q->order_measure = -1;
    if (nexus__slice_eq_c(text, "label"))
        return NEXUS_OK;
    for (uint32_t i = 0; i < q->measure_count; i++)
        if (nexus__slice_eq(text, q->measures[i].as)) {
            q->order_measure = (int32_t)i;
            return NEXUS_OK;
        }
    return nexus__fail(NEXUS_EINVAL, "/order: the name of a measure, with - for downwards, or label");
}

static nexus_status read_limit(nexus__question *q, uint32_t groups_max)
{
    int64_t limit = LIMIT_DEFAULT;
    uint32_t v = nexus__json_get(&q->doc, 0, "limit");
    if (v != NEXUS__JSON_NONE && (!nexus__json_i64(&q->doc, v, &limit) || limit < 1 || limit > groups_max))
        return nexus__fail(NEXUS_EINVAL, "/limit: a whole number from 1 to %u", groups_max);
    q->limit = (uint32_t)limit;
    return NEXUS_OK;
}

/* A mistyped member must not be a silently different question. */
static nexus_status check_names(nexus__question *q)
{
    static const word names[] = {{"measures", 1}, {"from", 1},     {"to", 1},     {"range", 1},
                                 {"interval", 1}, {"group_by", 1}, {"bucket", 1}, {"filters", 1},
                                 {"limit", 1},    {"order", 1},    {"tz", 1},     {NULL, 0}};
    for (nexus__json_iter it = nexus__json_each(&q->doc, 0); nexus__json_step(&q->doc, &it);) {
        nexus_slice name;
        int known;
        if (!nexus__json_text(&q->doc, it.key, &name))
            return nexus__nomem();
        if (!find_word(names, name, &known))
            return nexus__fail(NEXUS_EINVAL,
                               "/%.*s: unknown; members are measures, from, to, range, interval, group_by, bucket, "
                               "filters, limit, order, tz",
                               (int)(name.n < 60 ? name.n : 60), name.p);
    }
    return NEXUS_OK;
}

nexus_status nexus__question_read(nexus__question *q, nexus__event_rows *rows, nexus_slice text, int64_t now_ms,
                                  uint32_t groups_max)
{
    nexus_status st;
    *q = (nexus__question){.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    nexus__json_init(&q->doc, rows->alloc);
    nexus__arena_init(&q->arena, rows->alloc, 0);
    st = nexus__json_scan(&q->doc, text.n == 0 ? NEXUS_S("{}") : text, NULL);
    if (st != NEXUS_OK)
        return st;
    if (!nexus__json_is(&q->doc, 0, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "a question is a JSON object");
    if ((st = check_names(q)) || (st = read_list(q, rows, "measures", read_measure)))
        return st;
    if (q->measure_count == 0)
        q->measures[q->measure_count++] = (nexus__measure){.as = NEXUS_S("count")};
    if ((st = read_list(q, rows, "group_by", read_group)) ||
        (st = read_buckets(q, rows, nexus__json_get(&q->doc, 0, "bucket"))) ||
        (st = read_list(q, rows, "filters", read_filter)) || (st = read_tz(q)) || (st = read_range(q, now_ms)) ||
        (st = read_instant(q, "from", now_ms, &q->from_ms)) || (st = read_instant(q, "to", now_ms, &q->to_ms)) ||
        (st = read_interval(q)) || (st = read_limit(q, groups_max)))
        return st;
    if (q->from_ms > q->to_ms)
        return nexus__fail(NEXUS_EINVAL, "/from: later than to");
    return read_order(q);
}

void nexus__question_free(nexus__question *q)
{
    nexus__json_free(&q->doc);
    nexus__arena_free(&q->arena);
}
