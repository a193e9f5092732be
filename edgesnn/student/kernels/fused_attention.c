/* Windowed causal attention of spikes, without softmax, and its gradients:
 *
 *     o_i = sum over lo_i <= j <= i of (q_i . k_j) v_j
 *
 * q, k and v are 0 or 1: a score is the number of ones in q & k, taken 64 channels at a time. A sequence is
 * [L, 3, H, D] for q, k and v and [L, H, D] for o; a call works on the sequences first <= n < last. Floats
 * are float32 or bfloat16 (as bits), all work is float32, where the sums of the forward pass are exact.
 */
#include <stdlib.h>

#include "floats.h"

/* Keys and channels are worked on in blocks of this many: one vector, which stays in a register. */
#define LANES 16
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

static inline lanes load(const float *at) { return *(const lanes *)at; }
static inline void store(float *at, lanes value) { *(lanes *)at = value; }

typedef struct {
    float *q, *k, *v;                /* [P, W]: L and D, each rounded up to LANES */
    float *v_turned;                 /* [W, P] */
    uint64_t *q_bits, *k_bits;       /* [words, P] */
    float *score, *share;            /* [P] */
    float *grad_q, *grad_k, *grad_v; /* [P, W] */
    float *row;                      /* [W] */
    void *memory;
} scratch;

static len round_up(len count) { return (count + LANES - 1) / LANES * LANES; }

static int take(scratch *s, len length, len wide, len words) {
    len p = round_up(length);
    size_t bits = sizeof(uint64_t) * 2 * words * p, floats = sizeof(float) * (7 * p * wide + 2 * p + wide);
    char *at = calloc(1, bits + floats);
    if (at == NULL) return 1;
    s->memory = at;
    s->q_bits = (uint64_t *)at;
    s->k_bits = s->q_bits + words * p;
    s->q = (float *)(at + bits);
    s->k = s->q + p * wide;
    s->v = s->k + p * wide;
    s->v_turned = s->v + p * wide;
    s->grad_q = s->v_turned + p * wide;
    s->grad_k = s->grad_q + p * wide;
    s->grad_v = s->grad_k + p * wide;
    s->score = s->grad_v + p * wide;
    s->share = s->score + p;
    s->row = s->share + p;
    return 0;
}

static void pack(uint64_t *restrict bits, const float *restrict x, len length, len width, len words, len p) {
    for (len w = 0; w < words; w++)
        for (len i = 0; i < length; i++) {
            len from = w * 64, to = from + 64 < width ? from + 64 : width;
            uint64_t word = 0;
            const float *row = x + i * round_up(width);
            for (len c = from; c < to; c++) word |= (uint64_t)(row[c] != 0.0f) << (c - from);
            bits[w * p + i] = word;
        }
}

/* score[j] for from <= j < to, whole blocks: q_i . k_j */
static void scores(float *restrict score, const uint64_t *restrict q, const uint64_t *restrict k, len i,
                   len from, len to, len words, len p) {
    for (len block = from; block < to; block += LANES) {
        int64_t ones[LANES] = {0};
        for (len w = 0; w < words; w++) {
            uint64_t query = q[w * p + i];
            for (len l = 0; l < LANES; l++) ones[l] += __builtin_popcountll(query & k[w * p + block + l]);
        }
        for (len l = 0; l < LANES; l++) score[block + l] = (float)ones[l];
    }
}

/* share[j] for from <= j < to, whole blocks: g . v_j */
static void shares(float *restrict share, const float *restrict g, const float *restrict v_turned, len from,
                   len to, len width, len p) {
    for (len block = from; block < to; block += LANES) {
        lanes a = {0.0f}, b = a, c = a, d = a;
        for (len at = 0; at < width; at += 4) { /* width is whole blocks */
            const float *v = v_turned + at * p + block;
            a += g[at] * load(v);
            b += g[at + 1] * load(v + p);
            c += g[at + 2] * load(v + 2 * p);
            d += g[at + 3] * load(v + 3 * p);
        }
        store(share + block, (a + b) + (c + d));
    }
}

/* out = sum over from <= j <= to of weight[j] x_j */
static void gather(float *restrict out, const float *restrict weight, const float *restrict x, len from,
                   len to, len width) {
    len at = 0;
    for (; at + 4 * LANES <= width; at += 4 * LANES) {
        lanes a = {0.0f}, b = a, c = a, d = a;
        for (len j = from; j <= to; j++) {
            const float *row = x + j * width + at;
            a += weight[j] * load(row);
            b += weight[j] * load(row + LANES);
            c += weight[j] * load(row + 2 * LANES);
            d += weight[j] * load(row + 3 * LANES);
        }
        store(out + at, a);
        store(out + at + LANES, b);
        store(out + at + 2 * LANES, c);
        store(out + at + 3 * LANES, d);
    }
    for (; at < width; at += LANES) {
        lanes a = {0.0f};
        for (len j = from; j <= to; j++) a += weight[j] * load(x + j * width + at);
        store(out + at, a);
    }
}

/* x_j += weight[j] row for from <= j <= to */
static void scatter(float *restrict x, const float *restrict weight, const float *restrict row, len from,
                    len to, len width) {
    for (len j = from; j <= to; j++)
        if (weight[j] != 0.0f)
            for (len at = 0; at < width; at += LANES) {
                float *to_row = x + j * width + at;
                store(to_row, load(to_row) + weight[j] * load(row + at));
            }
}

