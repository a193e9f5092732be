/* Kernels for x86 with AVX2 and BMI (Haswell and later, every Zen). */
#include "frames/snn_frames_kernels.h"
#include "snn_internal.h"

#if defined(__AVX2__) && defined(__BMI__)
#include <immintrin.h>

#define GROUPS_AHEAD 2u    /* later groups of a chunk find most rows in the cache */
#define STEPS_MAX    8u    /* timesteps whose spikes a LIF holds in registers */
#define QUADS_MAX    260u  /* codes of the highest rank, 1040, four in a word */
#define TABLE_AHEAD  4096u /* bytes of the table that are asked for ahead of the sum */

static inline __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

static inline void store(void *p, __m256i x) { _mm256_storeu_si256((__m256i *)p, x); }

/* Thirty-two bits to bytes of 0 or -1. */
static inline __m256i mask32(uint32_t bits) {
    const __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte);
    return _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
}

/* Thirty-two int16 sums, in the order that unpacking left, to int32 in order of columns. */
static inline void store32(int32_t *out, __m256i low, __m256i high, int add) {
    __m256i wide[4];
    uint32_t i;
    wide[0] = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(low));
    wide[1] = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(high));
    wide[2] = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(low, 1));
    wide[3] = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(high, 1));
    for (i = 0; i < 4; i++) {
        if (add) wide[i] = _mm256_add_epi32(wide[i], load(out + 8 * i));
        store(out + 8 * i, wide[i]);
    }
}

/* Four numbers at a time, those behind the last set bit to be overwritten: most words have one turn, so that
 * the processor guesses the end of the loop right. */
static uint32_t events(const uint64_t *bits, uint32_t words, uint16_t *rows) {
    uint16_t *next = rows;
    uint32_t base, i;
    for (base = 0; base < 64 * words; base += 64) {
        uint64_t left = bits[base / 64];
        uint16_t *end = next + _mm_popcnt_u64(left);
        while (left != 0) {
            for (i = 0; i < 4; i++, left = _blsr_u64(left)) *next++ = (uint16_t)(base + _tzcnt_u64(left));
        }
        next = end;
    }
    return (uint32_t)(next - rows);
}

/* The bytes of two rows are interleaved, so that one multiply-add by ones widens and adds both. While one
 * block of a row's columns is added, the next is on its way. Without `pair` there is but one row. */
static inline __attribute__((always_inline)) void add_pair(const int8_t *one, const int8_t *two,
                                                           __m256i *sums, const uint32_t blocks,
                                                           const int ahead, const int pair) {
    const __m256i ones = _mm256_set1_epi8(1);
    uint32_t b;
    for (b = 0; ahead && b < blocks; b += 2) {
        _mm_prefetch((const char *)one + 32 * (blocks + b), _MM_HINT_T0);
        if (pair) _mm_prefetch((const char *)two + 32 * (blocks + b), _MM_HINT_T0);
    }
    for (b = 0; b < blocks; b++) {
        __m256i x = load(one + 32 * b), y = pair ? load(two + 32 * b) : _mm256_setzero_si256();
        __m256i low = _mm256_unpacklo_epi8(x, y), high = _mm256_unpackhi_epi8(x, y);
        sums[2 * b] = _mm256_add_epi16(sums[2 * b], _mm256_maddubs_epi16(ones, low));
        sums[2 * b + 1] = _mm256_add_epi16(sums[2 * b + 1], _mm256_maddubs_epi16(ones, high));
    }
}

static inline __attribute__((always_inline)) void add_rows(const int8_t *weight, size_t columns,
                                                           const uint16_t *list, uint32_t count,
                                                           __m256i *sums, const uint32_t blocks,
                                                           const int ahead) {
    uint32_t i, b;
    for (b = 0; b < 2 * blocks; b++) sums[b] = _mm256_setzero_si256();
    for (i = 0; i + 1 < count; i += 2)
        add_pair(weight + list[i] * columns, weight + list[i + 1] * columns, sums, blocks, ahead, 1);
    if (i < count) add_pair(weight + list[i] * columns, NULL, sums, blocks, ahead, 0);
}

