/* See snn_rough.h. Compiled with AVX2; one function has AVX-512. */
#include "snn_rough.h"

#include <immintrin.h>

/* Sixteen tokens: `lines` times 64 bytes, in which token i has bytes 4 i to 4 i + 3, low halves channels 8 j
 * to 8 j + 3, high halves the four after them, 8 added; then 16 steps (uint8) and 16 norms |l| (uint16). */
#define GROUP 16u
#define GROUPS 4u
#define BLOCK (GROUPS * GROUP) /* tokens that share a largest bound */
#define AHEAD 4096

typedef void bound_groups(const uint8_t *group, uint32_t lines, const uint32_t *quads, int32_t start,
                          int32_t norm, uint32_t blocks, int32_t *bounds, int32_t *largest);

struct snn_rough {
    const int8_t *table;
    uint8_t *groups;
    int32_t *bounds;  /* [vocab, padded] */
    int32_t *largest; /* of each block */
    bound_groups *bound;
    uint32_t vocab, rank, lines, blocks;
};

static uint32_t lines_of(uint32_t rank) { return (rank + 7u) / 8u; }
static uint32_t blocks_of(uint32_t vocab) { return (vocab + BLOCK - 1u) / BLOCK; }

static size_t group_bytes(uint32_t rank) { return ((size_t)lines_of(rank) + 1u) * 64u; }

static uint32_t root_up(uint32_t square) {
    uint32_t root = 0;
    while (root * root < square) root++;
    return root;
}

static uint32_t norm_of(const int8_t *codes, uint32_t rank) {
    uint32_t square = 0, j;
    for (j = 0; j < rank; j++) square += (uint32_t)(codes[j] * codes[j]);
    return root_up(square);
}

static void avx2_groups(const uint8_t *group, uint32_t lines, const uint32_t *quads, int32_t start,
                        int32_t norm, uint32_t blocks, int32_t *bounds, int32_t *largest) {
    const __m256i half = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i most = _mm256_set1_epi32(INT32_MIN);
    uint32_t g, j, part;
    for (g = 0; g < blocks * GROUPS; g++, group += 64 * (lines + 1), bounds += GROUP) {
        const uint8_t *tail = group + 64 * lines;
        for (part = 0; part < 2; part++) {
            __m256i sum = _mm256_set1_epi32(start), words = _mm256_setzero_si256();
            for (j = 0; j < lines; j++) {
                const uint8_t *at = group + 64 * j + 32 * part;
                __m256i x = _mm256_load_si256((const __m256i *)(const void *)at);
                __m256i low = _mm256_and_si256(x, half), high = _mm256_and_si256(_mm256_srli_epi16(x, 4), half);
                __m256i a = _mm256_maddubs_epi16(low, _mm256_set1_epi32((int)quads[2 * j]));
                __m256i b = _mm256_maddubs_epi16(high, _mm256_set1_epi32((int)quads[2 * j + 1]));
                _mm_prefetch((const char *)at + AHEAD, _MM_HINT_T0);
                words = _mm256_add_epi16(words, _mm256_add_epi16(a, b));
                if (j % 4 == 3) { /* 8 products of 15 * 127 * 2 fit 16 bits */
                    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, ones));
                    words = _mm256_setzero_si256();
                }
            }
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, ones));
            {
                __m128i steps = _mm_loadl_epi64((const __m128i *)(const void *)(tail + 8 * part));
                __m128i norms = _mm_load_si128((const __m128i *)(const void *)(tail + 16 + 16 * part));
                __m256i reach = _mm256_mullo_epi32(_mm256_cvtepu16_epi32(norms), _mm256_set1_epi32(norm));
                sum = _mm256_add_epi32(_mm256_mullo_epi32(sum, _mm256_cvtepu8_epi32(steps)), reach);
            }
            _mm256_store_si256((__m256i *)(void *)(bounds + 8 * part), sum);
            most = _mm256_max_epi32(most, sum);
        }
        if (g % GROUPS == GROUPS - 1) {
            __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
            four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
            *largest++ = _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
            most = _mm256_set1_epi32(INT32_MIN);
        }
    }
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) static void
avx512_groups(const uint8_t *group, uint32_t lines, const uint32_t *quads, int32_t start, int32_t norm,
              uint32_t blocks, int32_t *bounds, int32_t *largest) {
    const __m512i half = _mm512_set1_epi8(15), none = _mm512_set1_epi32(INT32_MIN);
    __m512i most = none;
    uint32_t g, j;
    for (g = 0; g < blocks * GROUPS; g++, bounds += GROUP) {
        __m512i sum = _mm512_set1_epi32(start), other = _mm512_setzero_si512(), reach;
        for (j = 0; j < lines; j++, group += 64) {
            __m512i x = _mm512_load_si512(group), high = _mm512_srli_epi16(x, 4);
            _mm_prefetch((const char *)group + AHEAD, _MM_HINT_T0);
            sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(x, half), _mm512_set1_epi32((int)quads[2 * j]));
            other = _mm512_dpbusd_epi32(other, _mm512_and_si512(high, half),
                                        _mm512_set1_epi32((int)quads[2 * j + 1]));
        }
        reach = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(group + 16)));
        sum = _mm512_mullo_epi32(
            _mm512_add_epi32(sum, other),
            _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(const void *)group)));
        sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(reach, _mm512_set1_epi32(norm)));
        _mm512_store_si512(bounds, sum);
        group += 64;
        most = _mm512_max_epi32(most, sum);
        if (g % GROUPS == GROUPS - 1) {
            *largest++ = _mm512_reduce_max_epi32(most);
            most = none;
        }
    }
}

