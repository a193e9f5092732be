/* Kernels for machines without vectors: two 16-bit lanes in a 32-bit word, four bytes where sums allow.
 * Weights are added as unsigned bytes (w xor 0x80 = w + 128); 128 times the number of rows is taken off. */
#include "frames/snn_frames_kernels.h"
#include "snn_internal.h"

static uint32_t swar_load(const int8_t *p) {
    uint32_t word;
    memcpy(&word, p, 4);
    return word;
}

/* Sixteen columns in eight registers: even and odd bytes of four words. */
static void swar_add(const int8_t *weight, size_t columns, const uint16_t *list, uint32_t count,
                     uint32_t sums[8]) {
    uint32_t even[4] = {0, 0, 0, 0}, odd[4] = {0, 0, 0, 0}, e, i;
    for (e = 0; e < count; e++) {
        const int8_t *row = weight + list[e] * columns;
        uint32_t a = swar_load(row) ^ 0x80808080u, b = swar_load(row + 4) ^ 0x80808080u;
        uint32_t c = swar_load(row + 8) ^ 0x80808080u, d = swar_load(row + 12) ^ 0x80808080u;
        even[0] += a & 0x00FF00FFu;
        odd[0] += a >> 8 & 0x00FF00FFu;
        even[1] += b & 0x00FF00FFu;
        odd[1] += b >> 8 & 0x00FF00FFu;
        even[2] += c & 0x00FF00FFu;
        odd[2] += c >> 8 & 0x00FF00FFu;
        even[3] += d & 0x00FF00FFu;
        odd[3] += d >> 8 & 0x00FF00FFu;
    }
    for (i = 0; i < 4; i++) {
        sums[2 * i] = even[i];
        sums[2 * i + 1] = odd[i];
    }
}

/* Sums of one timestep so far, and how many rows they hold. */
typedef struct swar_step {
    uint32_t sums[8], rows;
} swar_step;

static void swar_put(swar_step *step, int32_t *out, int add) {
    int32_t bias = (int32_t)(128 * step->rows);
    uint32_t i;
    for (i = 0; i < 4; i++, out += 4) {
        uint32_t even = step->sums[2 * i], odd = step->sums[2 * i + 1];
        out[0] = (add ? out[0] : 0) + (int32_t)(even & 0xFFFFu) - bias;
        out[1] = (add ? out[1] : 0) + (int32_t)(odd & 0xFFFFu) - bias;
        out[2] = (add ? out[2] : 0) + (int32_t)(even >> 16) - bias;
        out[3] = (add ? out[3] : 0) + (int32_t)(odd >> 16) - bias;
    }
    memset(step, 0, sizeof *step);
}

static void swar_take(swar_step *step, const uint32_t sums[8], uint32_t rows) {
    uint32_t i;
    for (i = 0; i < 8; i++) step->sums[i] += sums[i];
    step->rows += rows;
}

/* Sixteen columns from `first` of one group of timesteps. */
static void swar_group(const snn_layer *layer, uint32_t g, uint32_t first) {
    const snn_part *part = layer->parts + layer->groups[g], *end = layer->parts + layer->groups[g + 1];
    swar_step steps[SNN_GROUP];
    uint32_t sums[8], count, t;
    int32_t *out = snn_group_out(layer, g, &count) + first;
    int add = 0;
    memset(steps, 0, sizeof steps);
    for (; part < end; part++) {
        if (part->count == 0) {
            for (t = 0; t < count; t++) swar_put(&steps[t], out + t * layer->stride, add);
            add = 1;
            continue;
        }
        swar_add(layer->weight + first, layer->columns, layer->list + part->start, part->count, sums);
        swar_take(&steps[part->first], sums, part->count);
        if (part->second < SNN_GROUP) swar_take(&steps[part->second], sums, part->count);
    }
    for (t = 0; t < count; t++) swar_put(&steps[t], out + t * layer->stride, add);
}

static void swar_linear(const snn_layer *layer) {
    uint32_t groups = layer->tokens * snn_groups(layer->timesteps), c, g;
    snn_lists(layer, snn_events);
    for (c = 0; c + 16 <= layer->columns; c += 16) {
        for (g = 0; g < groups; g++) swar_group(layer, g, c);
    }
    snn_linear_columns(layer, c);
}

static void swar_lif(const snn_op *op, const int32_t *current, size_t stride, uint32_t timesteps,
                     uint64_t *bits) {
    memset(bits, 0, (size_t)timesteps * snn_words(op->channels) * 8);
    snn_lif_scalar(op, 0, current, stride, timesteps, bits);
}

/* Four bits to four bytes: bit i to byte i. */
static uint32_t swar_spread(uint32_t bits) { return ((bits & 15u) * 0x00204081u) & 0x01010101u; }

