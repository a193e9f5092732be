/* The element-wise work of training: normalisation, leaky integrate-and-fire over the inner timesteps,
 * and their gradients.
 *
 * Arrays are [T, N, C] row-major: inner timesteps, tokens, channels; a constant current is [1, N, C]. A call
 * works on the tokens first <= n < last, so that threads can share a layer. Floats are float32 or bfloat16
 * (as bits), sums leave as float64. Compile with -ffp-contract=off: every product is rounded before it is
 * added, so that the torch fallback gives the same bits.
 */
#include <stdlib.h>

#include "floats.h"

enum { FAST_SIGMOID = 0, TRIANGULAR = 1, ARCTAN = 2, FAST_SIGMOID_1 = 3 };

static inline float magnitude(float v) { return v < 0.0f ? -v : v; }

/* Rows of this many tokens are summed in float32 before they join the float64 sums. */
#define FLUSH 32

static void flush(double *restrict total, float *restrict part, len channels) {
    for (len c = 0; c < channels; c++) {
        total[c] += part[c];
        part[c] = 0.0f;
    }
}

/* u[c] becomes the surrogate derivative at u[c] */
static void surrogate(float *restrict u, len channels, int kind, float slope) {
    if (kind == FAST_SIGMOID)
        for (len c = 0; c < channels; c++) {
            float x = magnitude(u[c]) * slope + 1.0f;
            u[c] = 1.0f / (x * x);
        }
    else if (kind == FAST_SIGMOID_1)
        for (len c = 0; c < channels; c++) u[c] = 1.0f / (magnitude(u[c]) * slope + 1.0f);
    else if (kind == TRIANGULAR)
        for (len c = 0; c < channels; c++) {
            float x = magnitude(u[c]) * -slope + 1.0f;
            u[c] = x < 0.0f ? 0.0f : x;
        }
    else
        for (len c = 0; c < channels; c++) {
            float x = u[c] * slope;
            u[c] = 1.0f / (x * x + 1.0f);
        }
}

static inline int32_t membrane_step(int32_t v, int32_t n, int32_t current, int32_t bias) {
    const int32_t most = (1 << 23) - 1;
    int32_t next = v * n / 256 + 64 * current + bias; /* below 2**23 + 2**23 + 2**30 */
    return next > most ? most : next < -most ? -most : next;
}

/* Gradients of one token, last timestep first. u holds V - theta of every timestep and fired the spikes. */
#define BACKWARD_TOKEN(NAME, PUT_Y)                                                                           \
    memset(carry, 0, sizeof(float) * channels);                                                              \
    memset(total, 0, sizeof(float) * channels);                                                              \
    for (len t = timesteps - 1; t >= 0; t--) {                                                               \
        float *ut = u + t * channels;                                                                        \
        len at = (t * tokens + n) * channels, in = ((constant ? 0 : t) * tokens + n) * channels;             \
        surrogate(ut, channels, kind, slope);                                                                \
        backward_row_##NAME(ut, fired + t * channels, grad_spikes + at, y + in, carry, part_g, part_gy,      \
                            total, beta, channels);                                                          \
        if (!constant)                                                                                       \
            for (len c = 0; c < channels; c++) PUT_Y(grad + in + c, carry[c]);                               \
    }                                                                                                        \
    if (constant)                                                                                            \
        for (len c = 0; c < channels; c++) PUT_Y(grad + n * channels + c, total[c]);                         \
    if ((n - first) % FLUSH == FLUSH - 1 || n == last - 1) {                                                 \
        flush(sum_g, part_g, channels);                                                                      \
        flush(sum_gy, part_gy, channels);                                                                    \
    }

