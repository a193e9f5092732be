/* The dense competitor of the C engine: every weight meets every timestep, spikes as bytes 0 and 1.
 *
 * The engine's reader, LIF, attention, projections and readout stay (its best kernels for the processor);
 * only the linear layers are replaced, so a comparison shows what skipping silent inputs is worth, and both
 * give the same bits. Weights are packed once: four rows by one column in a word. Four timesteps share every
 * load. With -DDENSE_PLAIN attention and readout are as they were before the engine kept running sums and
 * read its table ahead. Not shipped; built by benchmarks/engine_dense.py with the native runner's compiler
 * and flags.
 */
#include <immintrin.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "snn_internal.h"

#define LAYERS_MAX  512
#define ENGINES_MAX 16
#define QUAD        4u
#define ARENA       ((size_t)64 << 20)

/* Chunks of 16 tokens of 8 timesteps, layers of 2,048 inputs: more than any student has. */
#define VECTORS_MAX 128
#define ROWS_MAX    2048

extern const snn_kernels BASE;

static struct {
    const int8_t *weight;
    int8_t *packed;
} layers[LAYERS_MAX];
static unsigned layer_count, layer_next;
static int8_t *arena;
static size_t arena_used;

/* Memory on huge pages where the system has them, as the native runner's. */
static void *wide_memory(size_t bytes) {
    const size_t page = (size_t)2 << 20;
    void *memory;
    bytes = (bytes + page - 1) / page * page;
    memory = aligned_alloc(page, bytes);
    if (memory != NULL) madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

/* Spikes as bytes: a word holds four inputs. */
static void spike_bytes(const uint64_t *bits, uint32_t words, uint32_t *quads) {
    uint8_t *out = (uint8_t *)quads;
    uint32_t w, i;
    for (w = 0; w < words; w++) {
        for (i = 0; i < 8; i++, out += 8) {
            uint64_t eight = _pdep_u64(bits[w] >> (8 * i), 0x0101010101010101u);
            memcpy(out, &eight, 8);
        }
    }
}

static int8_t *packed_of(const int8_t *weight, uint32_t rows, uint32_t columns) {
    unsigned i;
    uint32_t r, c;
    int8_t *packed;
    for (i = 0; i < layer_count; i++) { /* layers come in the order in which they came before */
        unsigned at = (layer_next + i) % layer_count;
        if (layers[at].weight != weight) continue;
        layer_next = at + 1;
        return layers[at].packed;
    }
    if (arena == NULL) arena = wide_memory(ARENA);
    packed = arena + arena_used;
    arena_used += (size_t)rows * columns;
    if (arena == NULL || arena_used > ARENA || layer_count == LAYERS_MAX) abort();
    if (columns % 64 != 0 || rows % 64 != 0) abort();
    for (r = 0; r < rows; r++) {
        for (c = 0; c < columns; c++) { /* [64 columns][quad of rows][column][row] */
            size_t at =
                ((size_t)(c / 64) * (rows / QUAD) + r / QUAD) * 64 * QUAD + (c % 64) * QUAD + r % QUAD;
            packed[at] = weight[(size_t)r * columns + c];
        }
    }
    layers[layer_count].weight = weight;
    layers[layer_count++].packed = packed;
    return packed;
}

#if defined(DENSE_AVX512)
static inline
    __attribute__((always_inline)) void block(const int8_t *packed, const uint32_t *const *spikes,
                                              uint32_t quads, int32_t *const *out, const unsigned n) {
    __m512i sums[4][4];
    unsigned v, b;
    uint32_t q;
    for (v = 0; v < n; v++) {
        for (b = 0; b < 4; b++) sums[v][b] = _mm512_setzero_si512();
    }
    for (q = 0; q < quads; q++, packed += 256) {
        __m512i weights[4];
        for (b = 0; b < 4; b++) weights[b] = _mm512_load_si512(packed + 64 * b);
        for (v = 0; v < n; v++) {
            __m512i spike = _mm512_set1_epi32((int)spikes[v][q]);
            for (b = 0; b < 4; b++) sums[v][b] = _mm512_dpbusd_epi32(sums[v][b], spike, weights[b]);
        }
    }
    for (v = 0; v < n; v++) {
        for (b = 0; b < 4; b++) _mm512_storeu_si512(out[v] + 16 * b, sums[v][b]);
    }
}
#else
#define QUADS_MAX 128u /* 128 sums of two weights fit int16 */

/* Sixteen columns at a time: pairs of rows are summed in int16 and widened once a run. */
static inline __attribute__((always_inline)) void block(const int8_t *packed, const uint32_t *const *spikes,
                                                        uint32_t quads, int32_t *const *out,
                                                        const unsigned n) {
    const __m256i ones = _mm256_set1_epi16(1);
    unsigned v, b, part;
    uint32_t q, done;
    for (part = 0; part < 4; part++) {
        __m256i wide[4][2];
        for (v = 0; v < n; v++) wide[v][0] = wide[v][1] = _mm256_setzero_si256();
        for (done = 0; done < quads; done += QUADS_MAX) {
            uint32_t end = quads - done < QUADS_MAX ? quads : done + QUADS_MAX;
            __m256i sums[4][2];
            for (v = 0; v < n; v++) sums[v][0] = sums[v][1] = _mm256_setzero_si256();
            for (q = done; q < end; q++) {
                const int8_t *at = packed + (size_t)q * 256 + part * 64;
                __m256i first = _mm256_load_si256((const __m256i *)(const void *)at);
                __m256i second = _mm256_load_si256((const __m256i *)(const void *)(at + 32));
                for (v = 0; v < n; v++) {
                    __m256i spike = _mm256_set1_epi32((int)spikes[v][q]);
                    sums[v][0] = _mm256_add_epi16(sums[v][0], _mm256_maddubs_epi16(spike, first));
                    sums[v][1] = _mm256_add_epi16(sums[v][1], _mm256_maddubs_epi16(spike, second));
                }
            }
            for (v = 0; v < n; v++) {
                for (b = 0; b < 2; b++)
                    wide[v][b] = _mm256_add_epi32(wide[v][b], _mm256_madd_epi16(sums[v][b], ones));
            }
        }
        for (v = 0; v < n; v++) {
            for (b = 0; b < 2; b++)
                _mm256_storeu_si256((__m256i *)(void *)(out[v] + 16 * part + 8 * b), wide[v][b]);
        }
    }
}
#endif

static uint32_t spikes_of_chunk[VECTORS_MAX][ROWS_MAX / QUAD];

static void linear(const snn_layer *layer) {
    uint32_t words = snn_words(layer->rows), quads = words * 64 / QUAD, columns = layer->columns, c, v, i;
    uint32_t vectors = layer->tokens * layer->timesteps;
    const int8_t *packed = packed_of(layer->weight, layer->rows, columns);
    if (vectors > VECTORS_MAX || layer->rows > ROWS_MAX) abort();
    for (v = 0; v < vectors; v++) {
        const uint64_t *bits = layer->bits + v / layer->timesteps * layer->bits_stride;
        spike_bytes(bits + (size_t)(v % layer->timesteps) * words, words, spikes_of_chunk[v]);
    }
    for (c = 0; c < columns; c += 64, packed += (size_t)quads * 256) {
        for (v = 0; v < vectors; v += 4) {
            uint32_t n = vectors - v < 4 ? vectors - v : 4;
            const uint32_t *spikes[4];
            int32_t *rows[4];
            for (i = 0; i < n; i++) {
                spikes[i] = spikes_of_chunk[v + i];
                rows[i] = layer->out + (v + i) * layer->stride + c;
            }
            if (n == 4) {
                block(packed, spikes, quads, rows, 4);
            } else {
                for (i = 0; i < n; i++) block(packed, spikes + i, quads, rows + i, 1);
            }
        }
    }
}

static struct engine {
    snn_kernels kernels;
    snn_context *context;
} engines[ENGINES_MAX];
static int engine_count;
static uint64_t linear_ns;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void timed_dense(const snn_layer *layer) {
    uint64_t started = now();
    linear(layer);
    linear_ns += now() - started;
}

static void timed_base(const snn_layer *layer) {
    uint64_t started = now();
    BASE.linear(layer);
    linear_ns += now() - started;
}

/* Opens a program: with dense linear layers or the engine's own, and with a clock around them or not. Gives
 * the number of the engine, or -1. */
int dense_open(const void *data, size_t size, uint32_t chunk, int is_dense, int is_timed) {
    struct engine *made = &engines[engine_count];
    snn_model *model = NULL;
    size_t bytes = 0;
    void *copy = wide_memory(size), *memory;
    if (copy == NULL || engine_count == ENGINES_MAX) return -1;
    memcpy(copy, data, size);
    made->kernels = BASE;
    if (is_timed)
        made->kernels.linear = is_dense ? timed_dense : timed_base;
    else if (is_dense)
        made->kernels.linear = linear;
#if defined(DENSE_PLAIN) && defined(DENSE_AVX2)
    made->kernels.attend = snn_kernels_vector.attend;
    made->kernels.logits = snn_kernels_vector.logits;
    made->kernels.packed_bytes = NULL;
    made->kernels.pack = NULL;
#endif
    if (snn_model_size(copy, size, &made->kernels, &bytes) != SNN_OK) return -1;
    memory = wide_memory(bytes);
    if (memory == NULL || snn_model_open(copy, size, memory, bytes, &made->kernels, &model) != SNN_OK)
        return -1;
    if (snn_context_size(model, chunk, &bytes) != SNN_OK) return -1;
    memory = wide_memory(bytes);
    if (memory == NULL || snn_context_open(model, chunk, memory, bytes, &made->context) != SNN_OK) return -1;
    return engine_count++;
}

int dense_step(int engine, uint32_t token, int32_t *logits) {
    return (int)snn_step(engines[engine].context, token, logits);
}

int dense_prefill(int engine, const uint32_t *tokens, size_t count, int32_t *logits) {
    snn_reset(engines[engine].context);
    return (int)snn_prefill(engines[engine].context, tokens, count, logits);
}

void dense_reset(int engine) { snn_reset(engines[engine].context); }

/* Nanoseconds in timed linear layers since this was asked last. */
uint64_t dense_linear_ns(void) {
    uint64_t spent = linear_ns;
    linear_ns = 0;
    return spent;
}
