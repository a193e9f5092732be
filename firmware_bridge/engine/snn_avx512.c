/* Kernels for x86 with AVX-512 BW, VBMI2, VNNI, BITALG and VPOPCNTDQ (Ice Lake and later, Zen 4 and later).
 */
#include "frames/snn_frames_kernels.h"
#include "snn_internal.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512VNNI__) && defined(__AVX512VPOPCNTDQ__)
#include <immintrin.h>

#ifndef SNN_COLUMN_BLOCKS
#define SNN_COLUMN_BLOCKS 2u /* 128 columns at a time (docs/decisions/engine_kernels.md) */
#endif
#define GROUPS_AHEAD 2u /* later groups of a chunk find most rows in the cache */

static uint32_t events(const uint64_t *bits, uint32_t words, uint16_t *rows) {
    uint16_t *next = rows;
    __m512i number = _mm512_cvtepu8_epi16(
        _mm256_setr_epi64x(0x0706050403020100, 0x0F0E0D0C0B0A0908, 0x1716151413121110, 0x1F1E1D1C1B1A1918));
    uint32_t w;
    for (w = 0; w < 2 * words; w++) {
        __mmask32 mask = (__mmask32)(bits[w / 2] >> (w % 2 * 32));
        _mm512_storeu_si512(next, _mm512_maskz_compress_epi16(mask, number)); /* there is room behind */
        next += _mm_popcnt_u32(mask);
        number = _mm512_add_epi16(number, _mm512_set1_epi16(32));
    }
    return (uint32_t)(next - rows);
}

/* Sixty-four int16 sums, in the order that unpacking left, to int32 in order of columns. */
static inline void store64(int32_t *out, __m512i low, __m512i high, int add) {
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512i a = _mm512_permutex2var_epi64(low, first, high), b = _mm512_permutex2var_epi64(low, second, high);
    __m512i wide[4];
    uint32_t i;
    wide[0] = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(a));
    wide[1] = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(a, 1));
    wide[2] = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(b));
    wide[3] = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(b, 1));
    for (i = 0; i < 4; i++) {
        if (add) wide[i] = _mm512_add_epi32(wide[i], _mm512_loadu_si512(out + 16 * i));
        _mm512_storeu_si512(out + 16 * i, wide[i]);
    }
}

/* The bytes of two rows are interleaved, so that one multiply-add by ones widens and adds both. While one
 * block of a row's columns is added, the next is on its way. Without `pair` there is but one row. */
static inline __attribute__((always_inline)) void add_pair(const int8_t *one, const int8_t *two,
                                                           __m512i *sums, const uint32_t blocks,
                                                           const int ahead, const int pair) {
    const __m512i ones = _mm512_set1_epi8(1);
    uint32_t b;
    for (b = 0; ahead && b < blocks; b += 1) {
        _mm_prefetch((const char *)one + 64 * (blocks + b), _MM_HINT_T0);
        if (pair) _mm_prefetch((const char *)two + 64 * (blocks + b), _MM_HINT_T0);
    }
    for (b = 0; b < blocks; b++) {
        __m512i x = _mm512_loadu_si512(one + 64 * b),
                y = pair ? _mm512_loadu_si512(two + 64 * b) : _mm512_setzero_si512();
        __m512i low = _mm512_unpacklo_epi8(x, y), high = _mm512_unpackhi_epi8(x, y);
        sums[2 * b] = _mm512_add_epi16(sums[2 * b], _mm512_maddubs_epi16(ones, low));
        sums[2 * b + 1] = _mm512_add_epi16(sums[2 * b + 1], _mm512_maddubs_epi16(ones, high));
    }
}

static inline __attribute__((always_inline)) void add_rows(const int8_t *weight, size_t columns,
                                                           const uint16_t *list, uint32_t count,
                                                           __m512i *sums, const uint32_t blocks,
                                                           const int ahead) {
    uint32_t i, b;
    for (b = 0; b < 2 * blocks; b++) sums[b] = _mm512_setzero_si512();
    for (i = 0; i + 1 < count; i += 2)
        add_pair(weight + list[i] * columns, weight + list[i + 1] * columns, sums, blocks, ahead, 1);
    if (i < count) add_pair(weight + list[i] * columns, NULL, sums, blocks, ahead, 0);
}

