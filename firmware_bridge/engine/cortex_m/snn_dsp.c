/* Kernels for Cortex-M4, M7 and their like: two 16-bit lanes in a 32-bit register by single instructions, which
 * snn_dsp.h names. Sixteen columns are eight registers of sums. */
#include "../frames/snn_frames_kernels.h"
#include "snn_dsp.h"

#define ROWS_MAX 256u /* 256 * 127 fits a lane */

static const dsp_sums none;

/* Adds sixteen bytes of the rows of a list; row i begins at i times 16. */
DSP_INLINE void add_rows(const uint8_t *first, const uint16_t *list, uint32_t count, dsp_sums *sums) {
    const uint16_t *end = list + count;
    while (list != end) dsp_add16(first + 16 * (size_t)*list++, sums);
}

/* The rows of two timesteps (or of one: `other` NULL), each in one of three lists. */
typedef struct dsp_pair {
    const uint16_t *list; /* rows of both, of the first alone, of the second alone */
    uint32_t counts[3];
} dsp_pair;

static void list_pair(const uint64_t *one, const uint64_t *other, uint32_t words, uint32_t unit,
                      uint16_t *list, dsp_pair *pair) {
    uint32_t which, w;
    pair->list = list;
    for (which = 0; which < 3; which++) {
        uint16_t *at = list;
        for (w = 0; w < words; w++) {
            uint64_t a = one[w], b = other == NULL ? 0 : other[w];
            uint64_t bits = which == 0 ? a & b : which == 1 ? a & ~b : b & ~a;
            at = dsp_list((uint32_t)bits, 64 * w, unit, at);
            at = dsp_list((uint32_t)(bits >> 32), 64 * w + 32, unit, at);
        }
        pair->counts[which] = (uint32_t)(at - list);
        list = at;
    }
}

/* Sixteen columns of two timesteps. Rows of both are added once. */
static void add_pair(const uint8_t *weight, const dsp_pair *pair, int32_t *one, int32_t *other) {
    const uint16_t *list = pair->list;
    uint32_t both = pair->counts[0];
    dsp_sums sums = none;
    add_rows(weight, list, both, &sums);
    list += both;
    if (other == NULL) {
        add_rows(weight, list, pair->counts[1], &sums);
        dsp_put(&sums, one);
    } else {
        dsp_sums kept = sums;
        add_rows(weight, list, pair->counts[1], &sums);
        dsp_put(&sums, one);
        add_rows(weight, list + pair->counts[1], pair->counts[2], &kept);
        dsp_put(&kept, other);
    }
}

/* Sixteen columns of one timestep, however many rows. */
static void add_many(const uint8_t *weight, const uint16_t *list, uint32_t count, int32_t *out) {
    int32_t part[16];
    uint32_t i;
    while (count > 0) {
        uint32_t rows = count < ROWS_MAX ? count : ROWS_MAX;
        dsp_sums sums = none;
        add_rows(weight, list, rows, &sums);
        dsp_put(&sums, part);
        for (i = 0; i < 16; i++) out[i] += part[i];
        list += rows;
        count -= rows;
    }
}

static void add_pair_many(const uint8_t *weight, const dsp_pair *pair, int32_t *one, int32_t *other) {
    const uint16_t *first = pair->list + pair->counts[0];
    memset(one, 0, 16 * sizeof *one);
    add_many(weight, pair->list, pair->counts[0], one);
    if (other != NULL) {
        memcpy(other, one, 16 * sizeof *one);
        add_many(weight, first + pair->counts[1], pair->counts[2], other);
    }
    add_many(weight, first, pair->counts[1], one);
}

static void dsp_linear(const snn_layer *layer) {
    uint32_t words = snn_words(layer->rows), unit = layer->columns / 16, token, t, c;
    const uint8_t *weight = (const uint8_t *)layer->weight;
    if (layer->columns % 16 != 0 || (uint64_t)layer->rows * unit > 65536) {
        snn_kernels_swar.linear(layer);
        return;
    }
    for (token = 0; token < layer->tokens; token++) {
        const uint64_t *bits = layer->bits + token * layer->bits_stride;
        int32_t *out = layer->out + (size_t)token * layer->timesteps * layer->stride;
        for (t = 0; t < layer->timesteps; t += 2, bits += 2 * (size_t)words, out += 2 * layer->stride) {
            int32_t *other = t + 1 < layer->timesteps ? out + layer->stride : NULL;
            dsp_pair pair;
            uint32_t alone;
            list_pair(bits, other == NULL ? NULL : bits + words, words, unit, layer->list, &pair);
            alone = pair.counts[1] > pair.counts[2] ? pair.counts[1] : pair.counts[2];
            for (c = 0; c < layer->columns; c += 16) {
                if (pair.counts[0] + alone <= ROWS_MAX) {
                    add_pair(weight + c, &pair, out + c, other == NULL ? NULL : other + c);
                } else {
                    add_pair_many(weight + c, &pair, out + c, other == NULL ? NULL : other + c);
                }
            }
        }
    }
}

