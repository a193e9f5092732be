/* Executing a program that reads frames: one op after the other over one frame. */
#include "../snn_internal.h"

static uint8_t *frame_value(const snn_context *context, uint32_t index) {
    return context->values + (size_t)context->model->ops[index].value;
}

static uint64_t *frame_bits(const snn_context *context, uint32_t index) {
    return (uint64_t *)(void *)frame_value(context, index);
}

static int16_t *frame_graded(const snn_context *context, uint32_t index) {
    return (int16_t *)(void *)frame_value(context, index);
}

static int32_t *frame_sums(const snn_context *context, uint32_t index) {
    return (int32_t *)(void *)frame_value(context, index);
}

static void *frame_memory(const snn_context *context, const snn_op *op) { return context->state + op->state; }

static snn_status run_input(snn_context *context, const snn_op *op, const int8_t *frame) {
    int32_t low = op->numbers[4], high = op->numbers[5];
    uint32_t c;
    int wrong = 0;
    for (c = 0; c < op->channels; c++) wrong |= (frame[c] < low) | (frame[c] > high);
    if (wrong) return SNN_E_FRAME;
    if (op->made == SNN_SPIKES) {
        for (c = 0; c < op->channels; c += 64) {
            frame_bits(context, 0)[c / 64] =
                snn_pack((const uint8_t *)frame + c, op->channels - c < 64 ? op->channels - c : 64);
        }
    } else {
        int16_t *out = frame_graded(context, 0);
        for (c = 0; c < op->channels; c++) out[c] = frame[c];
    }
    return SNN_OK;
}

/* From [places][maps] to [maps][places], which is how a value of maps lies. */
static void channels_first(const int32_t *sums, uint32_t places, uint32_t maps, int32_t *out) {
    uint32_t first, m, p;
    for (first = 0; first < places; first += 16) {
        uint32_t count = places - first < 16 ? places - first : 16;
        for (m = 0; m < maps; m++) {
            const int32_t *from = sums + (size_t)first * maps + m;
            int32_t *to = out + (size_t)m * places + first;
            for (p = 0; p < count; p++) to[p] = from[(size_t)p * maps];
        }
    }
}

static void run_scatter(snn_context *context, uint32_t index) {
    const snn_model *model = context->model;
    const snn_op *op = &model->ops[index];
    uint32_t places = op->extents[0] * op->extents[1];
    int spikes = model->ops[op->first].made == SNN_SPIKES;
    int32_t *out = frame_sums(context, index), *sums = places == 1 ? out : context->sums;
    memset(sums, 0, (size_t)op->channels * sizeof *sums);
    model->kernels->scatter(op, spikes ? frame_bits(context, op->first) : NULL,
                            spikes ? NULL : frame_graded(context, op->first), sums);
    if (places > 1) channels_first(sums, places, op->maps, out);
}

/* First and last window of a pool that holds a place, along one axis; first > last where none does. */
static void windows_of(const snn_op *op, uint32_t axis, int32_t place, int32_t *first, int32_t *last) {
    int32_t kernel = op->numbers[2 + axis], stride = op->numbers[4 + axis];
    int32_t most = (int32_t)op->extents[axis] - 1;
    place += op->numbers[6 + axis];
    *first = place < kernel ? 0 : (int32_t)snn_divide((uint32_t)(place - kernel), (uint32_t)stride) + 1;
    *last = (int32_t)snn_divide((uint32_t)place, (uint32_t)stride);
    *last = *last < most ? *last : most;
}

static void pool_event(const snn_op *op, uint32_t index, int32_t value, int16_t *out) {
    uint32_t wide = (uint32_t)op->numbers[1], area = (uint32_t)op->numbers[0] * wide;
    uint32_t channel = snn_divide(index, area), place = index - channel * area;
    uint32_t line = snn_divide(place, wide);
    int32_t top, bottom, left, right, y, x;
    windows_of(op, 0, (int32_t)line, &top, &bottom);
    windows_of(op, 1, (int32_t)(place - line * wide), &left, &right);
    out += (size_t)channel * op->extents[0] * op->extents[1];
    for (y = top; y <= bottom; y++) {
        for (x = left; x <= right; x++) {
            int16_t *sum = out + (size_t)(uint32_t)y * op->extents[1] + (uint32_t)x;
            *sum = (int16_t)(uint16_t)((uint32_t)*sum + (uint32_t)value);
        }
    }
}

