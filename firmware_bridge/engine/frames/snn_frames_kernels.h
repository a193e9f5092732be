/* Kernels of programs that read frames, in C99: every kernel set compiles them with its own flags.
 *
 * A loop of fixed length stands inside where a compiler makes vectors of it. Sums wrap. */
#ifndef EDGESNN_SNN_FRAMES_KERNELS_H
#define EDGESNN_SNN_FRAMES_KERNELS_H

#include "../snn_internal.h"

#define FRAMES_LANES 16u

/* out[c] += x * row[c]. */
static inline void frames_add(int32_t *restrict out, const int8_t *restrict row, uint32_t count, int32_t x) {
    uint32_t c = 0, k;
    if (x == 1) {
        for (; c + FRAMES_LANES <= count; c += FRAMES_LANES) {
            for (k = 0; k < FRAMES_LANES; k++) out[c + k] = (int32_t)((uint32_t)out[c + k] + (uint32_t)row[c + k]);
        }
        for (; c < count; c++) out[c] = (int32_t)((uint32_t)out[c] + (uint32_t)row[c]);
        return;
    }
    for (; c + FRAMES_LANES <= count; c += FRAMES_LANES) {
        for (k = 0; k < FRAMES_LANES; k++)
            out[c + k] = (int32_t)((uint32_t)out[c + k] + (uint32_t)(x * row[c + k]));
    }
    for (; c < count; c++) out[c] = (int32_t)((uint32_t)out[c] + (uint32_t)(x * row[c]));
}

/* Where the taps of an event fall along one axis: place + padding - tap * dilation, in strides, or -1. */
static inline int32_t frames_place(int32_t at, int32_t stride, uint32_t extent) {
    if (at < 0) return -1;
    if (stride != 1) {
        if (at % stride != 0) return -1;
        at /= stride;
    }
    return (uint32_t)at < extent ? at : -1;
}

/* Adds the columns of weights of one event to the sums [height'][width'][maps]. */
static inline void frames_conv_event(const snn_op *op, uint32_t index, int32_t value, int32_t *sums) {
    uint32_t wide = (uint32_t)op->numbers[1], area = (uint32_t)op->numbers[0] * wide;
    uint32_t channel = index / area, place = index % area, each = op->each, u, v;
    int32_t y = (int32_t)(place / wide) + op->numbers[4], x = (int32_t)(place % wide) + op->numbers[5];
    const int8_t *row = op->weight + (size_t)channel * op->kernel[0] * op->kernel[1] * each;
    sums += (size_t)(channel / op->inside) * each;
    for (u = 0; u < op->kernel[0]; u++) {
        int32_t to_y = frames_place(y - (int32_t)u * op->numbers[6], op->numbers[2], op->extents[0]);
        for (v = 0; v < op->kernel[1]; v++, row += each) {
            int32_t to_x = frames_place(x - (int32_t)v * op->numbers[7], op->numbers[3], op->extents[1]);
            if (to_y < 0 || to_x < 0) continue;
            frames_add(sums + ((size_t)(uint32_t)to_y * op->extents[1] + (uint32_t)to_x) * op->maps, row, each,
                       value);
        }
    }
}

static inline void frames_linear_event(const snn_op *op, uint32_t index, int32_t value, int32_t *sums) {
    frames_add(sums, op->weight + (size_t)index * op->channels, op->channels, value);
}

typedef void (*frames_event)(const snn_op *op, uint32_t index, int32_t value, int32_t *sums);

/* Every value of the input that is not 0, in order. */
static inline void frames_each(const snn_op *op, const uint64_t *bits, const int16_t *graded,
                               frames_event event, int32_t *sums) {
    uint32_t words = snn_words(op->width), w, i;
    if (bits != NULL) {
        for (w = 0; w < words; w++) {
            uint64_t left = bits[w];
            for (; left != 0; left &= left - 1) event(op, w * 64 + snn_lowest(left), 1, sums);
        }
        return;
    }
    for (i = 0; i + 4 <= op->width; i += 4) {
        uint64_t four;
        memcpy(&four, graded + i, 8);
        if (four == 0) continue;
        for (w = i; w < i + 4; w++) {
            if (graded[w] != 0) event(op, w, graded[w], sums);
        }
    }
    for (; i < op->width; i++) {
        if (graded[i] != 0) event(op, i, graded[i], sums);
    }
}