/* `blocks` times thirty-two columns from `first` of one group of timesteps. */
static inline __attribute__((always_inline)) void
group_columns(const snn_layer *layer, uint32_t g, uint32_t first, const uint32_t blocks, const int ahead) {
    const snn_part *part = layer->parts + layer->groups[g], *end = layer->parts + layer->groups[g + 1];
    __m256i steps[SNN_GROUP][8], sums[8];
    uint32_t count, t, b;
    int32_t *out = snn_group_out(layer, g, &count) + first;
    int add = 0;
    memset(steps, 0, sizeof steps);
    for (;; part++) {
        if (part == end || part->count == 0) {
            for (t = 0; t < count; t++) {
                for (b = 0; b < blocks; b++)
                    store32(out + t * layer->stride + 32 * b, steps[t][2 * b], steps[t][2 * b + 1], add);
            }
            if (part == end) return;
            memset(steps, 0, sizeof steps);
            add = 1;
        } else {
            __m256i *one = steps[part->first], *two = steps[part->second % SNN_GROUP];
            add_rows(layer->weight + first, layer->columns, layer->list + part->start, part->count, sums,
                     blocks, ahead);
            for (b = 0; b < 2 * blocks; b++) one[b] = _mm256_add_epi16(one[b], sums[b]);
            for (b = 0; part->second < SNN_GROUP && b < 2 * blocks; b++)
                two[b] = _mm256_add_epi16(two[b], sums[b]);
        }
    }
}

static void linear(const snn_layer *layer) {
    uint32_t groups = layer->tokens * snn_groups(layer->timesteps), ahead, c = 0, g, i;
    snn_lists(layer, events);
    ahead = snn_list_length(layer, GROUPS_AHEAD);
    for (i = 0; i < ahead; i++) {
        const char *row = (const char *)layer->weight + layer->list[i] * (size_t)layer->columns;
        _mm_prefetch(row, _MM_HINT_T0);
        _mm_prefetch(row + 64, _MM_HINT_T0);
    }
    for (; c + 128 <= layer->columns; c += 128) {
        for (g = 0; g < groups; g++) {
            if (g < GROUPS_AHEAD && c + 128 < layer->columns) {
                group_columns(layer, g, c, 4, 1);
            } else {
                group_columns(layer, g, c, 4, 0);
            }
        }
    }
    for (; c + 32 <= layer->columns; c += 32) {
        for (g = 0; g < groups; g++) group_columns(layer, g, c, 1, 0);
    }
    snn_linear_columns(layer, c);
}

/* Thirty-two channels at a time, so that their spikes of a timestep are one word. The product of the first
 * timestep is left out: the membrane is still zero. */
static inline __attribute__((always_inline)) void lif_steps(const snn_op *op, const int32_t *current,
                                                            size_t stride, const uint32_t timesteps,
                                                            uint64_t *bits, const int clip) {
    const __m256i n = _mm256_set1_epi32(op->numbers[0]), floor = _mm256_set1_epi32(-SNN_MEMBRANE_MAX);
    size_t bytes = (size_t)snn_words(op->channels) * 8;
    uint32_t fired[STEPS_MAX], c, lanes, t;
    for (c = 0; c + 32 <= op->channels; c += 32) {
        for (t = 0; t < timesteps; t++) fired[t] = 0;
        for (lanes = 0; lanes < 32; lanes += 8) {
            const __m256i threshold = load(op->left + c + lanes), bias = load(op->right + c + lanes);
            __m256i membrane = _mm256_setzero_si256();
            for (t = 0; t < timesteps; t++) {
                __m256i drive = _mm256_slli_epi32(load(current + t * stride + c + lanes), 6), spikes;
                drive = _mm256_add_epi32(drive, bias);
                if (t > 0) { /* trunc(x / 256): a negative x gets 255 before the shift rounds down */
                    __m256i x = _mm256_mullo_epi32(membrane, n);
                    x = _mm256_add_epi32(x, _mm256_srli_epi32(_mm256_srai_epi32(x, 31), 24));
                    drive = _mm256_add_epi32(drive, _mm256_srai_epi32(x, 8));
                }
                if (clip) drive = _mm256_max_epi32(drive, floor);
                spikes = _mm256_cmpgt_epi32(drive, threshold);
                membrane = _mm256_andnot_si256(spikes, drive);
                fired[t] |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(spikes)) << lanes;
            }
        }
        for (t = 0; t < timesteps; t++) memcpy((uint8_t *)bits + t * bytes + c / 8, &fired[t], 4);
    }
}