/* `blocks` times sixty-four columns from `first` of one group of timesteps. */
static inline __attribute__((always_inline)) void
group_columns(const snn_layer *layer, uint32_t g, uint32_t first, const uint32_t blocks, const int ahead) {
    const snn_part *part = layer->parts + layer->groups[g], *end = layer->parts + layer->groups[g + 1];
    __m512i steps[SNN_GROUP][2 * SNN_COLUMN_BLOCKS], sums[2 * SNN_COLUMN_BLOCKS];
    uint32_t count, t, b;
    int32_t *out = snn_group_out(layer, g, &count) + first;
    int add = 0;
    memset(steps, 0, sizeof steps);
    for (;; part++) {
        if (part == end || part->count == 0) {
            for (t = 0; t < count; t++) {
                for (b = 0; b < blocks; b++)
                    store64(out + t * layer->stride + 64 * b, steps[t][2 * b], steps[t][2 * b + 1], add);
            }
            if (part == end) return;
            memset(steps, 0, sizeof steps);
            add = 1;
        } else {
            __m512i *one = steps[part->first], *two = steps[part->second % SNN_GROUP];
            add_rows(layer->weight + first, layer->columns, layer->list + part->start, part->count, sums,
                     blocks, ahead);
            for (b = 0; b < 2 * blocks; b++) one[b] = _mm512_add_epi16(one[b], sums[b]);
            for (b = 0; part->second < SNN_GROUP && b < 2 * blocks; b++)
                two[b] = _mm512_add_epi16(two[b], sums[b]);
        }
    }
}

static void linear(const snn_layer *layer) {
    uint32_t groups = layer->tokens * snn_groups(layer->timesteps), ahead, c = 0, g, i, b;
    const uint32_t wide = SNN_COLUMN_BLOCKS * 64;
    snn_lists(layer, events);
    ahead = snn_list_length(layer, GROUPS_AHEAD);
    for (i = 0; i < ahead; i++) {
        const char *row = (const char *)layer->weight + layer->list[i] * (size_t)layer->columns;
        for (b = 0; b < SNN_COLUMN_BLOCKS; b++) _mm_prefetch(row + 64 * b, _MM_HINT_T0);
    }
    for (; c + wide <= layer->columns; c += wide) {
        for (g = 0; g < groups; g++) {
            if (g < GROUPS_AHEAD && c + wide < layer->columns) {
                group_columns(layer, g, c, SNN_COLUMN_BLOCKS, 1);
            } else {
                group_columns(layer, g, c, SNN_COLUMN_BLOCKS, 0);
            }
        }
    }
    for (; c + 64 <= layer->columns; c += 64) {
        for (g = 0; g < groups; g++) group_columns(layer, g, c, 1, 0);
    }
    snn_linear_columns(layer, c);
}

static inline __attribute__((always_inline)) void lif_steps(const snn_op *op, const int32_t *current,
                                                            size_t stride, const uint32_t timesteps,
                                                            uint64_t *bits, const int clip) {
    const __m512i n = _mm512_set1_epi32(op->numbers[0]), up = _mm512_set1_epi32(255);
    const __m512i floor = _mm512_set1_epi32(-SNN_MEMBRANE_MAX);
    uint32_t half_words = snn_words(op->channels) * 4, c, t;
    for (c = 0; c + 16 <= op->channels; c += 16) {
        const __m512i threshold = _mm512_loadu_si512(op->left + c), bias = _mm512_loadu_si512(op->right + c);
        __m512i drive = _mm512_setzero_si512();
        __mmask16 quiet = 0; /* where the membrane was not reset */
        uint8_t *out = (uint8_t *)bits + c / 8;
        for (t = 0; t < timesteps; t++, out += 2 * (size_t)half_words) {
            __m512i x = _mm512_maskz_mullo_epi32(quiet, drive, n);
            uint16_t fired;
            drive =
                _mm512_add_epi32(_mm512_slli_epi32(_mm512_loadu_si512(current + t * stride + c), 6), bias);
            if (t > 0) { /* trunc(x / 256): 255 is added to a negative x before the shift that rounds down */
                x = _mm512_mask_add_epi32(x, _mm512_movepi32_mask(x), x, up);
                drive = _mm512_add_epi32(drive, _mm512_srai_epi32(x, 8));
            }
            if (clip) drive = _mm512_max_epi32(drive, floor);
            quiet = _mm512_cmple_epi32_mask(drive, threshold);
            fired = (uint16_t)~quiet;
            memcpy(out, &fired, 2);
        }
    }
}