/* The sums of a Conv or a graded Linear, channels last; they are 0 before. */
static void frames_scatter(const snn_op *op, const uint64_t *bits, const int16_t *graded, int32_t *sums) {
    if (op->kind == SNN_LINEAR) {
        frames_each(op, bits, graded, frames_linear_event, sums);
    } else {
        frames_each(op, bits, graded, frames_conv_event, sums);
    }
}

/* One frame of neurons that share their parameters (step 0) or have their own (step 1). `reset` and `step` are
 * constants where this is called. */
static inline void frames_span(uint32_t reset, uint32_t step, const snn_op *op, uint32_t parameter,
                               uint32_t count, const int32_t *restrict current, int32_t *restrict membranes,
                               uint8_t *restrict fired, int16_t *restrict graded, int32_t *restrict seen) {
    const int32_t *decay = op->third + parameter, *threshold = op->left + parameter,
                  *bias = op->right + parameter;
    uint32_t fraction = (uint32_t)op->numbers[1], i;
    for (i = 0; i < count; i++) {
        int32_t theta = threshold[i * step], drop = theta + op->numbers[2], old = membranes[i], now;
        uint32_t sum = (uint32_t)((old * decay[i * step]) / 256) + ((uint32_t)current[i] << fraction) +
                       (uint32_t)bias[i * step];
        if (reset == SNN_RESET_LATE) sum -= old > theta ? (uint32_t)drop : 0u;
        now = (int32_t)sum;
        now = now > SNN_MEMBRANE_MAX ? SNN_MEMBRANE_MAX : now;
        now = now < -SNN_MEMBRANE_MAX ? -SNN_MEMBRANE_MAX : now;
        if (seen != NULL) seen[i] = now;
        if (reset == SNN_RESET_MANY) {
            int32_t many = now > theta ? now / drop : 0;
            graded[i] = (int16_t)many;
            membranes[i] = now - many * drop;
            continue;
        }
        fired[i] = now > theta;
        if (reset == SNN_RESET_ZERO) now = now > theta ? 0 : now;
        if (reset == SNN_RESET_SUBTRACT) now -= now > theta ? drop : 0;
        membranes[i] = now;
    }
}

static inline void frames_neurons(uint32_t reset, const snn_op *op, const int32_t *current,
                                  int32_t *membranes, uint8_t *fired, int16_t *graded, int32_t *seen) {
    uint32_t each = op->channels / op->count, p, at = 0;
    if (each == 1) {
        if (seen == NULL) {
            frames_span(reset, 1, op, 0, op->channels, current, membranes, fired, graded, NULL);
        } else {
            frames_span(reset, 1, op, 0, op->channels, current, membranes, fired, graded, seen);
        }
        return;
    }
    for (p = 0; p < op->count; p++, at += each) {
        if (seen == NULL) {
            frames_span(reset, 0, op, p, each, current + at, membranes + at, fired + at, graded + at, NULL);
        } else {
            frames_span(reset, 0, op, p, each, current + at, membranes + at, fired + at, graded + at, seen + at);
        }
    }
}

/* One frame of a StatefulLIF: the membranes move on; fired [channels] are bytes 0 and 1, or graded [channels]
 * the spikes of SNN_RESET_MANY; seen [channels] takes the membranes before the reset, or is NULL. */
static void frames_stateful(const snn_op *op, const int32_t *current, int32_t *membranes, uint8_t *fired,
                            int16_t *graded, int32_t *seen) {
    switch (op->numbers[0]) {
    case SNN_RESET_ZERO: frames_neurons(SNN_RESET_ZERO, op, current, membranes, fired, graded, seen); break;
    case SNN_RESET_SUBTRACT:
        frames_neurons(SNN_RESET_SUBTRACT, op, current, membranes, fired, graded, seen);
        break;
    case SNN_RESET_LATE: frames_neurons(SNN_RESET_LATE, op, current, membranes, fired, graded, seen); break;
    case SNN_RESET_MANY: frames_neurons(SNN_RESET_MANY, op, current, membranes, fired, graded, seen); break;
    default: frames_neurons(SNN_RESET_NONE, op, current, membranes, fired, graded, seen); break;
    }
}

#endif