static void lif(const snn_op *op, const int32_t *current, size_t stride, uint32_t timesteps, uint64_t *bits) {
    uint32_t words = snn_words(op->channels), t;
    if (timesteps > STEPS_MAX) {
        snn_kernels_vector.lif(op, current, stride, timesteps, bits);
        return;
    }
    if (op->channels % 64 != 0) {
        for (t = 0; t < timesteps; t++) bits[(size_t)t * words + words - 1] = 0;
    }
    if (timesteps == 4 && op->clip) {
        lif_steps(op, current, stride, 4, bits, 1);
    } else if (timesteps == 4) {
        lif_steps(op, current, stride, 4, bits, 0);
    } else {
        lif_steps(op, current, stride, timesteps, bits, (int)op->clip);
    }
    if (op->channels % 32 != 0) snn_lif_scalar(op, op->channels / 32 * 32, current, stride, timesteps, bits);
}

/* Sixty-four unsigned 16-bit sums, in the order that unpacking left, to the first `width` of out. */
static inline void store_sums(int32_t *out, const __m256i *low, const __m256i *high, uint32_t width) {
    int32_t whole[64], *at = width < 64 ? whole : out;
    uint32_t i;
    for (i = 0; i < 2; i++, at += 32) {
        store(at, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(low[i])));
        store(at + 8, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(high[i])));
        store(at + 16, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(low[i], 1)));
        store(at + 24, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(high[i], 1)));
    }
    if (width < 64) memcpy(out, whole, width * sizeof *out);
}

static void attend(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots, uint32_t words,
                   uint32_t channels, uint32_t *scores, int32_t *out) {
    const __m256i zero = _mm256_setzero_si256();
    uint32_t most = 0, run, w, j, i;
    for (w = 0; w < words; w++) most += (uint32_t)_mm_popcnt_u64(q[w]);
    if (most * slots > 65535) {
        snn_kernels_vector.attend(q, k, v, slots, words, channels, scores, out);
        return;
    }
    for (j = 0; j < slots; j++, k += words) {
        scores[j] = 0;
        for (w = 0; w < words; w++) scores[j] += (uint32_t)_mm_popcnt_u64(q[w] & k[w]);
    }
    run = most == 0 ? slots : 255 / most; /* so many scores fit a byte */
    for (w = 0; w < words; w++, v++, out += 64) {
        __m256i low[2] = {zero, zero}, high[2] = {zero, zero};
        for (j = 0; j < slots;) {
            __m256i bytes[2] = {zero, zero};
            uint32_t end = slots - j < run ? slots : j + run;
            for (; j < end; j++) {
                __m256i score = _mm256_set1_epi8((char)scores[j]);
                uint64_t word = v[(size_t)j * words];
                bytes[0] = _mm256_add_epi8(bytes[0], _mm256_and_si256(score, mask32((uint32_t)word)));
                bytes[1] = _mm256_add_epi8(bytes[1], _mm256_and_si256(score, mask32((uint32_t)(word >> 32))));
            }
            for (i = 0; i < 2; i++) {
                low[i] = _mm256_add_epi16(low[i], _mm256_unpacklo_epi8(bytes[i], zero));
                high[i] = _mm256_add_epi16(high[i], _mm256_unpackhi_epi8(bytes[i], zero));
            }
        }
        store_sums(out, low, high, channels - 64 * w);
    }
}

