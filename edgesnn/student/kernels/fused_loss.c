/* The loss of distillation and its gradient, one row of logits at a time, so that a row stays in the
 * processor's nearest cache:
 *
 *     a CE(softmax(x), target) + b tau**2 KL(teacher || softmax(x / tau))
 *
 * The teacher's distribution is its k best tokens and one bucket for all others; the student's bucket is the
 * sum of its own others, without subtraction. Logits are float32 or bfloat16 (as bits), all work is float32,
 * sums over a row are float64 in blocks.
 */
#include <math.h>
#include <stdlib.h>

#include "floats.h"

/* Sums run in this many lanes, which the compiler keeps in vectors, over this many logits at a time. */
#define LANES 16
#define BLOCK 1024

/* Least probability of the student's bucket, as in torch's version. */
#define TINY 1e-30f

/* exp of x <= 0 to about 1e-7, relative: 2**n times a polynomial of what is left, |r| <= log(2) / 2. The
 * coefficients are Taylor's, log(2) is in two parts (Cody and Waite). */
static inline float exp_float(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2**23: adding it rounds to a whole number */
    float low = x < -87.0f ? -87.0f : x;
    float shifted = low * 1.44269504f + magic;
    float whole = shifted - magic;
    float r = (low - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

static double sum_of(const float *restrict x, len count) {
    double total = 0.0;
    for (len from = 0; from < count; from += BLOCK) {
        len to = from + BLOCK < count ? from + BLOCK : count, c = from;
        float lanes[LANES] = {0.0f};
        for (; c + LANES <= to; c += LANES)
            for (len l = 0; l < LANES; l++) lanes[l] += x[c + l];
        for (; c < to; c++) lanes[0] += x[c];
        for (len l = 0; l < LANES; l++) total += lanes[l];
    }
    return total;
}

static float largest_of(const float *restrict x, len count) {
    float lanes[LANES], most;
    len c = 0;
    for (len l = 0; l < LANES; l++) lanes[l] = x[0];
    for (; c + LANES <= count; c += LANES)
        for (len l = 0; l < LANES; l++) lanes[l] = x[c + l] > lanes[l] ? x[c + l] : lanes[l];
    for (; c < count; c++) lanes[0] = x[c] > lanes[0] ? x[c] : lanes[0];
    most = lanes[0];
    for (len l = 1; l < LANES; l++) most = lanes[l] > most ? lanes[l] : most;
    return most;
}

static void exp_row(float *restrict out, const float *restrict x, float most, float factor, len count) {
    for (len c = 0; c < count; c++) out[c] = exp_float((x[c] - most) * factor);
}

static void scale_row(float *restrict out, const float *restrict x, float by, len count) {
    for (len c = 0; c < count; c++) out[c] = x[c] * by;
}

static void add_row(float *restrict out, const float *restrict x, float by, len count) {
    for (len c = 0; c < count; c++) out[c] += x[c] * by;
}

/* The teacher at one row: adds its gradient to g and returns the KL. soft holds exp((x - most) / tau), which
 * is 0 at the k afterwards; at is scratch for k. */
static double teacher_row(float *restrict g, float *restrict soft, const float *restrict x, float most,
                          const int64_t *restrict ids, const float *restrict logp, float tail,
                          float *restrict at, float tau, float weight, len k, len vocab) {
    double sum = sum_of(soft, vocab);
    for (len i = 0; i < k; i++) at[i] = soft[ids[i]];
    for (len i = 0; i < k; i++) soft[ids[i]] = 0.0f;
    float rest = (float)(sum_of(soft, vocab) / sum), q_tail = expf(tail);
    if (rest < TINY) rest = TINY;
    if (g != NULL) {
        add_row(g, soft, weight * (1.0f - q_tail / rest) / (float)sum, vocab);
        for (len i = 0; i < k; i++)
            g[ids[i]] += weight * (at[i] / (float)sum - expf(logp[i]));
    }
    double log_sum = log(sum), kl = expf(tail) * (tail - logf(rest));
    for (len i = 0; i < k; i++) {
        double student = (x[ids[i]] - most) / tau - log_sum;
        kl += expf(logp[i]) * (logp[i] - student);
    }
    return kl;
}

/* rows[n] is the teacher's row of logits n, or negative; a negative target is not scored. grad may be NULL.
 * Adds the sums of CE and KL to sums[0] and sums[1]. */
#define DEFINE_LOSS(NAME, TX, GET_X, PUT_X)                                                                  \
    int distil_rows_##NAME(const TX *restrict logits, const int64_t *restrict targets,                       \
                           const int64_t *restrict rows, const int64_t *restrict ids,                        \
                           const float *restrict logp, const float *restrict tail, TX *restrict grad,        \
                           double *restrict sums, len vocab, len k, float tau, float weight_ce,              \
                           float weight_kd, len first, len last) {                                           \
        float *x = malloc(sizeof(float) * (4 * vocab + k));                                                  \
        if (x == NULL) return 1;                                                                             \
        float *hard = x + vocab, *soft = hard + vocab, *g = soft + vocab, *at = g + vocab;                   \
        for (len n = first; n < last; n++) {                                                                 \
            const TX *in = logits + n * vocab;                                                               \
            int scored = targets[n] >= 0, taught = rows[n] >= 0;                                             \
            for (len c = 0; c < vocab; c++) x[c] = GET_X(in + c);                                            \
            float most = largest_of(x, vocab);                                                               \
            if (scored) {                                                                                    \
                exp_row(hard, x, most, 1.0f, vocab);                                                         \
                double sum = sum_of(hard, vocab);                                                            \
                sums[0] += log(sum) - (x[targets[n]] - most);                                                \
                if (grad != NULL) {                                                                          \
                    scale_row(g, hard, (float)(weight_ce / sum), vocab);                                     \
                    g[targets[n]] -= weight_ce;                                                              \
                }                                                                                            \
            } else                                                                                           \
                memset(g, 0, sizeof(float) * vocab);                                                         \
            if (taught) {                                                                                    \
                exp_row(soft, x, most, 1.0f / tau, vocab);                                                   \
                sums[1] += teacher_row(grad == NULL ? NULL : g, soft, x, most, ids + rows[n] * k,            \
                                       logp + rows[n] * k, tail[rows[n]], at, tau, weight_kd, k, vocab);     \
            }                                                                                                \
            if (grad != NULL)                                                                                \
                for (len c = 0; c < vocab; c++) PUT_X(grad + n * vocab + c, g[c]);                           \
        }                                                                                                    \
        free(x);                                                                                             \
        return 0;                                                                                            \
    }

DEFINE_LOSS(f32, float, get_f32, put_f32)
DEFINE_LOSS(b16, b16, get_b16, put_b16)