static void lif(const snn_op *op, const int32_t *current, size_t stride, uint32_t timesteps, uint64_t *bits) {
    uint32_t words = snn_words(op->channels), t;
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
    if (op->channels % 16 != 0) snn_lif_scalar(op, op->channels / 16 * 16, current, stride, timesteps, bits);
}

/* Scores of heads of at most 64 channels, each repeated in the four bytes of a word. */
static inline void score_slots(uint64_t q, const uint64_t *k, uint32_t slots, uint32_t *scores) {
    const __m512i query = _mm512_set1_epi64((long long)q);
    uint32_t j;
    for (j = 0; j < slots; j += 8) {
        __mmask8 mask = slots - j < 8 ? (__mmask8)((1u << (slots - j)) - 1u) : (__mmask8)0xFF;
        __m512i count = _mm512_popcnt_epi64(_mm512_and_si512(query, _mm512_maskz_loadu_epi64(mask, k + j)));
        count = _mm512_or_si512(count, _mm512_slli_epi64(count, 8));
        count = _mm512_or_si512(count, _mm512_slli_epi64(count, 16));
        _mm256_storeu_si256((__m256i *)(void *)(scores + j), _mm512_cvtepi64_epi32(count));
    }
}

/* Sixty-four unsigned 16-bit sums, in the order that unpacking left, to the first `width` of out. */
static inline void store_sums(int32_t *out, __m512i low, __m512i high, uint32_t width) {
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const uint64_t lanes = width < 64 ? ((uint64_t)1 << width) - 1 : ~(uint64_t)0;
    __m512i half[2];
    uint32_t i;
    half[0] = _mm512_permutex2var_epi64(low, first, high);
    half[1] = _mm512_permutex2var_epi64(low, second, high);
    for (i = 0; i < 4; i++) {
        __m256i part =
            i % 2 == 0 ? _mm512_castsi512_si256(half[i / 2]) : _mm512_extracti64x4_epi64(half[i / 2], 1);
        _mm512_mask_storeu_epi32(out + 16 * i, (__mmask16)(lanes >> (16 * i)), _mm512_cvtepu16_epi32(part));
    }
}

static void attend(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots, uint32_t words,
                   uint32_t channels, uint32_t *scores, int32_t *out) {
    const __m512i zero = _mm512_setzero_si512();
    uint32_t most = (uint32_t)_mm_popcnt_u64(q[0]), run, j = 0;
    __m512i low = zero, high = zero;
    if (words != 1 || most * slots > 65535) {
        snn_kernels_reference.attend(q, k, v, slots, words, channels, scores, out);
        return;
    }
    if (most == 0) {
        memset(out, 0, (size_t)channels * sizeof *out);
        return;
    }
    score_slots(q[0], k, slots, scores);
    run = 255 / most; /* so many scores fit a byte */
    while (j < slots) {
        uint32_t end = slots - j < run ? slots : j + run;
        __m512i bytes = _mm512_setzero_si512(), others = _mm512_setzero_si512();
        for (; j + 1 < end; j += 2) {
            bytes = _mm512_mask_add_epi8(bytes, v[j], bytes, _mm512_set1_epi32((int)scores[j]));
            others = _mm512_mask_add_epi8(others, v[j + 1], others, _mm512_set1_epi32((int)scores[j + 1]));
        }
        if (j < end) {
            bytes = _mm512_mask_add_epi8(bytes, v[j], bytes, _mm512_set1_epi32((int)scores[j]));
            j++;
        }
        bytes = _mm512_add_epi8(bytes, others);
        low = _mm512_add_epi16(low, _mm512_unpacklo_epi8(bytes, zero));
        high = _mm512_add_epi16(high, _mm512_unpackhi_epi8(bytes, zero));
    }
    store_sums(out, low, high, channels);
}