/* Adds v's bits to the rows of sums that k names, or takes them off: a mask of them is -1 a lane. */
static inline void enter(const uint64_t *k, uint64_t v, uint32_t words, uint8_t *sums, const int leaves) {
    const __m256i first = mask32((uint32_t)v), second = mask32((uint32_t)(v >> 32));
    uint32_t w;
    for (w = 0; w < words; w++, sums += 64 * 64) {
        uint64_t left = k[w];
        for (; left != 0; left &= left - 1) {
            uint8_t *row = sums + 64 * _tzcnt_u64(left);
            __m256i x = load(row), y = load(row + 32);
            store(row, leaves ? _mm256_add_epi8(x, first) : _mm256_sub_epi8(x, first));
            store(row + 32, leaves ? _mm256_add_epi8(y, second) : _mm256_sub_epi8(y, second));
        }
    }
}

/* A row of sums is two registers; two rows are interleaved and added by one multiply-add. */
static void attend_sums(const uint64_t *q, const uint64_t *k, const uint64_t *v, const uint64_t *old_k,
                        const uint64_t *old_v, uint32_t words, uint32_t channels, uint8_t *sums,
                        int32_t *out) {
    const __m256i ones = _mm256_set1_epi8(1), zero = _mm256_setzero_si256();
    uint32_t score = 0, w, b, i;
    for (w = 0; w < words; w++) score += (uint32_t)_mm_popcnt_u64(q[w] & k[w]);
    for (b = 0; b < words; b++, sums += (size_t)channels * 64, out += 64) {
        __m256i low[2], high[2];
        for (i = 0; i < 2; i++) {
            __m256i own =
                _mm256_and_si256(mask32((uint32_t)(v[b] >> (32 * i))), _mm256_set1_epi8((char)score));
            low[i] = _mm256_unpacklo_epi8(own, zero);
            high[i] = _mm256_unpackhi_epi8(own, zero);
        }
        for (w = 0; w < words; w++) {
            const uint8_t *rows = sums + (size_t)w * 64 * 64;
            uint64_t left = q[w];
            while (left != 0) {
                const uint8_t *one = rows + 64 * _tzcnt_u64(left), *two;
                int pair = (left &= left - 1) != 0;
                two = pair ? rows + 64 * _tzcnt_u64(left) : one;
                left &= left - 1; /* nothing stays nothing */
                for (i = 0; i < 2; i++) {
                    __m256i x = load(one + 32 * i), y = pair ? load(two + 32 * i) : zero;
                    low[i] = _mm256_add_epi16(low[i], _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x, y), ones));
                    high[i] =
                        _mm256_add_epi16(high[i], _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x, y), ones));
                }
            }
        }
        store_sums(out, low, high, channels - 64 * b);
        enter(old_k, old_v[b], words, sums, 1);
        enter(k, v[b], words, sums, 0);
    }
}

/* Two rows at a time, int16 products summed in pairs. */
static void project(const int16_t *x, uint32_t rows, const int8_t *weight, uint32_t columns, int32_t *out) {
    uint32_t c = 0, j, i;
    for (; c + 32 <= columns; c += 32) {
        __m256i sums[4];
        for (i = 0; i < 4; i++) sums[i] = _mm256_setzero_si256();
        for (j = 0; j < rows; j += 2) {
            const int8_t *row = weight + (size_t)j * columns + c;
            int even = j + 1 < rows;
            __m256i factor =
                _mm256_set1_epi32((int)((uint16_t)x[j] | (even ? (uint32_t)(uint16_t)x[j + 1] << 16 : 0u)));
            __m256i a = load(row), b = even ? load(row + columns) : _mm256_setzero_si256();
            __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b), part[4];
            part[0] = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(low));
            part[1] = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(high));
            part[2] = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(low, 1));
            part[3] = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(high, 1));
            for (i = 0; i < 4; i++) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(part[i], factor));
        }
        for (i = 0; i < 4; i++) store(out + c + 8 * i, sums[i]);
    }
    for (; c < columns; c++) {
        out[c] = 0;
        for (j = 0; j < rows; j++) out[c] += x[j] * weight[(size_t)j * columns + c];
    }
}