/* Rows of one timestep. restrict is what lets the compiler use vectors. */
#define DEFINE_ROW(NAME, TY, GET_Y, TS, GET_S, PUT_S)                                                        \
    static void backward_row_##NAME(const float *restrict u, const float *restrict fired,                    \
                                    const TS *restrict grad_spikes, const TY *restrict y,                    \
                                    float *restrict carry, float *restrict part_g, float *restrict part_gy,  \
                                    float *restrict total, float beta, len channels) {                       \
        for (len c = 0; c < channels; c++) {                                                                 \
            float kept = fired[c] != 0.0f ? 0.0f : carry[c];                                                 \
            float g = u[c] * GET_S(grad_spikes + c) + kept * beta;                                           \
            carry[c] = g;                                                                                    \
            part_g[c] += g;                                                                                  \
            part_gy[c] += g * GET_Y(y + c);                                                                  \
            total[c] += g;                                                                                   \
        }                                                                                                    \
    }                                                                                                        \
    static void forward_row_##NAME(const TY *restrict y, const float *restrict gain,                         \
                                   const float *restrict offset, TS *restrict spikes, float *restrict rest,  \
                                   float beta, float theta, len channels) {                                  \
        for (len c = 0; c < channels; c++) {                                                                 \
            float v = rest[c] * beta + (GET_Y(y + c) * gain[c] + offset[c]);                                 \
            PUT_S(spikes + c, v >= theta ? 1.0f : 0.0f);                                                     \
            rest[c] = v >= theta ? 0.0f : v;                                                                 \
        }                                                                                                    \
    }                                                                                                        \
    static void membrane_row_##NAME(const TY *restrict y, const float *restrict gain,                        \
                                    const float *restrict offset, float *restrict u, float *restrict fired,  \
                                    float *restrict rest, float beta, float theta, len channels) {           \
        for (len c = 0; c < channels; c++) {                                                                 \
            float v = rest[c] * beta + (GET_Y(y + c) * gain[c] + offset[c]);                                 \
            u[c] = v - theta;                                                                                \
            fired[c] = v >= theta ? 1.0f : 0.0f;                                                             \
            rest[c] = v >= theta ? 0.0f : v;                                                                 \
        }                                                                                                    \
    }

DEFINE_ROW(f32_f32, float, get_f32, float, get_f32, put_f32)
DEFINE_ROW(f32_b16, float, get_f32, b16, get_b16, put_b16)
DEFINE_ROW(b16_b16, b16, get_b16, b16, get_b16, put_b16)

static void integer_row(const float *restrict y, const int32_t *restrict theta, const int32_t *restrict bias,
                        int32_t *restrict above, int32_t *restrict rest, int32_t decay, len channels) {
    for (len c = 0; c < channels; c++) {
        int32_t v = membrane_step(rest[c], decay, (int32_t)y[c], bias[c]);
        above[c] = v - theta[c];
        rest[c] = v > theta[c] ? 0 : v;
    }
}

#define SCRATCH                                                                                              \
    float *u = malloc(sizeof(float) * channels * (2 * timesteps + 4));                                       \
    if (u == NULL) return 1;                                                                                 \
    float *fired = u + timesteps * channels, *carry = fired + timesteps * channels;                          \
    float *total = carry + channels, *part_g = total + channels, *part_gy = part_g + channels;               \
    memset(part_g, 0, sizeof(float) * 2 * channels);

#define DEFINE(NAME, TY, GET_Y, PUT_Y, TS, GET_S, PUT_S)                                                     \
    int lif_forward_##NAME(const TY *restrict y, const float *restrict gain, const float *restrict offset,   \
                           TS *restrict spikes, len tokens, len channels, len timesteps, len constant,       \
                           float beta, float theta, len first, len last) {                                   \
        float *rest = malloc(sizeof(float) * channels);                                                      \
        if (rest == NULL) return 1;                                                                          \
        for (len n = first; n < last; n++) {                                                                 \
            memset(rest, 0, sizeof(float) * channels);                                                       \
            for (len t = 0; t < timesteps; t++) {                                                            \
                const TY *in = y + ((constant ? 0 : t) * tokens + n) * channels;                             \
                TS *out = spikes + (t * tokens + n) * channels;                                              \
                forward_row_##NAME(in, gain, offset, out, rest, beta, theta, channels);                      \
            }                                                                                                \
        }                                                                                                    \
        free(rest);                                                                                          \
        return 0;                                                                                            \
    }                                                                                                        \
    int lif_backward_##NAME(const TY *restrict y, const float *restrict gain, const float *restrict offset,  \
                            const TS *restrict grad_spikes, TY *restrict grad, double *restrict sum_g,       \
                            double *restrict sum_gy, len tokens, len channels, len timesteps, len constant,  \
                            float beta, float theta, int kind, float slope, len first, len last) {           \
        SCRATCH                                                                                              \
        for (len n = first; n < last; n++) {                                                                 \
            memset(carry, 0, sizeof(float) * channels);                                                      \
            for (len t = 0; t < timesteps; t++) {                                                            \
                const TY *in = y + ((constant ? 0 : t) * tokens + n) * channels;                             \
                membrane_row_##NAME(in, gain, offset, u + t * channels, fired + t * channels, carry, beta,   \
                                    theta, channels);                                                        \
            }                                                                                                \
            BACKWARD_TOKEN(NAME, PUT_Y)                                                                      \
        }                                                                                                    \
        free(u);                                                                                             \
        return 0;                                                                                            \
    }