size_t snn_rough_bytes(uint32_t vocab, uint32_t rank) {
    size_t tokens = (size_t)blocks_of(vocab) * BLOCK;
    return (size_t)snn_aligned(sizeof(snn_rough)) + tokens / GROUP * group_bytes(rank) + tokens * 4 +
           (size_t)snn_aligned((uint64_t)blocks_of(vocab) * 4);
}

/* Row i of the table: its step, its halves and the norm of what they leave. */
static void pack_row(const int8_t *row, uint32_t rank, uint32_t lines, uint32_t i, uint8_t *group) {
    int32_t most = 0, step, j;
    uint32_t square = 0, norm;
    for (j = 0; j < (int32_t)rank; j++) {
        int32_t size = row[j] < 0 ? -row[j] : row[j];
        if (size > most) most = size;
    }
    step = most == 0 ? 1 : (2 * most + 14) / 15; /* 7.5 steps reach the largest */
    for (j = 0; j < (int32_t)rank; j++) {
        /* rounded to the nearest step; the numerator is positive */
        int32_t h = (2 * row[j] + step + 32 * step) / (2 * step) - 16, left;
        uint8_t *at = group + 64 * (j / 8) + 4 * i + j % 4;
        h = h > 7 ? 7 : h < -8 ? -8 : h;
        left = row[j] - h * step;
        square += (uint32_t)(left * left);
        *at = (uint8_t)(j % 8 < 4 ? (*at & 0xF0) | (h + 8) : (*at & 0x0F) | (h + 8) << 4);
    }
    group += 64 * lines;
    group[i] = (uint8_t)step;
    norm = root_up(square);
    group[16 + 2 * i] = (uint8_t)norm;
    group[17 + 2 * i] = (uint8_t)(norm >> 8);
}

snn_rough *snn_rough_open(const int8_t *table, uint32_t vocab, uint32_t rank, int wide, void *memory) {
    snn_rough *rough = (snn_rough *)memory;
    uint8_t *at = (uint8_t *)memory + snn_aligned(sizeof *rough);
    size_t bytes = (size_t)blocks_of(vocab) * GROUPS * group_bytes(rank);
    uint32_t i;
    rough->table = table;
    rough->vocab = vocab;
    rough->rank = rank;
    rough->lines = lines_of(rank);
    rough->blocks = blocks_of(vocab);
    rough->bound = wide ? avx512_groups : avx2_groups;
    rough->groups = at;
    rough->bounds = (int32_t *)(void *)(at + bytes);
    rough->largest = rough->bounds + (size_t)rough->blocks * BLOCK;
    memset(at, 0x88, bytes); /* channels that are none stand for zero */
    for (i = 0; i < vocab; i++) {
        pack_row(table + (size_t)i * rank, rank, rough->lines, i % GROUP, at + i / GROUP * group_bytes(rank));
    }
    return rough;
}

