/* Kernels with GNU vector extensions of 16 bytes: SSE2, NEON and whatever else the compiler makes of them. */
#if defined(__GNUC__)
#include "frames/snn_frames_kernels.h"
#include "snn_internal.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#define LANES16 8u
#define LANES32 4u

typedef int8_t i8_t __attribute__((vector_size(8)));
typedef int16_t i16h_t __attribute__((vector_size(8)));
typedef int8_t i8q_t __attribute__((vector_size(4)));
typedef int16_t i16_t __attribute__((vector_size(16)));
typedef int32_t i32_t __attribute__((vector_size(16)));
typedef uint32_t u32_t __attribute__((vector_size(16)));
typedef uint16_t u16_t __attribute__((vector_size(16)));
typedef uint8_t u8_t __attribute__((vector_size(16)));

static inline i32_t wide32(const int8_t *p) {
    i8q_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(bytes, i32_t);
}

static inline i32_t vector_load(const int32_t *p) {
    i32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

#if !defined(__SSE2__)
static inline i16_t wide16(const int8_t *p) {
    i8_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(bytes, i16_t);
}
#endif

/* Sixteen weights to two vectors of sums. Where the machine widens as it adds: columns in order. SSE2 does
 * not; there pairs of bytes are summed as they stand, the lower 128 too high, and beside them the upper bytes
 * alone. */
static inline void vector_add(const int8_t *p, u16_t sums[2]) {
#if defined(__SSE2__)
    i16_t pairs;
    memcpy(&pairs, p, sizeof pairs);
    pairs ^= 0x80;
    sums[0] += (u16_t)pairs;
    sums[1] += (u16_t)(pairs >> 8);
#else
    sums[0] += (u16_t)wide16(p);
    sums[1] += (u16_t)wide16(p + LANES16);
#endif
}

static inline void vector_put4(const int16_t *lanes, int32_t *out, int add) {
    i16h_t half;
    i32_t sums;
    memcpy(&half, lanes, sizeof half);
    sums = __builtin_convertvector(half, i32_t);
    if (add) sums += vector_load(out);
    memcpy(out, &sums, sizeof sums);
}

/* The sixteen sums of `rows` rows, in order. */
static inline void vector_put(const u16_t sums[2], uint32_t rows, int32_t *out, int add) {
    int16_t lanes[2 * LANES16];
    uint32_t i;
#if defined(__SSE2__)
    __m128i lower = (__m128i)(sums[0] - (sums[1] << 8) - (uint16_t)(128u * rows)), upper = (__m128i)sums[1];
    __m128i first = _mm_unpacklo_epi16(lower, upper), second = _mm_unpackhi_epi16(lower, upper);
    memcpy(lanes, &first, sizeof first);
    memcpy(lanes + LANES16, &second, sizeof second);
#else
    (void)rows;
    memcpy(lanes, sums, sizeof lanes);
#endif
    for (i = 0; i < 4; i++) vector_put4(lanes + 4 * i, out + 4 * i, add);
}

/* Sums of one timestep so far, and how many rows they hold. */
typedef struct vector_step {
    u16_t sums[8];
    uint32_t rows;
} vector_step;

static inline __attribute__((always_inline)) void vector_take(vector_step *step, const u16_t *sums,
                                                              uint32_t rows, const uint32_t blocks) {
    uint32_t b;
    for (b = 0; b < 2 * blocks; b++) step->sums[b] += sums[b];
    step->rows += rows;
}

/* `blocks` times sixteen columns from `first` of one group of timesteps. */
static inline __attribute__((always_inline)) void vector_group(const snn_layer *layer, uint32_t g,
                                                               uint32_t first, const uint32_t blocks) {
    const snn_part *part = layer->parts + layer->groups[g], *end = layer->parts + layer->groups[g + 1];
    const int8_t *weight = layer->weight + first;
    vector_step steps[SNN_GROUP];
    uint32_t count, t, b, i;
    int32_t *out = snn_group_out(layer, g, &count) + first;
    int add = 0;
    memset(steps, 0, sizeof steps);
    for (;; part++) {
        if (part == end || part->count == 0) {
            for (t = 0; t < count; t++) {
                for (b = 0; b < blocks; b++)
                    vector_put(steps[t].sums + 2 * b, steps[t].rows, out + t * layer->stride + 16 * b, add);
            }
            if (part == end) return;
            memset(steps, 0, sizeof steps);
            add = 1;
        } else {
            const uint16_t *list = layer->list + part->start;
            u16_t sums[8] = {{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}};
            for (i = 0; i < part->count; i++) {
                const int8_t *row = weight + (size_t)list[i] * layer->columns;
                __builtin_prefetch(row + 16 * blocks); /* the row's next columns, which are wanted next */
                for (b = 0; b < blocks; b++) vector_add(row + 16 * b, sums + 2 * b);
            }
            vector_take(&steps[part->first], sums, part->count, blocks);
            if (part->second < SNN_GROUP) vector_take(&steps[part->second], sums, part->count, blocks);
        }
    }
}

static void vector_linear(const snn_layer *layer) {
    uint32_t groups = layer->tokens * snn_groups(layer->timesteps), c = 0, g;
    snn_lists(layer, snn_events);
    for (; c + 64 <= layer->columns; c += 64) {
        for (g = 0; g < groups; g++) vector_group(layer, g, c, 4);
    }
    for (; c + 16 <= layer->columns; c += 16) {
        for (g = 0; g < groups; g++) vector_group(layer, g, c, 1);
    }
    snn_linear_columns(layer, c);
}

/* Lanes that are -1 or 0 to bits. */
static inline uint32_t bits_of(i32_t fired) {
#if defined(__SSE2__)
    typedef float f32_t __attribute__((vector_size(16)));
    return (uint32_t)__builtin_ia32_movmskps((f32_t)fired);
#elif defined(__wasm_simd128__)
    return wasm_i32x4_bitmask((v128_t)fired);
#else
    uint32_t bits = 0, i;
    for (i = 0; i < LANES32; i++) bits |= (uint32_t)(fired[i] & 1) << i;
    return bits;
#endif
}

static void vector_lif(const snn_op *op, const int32_t *current, size_t stride, uint32_t timesteps,
                       uint64_t *bits) {
    uint32_t words = snn_words(op->channels), whole = op->channels / LANES32 * LANES32, c, t;
    u32_t n = (u32_t){0} + (uint32_t)op->numbers[0];
    i32_t floor = (i32_t){0} + (op->clip ? -SNN_MEMBRANE_MAX : INT32_MIN);
    memset(bits, 0, (size_t)timesteps * words * 8);
    for (c = 0; c < whole; c += LANES32) {
        i32_t threshold = vector_load(op->left + c), membrane = {0};
        u32_t bias = (u32_t)vector_load(op->right + c);
        for (t = 0; t < timesteps; t++) {
            u32_t drive = ((u32_t)vector_load(current + t * stride + c) << 6) + bias;
            i32_t fired, low;
            if (t > 0) { /* trunc(x / 256): 255 is added to a negative x before the shift that rounds down */
                i32_t scaled = (i32_t)((u32_t)membrane * n);
                scaled = (i32_t)((u32_t)scaled + ((u32_t)(scaled >> 31) >> 24)) >> 8;
                drive += (u32_t)scaled;
            }
            membrane = (i32_t)drive;
            low = membrane < floor;
            membrane = (membrane & ~low) | (floor & low);
            fired = membrane > threshold;
            membrane &= ~fired;
            bits[(size_t)t * words + c / 64] |= (uint64_t)bits_of(fired) << (c % 64);
        }
    }
    if (whole < op->channels) snn_lif_scalar(op, whole, current, stride, timesteps, bits);
}

#define B4(x)  x, x + 0xFFu, x + 0xFF00u, x + 0xFFFFu
#define B16(x) B4(x), B4(x + 0xFF0000u), B4(x + 0xFF000000u), B4(x + 0xFFFF0000u)
/* Four bits to four bytes of 0 or 255. */
static const uint32_t masks[16] = {B16(0u)};

static inline u8_t mask_of(uint32_t bits) {
    uint32_t four[4] = {masks[bits & 15u], masks[bits >> 4 & 15u], masks[bits >> 8 & 15u],
                        masks[bits >> 12 & 15u]};
    u8_t mask;
    memcpy(&mask, four, sizeof mask);
    return mask;
}

/* One word of channels: byte lanes hold until the scores added reach 255. */
static void add_word(const uint64_t *v, const uint32_t *scores, uint32_t slots, uint32_t words,
                     uint32_t channels, int32_t *out) {
    uint32_t j = 0, i, p;
    memset(out, 0, (size_t)channels * sizeof *out);
    while (j < slots) {
        u8_t sums[4] = {{0}, {0}, {0}, {0}};
        uint32_t sum = 0;
        for (; j < slots && sum + scores[j] <= 255; j++) {
            uint64_t word = v[(size_t)j * words];
            u8_t score = (u8_t){0} + (uint8_t)scores[j];
            sum += scores[j];
            for (p = 0; p < 4; p++) sums[p] += mask_of((uint32_t)(word >> (16 * p)) & 0xFFFFu) & score;
        }
        for (i = 0; i < channels; i++) out[i] += sums[i / 16][i % 16];
    }
}

static void vector_attend(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots,
                          uint32_t words, uint32_t channels, uint32_t *scores, int32_t *out) {
    uint32_t j, w;
    for (j = 0; j < slots; j++) {
        uint32_t score = 0;
        for (w = 0; w < words; w++) score += snn_popcount(q[w] & k[(size_t)j * words + w]);
        scores[j] = score;
    }
    for (w = 0; w < words; w++) {
        uint32_t left = channels - w * 64;
        add_word(v + w, scores, slots, words, left < 64 ? left : 64, out + w * 64);
    }
}

static inline u8_t vector_bytes(const uint8_t *p) {
    u8_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

/* Adds v's bits to the rows of sums that k names, or takes them off: a mask of them is -1 a lane. */
static void vector_enter(const uint64_t *k, uint64_t v, uint32_t words, uint8_t *sums, int leaves) {
    u8_t bits[4];
    uint32_t w, p;
    for (p = 0; p < 4; p++) {
        bits[p] = mask_of((uint32_t)(v >> (16 * p)) & 0xFFFFu);
        if (!leaves) bits[p] = -bits[p];
    }
    for (w = 0; w < words && v != 0; w++, sums += 64 * 64) {
        uint64_t left = k[w];
        for (; left != 0; left &= left - 1) {
            uint8_t *row = sums + (size_t)snn_lowest(left) * 64;
            for (p = 0; p < 4; p++) {
                u8_t sum = vector_bytes(row + 16 * p) + bits[p];
                memcpy(row + 16 * p, &sum, sizeof sum);
            }
        }
    }
}

/* Even and odd bytes of a row are summed in 16-bit lanes of their own. */
static void vector_attend_sums(const uint64_t *q, const uint64_t *k, const uint64_t *v, const uint64_t *old_k,
                               const uint64_t *old_v, uint32_t words, uint32_t channels, uint8_t *sums,
                               int32_t *out) {
    uint32_t score = 0, w, b, p, i;
    for (w = 0; w < words; w++) score += snn_popcount(q[w] & k[w]);
    for (b = 0; b < words; b++, sums += (size_t)channels * 64, out += 64) {
        u16_t even[4], odd[4];
        uint16_t lanes[2][32];
        uint32_t width = channels - 64 * b;
        for (p = 0; p < 4; p++) {
            u8_t own = mask_of((uint32_t)(v[b] >> (16 * p)) & 0xFFFFu) & ((u8_t){0} + (uint8_t)score);
            even[p] = (u16_t)own & 0xFF;
            odd[p] = (u16_t)own >> 8;
        }
        for (w = 0; w < words; w++) {
            uint64_t left = q[w];
            for (; left != 0; left &= left - 1) {
                const uint8_t *row = sums + (64 * w + snn_lowest(left)) * (size_t)64;
                for (p = 0; p < 4; p++) {
                    u16_t pairs = (u16_t)vector_bytes(row + 16 * p);
                    even[p] += pairs & 0xFF;
                    odd[p] += pairs >> 8;
                }
            }
        }
        memcpy(lanes[0], even, sizeof even);
        memcpy(lanes[1], odd, sizeof odd);
        for (i = 0; i < 64 && i < width; i++) out[i] = lanes[i % 2][i / 2];
        vector_enter(old_k, old_v[b], words, sums, 1);
        vector_enter(k, v[b], words, sums, 0);
    }
}

static void vector_project(const int16_t *x, uint32_t rows, const int8_t *weight, uint32_t columns,
                           int32_t *out) {
    uint32_t c = 0, j;
    for (; c + 4 * LANES32 <= columns; c += 4 * LANES32) {
        i32_t a = {0}, b = {0}, d = {0}, e = {0};
        for (j = 0; j < rows; j++) {
            const int8_t *row = weight + (size_t)j * columns + c;
            int32_t factor = x[j];
            a += wide32(row) * factor;
            b += wide32(row + LANES32) * factor;
            d += wide32(row + 2 * LANES32) * factor;
            e += wide32(row + 3 * LANES32) * factor;
        }
        memcpy(out + c, &a, sizeof a);
        memcpy(out + c + LANES32, &b, sizeof b);
        memcpy(out + c + 2 * LANES32, &d, sizeof d);
        memcpy(out + c + 3 * LANES32, &e, sizeof e);
    }
    for (; c < columns; c++) {
        out[c] = 0;
        for (j = 0; j < rows; j++) out[c] += x[j] * weight[(size_t)j * columns + c];
    }
}

/* int16 products summed in pairs: the compiler makes one multiply-add of this loop where the machine has it.
 */
static inline int32_t dot(const int8_t *row, const int16_t *codes, uint32_t rank) {
    int32_t sum = 0;
    uint32_t j;
    for (j = 0; j < rank; j++) sum += (int16_t)row[j] * codes[j];
    return sum;
}

#if defined(__wasm_simd128__)
/* Four rows of 64 at once: WebAssembly has the multiply-add, but compilers do not find it in the loop. */
static inline v128_t dot16(const int8_t *row, const int16_t *codes, v128_t sum) {
    v128_t bytes = wasm_v128_load(row);
    v128_t low = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(bytes), wasm_v128_load(codes));
    v128_t high = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(bytes), wasm_v128_load(codes + 8));
    return wasm_i32x4_add(sum, wasm_i32x4_add(low, high));
}

