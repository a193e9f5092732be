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
            for (k = 0; k < FRAMES_LANES; k++)
                out[c + k] = (int32_t)((uint32_t)out[c + k] + (uint32_t)row[c + k]);
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
        uint32_t step = (uint32_t)stride, to = snn_divide((uint32_t)at, step);
        if (to * step != (uint32_t)at) return -1;
        at = (int32_t)to;
    }
    return (uint32_t)at < extent ? at : -1;
}

/* Adds the columns of weights of one event to the sums [height'][width'][maps]. */
static inline void frames_conv_event(const snn_op *op, uint32_t index, int32_t value, int32_t *sums) {
    uint32_t wide = (uint32_t)op->numbers[1], area = (uint32_t)op->numbers[0] * wide;
    uint32_t channel = snn_divide(index, area), place = index - channel * area, each = op->each, u, v;
    uint32_t line = snn_divide(place, wide);
    int32_t y = (int32_t)line + op->numbers[4], x = (int32_t)(place - line * wide) + op->numbers[5];
    const int8_t *row = op->weight + (size_t)channel * op->kernel[0] * op->kernel[1] * each;
    sums += (size_t)(channel / op->inside) * each;
    for (u = 0; u < op->kernel[0]; u++) {
        int32_t to_y = frames_place(y - (int32_t)u * op->numbers[6], op->numbers[2], op->extents[0]);
        if (to_y < 0) {
            row += (size_t)op->kernel[1] * each;
            continue;
        }
        for (v = 0; v < op->kernel[1]; v++, row += each) {
            int32_t to_x = frames_place(x - (int32_t)v * op->numbers[7], op->numbers[3], op->extents[1]);
            if (to_x < 0) continue;
            frames_add(sums + ((size_t)(uint32_t)to_y * op->extents[1] + (uint32_t)to_x) * op->maps, row,
                       each, value);
        }
    }
}

static inline void frames_linear_event(const snn_op *op, uint32_t index, int32_t value, int32_t *sums) {
    frames_add(sums, op->weight + (size_t)index * op->channels, op->channels, value);
}

typedef void (*frames_event)(const snn_op *op, uint32_t index, int32_t value, int32_t *sums);

/* Every value of the input that is not 0 is an event. */
static inline void frames_each(const snn_op *op, const uint64_t *bits, const int16_t *graded,
                               void (*event)(const snn_op *, uint32_t, int32_t, int32_t *), int32_t *sums) {
    uint32_t w, i;
    for (w = 0; bits != NULL && w < snn_words(op->width); w++) {
        uint64_t left = bits[w];
        for (; left != 0; left &= left - 1) event(op, w * 64 + snn_lowest(left), 1, sums);
    }
    for (i = 0; bits == NULL && i < op->width; i += 4) {
        uint32_t end = op->width - i < 4 ? op->width : i + 4;
        uint64_t four = 1;
        if (end == i + 4) memcpy(&four, graded + i, 8); /* mostly zeros */
        for (w = i; four != 0 && w < end; w++) {
            if (graded[w] != 0) event(op, w, graded[w], sums);
        }
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

/* Parameters of 64 neurons in a row. */
typedef struct frames_block {
    const int32_t *decay, *threshold, *bias;
    int32_t filled[3][64];
} frames_block;

/* The parameters of neurons [first, first + count): their own, or those that a whole group shares. */
static inline void frames_parameters(const snn_op *op, uint32_t first, uint32_t count, frames_block *block) {
    uint32_t each = op->channels / op->count, i = 0;
    if (each == 1) {
        block->decay = op->third + first;
        block->threshold = op->left + first;
        block->bias = op->right + first;
        return;
    }
    while (i < count) {
        uint32_t group = (first + i) / each, left = (group + 1) * each - first;
        uint32_t end = left < count ? left : count;
        int32_t n = op->third[group], theta = op->left[group], bias = op->right[group];
        for (; i < end; i++) {
            block->filled[0][i] = n;
            block->filled[1][i] = theta;
            block->filled[2][i] = bias;
        }
    }
    block->decay = block->filled[0];
    block->threshold = block->filled[1];
    block->bias = block->filled[2];
}

/* One frame of at most 64 neurons. `seen` takes the membranes before the reset, `fired` bytes 0 and 1. What a
 * reset does is in masks, so that there is one loop without branches. */
static inline void frames_neurons(const snn_op *op, const frames_block *block, uint32_t count,
                                  const int32_t *restrict current, int32_t *restrict membranes,
                                  int32_t *restrict seen, uint8_t *restrict fired) {
    int32_t late = op->numbers[0] == SNN_RESET_LATE ? -1 : 0;
    int32_t keep = op->numbers[0] == SNN_RESET_ZERO ? 0 : -1;
    int32_t subtract = op->numbers[0] == SNN_RESET_SUBTRACT ? -1 : 0, inclusive = op->numbers[2];
    const int32_t *restrict decay = block->decay, *restrict threshold = block->threshold,
                           *restrict bias = block->bias;
    uint32_t fraction = (uint32_t)op->numbers[1], i;
    for (i = 0; i < count; i++) {
        int32_t theta = threshold[i], drop = theta + inclusive, old = membranes[i], now;
        uint32_t sum = (uint32_t)((old * decay[i]) / 256) + ((uint32_t)current[i] << fraction);
        now = (int32_t)(sum + (uint32_t)bias[i] - (uint32_t)((old > theta ? drop : 0) & late));
        now = now > SNN_MEMBRANE_MAX ? SNN_MEMBRANE_MAX : now;
        now = now < -SNN_MEMBRANE_MAX ? -SNN_MEMBRANE_MAX : now;
        seen[i] = now;
        fired[i] = now > theta;
        membranes[i] = (now - ((now > theta ? drop : 0) & subtract)) & (now > theta ? keep : -1);
    }
}

/* One frame of a StatefulLIF: the membranes move on. Bits of the spikes, or graded [channels] where there
 * may be several at once, or seen [channels], the membranes before the reset; what is not made is NULL. */
static void frames_stateful(const snn_op *op, const int32_t *current, int32_t *membranes, uint64_t *bits,
                            int16_t *graded, int32_t *seen) {
    frames_block block;
    int32_t before[64];
    uint8_t fired[64];
    uint32_t first, i;
    for (first = 0; first < op->channels; first += 64) {
        uint32_t count = op->channels - first < 64 ? op->channels - first : 64;
        frames_parameters(op, first, count, &block);
        frames_neurons(op, &block, count, current + first, membranes + first, before, fired);
        for (i = 0; op->numbers[0] == SNN_RESET_MANY && i < count; i++) {
            int32_t drop = block.threshold[i] + op->numbers[2], many = fired[i] ? before[i] / drop : 0;
            membranes[first + i] = before[i] - many * drop;
            if (graded != NULL) graded[first + i] = (int16_t)many;
        }
        if (bits != NULL) bits[first / 64] = snn_pack(fired, count);
        if (seen != NULL) memcpy(seen + first, before, (size_t)count * sizeof *seen);
    }
}

#endif