/* Four channels at a time; byte lanes hold until the scores added reach 255. */
static void swar_attend(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots,
                        uint32_t words, uint32_t channels, uint32_t *scores, int32_t *out) {
    uint32_t j, w, c, i;
    for (j = 0; j < slots; j++) {
        uint32_t score = 0;
        for (w = 0; w < words; w++) score += snn_popcount(q[w] & k[(size_t)j * words + w]);
        scores[j] = score;
    }
    for (c = 0; c < channels; c += 4) {
        uint32_t four[4] = {0, 0, 0, 0}, lanes = 0, sum = 0;
        const uint64_t *word = v + c / 64;
        for (j = 0; j < slots; j++, word += words) {
            uint32_t score = scores[j];
            if (sum + score > 255) {
                for (i = 0; i < 4; i++) four[i] += lanes >> (8 * i) & 255u;
                lanes = sum = 0;
            }
            lanes += swar_spread((uint32_t)(*word >> (c % 64))) * score;
            sum += score;
        }
        for (i = 0; i < 4 && c + i < channels; i++)
            out[c + i] = (int32_t)(four[i] + (lanes >> (8 * i) & 255u));
    }
}

/* Adds v's bits (`minus` 0) to the rows of sums that k names, or takes them off (all ones). No byte of a row
 * overflows, so nothing is carried between them; a row may be the 32-bit words that it is always read as. */
static void swar_enter(const uint64_t *k, uint64_t v, uint32_t words, uint32_t *sums, uint32_t minus) {
    uint32_t bits[16], w, i;
    for (i = 0; i < 16; i++) bits[i] = (swar_spread((uint32_t)(v >> (4 * i))) ^ minus) - minus;
    for (w = 0; w < words && v != 0; w++, sums += 64 * 16) {
        uint64_t left = k[w];
        for (; left != 0; left &= left - 1) {
            uint32_t *row = sums + (size_t)snn_lowest(left) * 16;
            for (i = 0; i < 16; i++) row[i] += bits[i];
        }
    }
}

/* Sixty-four channels in 32 words: even and odd bytes of a row as 16-bit lanes. */
static void swar_attend_sums(const uint64_t *q, const uint64_t *k, const uint64_t *v, const uint64_t *old_k,
                             const uint64_t *old_v, uint32_t words, uint32_t channels, uint8_t *sums,
                             int32_t *out) {
    uint32_t score = 0, w, b, i;
    for (w = 0; w < words; w++) score += snn_popcount(q[w] & k[w]);
    for (b = 0; b < words; b++, sums += (size_t)channels * 64, out += 64) {
        uint32_t *rows = (uint32_t *)(void *)sums, even[16], odd[16], width = channels - 64 * b;
        for (i = 0; i < 16; i++) {
            uint32_t own = swar_spread((uint32_t)(v[b] >> (4 * i))) * score; /* a score fits a byte */
            even[i] = own & 0x00FF00FFu;
            odd[i] = own >> 8 & 0x00FF00FFu;
        }
        for (w = 0; w < words; w++) {
            uint64_t left = q[w];
            for (; left != 0; left &= left - 1) {
                const uint32_t *row = rows + (64 * w + snn_lowest(left)) * 16;
                for (i = 0; i < 16; i++) {
                    even[i] += row[i] & 0x00FF00FFu;
                    odd[i] += row[i] >> 8 & 0x00FF00FFu;
                }
            }
        }
        for (i = 0; i < 64 && i < width; i++) {
            uint32_t lanes = i % 2 == 0 ? even[i / 4] : odd[i / 4];
            out[i] = (int32_t)(i % 4 < 2 ? lanes & 0xFFFFu : lanes >> 16);
        }
        swar_enter(old_k, old_v[b], words, rows, 0xFFFFFFFFu);
        swar_enter(k, v[b], words, rows, 0);
    }
}

static void swar_project(const int16_t *x, uint32_t rows, const int8_t *weight, uint32_t columns,
                         int32_t *out) {
    uint32_t j, c;
    memset(out, 0, (size_t)columns * sizeof *out);
    for (j = 0; j < rows; j++, weight += columns) {
        int32_t factor = x[j];
        for (c = 0; factor != 0 && c < columns; c++) out[c] += factor * weight[c];
    }
}

/* Four tokens share the load of a code. */
static int32_t swar_logits(const int8_t *table, const uint8_t *packed, uint32_t rank, const int8_t *codes,
                           uint32_t first, uint32_t count, int32_t *out) {
    int32_t largest = INT32_MIN;
    uint32_t i, j;
    (void)packed;
    table += (size_t)first * rank;
    for (i = 0; i + 4 <= count; i += 4, table += (size_t)4 * rank) {
        const int8_t *one = table, *two = one + rank, *three = two + rank, *four = three + rank;
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (j = 0; j < rank; j++) {
            int32_t code = codes[j];
            a += one[j] * code;
            b += two[j] * code;
            c += three[j] * code;
            d += four[j] * code;
        }
        out[i] = a;
        out[i + 1] = b;
        out[i + 2] = c;
        out[i + 3] = d;
    }
    for (; i < count; i++, table += rank) {
        out[i] = 0;
        for (j = 0; j < rank; j++) out[i] += table[j] * codes[j];
    }
    for (i = 0; i < count; i++) largest = out[i] > largest ? out[i] : largest;
    return largest;
}

const snn_kernels snn_kernels_swar = {
    "swar", swar_linear, swar_lif, swar_attend,    swar_attend_sums, swar_project, swar_logits,
    NULL,   NULL,        frames_scatter, frames_stateful,
};