/* Up to 32 channels, whose spikes are a word a timestep. Threshold less membrane fits 32 bits: the membrane is at
 * least -2**23 where they meet, by the compiler's proof or by the clip. */
DSP_INLINE uint32_t lif_step(int32_t *membrane, uint32_t drive, uint32_t theta, uint32_t n, const int first,
                             const int clip) {
    int32_t now, fired;
    if (!first) { /* trunc(x / 256): 255 is added to a negative x before the shift that rounds down */
        uint32_t scaled = (uint32_t)*membrane * n + ((uint32_t)*membrane >> 24); /* |V| <= 2**23 */
        drive += (uint32_t)((int32_t)scaled >> 8);
    }
    now = (int32_t)drive;
    if (clip && now < -SNN_MEMBRANE_MAX) now = -SNN_MEMBRANE_MAX;
    fired = (int32_t)(theta - (uint32_t)now) >> 31;
    *membrane = now & ~fired;
    return (uint32_t)fired;
}

/* Timesteps 1, 2 or 4, so that all words stay in registers. */
DSP_INLINE void lif32(const int32_t *threshold, const int32_t *bias, const int32_t *current, size_t stride,
                      uint32_t count, uint32_t n, const int clip, const uint32_t timesteps, uint32_t *words) {
    uint32_t mask = 1, w0 = 0, w1 = 0, w2 = 0, w3 = 0;
    const int32_t *end = threshold + count;
    for (; threshold != end; mask <<= 1, current++) {
        uint32_t theta = (uint32_t)*threshold++, base = (uint32_t)*bias++;
        int32_t membrane = 0;
        w0 |= mask & lif_step(&membrane, ((uint32_t)current[0] << 6) + base, theta, n, 1, clip);
        if (timesteps == 1) continue;
        w1 |= mask & lif_step(&membrane, ((uint32_t)current[stride] << 6) + base, theta, n, 0, clip);
        if (timesteps == 2) continue;
        w2 |= mask & lif_step(&membrane, ((uint32_t)current[2 * stride] << 6) + base, theta, n, 0, clip);
        w3 |= mask & lif_step(&membrane, ((uint32_t)current[3 * stride] << 6) + base, theta, n, 0, clip);
    }
    words[0] = w0;
    words[1] = w1;
    words[2] = w2;
    words[3] = w3;
}

#if defined(DSP_INSTRUCTIONS)
static void lif32_by_four(const int32_t *threshold, const int32_t *bias, const int32_t *current, size_t stride,
                          uint32_t count, uint32_t n, uint32_t *words) {
    const int32_t *at = current + count;
    size_t to_theta = (uintptr_t)threshold - (uintptr_t)current, to_bias = (uintptr_t)bias - (uintptr_t)current;
    dsp_four found = {0, 0, 0, 0};
    while (at != current) dsp_lif4(--at, 4 * stride, to_theta, to_bias, n, &found);
    words[0] = found.a;
    words[1] = found.b;
    words[2] = found.c;
    words[3] = found.d;
}
#endif

static void lif_any(const int32_t *threshold, const int32_t *bias, const int32_t *current, size_t stride,
                    uint32_t count, uint32_t n, int clip, uint32_t timesteps, uint32_t *words) {
    uint32_t mask = 1, c, t;
    memset(words, 0, timesteps * sizeof *words);
    for (c = 0; c < count; c++, mask <<= 1) {
        int32_t membrane = 0;
        for (t = 0; t < timesteps; t++) {
            uint32_t drive = ((uint32_t)current[t * stride + c] << 6) + (uint32_t)bias[c];
            words[t] |= mask & lif_step(&membrane, drive, (uint32_t)threshold[c], n, t == 0, clip);
        }
    }
}

static void dsp_lif(const snn_op *op, const int32_t *current, size_t stride, uint32_t timesteps,
                    uint64_t *bits) {
    uint32_t row = snn_words(op->channels), n = (uint32_t)op->numbers[0], c, t, at;
    uint32_t words[128]; /* a program has at most 127 timesteps */
    for (c = 0; c < op->channels; c += 32, current += 32) {
        const int32_t *theta = op->left + c, *bias = op->right + c;
        uint32_t count = op->channels - c < 32 ? op->channels - c : 32;
        if (timesteps == 4 && !op->clip) { /* lengths that the compiler knows */
#if defined(DSP_INSTRUCTIONS)
            lif32_by_four(theta, bias, current, stride, count, n, words);
#else
            lif32(theta, bias, current, stride, count, n, 0, 4, words);
#endif
        } else if (timesteps == 2 && !op->clip) {
            lif32(theta, bias, current, stride, count, n, 0, 2, words);
        } else if (timesteps == 4) {
            lif32(theta, bias, current, stride, count, n, 1, 4, words);
        } else if (timesteps == 2) {
            lif32(theta, bias, current, stride, count, n, 1, 2, words);
        } else {
            lif_any(theta, bias, current, stride, count, n, (int)op->clip, timesteps, words);
        }
        for (t = 0, at = c / 64; t < timesteps; t++, at += row) {
            bits[at] = c % 64 == 0 ? words[t] : bits[at] | (uint64_t)words[t] << 32;
        }
    }
}