static void turn(float *restrict out, const float *restrict x, len length, len width, len p) {
    for (len c = 0; c < width; c++)
        for (len i = 0; i < length; i++) out[c * p + i] = x[i * width + c];
}

/* begins[n % batch, i]: the first token of i's context. The grad of q, k and v lies as q, k and v do. */
#define DEFINE_ATTENTION(NAME, TX, GET_X, PUT_X)                                                             \
    static void load_##NAME(float *restrict out, const TX *restrict in, len step, len length, len width) {   \
        len wide = round_up(width);                                                                          \
        for (len i = 0; i < length; i++)                                                                     \
            for (len c = 0; c < width; c++) out[i * wide + c] = GET_X(in + i * step + c);                    \
    }                                                                                                        \
    static void store_##NAME(TX *restrict out, const float *restrict in, len step, len length, len width) {  \
        len wide = round_up(width);                                                                          \
        for (len i = 0; i < length; i++)                                                                     \
            for (len c = 0; c < width; c++) PUT_X(out + i * step + c, in[i * wide + c]);                     \
    }                                                                                                        \
    static void head_##NAME(scratch *s, const TX *restrict qkv, len length, len heads, len width, len words, \
                            len p) {                                                                         \
        len step = 3 * heads * width;                                                                        \
        load_##NAME(s->q, qkv, step, length, width);                                                         \
        load_##NAME(s->k, qkv + heads * width, step, length, width);                                         \
        load_##NAME(s->v, qkv + 2 * heads * width, step, length, width);                                     \
        pack(s->q_bits, s->q, length, width, words, p);                                                      \
        pack(s->k_bits, s->k, length, width, words, p);                                                      \
    }                                                                                                        \
    int attend_forward_##NAME(const TX *restrict qkv, const int32_t *restrict begins,                        \
                              const int64_t *restrict windows, TX *restrict out, len batch, len length,      \
                              len heads, len width, len first, len last) {                                   \
        len words = (width + 63) / 64, p = round_up(length), wide = round_up(width);                         \
        scratch s;                                                                                           \
        if (take(&s, length, wide, words)) return 1;                                                         \
        for (len n = first; n < last; n++)                                                                   \
            for (len h = 0; h < heads; h++) {                                                                \
                head_##NAME(&s, qkv + n * length * 3 * heads * width + h * width, length, heads, width,      \
                            words, p);                                                                       \
                for (len i = 0; i < length; i++) {                                                           \
                    len reach = i - windows[h] + 1, lo = begins[n % batch * length + i];                     \
                    if (reach > lo) lo = reach;                                                              \
                    scores(s.score, s.q_bits, s.k_bits, i, lo / LANES * LANES, i + 1, words, p);             \
                    gather(s.grad_q + i * wide, s.score, s.v, lo, i, wide);                                  \
                }                                                                                            \
                store_##NAME(out + n * length * heads * width + h * width, s.grad_q, heads * width, length,  \
                             width);                                                                         \
            }                                                                                                \
        free(s.memory);                                                                                      \
        return 0;                                                                                            \
    }                                                                                                        \
    int attend_backward_##NAME(const TX *restrict qkv, const int32_t *restrict begins,                       \
                               const int64_t *restrict windows, const TX *restrict grad_out,                 \
                               TX *restrict grad, len batch, len length, len heads, len width, len first,    \
                               len last) {                                                                   \
        len words = (width + 63) / 64, p = round_up(length), wide = round_up(width);                         \
        len step = 3 * heads * width;                                                                        \
        scratch s;                                                                                           \
        if (take(&s, length, wide, words)) return 1;                                                         \
        for (len n = first; n < last; n++)                                                                   \
            for (len h = 0; h < heads; h++) {                                                                \
                const TX *g = grad_out + n * length * heads * width + h * width;                             \
                head_##NAME(&s, qkv + n * length * step + h * width, length, heads, width, words, p);        \
                turn(s.v_turned, s.v, length, wide, p);                                                      \
                memset(s.grad_q, 0, sizeof(float) * 3 * p * wide);                                           \
                for (len i = 0; i < length; i++) {                                                           \
                    len reach = i - windows[h] + 1, lo = begins[n % batch * length + i];                     \
                    if (reach > lo) lo = reach;                                                              \
                    load_##NAME(s.row, g + i * heads * width, 0, 1, width);                                  \
                    scores(s.score, s.q_bits, s.k_bits, i, lo / LANES * LANES, i + 1, words, p);             \
                    shares(s.share, s.row, s.v_turned, lo / LANES * LANES, i + 1, wide, p);                  \
                    gather(s.grad_q + i * wide, s.share, s.k, lo, i, wide);                                  \
                    scatter(s.grad_k, s.share, s.q + i * wide, lo, i, wide);                                 \
                    scatter(s.grad_v, s.score, s.row, lo, i, wide);                                          \
                }                                                                                            \
                TX *to = grad + n * length * step + h * width;                                               \
                store_##NAME(to, s.grad_q, step, length, width);                                             \
                store_##NAME(to + heads * width, s.grad_k, step, length, width);                             \
                store_##NAME(to + 2 * heads * width, s.grad_v, step, length, width);                         \
            }                                                                                                \
        free(s.memory);                                                                                      \
        return 0;                                                                                            \
    }

DEFINE_ATTENTION(f32, float, get_f32, put_f32)
DEFINE_ATTENTION(b16, b16, get_b16, put_b16)