/* Sums of neighbours of two vectors, interleaved. */
static inline v128_t folded(v128_t a, v128_t b) {
    return wasm_i32x4_add(wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
}

static inline void dots4(const int8_t *rows, const int16_t *codes, int32_t *out) {
    v128_t sums[4], a, b;
    uint32_t r, j;
    for (r = 0; r < 4; r++, rows += 64) {
        sums[r] = wasm_i32x4_splat(0);
        for (j = 0; j < 64; j += 16) sums[r] = dot16(rows + j, codes + j, sums[r]);
    }
    a = folded(sums[0], sums[1]);
    b = folded(sums[2], sums[3]);
    wasm_v128_store(
        out, wasm_i32x4_add(wasm_i32x4_shuffle(a, b, 0, 1, 4, 5), wasm_i32x4_shuffle(a, b, 2, 3, 6, 7)));
}
#endif

static int32_t vector_logits(const int8_t *table, const uint8_t *packed, uint32_t rank, const int8_t *codes,
                             uint32_t first, uint32_t count, int32_t *out) {
    int16_t wide[1040];
    int32_t largest = INT32_MIN;
    uint32_t i;
    (void)packed;
    table += (size_t)first * rank;
    for (i = 0; i < rank; i++) wide[i] = codes[i];
    if (rank == 64) { /* a length that the compiler knows */
        i = 0;
#if defined(__wasm_simd128__)
        for (; i + 4 <= count; i += 4) dots4(table + (size_t)i * 64, wide, out + i);
#endif
        for (; i < count; i++) out[i] = dot(table + (size_t)i * 64, wide, 64);
    } else {
        for (i = 0; i < count; i++) out[i] = dot(table + (size_t)i * rank, wide, rank);
    }
    for (i = 0; i < count; i++) largest = out[i] > largest ? out[i] : largest;
    return largest;
}

const snn_kernels snn_kernels_vector = {
    "vector",       vector_linear, vector_lif, vector_attend, vector_attend_sums,
    vector_project, vector_logits, NULL,       NULL,       frames_scatter,
    frames_stateful,
};
#else
typedef int snn_vector_needs_gnu_extensions;
#endif