static size_t packed_bytes(uint32_t vocab, uint32_t rank) {
    return (size_t)((vocab + 7u) / 8u) * ((rank + 3u) / 4u) * 32u;
}

/* Eight tokens side by side, four codes of each in a word. */
static void pack(const int8_t *table, uint32_t vocab, uint32_t rank, uint8_t *packed) {
    uint32_t quads = (rank + 3u) / 4u, i, j;
    memset(packed, 0, packed_bytes(vocab, rank));
    for (i = 0; i < vocab; i++) {
        uint8_t *group = packed + (size_t)(i / 8) * quads * 32 + (i % 8) * 4;
        for (j = 0; j < rank; j++) group[(j / 4) * 32 + j % 4] = (uint8_t)table[(size_t)i * rank + j];
    }
}

/* The multiply-add of bytes takes one factor unsigned: the sign of a code goes to the weight. Two products of
 * at most 128 * 127 fit int16. */
static inline __m256i dot_quad(__m256i sum, const uint8_t *weight, __m256i code) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(load(weight), code));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* `groups` pairs of groups of eight tokens. */
static inline __attribute__((always_inline)) __m256i dot_pairs(const uint8_t *packed, const uint32_t *codes,
                                                               const uint32_t quads, uint32_t pairs,
                                                               int32_t *out) {
    __m256i largest = _mm256_set1_epi32(INT32_MIN);
    const size_t group = (size_t)quads * 32;
    uint32_t g, j;
    for (g = 0; g < pairs; g++, packed += 2 * group, out += 16) {
        __m256i one = _mm256_setzero_si256(), two = one;
        for (j = 0; j < quads; j++) {
            __m256i code = _mm256_set1_epi32((int)codes[j]);
            if (j % 2 == 0) { /* a line of 64 bytes of each group */
                _mm_prefetch((const char *)packed + TABLE_AHEAD + 32 * j, _MM_HINT_T0);
                _mm_prefetch((const char *)packed + TABLE_AHEAD + group + 32 * j, _MM_HINT_T0);
            }
            one = dot_quad(one, packed + 32 * j, code);
            two = dot_quad(two, packed + group + 32 * j, code);
        }
        store(out, one);
        store(out + 8, two);
        largest = _mm256_max_epi32(largest, _mm256_max_epi32(one, two));
    }
    return largest;
}

static int32_t logits(const int8_t *table, const uint8_t *packed, uint32_t rank, const int8_t *codes,
                      uint32_t first, uint32_t count, int32_t *out) {
    uint32_t quads = (rank + 3u) / 4u, quad[QUADS_MAX], head = (8u - first % 8u) % 8u, tail, pairs, i;
    int32_t lanes[8], largest, other;
    if (head > count) head = count;
    largest = snn_kernels_vector.logits(table, NULL, rank, codes, first, head, out);
    for (i = 0; i < quads; i++) memcpy(&quad[i], codes + 4 * (size_t)i, 4); /* padded with zeros */
    pairs = (count - head) / 16;
    tail = head + 16 * pairs;
    packed += (size_t)((first + head) / 8) * quads * 32;
    store(lanes, quads == 16 ? dot_pairs(packed, quad, 16, pairs, out + head)
                             : dot_pairs(packed, quad, quads, pairs, out + head));
    for (i = 0; i < 8; i++) largest = lanes[i] > largest ? lanes[i] : largest;
    other = snn_kernels_vector.logits(table, NULL, rank, codes, first + tail, count - tail, out + tail);
    return other > largest ? other : largest;
}

const snn_kernels snn_kernels_avx2 = {"avx2",  linear, lif,          attend, attend_sums,
                                      project, logits, packed_bytes, pack, frames_scatter, frames_stateful};
#endif
