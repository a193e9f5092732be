/* Which rows of weights a Linear adds, and to which timesteps.
 *
 * A row whose input spikes in two timesteps is read once for both: four timesteps are a group, and a group
 * has a list of rows for each timestep alone and one for each pair. Every spike stands in exactly one list.
 */
#include "snn_internal.h"

#define LISTS    10u
#define ROWS_MAX 256u /* 256 * 127 fits int16 */

/* Timesteps of each list. Disjoint pairs stand side by side: a row that always spikes is in two lists. */
static const uint8_t firsts[LISTS] = {0, 2, 0, 1, 0, 1, 0, 1, 2, 3};
static const uint8_t seconds[LISTS] = {1, 3, 2, 3, 3, 2, SNN_GROUP, SNN_GROUP, SNN_GROUP, SNN_GROUP};

/* Bits of every list, [LISTS][words]. */
static void split(const uint64_t *bits, uint32_t words, uint32_t steps, uint64_t *masks) {
    uint32_t w, i;
    for (w = 0; w < words; w++, bits++, masks++) {
        uint64_t alone[SNN_GROUP] = {0};
        for (i = 0; i < steps; i++) alone[i] = bits[(size_t)i * words];
        for (i = 0; i < LISTS - SNN_GROUP; i++) {
            uint64_t both = alone[firsts[i]] & alone[seconds[i]];
            alone[firsts[i]] ^= both;
            alone[seconds[i]] ^= both;
            masks[(size_t)i * words] = both;
        }
        for (; i < LISTS; i++) masks[(size_t)i * words] = alone[i - (LISTS - SNN_GROUP)];
    }
}

uint32_t snn_parts_max(uint32_t rows) { return LISTS + 2 * (SNN_GROUP * rows / ROWS_MAX); }

size_t snn_masks_bytes(uint32_t rows) { return (size_t)LISTS * snn_words(rows) * 8; }

/* Cuts a list into parts that no int16 sum overflows in; a part of no rows stands where the sums so far must
 * be put away. */
static snn_part *cut(snn_part *part, uint32_t start, uint32_t end, uint32_t list, uint32_t *held) {
    uint32_t first = firsts[list], second = seconds[list], i;
    while (start < end) {
        uint32_t full = held[first] > held[second] ? held[first] : held[second];
        uint32_t count = end - start < ROWS_MAX - full ? end - start : ROWS_MAX - full;
        part->start = start;
        part->count = (uint16_t)count;
        part->first = (uint8_t)first;
        part->second = (uint8_t)second;
        part++;
        start += count;
        held[first] += count;
        if (second < SNN_GROUP) held[second] += count;
        if (count == 0) {
            for (i = 0; i < SNN_GROUP; i++) held[i] = 0;
        }
    }
    return part;
}

void snn_lists(const snn_layer *layer, snn_events_of events) {
    uint32_t words = snn_words(layer->rows), per_token = snn_groups(layer->timesteps), used = 0, g, l;
    snn_part *part = layer->parts;
    layer->groups[0] = 0;
    for (g = 0; g < layer->tokens * per_token; g++) {
        uint32_t step = g % per_token * SNN_GROUP, left = layer->timesteps - step;
        const uint64_t *bits = layer->bits + g / per_token * layer->bits_stride + (size_t)step * words;
        uint32_t held[SNN_GROUP + 1] = {0}; /* rows in the sums of every timestep; the last is of none */
        split(bits, words, left < SNN_GROUP ? left : SNN_GROUP, layer->masks);
        for (l = 0; l < LISTS; l++) {
            uint32_t count = events(layer->masks + (size_t)l * words, words, layer->list + used);
            part = cut(part, used, used + count, l, held);
            used += count;
        }
        layer->groups[g + 1] = (uint32_t)(part - layer->parts);
    }
}

uint32_t snn_list_length(const snn_layer *layer, uint32_t groups) {
    uint32_t all = layer->tokens * snn_groups(layer->timesteps);
    uint32_t end = layer->groups[groups < all ? groups : all];
    return end == 0 ? 0 : layer->parts[end - 1].start + layer->parts[end - 1].count;
}

uint32_t snn_events(const uint64_t *bits, uint32_t words, uint16_t *rows) {
    uint16_t *next = rows;
    uint32_t word;
    for (word = 0; word < words; word++) {
        uint64_t left = bits[word];
        for (; left != 0; left &= left - 1) *next++ = (uint16_t)(word * 64 + snn_lowest(left));
    }
    return (uint32_t)(next - rows);
}

void snn_linear_columns(const snn_layer *layer, uint32_t first) {
    uint32_t words = snn_words(layer->rows), columns = layer->columns, token, t, w, c;
    int32_t *out = layer->out + first;
    for (token = 0; token < layer->tokens && first < columns; token++) {
        const uint64_t *bits = layer->bits + token * layer->bits_stride;
        for (t = 0; t < layer->timesteps; t++, out += layer->stride) {
            memset(out, 0, (size_t)(columns - first) * sizeof *out);
            for (w = 0; w < words; w++) {
                uint64_t left = *bits++;
                for (; left != 0; left &= left - 1) {
                    const int8_t *row = layer->weight + (size_t)(w * 64 + snn_lowest(left)) * columns + first;
                    for (c = 0; c < columns - first; c++) out[c] += row[c];
                }
            }
        }
    }
}
