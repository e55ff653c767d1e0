/* Character classes: unions of ranges, shorthands, Unicode's general categories. */
#include <stdlib.h>

#include "regex/program.h"

void nexus__regex_set_add(nexus__regex_set *set, uint32_t low, uint32_t high)
{
    if (set->count == set->cap) {
        uint32_t cap = set->cap ? set->cap * 2 : 8;
        nexus__regex_range *ranges = nexus__arena_get(set->arena, cap * sizeof *ranges);
        if (!ranges) {
            set->failed = true;
            return;
        }
        if (set->count)
            memcpy(ranges, set->ranges, set->count * sizeof *ranges);
        set->ranges = ranges;
        set->cap = cap;
    }
    set->ranges[set->count++] = (nexus__regex_range){low, high};
}

/* The ranges must be sorted and apart; adds what lies between them. */
static void add_others(nexus__regex_set *set, const nexus__regex_range *ranges, size_t count)
{
    uint32_t from = 0;
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].low > from)
            nexus__regex_set_add(set, from, ranges[i].low - 1);
        from = ranges[i].high + 1;
    }
    if (from <= NEXUS__REGEX_LAST)
        nexus__regex_set_add(set, from, NEXUS__REGEX_LAST);
}

static const nexus__regex_range digit_ranges[] = {{'0', '9'}};
static const nexus__regex_range word_ranges[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
/* ECMA-262 WhiteSpace and LineTerminator */
static const nexus__regex_range space_ranges[] = {
    {0x09, 0x0d},     {0x20, 0x20},     {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};

void nexus__regex_set_shorthand(nexus__regex_set *set, char letter)
{
    static const struct {
        char letter;
        const nexus__regex_range *ranges;
        size_t count;
    } rows[] = {{'d', digit_ranges, 1}, {'w', word_ranges, 4}, {'s', space_ranges, 10}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if ((letter | 0x20) != rows[i].letter)
            continue;
        if (letter != rows[i].letter)
            add_others(set, rows[i].ranges, rows[i].count);
        else
            for (size_t k = 0; k < rows[i].count; k++)
                nexus__regex_set_add(set, rows[i].ranges[k].low, rows[i].ranges[k].high);
    }
}

/* Short and long names of the general categories, and which of unicode.c's numbers they take in. */
static const struct {
    const char *name, *full;
    uint32_t mask;
} categories[] = {
    {"Lu", "Uppercase_Letter", 1u << 0},
    {"Ll", "Lowercase_Letter", 1u << 1},
    {"Lt", "Titlecase_Letter", 1u << 2},
    {"Lm", "Modifier_Letter", 1u << 3},
    {"Lo", "Other_Letter", 1u << 4},
    {"LC", "Cased_Letter", 7u},
    {"L", "Letter", 31u},
    {"Mn", "Nonspacing_Mark", 1u << 5},
    {"Mc", "Spacing_Mark", 1u << 6},
    {"Me", "Enclosing_Mark", 1u << 7},
    {"M", "Mark", 7u << 5},
    {"M", "Combining_Mark", 7u << 5},
    {"Nd", "Decimal_Number", 1u << 8},
    {"Nd", "digit", 1u << 8},
    {"Nl", "Letter_Number", 1u << 9},
    {"No", "Other_Number", 1u << 10},
    {"N", "Number", 7u << 8},
    {"Pc", "Connector_Punctuation", 1u << 11},
    {"Pd", "Dash_Punctuation", 1u << 12},
    {"Ps", "Open_Punctuation", 1u << 13},
    {"Pe", "Close_Punctuation", 1u << 14},
    {"Pi", "Initial_Punctuation", 1u << 15},
    {"Pf", "Final_Punctuation", 1u << 16},
    {"Po", "Other_Punctuation", 1u << 17},
    {"P", "Punctuation", 127u << 11},
    {"P", "punct", 127u << 11},
    {"Sm", "Math_Symbol", 1u << 18},
    {"Sc", "Currency_Symbol", 1u << 19},
    {"Sk", "Modifier_Symbol", 1u << 20},
    {"So", "Other_Symbol", 1u << 21},
    {"S", "Symbol", 15u << 18},
    {"Zs", "Space_Separator", 1u << 22},
    {"Zl", "Line_Separator", 1u << 23},
    {"Zp", "Paragraph_Separator", 1u << 24},
    {"Z", "Separator", 7u << 22},
    {"Cc", "Control", 1u << 25},
    {"Cc", "cntrl", 1u << 25},
    {"Cf", "Format", 1u << 26},
    {"Cs", "Surrogate", 1u << 27},
    {"Co", "Private_Use", 1u << 28},
    {"Cn", "Unassigned", 1u << 29},
    {"C", "Other", 31u << 25},
    {"Any", "Any", 0x3fffffffu},
};

static uint32_t category_mask(nexus_slice name)
{
    static const char *const prefixes[] = {"gc=", "General_Category="};
    for (size_t i = 0; i < 2; i++)
        if (nexus__slice_starts(name, nexus__slice_c(prefixes[i])))
            name = nexus__slice_from(name, strlen(prefixes[i]));
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (nexus__slice_eq_c(name, categories[i].name) || nexus__slice_eq_c(name, categories[i].full))
            return categories[i].mask;
    return 0;
}

bool nexus__regex_set_property(nexus__regex_set *set, nexus_slice name, bool complement)
{
    if (nexus__slice_eq_c(name, "ASCII")) {
        nexus__regex_set_add(set, complement ? 0x80 : 0, complement ? NEXUS__REGEX_LAST : 0x7f);
        return true;
    }
    uint32_t mask = category_mask(name);
    if (!mask)
        return false;
    for (uint32_t i = 0; i < nexus__regex_unicode_count; i++) {
        uint32_t entry = nexus__regex_unicode[i];
        bool last = i + 1 == nexus__regex_unicode_count;
        uint32_t high = last ? NEXUS__REGEX_LAST : (nexus__regex_unicode[i + 1] >> 5) - 1;
        if ((mask >> (entry & 31) & 1) != complement)
            nexus__regex_set_add(set, entry >> 5, high);
    }
    return true;
}

static int by_low(const void *a, const void *b)
{
    uint32_t x = ((const nexus__regex_range *)a)->low, y = ((const nexus__regex_range *)b)->low;
    return (x > y) - (x < y);
}

static void merge(nexus__regex_set *set)
{
    if (!set->count)
        return;
    qsort(set->ranges, set->count, sizeof *set->ranges, by_low);
    uint32_t n = 0;
    for (uint32_t i = 1; i < set->count; i++) {
        if (set->ranges[i].low > set->ranges[n].high + 1)
            set->ranges[++n] = set->ranges[i];
        else if (set->ranges[i].high > set->ranges[n].high)
            set->ranges[n].high = set->ranges[i].high;
    }
    set->count = n + 1;
}

const nexus__regex_class *nexus__regex_set_finish(nexus__regex_set *set, bool complement)
{
    merge(set);
    if (complement) {
        nexus__regex_set others = {.arena = set->arena, .failed = set->failed};
        add_others(&others, set->ranges, set->count);
        *set = others;
    }
    nexus__regex_class *class = nexus__arena_get(set->arena, sizeof *class);
    if (!class || set->failed)
        return NULL;
    *class = (nexus__regex_class){.ranges = set->ranges, .count = set->count};
    for (uint32_t i = 0; i < set->count && set->ranges[i].low < 128; i++)
        for (uint32_t c = set->ranges[i].low; c <= set->ranges[i].high && c < 128; c++)
            class->ascii[c >> 6] |= 1ull << (c & 63);
    return class;
}