static void run_pool(snn_context *context, uint32_t index) {
    const snn_op *op = &context->model->ops[index];
    int16_t *out = frame_graded(context, index);
    uint32_t words = snn_words(op->width), w, i;
    memset(out, 0, (size_t)op->channels * sizeof *out);
    if (context->model->ops[op->first].made == SNN_SPIKES) {
        const uint64_t *bits = frame_bits(context, op->first);
        for (w = 0; w < words; w++) {
            uint64_t left = bits[w];
            for (; left != 0; left &= left - 1) pool_event(op, w * 64 + snn_lowest(left), 1, out);
        }
    } else {
        const int16_t *graded = frame_graded(context, op->first);
        for (i = 0; i < op->width; i++) {
            if (graded[i] != 0) pool_event(op, i, graded[i], out);
        }
    }
}

static void run_stateful(snn_context *context, uint32_t index) {
    const snn_op *op = &context->model->ops[index];
    int spikes = op->made == SNN_SPIKES, several = op->made == SNN_GRADED;
    const uint64_t *bits = frame_bits(context, index);
    const int16_t *graded = frame_graded(context, index);
    uint32_t w, c;
    int32_t *membranes = (int32_t *)frame_memory(context, op);
    context->model->kernels->stateful(op, frame_sums(context, op->first), membranes,
                                      spikes ? frame_bits(context, index) : NULL,
                                      several ? frame_graded(context, index) : NULL,
                                      op->made == SNN_MEMBRANES ? frame_sums(context, index) : NULL);
    if (!context->counts) return;
    for (w = 0; spikes && w < snn_words(op->channels); w++) context->spikes += snn_popcount(bits[w]);
    for (c = 0; several && c < op->channels; c++) context->spikes += (uint16_t)graded[c];
}

/* What entered in the frames before stands in a ring of `slots` frames, as int16 also where it is spikes. */
static void run_delay(snn_context *context, uint32_t index) {
    const snn_op *op = &context->model->ops[index];
    int16_t *ring = (int16_t *)frame_memory(context, op), *delayed = context->inputs;
    uint32_t slot = (uint32_t)(context->position % op->slots), each = op->channels / op->count, c;
    int spikes = op->made == SNN_SPIKES;
    const uint64_t *bits = frame_bits(context, op->first);
    const int16_t *graded = frame_graded(context, op->first);
    for (c = 0; c < op->channels; c++) {
        int16_t now = spikes ? (int16_t)(bits[c / 64] >> c % 64 & 1u) : graded[c];
        uint32_t delay = (uint32_t)op->left[c / each];
        uint32_t from = slot >= delay ? slot - delay : slot + op->slots - delay;
        delayed[c] = delay == 0 ? now : ring[(size_t)from * op->channels + c];
        ring[(size_t)slot * op->channels + c] = now; /* read above where the delay is the longest */
    }
    if (!spikes) {
        memcpy(frame_graded(context, index), delayed, (size_t)op->channels * sizeof *delayed);
        return;
    }
    memset(frame_bits(context, index), 0, (size_t)snn_words(op->channels) * 8);
    for (c = 0; c < op->channels; c++) {
        frame_bits(context, index)[c / 64] |= (uint64_t)(delayed[c] != 0) << c % 64;
    }
}

static int32_t sum_within(int32_t count, int32_t value) {
    count += value; /* both have less than 26 bits */
    count = count > SNN_COUNT_MAX ? SNN_COUNT_MAX : count;
    return count < -SNN_COUNT_MAX ? -SNN_COUNT_MAX : count;
}

static void run_output(snn_context *context, const snn_op *op, int32_t *out) {
    const snn_op *source = &context->model->ops[op->first];
    int32_t *counts = op->numbers[0] ? (int32_t *)frame_memory(context, op) : NULL;
    uint32_t c;
    for (c = 0; c < op->channels; c++) {
        int32_t value = source->made == SNN_SPIKES
                            ? (int32_t)(frame_bits(context, op->first)[c / 64] >> c % 64 & 1u)
                            : source->made == SNN_GRADED ? frame_graded(context, op->first)[c]
                                                         : frame_sums(context, op->first)[c];
        if (counts != NULL) counts[c] = value = sum_within(counts[c], value);
        if (out != NULL) out[c] = value;
    }
}