void snn_rough_bounds(snn_rough *rough, const int8_t *codes) {
    uint32_t quads[2 * 130], last = rough->vocab / BLOCK, j;
    int32_t sum = 0;
    for (j = 0; j < rough->rank; j++) sum += codes[j];
    memcpy(quads, codes, (size_t)rough->lines * 8);
    rough->bound(rough->groups, rough->lines, quads, -8 * sum, (int32_t)norm_of(codes, rough->rank),
                 rough->blocks, rough->bounds, rough->largest);
    if (rough->vocab % BLOCK == 0) return;
    rough->largest[last] = INT32_MIN; /* tokens that are none have no bound */
    for (j = last * BLOCK; j < rough->vocab; j++) {
        if (rough->bounds[j] > rough->largest[last]) rough->largest[last] = rough->bounds[j];
    }
}

static int32_t exact(const snn_rough *rough, const int8_t *codes, uint32_t id) {
    const int8_t *row = rough->table + (size_t)id * rough->rank;
    __m256i sum = _mm256_setzero_si256();
    __m128i half;
    uint32_t j = 0;
    int32_t result;
    for (; j + 16 <= rough->rank; j += 16) {
        __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(row + j)));
        __m256i z = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(codes + j)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(w, z));
    }
    half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    result = _mm_cvtsi128_si32(half);
    for (; j < rough->rank; j++) result += row[j] * codes[j];
    return result;
}

/* The k best so far, best first, the lower id first among equals. */
typedef struct ranking {
    uint32_t k, found;
    uint32_t *ids;
    int32_t *values;
} ranking;

static int32_t least_of(const ranking *best) {
    return best->found == best->k ? best->values[best->k - 1] : INT32_MIN;
}

static void enter(ranking *best, uint32_t id, int32_t value) {
    uint32_t slot = best->found < best->k ? best->found++ : best->k;
    for (; slot > 0; slot--) {
        int32_t above = best->values[slot - 1];
        if (above > value || (above == value && best->ids[slot - 1] < id)) break;
        if (slot == best->k) continue; /* the last one leaves */
        best->values[slot] = above;
        best->ids[slot] = best->ids[slot - 1];
    }
    if (slot < best->k) {
        best->values[slot] = value;
        best->ids[slot] = id;
    }
}

int snn_rough_top(snn_rough *rough, const int8_t *codes, uint32_t k, uint32_t *ids, int32_t *values) {
    uint32_t first_ids[SNN_TOP_MAX], best_ids[SNN_TOP_MAX], budget = rough->vocab / 8, b, i, looked = 0;
    int32_t first_values[SNN_TOP_MAX], best_values[SNN_TOP_MAX];
    ranking first = {k, 0, first_ids, first_values}, best = {k, 0, best_ids, best_values};
    if (k > rough->blocks) return 0;
    snn_rough_bounds(rough, codes);
    /* the best-looking token of each of the k best-looking blocks says what the others must reach */
    for (b = 0; b < rough->blocks; b++) {
        if (first.found < k || rough->largest[b] > least_of(&first)) enter(&first, b, rough->largest[b]);
    }
    for (i = 0; i < k; i++) {
        uint32_t id = first_ids[i] * BLOCK;
        while (rough->bounds[id] != first_values[i]) id++;
        rough->bounds[id] = INT32_MIN; /* looked at */
        enter(&best, id, exact(rough, codes, id));
    }
    for (b = 0; b < rough->blocks; b++) {
        const int32_t *bounds = rough->bounds + (size_t)b * BLOCK;
        uint32_t last = rough->vocab - b * BLOCK < BLOCK ? rough->vocab - b * BLOCK : BLOCK;
        if (rough->largest[b] < least_of(&best)) continue;
        for (i = 0; i < last; i++) {
            if (bounds[i] < least_of(&best) || bounds[i] == INT32_MIN) continue;
            if (++looked > budget) return 0;
            enter(&best, b * BLOCK + i, exact(rough, codes, b * BLOCK + i));
        }
    }
    memcpy(ids, best_ids, k * sizeof *ids);
    memcpy(values, best_values, k * sizeof *values);
    return 1;
}