/* A row of sums is one register; two rows are interleaved and added by one multiply-add. */
static void attend_sums(const uint64_t *q, const uint64_t *k, const uint64_t *v, const uint64_t *old_k,
                        const uint64_t *old_v, uint32_t words, uint32_t channels, uint8_t *sums,
                        int32_t *out) {
    const __m512i ones = _mm512_set1_epi8(1), zero = _mm512_setzero_si512();
    uint32_t score = 0, w, b;
    for (w = 0; w < words; w++) score += (uint32_t)_mm_popcnt_u64(q[w] & k[w]);
    for (b = 0; b < words; b++, sums += (size_t)channels * 64, out += 64) {
        __m512i own = _mm512_maskz_mov_epi8(v[b], _mm512_set1_epi8((char)score));
        __m512i low = _mm512_unpacklo_epi8(own, zero), high = _mm512_unpackhi_epi8(own, zero);
        uint8_t *rows = sums;
        for (w = 0; w < words; w++, rows += 64 * 64) {
            uint64_t left = q[w];
            while (left != 0) {
                __m512i x = _mm512_load_si512(rows + 64 * _tzcnt_u64(left)), y = zero;
                left &= left - 1;
                if (left != 0) y = _mm512_load_si512(rows + 64 * _tzcnt_u64(left));
                left &= left - 1; /* nothing stays nothing */
                low = _mm512_add_epi16(low, _mm512_maddubs_epi16(_mm512_unpacklo_epi8(x, y), ones));
                high = _mm512_add_epi16(high, _mm512_maddubs_epi16(_mm512_unpackhi_epi8(x, y), ones));
            }
        }
        store_sums(out, low, high, channels - 64 * b);
        rows = sums;
        for (w = 0; w < words; w++, rows += 64 * 64) {
            uint64_t left = old_k[w];
            for (; left != 0; left &= left - 1) {
                uint8_t *row = rows + 64 * _tzcnt_u64(left);
                __m512i x = _mm512_load_si512(row);
                _mm512_store_si512(row, _mm512_mask_sub_epi8(x, old_v[b], x, ones));
            }
            for (left = k[w]; left != 0; left &= left - 1) {
                uint8_t *row = rows + 64 * _tzcnt_u64(left);
                __m512i x = _mm512_load_si512(row);
                _mm512_store_si512(row, _mm512_mask_add_epi8(x, v[b], x, ones));
            }
        }
    }
}

/* Two rows at a time, int16 products summed in pairs. */
static void project(const int16_t *x, uint32_t rows, const int8_t *weight, uint32_t columns, int32_t *out) {
    uint32_t c = 0, j, i;
    for (; c + 64 <= columns; c += 64) {
        __m512i sums[4];
        for (i = 0; i < 4; i++) sums[i] = _mm512_setzero_si512();
        for (j = 0; j < rows; j += 2) {
            const int8_t *row = weight + (size_t)j * columns + c;
            int even = j + 1 < rows;
            __m512i factor =
                _mm512_set1_epi32((int)((uint16_t)x[j] | (even ? (uint32_t)(uint16_t)x[j + 1] << 16 : 0u)));
            __m512i a = _mm512_loadu_si512(row),
                    b = even ? _mm512_loadu_si512(row + columns) : _mm512_setzero_si512();
            __m512i low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b);
            sums[0] = _mm512_dpwssd_epi32(sums[0], _mm512_cvtepi8_epi16(_mm512_castsi512_si256(low)), factor);
            sums[1] =
                _mm512_dpwssd_epi32(sums[1], _mm512_cvtepi8_epi16(_mm512_castsi512_si256(high)), factor);
            sums[2] =
                _mm512_dpwssd_epi32(sums[2], _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(low, 1)), factor);
            sums[3] = _mm512_dpwssd_epi32(sums[3], _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(high, 1)),
                                          factor);
        }
        for (i = 0; i < 4; i++) { /* columns 32 (i / 2) + 8 (i % 2), and the same + 16 */
            int32_t *at = out + c + 32 * (i / 2) + 8 * (i % 2);
            _mm256_storeu_si256((__m256i *)(void *)at, _mm512_castsi512_si256(sums[i]));
            _mm256_storeu_si256((__m256i *)(void *)(at + 16), _mm512_extracti64x4_epi64(sums[i], 1));
        }
    }
    for (; c < columns; c++) {
        out[c] = 0;
        for (j = 0; j < rows; j++) out[c] += x[j] * weight[(size_t)j * columns + c];
    }
}