static snn_status run_frame(snn_context *context, const int8_t *frame, int32_t *out) {
    const snn_model *model = context->model;
    uint32_t index;
    snn_status status = run_input(context, &model->ops[0], frame);
    if (status != SNN_OK) return status;
    for (index = 1; index < model->n_ops; index++) {
        const snn_op *op = &model->ops[index];
        switch (op->kind) {
        case SNN_LINEAR:
            if (model->ops[op->first].made == SNN_SPIKES) {
                snn_run_linear(context, index, 0, 1);
            } else {
                run_scatter(context, index);
            }
            break;
        case SNN_CONV: run_scatter(context, index); break;
        case SNN_SUM_POOL: run_pool(context, index); break;
        case SNN_STATEFUL: run_stateful(context, index); break;
        case SNN_DELAY: run_delay(context, index); break;
        case SNN_OUTPUT: run_output(context, op, out); break;
        default: snn_run_sum(context, index, 0); break; /* Add, Saturate */
        }
    }
    context->position++;
    return SNN_OK;
}

snn_status snn_frames(snn_context *context, const int8_t *frames, size_t count, int32_t *out, int all) {
    const snn_model *model;
    size_t i;
    if (context == NULL || frames == NULL || count == 0 || context->model->inputs == 0) return SNN_E_ARGUMENT;
    model = context->model;
    for (i = 0; i < count; i++) {
        int wanted = out != NULL && (all || i + 1 == count);
        int32_t *row = wanted ? out + (all ? i * model->outputs : 0) : NULL;
        snn_status status = run_frame(context, frames + i * model->inputs, row);
        if (status != SNN_OK) return status;
    }
    return SNN_OK;
}

uint64_t snn_frame_state_bytes(const snn_op *op) {
    if (op->kind == SNN_STATEFUL) return (uint64_t)op->channels * 4;
    if (op->kind == SNN_DELAY) return (uint64_t)op->slots * op->channels * 2;
    return op->kind == SNN_OUTPUT && op->numbers[0] ? (uint64_t)op->channels * 4 : 0;
}

uint8_t *snn_save_frames(const snn_context *context, const snn_op *op, uint64_t turn, uint8_t *state) {
    size_t bytes = (size_t)snn_frame_state_bytes(op), row = (size_t)op->channels * 2, s;
    if (op->kind != SNN_DELAY) {
        if (bytes > 0) memcpy(state, frame_memory(context, op), bytes);
        return state + bytes;
    }
    for (s = 0; s < op->slots; s++, state += row) {
        memcpy(state, (uint8_t *)frame_memory(context, op) + (size_t)((s + turn) % op->slots) * row, row);
    }
    return state;
}

/* Whether a saved element could have come from this program, so that no sum of it can overflow. */
static int state_ok(const snn_model *model, const snn_op *op, const uint8_t *state, size_t bytes) {
    int spikes = op->kind == SNN_DELAY && model->ops[op->first].made == SNN_SPIKES, ok = 1;
    int32_t most = op->kind == SNN_STATEFUL ? SNN_MEMBRANE_MAX : SNN_COUNT_MAX, value;
    size_t i;
    if (op->kind == SNN_DELAY) {
        for (i = 0; spikes && i < bytes; i++) ok &= state[i] <= 1 - (i & 1);
        return ok;
    }
    for (i = 0; i < bytes; i += 4) {
        memcpy(&value, state + i, 4);
        ok &= value >= -most && value <= most;
    }
    return ok;
}

snn_status snn_restore_frames(snn_context *context, const uint8_t *state) {
    const snn_model *model = context->model;
    const uint8_t *next = state;
    uint32_t i;
    for (i = 0; i < model->n_ops; i++) {
        size_t bytes = (size_t)snn_frame_state_bytes(&model->ops[i]);
        if (!state_ok(model, &model->ops[i], next, bytes)) return SNN_E_STATE;
        next += bytes;
    }
    snn_reset(context);
    for (i = 0; i < model->n_ops; i++) {
        size_t bytes = (size_t)snn_frame_state_bytes(&model->ops[i]);
        if (bytes > 0) memcpy(frame_memory(context, &model->ops[i]), state, bytes);
        state += bytes;
    }
    return SNN_OK;
}