/* Eight columns in eight registers. */
static void project8(const int16_t *x, uint32_t rows, const int8_t *weight, size_t columns, int32_t *out) {
    int32_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    const int16_t *end = x + rows;
    for (; x < end; x++, weight += columns) {
        int32_t factor = *x;
        uint32_t even, odd;
        if (factor == 0) continue;
        even = dsp_even(dsp_load(weight));
        odd = dsp_odd(dsp_load(weight));
        a += dsp_low(even) * factor;
        b += dsp_low(odd) * factor;
        c += dsp_high(even) * factor;
        d += dsp_high(odd) * factor;
        even = dsp_even(dsp_load(weight + 4));
        odd = dsp_odd(dsp_load(weight + 4));
        e += dsp_low(even) * factor;
        f += dsp_low(odd) * factor;
        g += dsp_high(even) * factor;
        h += dsp_high(odd) * factor;
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
    out[4] = e;
    out[5] = f;
    out[6] = g;
    out[7] = h;
}

static void dsp_project(const int16_t *x, uint32_t rows, const int8_t *weight, uint32_t columns, int32_t *out) {
    uint32_t c, j;
    for (c = 0; c + 8 <= columns; c += 8) project8(x, rows, weight + c, columns, out + c);
    for (; c < columns; c++) {
        int32_t sum = 0;
        for (j = 0; j < rows; j++) sum += x[j] * weight[(size_t)j * columns + c];
        out[c] = sum;
    }
}

DSP_INLINE int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

/* Logits of whole fours of tokens; the largest of them. */
DSP_INLINE int32_t fours(const int8_t *row, size_t rank, const uint32_t *lanes, const int8_t *codes,
                         uint32_t count, const int eights, int32_t *out) {
    const uint32_t *code, *end = lanes + rank / 8 * 4;
    const int32_t *last = out + count;
    size_t thrice = 3 * rank, j;
    int32_t largest = INT32_MIN;
    for (; out != last; out += 4, row += thrice) { /* it has moved on by one row */
        dsp_four sums = {0, 0, 0, 0};
        for (code = lanes; code != end;) {
            dsp_dots(&row, rank, thrice, &code, &sums);
            dsp_dots(&row, rank, thrice, &code, &sums);
        }
        if (!eights && rank % 8 >= 4) dsp_dots(&row, rank, thrice, &code, &sums);
        for (j = rank / 4 * 4; !eights && j < rank; j++, row++) {
            sums.a += (uint32_t)(row[0] * codes[j]);
            sums.b += (uint32_t)(row[rank] * codes[j]);
            sums.c += (uint32_t)(row[2 * rank] * codes[j]);
            sums.d += (uint32_t)(row[thrice] * codes[j]);
        }
        out[0] = (int32_t)sums.a;
        out[1] = (int32_t)sums.b;
        out[2] = (int32_t)sums.c;
        out[3] = (int32_t)sums.d;
        largest = larger(larger(larger(out[0], out[1]), larger(out[2], out[3])), largest);
    }
    return largest;
}

/* Four tokens share the load of a code. Codes stand as lanes: of four, 0 with 2, then 1 with 3, as the bytes of
 * a word of the table come apart; behind the last code they are zeros. */
static int32_t dsp_logits(const int8_t *table, const uint8_t *packed, uint32_t rank, const int8_t *codes,
                          uint32_t first, uint32_t count, int32_t *out) {
    uint32_t lanes[2 * 260 + 2]; /* a rank is at most 1040 */
    uint32_t whole = rank / 4, i, j;
    int32_t largest;
    (void)packed;
    for (j = 0; j < whole; j++) {
        lanes[2 * j] = dsp_even(dsp_load(codes + 4 * j));
        lanes[2 * j + 1] = dsp_odd(dsp_load(codes + 4 * j));
    }
    table += (size_t)first * rank;
    i = count / 4 * 4;
    largest = rank % 8 == 0 ? fours(table, rank, lanes, codes, i, 1, out)
                            : fours(table, rank, lanes, codes, i, 0, out);
    for (table += (size_t)i * rank; i < count; i++, table += rank) {
        int32_t sum = 0;
        for (j = 0; j < rank; j++) sum += table[j] * codes[j];
        out[i] = sum;
        largest = larger(sum, largest);
    }
    return largest;
}

const snn_kernels snn_kernels_dsp = {
    "dsp", dsp_linear, dsp_lif, snn_dsp_attend, snn_dsp_attend_sums, dsp_project, dsp_logits, NULL, NULL,
    frames_scatter, frames_stateful,
};