DEFINE(f32_f32, float, get_f32, put_f32, float, get_f32, put_f32)
DEFINE(f32_b16, float, get_f32, put_f32, b16, get_b16, put_b16)
DEFINE(b16_b16, b16, get_b16, put_b16, b16, get_b16, put_b16)

/* The integer neuron: y holds integer currents, |y| < 2**17. The gradient is that of a neuron whose current is
 * unit * 64 * y, where unit is the worth of one membrane step. */
#define DEFINE_INTEGER(NAME, TS, GET_S, PUT_S)                                                               \
    int lif_integer_forward_##NAME(const float *restrict y, const int32_t *restrict theta,                   \
                                   const int32_t *restrict bias, TS *restrict spikes, len tokens,            \
                                   len channels, len timesteps, len constant, int32_t decay, len first,      \
                                   len last) {                                                               \
        int32_t *rest = malloc(sizeof(int32_t) * 2 * channels), *above = rest + channels;                    \
        if (rest == NULL) return 1;                                                                          \
        for (len n = first; n < last; n++) {                                                                 \
            memset(rest, 0, sizeof(int32_t) * channels);                                                     \
            for (len t = 0; t < timesteps; t++) {                                                            \
                const float *in = y + ((constant ? 0 : t) * tokens + n) * channels;                          \
                TS *out = spikes + (t * tokens + n) * channels;                                              \
                integer_row(in, theta, bias, above, rest, decay, channels);                                  \
                for (len c = 0; c < channels; c++) PUT_S(out + c, above[c] > 0 ? 1.0f : 0.0f);               \
            }                                                                                                \
        }                                                                                                    \
        free(rest);                                                                                          \
        return 0;                                                                                            \
    }                                                                                                        \
    int lif_integer_backward_##NAME(                                                                         \
        const float *restrict y, const int32_t *restrict theta, const int32_t *restrict bias,                \
        const float *restrict unit, const TS *restrict grad_spikes, float *restrict grad,                    \
        double *restrict sum_g, double *restrict sum_gy, len tokens, len channels, len timesteps,            \
        len constant, int32_t decay, float beta, int kind, float slope, len first, len last) {               \
        SCRATCH                                                                                              \
        int32_t *rest = malloc(sizeof(int32_t) * 2 * channels), *above = rest + channels;                    \
        if (rest == NULL) {                                                                                  \
            free(u);                                                                                         \
            return 1;                                                                                        \
        }                                                                                                    \
        for (len n = first; n < last; n++) {                                                                 \
            memset(rest, 0, sizeof(int32_t) * channels);                                                     \
            for (len t = 0; t < timesteps; t++) {                                                            \
                const float *in = y + ((constant ? 0 : t) * tokens + n) * channels;                          \
                float *ut = u + t * channels, *ft = fired + t * channels;                                    \
                integer_row(in, theta, bias, above, rest, decay, channels);                                  \
                for (len c = 0; c < channels; c++) {                                                         \
                    ut[c] = (float)above[c] * unit[c];                                                       \
                    ft[c] = above[c] > 0 ? 1.0f : 0.0f;                                                      \
                }                                                                                            \
            }                                                                                                \
            BACKWARD_TOKEN(NAME, put_f32)                                                                    \
        }                                                                                                    \
        free(rest);                                                                                          \
        free(u);                                                                                             \
        return 0;                                                                                            \
    }

DEFINE_INTEGER(f32_f32, float, get_f32, put_f32)
DEFINE_INTEGER(f32_b16, b16, get_b16, put_b16)

