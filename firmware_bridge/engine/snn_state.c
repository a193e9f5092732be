/* Saving and restoring of a context in the layout of edgesnn.program.state. */
#include "snn_internal.h"

static uint32_t bit_of(const uint64_t *bits, uint32_t i) { return (uint32_t)(bits[i / 64] >> (i % 64)) & 1u; }

static uint8_t *save_shift(const snn_op *op, uint32_t timesteps, const uint64_t *bits, uint8_t *out) {
    uint32_t t, c;
    for (t = 0; t < timesteps; t++, bits += snn_words(op->channels)) {
        for (c = 0; c < op->count; c++) *out++ = (uint8_t)bit_of(bits, (uint32_t)op->left[c]);
    }
    return out;
}

/* One op's k [T][dh][slots] (keys) or v [T][slots][dh]. Slot s of a ring is saved as slot (s - turn) mod
 * ring. `load` goes the other way. */
static uint8_t *turn_rings(const snn_op *op, uint32_t timesteps, uint64_t *bits, uint8_t *bytes, int keys,
                           int load, uint64_t turn) {
    uint32_t dh = (uint32_t)op->numbers[0], words = snn_words(dh), slots = op->slots - op->count, t, h, s, c;
    for (t = 0; t < timesteps; t++, bytes += (size_t)slots * dh) {
        uint32_t first = 0;
        for (h = 0; h < op->count; h++) {
            uint32_t ring = (uint32_t)op->left[h] - 1;
            for (s = 0; s < ring; s++) {
                uint64_t *row = bits + (size_t)((s + turn) % ring) * words;
                for (c = 0; c < dh; c++) {
                    uint8_t *byte =
                        bytes + (keys ? (size_t)c * slots + first + s : (size_t)(first + s) * dh + c);
                    if (load) {
                        row[c / 64] |= (uint64_t)*byte << (c % 64);
                    } else {
                        *byte = (uint8_t)bit_of(row, c);
                    }
                }
            }
            first += ring;
            bits += (size_t)(ring + 1) * words;
        }
    }
    return bytes;
}

static uint64_t *values_of(const snn_op *op, uint32_t timesteps, uint64_t *keys) {
    return keys + (size_t)snn_ring_bytes(op, timesteps) / 8;
}

/* The running sums of an op whose rings were loaded: every slot enters as a token would. */
static void sum_rings(const snn_context *context, const snn_op *op, const uint64_t *k) {
    static const uint64_t nothing[SNN_HEAD_WORDS] = {0};
    uint32_t dh = (uint32_t)op->numbers[0], words = snn_words(dh), t, h, s;
    size_t rings = (size_t)snn_ring_bytes(op, context->model->timesteps);
    const uint64_t *v = k + rings / 8;
    uint8_t *sums = context->state + op->state + 2 * rings;
    for (t = 0; t < context->model->timesteps; t++) {
        for (h = 0; h < op->count; h++) {
            size_t slots = (size_t)op->left[h];
            for (s = 0; snn_has_sums(op->left[h]) && s + 1 < slots; s++) {
                context->model->kernels->attend_sums(nothing, k + s * words, v + s * words, nothing, nothing,
                                                     words, dh, sums, context->block);
            }
            if (snn_has_sums(op->left[h])) sums += snn_sums_bytes(dh);
            k += slots * words;
            v += slots * words;
        }
    }
}

snn_status snn_save(const snn_context *context, int oldest_first, uint8_t *state, uint64_t *position) {
    const snn_model *model;
    uint32_t i;
    if (context == NULL || position == NULL) return SNN_E_ARGUMENT;
    model = context->model;
    if (state == NULL && model->saved_bytes > 0) return SNN_E_ARGUMENT;
    for (i = 0; i < model->n_ops; i++) {
        const snn_op *op = &model->ops[i];
        uint64_t *bits = (uint64_t *)(void *)(context->state + op->state);
        uint64_t turn = oldest_first ? context->position : 0;
        if (op->kind == SNN_SHIFT) state = save_shift(op, model->timesteps, bits, state);
        if (op->kind >= SNN_FRAMES) state = snn_save_frames(context, op, turn, state);
        if (op->kind != SNN_ATTEND || op->slots == op->count) continue;
        state = turn_rings(op, model->timesteps, bits, state, 1, 0, turn);
        state = turn_rings(op, model->timesteps, values_of(op, model->timesteps, bits), state, 0, 0, turn);
    }
    *position = oldest_first ? 0 : context->position;
    return SNN_OK;
}

snn_status snn_restore(snn_context *context, const uint8_t *state, uint64_t position) {
    const snn_model *model;
    uint8_t *next = (uint8_t *)(uintptr_t)state; /* turn_rings only reads it when it loads */
    uint32_t i, t, c;
    size_t b;
    if (context == NULL) return SNN_E_ARGUMENT;
    model = context->model;
    if (state == NULL && model->saved_bytes > 0) return SNN_E_ARGUMENT;
    if (model->inputs > 0) {
        snn_status status = snn_restore_frames(context, state);
        if (status == SNN_OK) context->position = position;
        return status;
    }
    for (b = 0; b < model->saved_bytes; b++) {
        if (state[b] > 1) return SNN_E_STATE;
    }
    snn_reset(context);
    for (i = 0; i < model->n_ops; i++) {
        const snn_op *op = &model->ops[i];
        uint64_t *bits = (uint64_t *)(void *)(context->state + op->state);
        if (op->kind == SNN_SHIFT) {
            for (t = 0; t < model->timesteps; t++, bits += snn_words(op->channels)) {
                for (c = 0; c < op->count; c++) {
                    bits[op->left[c] / 64] |= (uint64_t)*next++ << (op->left[c] % 64);
                }
            }
        }
        if (op->kind != SNN_ATTEND || op->slots == op->count) continue;
        next = turn_rings(op, model->timesteps, bits, next, 1, 1, 0);
        next = turn_rings(op, model->timesteps, values_of(op, model->timesteps, bits), next, 0, 1, 0);
        sum_rings(context, op, bits);
    }
    context->position = position;
    context->filled = UINT64_MAX;
    return SNN_OK;
}