static size_t packed_bytes(uint32_t vocab, uint32_t rank) {
    return (size_t)((vocab + 15u) / 16u) * ((rank + 3u) / 4u) * 64u;
}

/* Sixteen tokens side by side, four codes of each in a word, 128 added: VNNI multiplies unsigned by signed.
 */
static void pack(const int8_t *table, uint32_t vocab, uint32_t rank, uint8_t *packed) {
    uint32_t quads = (rank + 3u) / 4u, i, j;
    memset(packed, 0x80, packed_bytes(vocab, rank));
    for (i = 0; i < vocab; i++) {
        uint8_t *group = packed + (size_t)(i / 16) * quads * 64 + (i % 16) * 4;
        for (j = 0; j < rank; j++)
            group[(j / 4) * 64 + j % 4] = (uint8_t)((uint8_t)table[(size_t)i * rank + j] ^ 0x80u);
    }
}

static inline __attribute__((always_inline)) int32_t dot_groups(const uint8_t *packed, const uint32_t *quad,
                                                                const uint32_t quads, uint32_t groups,
                                                                __m512i start, uint32_t count, int32_t *out) {
    __m512i largest = _mm512_set1_epi32(INT32_MIN);
    uint32_t g, j;
    for (g = 0; g < groups; g++) {
        __m512i sum = start, other = _mm512_setzero_si512();
        for (j = 0; j + 1 < quads; j += 2, packed += 128) {
            sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(packed), _mm512_set1_epi32((int)quad[j]));
            other = _mm512_dpbusd_epi32(other, _mm512_loadu_si512(packed + 64),
                                        _mm512_set1_epi32((int)quad[j + 1]));
        }
        if (j < quads) {
            sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(packed), _mm512_set1_epi32((int)quad[j]));
            packed += 64;
        }
        sum = _mm512_add_epi32(sum, other);
        if (count - 16 * g >= 16) {
            _mm512_storeu_si512(out + 16 * g, sum);
            largest = _mm512_max_epi32(largest, sum);
        } else {
            const __mmask16 mask = (__mmask16)((1u << (count - 16 * g)) - 1u);
            _mm512_mask_storeu_epi32(out + 16 * g, mask, sum);
            largest = _mm512_mask_max_epi32(largest, mask, largest, sum);
        }
    }
    return _mm512_reduce_max_epi32(largest);
}

static int32_t logits(const int8_t *table, const uint8_t *packed, uint32_t rank, const int8_t *codes,
                      uint32_t first, uint32_t count, int32_t *out) {
    uint32_t quads = (rank + 3u) / 4u, quad[260], j, head = (16u - first % 16u) % 16u;
    int32_t sum = 0, before, largest;
    __m512i start;
    if (head > count) head = count;
    before = snn_kernels_reference.logits(table, NULL, rank, codes, first, head, out);
    for (j = 0; j < quads; j++) memcpy(&quad[j], codes + 4 * (size_t)j, 4); /* codes are padded with zeros */
    for (j = 0; j < rank; j++) sum += codes[j];
    start = _mm512_set1_epi32(-128 * sum);
    packed += (size_t)((first + head) / 16) * quads * 64;
    count -= head;
    if (quads == 16) {
        largest = dot_groups(packed, quad, 16, (count + 15u) / 16u, start, count, out + head);
    } else {
        largest = dot_groups(packed, quad, quads, (count + 15u) / 16u, start, count, out + head);
    }
    return before > largest ? before : largest;
}

const snn_kernels snn_kernels_avx512 = {"avx512", linear, lif,          attend, attend_sums,
                                        project,  logits, packed_bytes, pack,   frames_scatter,
                                        frames_stateful};
#endif