/* Sums of rows, [rows, C]: of y - y[0], of its square; or of g and g * y. */
#define DEFINE_ROWS(NAME, TY, GET_Y, PUT_Y)                                                                  \
    int row_moments_##NAME(const TY *restrict y, double *restrict sum, double *restrict square,              \
                           len channels, len first, len last) {                                              \
        float *part = calloc(3 * channels, sizeof(float));                                                   \
        if (part == NULL) return 1;                                                                          \
        float *part2 = part + channels, *origin = part2 + channels;                                          \
        for (len c = 0; c < channels; c++) origin[c] = GET_Y(y + c);                                         \
        for (len n = first; n < last; n++) {                                                                 \
            for (len c = 0; c < channels; c++) {                                                             \
                float v = GET_Y(y + n * channels + c) - origin[c];                                           \
                part[c] += v;                                                                                \
                part2[c] += v * v;                                                                           \
            }                                                                                                \
            if ((n - first) % FLUSH == FLUSH - 1 || n == last - 1) {                                         \
                flush(sum, part, channels);                                                                  \
                flush(square, part2, channels);                                                              \
            }                                                                                                \
        }                                                                                                    \
        free(part);                                                                                          \
        return 0;                                                                                            \
    }                                                                                                        \
    int row_products_##NAME(const float *restrict g, const TY *restrict y, double *restrict sum_g,           \
                            double *restrict sum_gy, len channels, len first, len last) {                    \
        float *part = calloc(2 * channels, sizeof(float));                                                   \
        if (part == NULL) return 1;                                                                          \
        float *part2 = part + channels;                                                                      \
        for (len n = first; n < last; n++) {                                                                 \
            for (len c = 0; c < channels; c++) {                                                             \
                float v = g[n * channels + c];                                                               \
                part[c] += v;                                                                                \
                part2[c] += v * GET_Y(y + n * channels + c);                                                 \
            }                                                                                                \
            if ((n - first) % FLUSH == FLUSH - 1 || n == last - 1) {                                         \
                flush(sum_g, part, channels);                                                                \
                flush(sum_gy, part2, channels);                                                              \
            }                                                                                                \
        }                                                                                                    \
        free(part);                                                                                          \
        return 0;                                                                                            \
    }                                                                                                        \
    /* out = x + (gain * y + offset); x repeats every x_rows rows */                                         \
    int add_affine_##NAME(const float *restrict x, const TY *restrict y, const float *restrict gain,         \
                          const float *restrict offset, float *restrict out, len x_rows, len channels,       \
                          len first, len last) {                                                             \
        for (len n = first; n < last; n++)                                                                   \
            for (len c = 0; c < channels; c++)                                                               \
                out[n * channels + c] = x[n % x_rows * channels + c] +                                       \
                                        (GET_Y(y + n * channels + c) * gain[c] + offset[c]);                 \
        return 0;                                                                                            \
    }                                                                                                        \
    /* grad = gain * g - (at + slope * y), g float32 */                                                      \
    int affine_gradient_##NAME(const float *restrict g, const TY *restrict y, const float *restrict gain,    \
                               const float *restrict at, const float *restrict slope, TY *restrict grad,     \
                               len channels, len first, len last) {                                          \
        for (len n = first; n < last; n++)                                                                   \
            for (len c = 0; c < channels; c++) {                                                             \
                len i = n * channels + c;                                                                    \
                PUT_Y(grad + i, g[i] * gain[c] - (GET_Y(y + i) * slope[c] + at[c]));                         \
            }                                                                                                \
        return 0;                                                                                            \
    }                                                                                                        \
    /* the same with g in grad, in place */                                                                  \
    int affine_gradient_in_place_##NAME(const TY *restrict y, const float *restrict gain,                    \
                                        const float *restrict at, const float *restrict slope,               \
                                        TY *restrict grad, len channels, len first, len last) {              \
        for (len n = first; n < last; n++)                                                                   \
            for (len c = 0; c < channels; c++) {                                                             \
                len i = n * channels + c;                                                                    \
                PUT_Y(grad + i, GET_Y(grad + i) * gain[c] - (GET_Y(y + i) * slope[c] + at[c]));              \
            }                                                                                                \
        return 0;                                                                                            \
    }

DEFINE_ROWS(f32, float, get_f32, put_f32)
DEFINE_ROWS(b16, b16, get_b16, put_b16)
