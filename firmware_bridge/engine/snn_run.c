/* Executing a program: one op after the other over the tokens of a chunk. */
#include "snn_internal.h"

static int32_t *current_of(const snn_context *context, uint32_t index, uint32_t token) {
    const snn_op *op = &context->model->ops[index];
    size_t bytes = (size_t)op->steps * snn_row(op->channels) * 4;
    return (int32_t *)(void *)(context->values + (size_t)op->value * context->chunk + token * bytes);
}

static uint64_t *spikes_of(const snn_context *context, uint32_t index, uint32_t token) {
    const snn_op *op = &context->model->ops[index];
    size_t bytes = (size_t)snn_aligned((uint64_t)context->model->timesteps * snn_words(op->channels) * 8);
    return (uint64_t *)(void *)(context->values + (size_t)op->value * context->chunk + token * bytes);
}

static uint8_t *counts_of(const snn_context *context, uint32_t index, uint32_t token) {
    const snn_op *op = &context->model->ops[index];
    return context->values + (size_t)op->value * context->chunk + token * (size_t)snn_aligned(op->channels);
}

void snn_bits(const uint64_t *bits, uint32_t first, uint32_t count, uint64_t *out) {
    uint32_t words = snn_words(count), shift = first % 64, i;
    uint32_t last = (first + count - 1) / 64;
    bits += first / 64;
    last -= first / 64;
    for (i = 0; i < words; i++) {
        uint64_t word = bits[i] >> shift;
        if (shift != 0 && i < last) word |= bits[i + 1] << (64 - shift);
        out[i] = word;
    }
    if (count % 64 != 0) out[words - 1] &= ((uint64_t)1 << (count % 64)) - 1;
}

static void run_embed(snn_context *context, const snn_op *op, uint32_t token, int32_t *out) {
    const int8_t *row = op->table + (size_t)token * op->width;
    uint32_t j, c;
    for (j = 0; j < op->width; j++) context->inputs[j] = row[j];
    context->model->kernels->project(context->inputs, op->width, op->weight, op->channels, out);
    for (c = 0; c < op->channels; c++) {
        out[c] = snn_trunc((int32_t)((uint32_t)out[c] * (uint32_t)op->left[c]), (uint32_t)op->numbers[0]);
    }
}

void snn_run_linear(snn_context *context, uint32_t index, uint32_t first, uint32_t count) {
    const snn_model *model = context->model;
    const snn_op *op = &model->ops[index];
    snn_layer layer;
    if (first == count) return;
    layer.weight = op->weight;
    layer.bits = spikes_of(context, op->first, first);
    layer.out = current_of(context, index, first);
    layer.bits_stride = (size_t)snn_aligned((uint64_t)model->timesteps * snn_words(op->width) * 8) / 8;
    layer.stride = snn_row(op->channels);
    layer.rows = op->width;
    layer.columns = op->channels;
    layer.tokens = count - first;
    layer.timesteps = model->timesteps;
    layer.list = context->list;
    layer.parts = context->parts;
    layer.groups = context->groups;
    layer.masks = context->masks;
    model->kernels->linear(&layer);
}

static void run_shift(snn_context *context, uint32_t index, uint32_t token) {
    const snn_op *op = &context->model->ops[index];
    const uint64_t *in = spikes_of(context, op->first, token);
    uint64_t *out = spikes_of(context, index, token),
             *past = (uint64_t *)(void *)(context->state + op->state);
    uint32_t words = snn_words(op->channels), t, w;
    for (t = 0; t < context->model->timesteps; t++) {
        for (w = 0; w < words; w++, in++, out++, past++) {
            uint64_t now = *in, mask = op->mask[w]; /* out may stand where in stands */
            *out = (now & ~mask) | (*past & mask);
            *past = now;
        }
    }
}

/* What run_attend needs of one head: its rings, and where the token's own spikes stand. */
typedef struct snn_head {
    uint64_t *q, *k, *v;           /* of the token */
    uint64_t *ring_k, *ring_v;     /* [W][words] */
    uint32_t window, words, width; /* width: channels */
} snn_head;

static void head_bits(const uint64_t *in, uint32_t first, uint32_t count, uint64_t *out) {
    if (first % 32 + count <= 32) { /* within half a word, which is all that a 32-bit machine shifts at once */
        uint32_t half = (uint32_t)(first % 64 < 32 ? in[first / 64] : in[first / 64] >> 32);
        *out = half >> first % 32 & 0xFFFFFFFFu >> (32 - count);
    } else if (count == 64 && first % 64 == 0) {
        *out = in[first / 64];
    } else {
        snn_bits(in, first, count, out);
    }
}

/* Words of a head, too few for a call of memcpy. */
static void copy_words(uint64_t *to, const uint64_t *from, uint32_t words) {
    uint32_t w;
    for (w = 0; w < words; w++) to[w] = from[w];
}

/* A ring has W slots: W - 1 for the past, as in the saved state, and one for the token itself. While the ring
 * fills, the token stands in the slot that it will keep, and empty slots behind it are not visited. */
static void attend_slots(const snn_context *context, const snn_head *head, int32_t *out) {
    uint32_t ring = head->window - 1, words = head->words;
    uint32_t self = context->filled < ring ? (uint32_t)context->filled : ring;
    copy_words(head->ring_k + (size_t)self * words, head->k, words);
    copy_words(head->ring_v + (size_t)self * words, head->v, words);
    context->model->kernels->attend(head->q, head->ring_k, head->ring_v, self + 1, words, head->width,
                                    context->scores, out);
    if (self == ring && ring > 0) {
        size_t slot = (size_t)(context->position % ring) * words;
        copy_words(head->ring_k + slot, head->k, words);
        copy_words(head->ring_v + slot, head->v, words);
    }
}

/* There is no softmax, so sum over j of (q . k_j) v_j is q . (sum over j of k_j v_j): with that sum at hand a
 * token costs the same however long the window is. A slot that never held a token is zeros and takes nothing
 * off. */
static void attend_sums(const snn_context *context, const snn_head *head, uint8_t *sums, int32_t *out) {
    size_t slot = (size_t)(context->position % (head->window - 1)) * head->words;
    uint64_t *k = head->ring_k + slot, *v = head->ring_v + slot;
    context->model->kernels->attend_sums(head->q, head->k, head->v, k, v, head->words, head->width, sums,
                                         out);
    copy_words(k, head->k, head->words);
    copy_words(v, head->v, head->words);
}

static void run_attend(snn_context *context, uint32_t index, uint32_t token) {
    const snn_model *model = context->model;
    const snn_op *op = &model->ops[index];
    uint32_t dh = (uint32_t)op->numbers[0], in_words = snn_words(op->width), t, h;
    const uint64_t *in = spikes_of(context, op->first, token);
    int32_t *out = current_of(context, index, token);
    size_t rings = (size_t)snn_ring_bytes(op, model->timesteps);
    uint8_t *state = context->state + op->state, *sums = state + 2 * rings;
    snn_head head;
    head.q = context->head;
    head.k = head.q + SNN_HEAD_WORDS;
    head.v = head.k + SNN_HEAD_WORDS;
    head.ring_k = (uint64_t *)(void *)state;
    head.ring_v = (uint64_t *)(void *)(state + rings);
    head.words = snn_words(dh);
    head.width = dh;
    for (t = 0; t < model->timesteps; t++, in += in_words, out += snn_row(op->channels)) {
        for (h = 0; h < op->count; h++) {
            head.window = (uint32_t)op->left[h];
            head_bits(in, h * dh, dh, head.q);
            head_bits(in, op->channels + h * dh, dh, head.k);
            head_bits(in, 2 * op->channels + h * dh, dh, head.v);
            if (snn_has_sums(op->left[h])) {
                attend_sums(context, &head, sums, out + (size_t)h * dh);
                sums += snn_sums_bytes(dh);
            } else {
                attend_slots(context, &head, out + (size_t)h * dh);
            }
            head.ring_k += (size_t)head.window * head.words;
            head.ring_v += (size_t)head.window * head.words;
        }
    }
}

void snn_run_sum(snn_context *context, uint32_t index, uint32_t token) {
    const snn_op *op = &context->model->ops[index], *ops = context->model->ops;
    const int32_t *left = current_of(context, op->first, token);
    int32_t *out = current_of(context, index, token);
    uint32_t row = snn_row(op->channels), t, c;
    for (t = 0; t < op->steps; t++) {
        const int32_t *a = left + (size_t)(ops[op->first].steps == 1 ? 0 : t) * row;
        if (op->kind == SNN_ADD) {
            const int32_t *b =
                current_of(context, op->second, token) + (size_t)(ops[op->second].steps == 1 ? 0 : t) * row;
            for (c = 0; c < row; c++) out[c] = (int32_t)((uint32_t)a[c] + (uint32_t)b[c]);
        } else {
            for (c = 0; c < row; c++) {
                int32_t x = a[c] > SNN_RESIDUAL_MAX ? SNN_RESIDUAL_MAX : a[c];
                out[c] = x < -SNN_RESIDUAL_MAX ? -SNN_RESIDUAL_MAX : x;
            }
        }
        out += row;
    }
}

static void run_count(const snn_context *context, uint32_t index, uint32_t token) {
    const snn_op *op = &context->model->ops[index];
    const uint64_t *bits = spikes_of(context, op->first, token);
    uint8_t *out = counts_of(context, index, token);
    uint32_t words = snn_words(op->channels), t, w;
    memset(out, 0, op->channels);
    for (t = 0; t < context->model->timesteps; t++) {
        for (w = 0; w < words; w++, bits++) {
            uint64_t left = *bits;
            for (; left != 0; left &= left - 1) out[w * 64 + snn_lowest(left)]++;
        }
    }
}

static void run_readout(snn_context *context, const snn_op *op, uint32_t token, int8_t *codes) {
    const uint8_t *counts = counts_of(context, op->first, token);
    uint32_t c, j;
    for (c = 0; c < op->width; c++) context->inputs[c] = counts[c];
    context->model->kernels->project(context->inputs, op->width, op->weight, op->count, context->sums);
    for (j = 0; j < op->count; j++) {
        uint32_t z = ((uint32_t)context->sums[j] + (uint32_t)op->right[j]) * (uint32_t)op->left[j];
        int32_t code = snn_trunc((int32_t)z, (uint32_t)op->numbers[0]);
        codes[j] = (int8_t)(code > 127 ? 127 : code < -127 ? -127 : code);
    }
}

static void count_spikes(snn_context *context, uint32_t index, uint32_t token) {
    const snn_op *op = &context->model->ops[index];
    const uint64_t *bits = spikes_of(context, index, token);
    uint32_t words = context->model->timesteps * snn_words(op->channels), w;
    for (w = 0; w < words; w++) context->spikes += snn_popcount(bits[w]);
}

static void run_op(snn_context *context, uint32_t index, const uint32_t *tokens, uint32_t token) {
    const snn_model *model = context->model;
    const snn_op *op = &model->ops[index];
    switch (op->kind) {
    case SNN_EMBED: run_embed(context, op, tokens[token], current_of(context, index, token)); break;
    case SNN_LIF:
        model->kernels->lif(op, current_of(context, op->first, token),
                            model->ops[op->first].steps == 1 ? 0 : snn_row(op->channels), model->timesteps,
                            spikes_of(context, index, token));
        if (context->counts) count_spikes(context, index, token);
        break;
    case SNN_SHIFT: run_shift(context, index, token); break;
    case SNN_COUNT: run_count(context, index, token); break;
    default: snn_run_sum(context, index, token); break; /* Add, Saturate */
    }
}

void snn_run(snn_context *context, const uint32_t *tokens, uint32_t count, uint32_t first, int8_t *codes,
             size_t stride) {
    const snn_model *model = context->model;
    uint64_t position = context->position, filled = context->filled;
    uint32_t index, token;
    for (index = 0; index < model->n_ops; index++) {
        const snn_op *op = &model->ops[index];
        uint32_t from = index < model->tail ? 0 : first;
        if (op->kind == SNN_LINEAR) {
            snn_run_linear(context, index, from, count);
            continue;
        }
        for (token = from; token < count; token++) {
            if (op->kind == SNN_ATTEND) {
                context->position = position + token;
                context->filled = filled > UINT64_MAX - token ? filled : filled + token;
                run_attend(context, index, token);
            } else if (op->kind == SNN_READOUT) {
                run_readout(context, op, token, codes + token * stride);
            } else {
                run_op(context, index, tokens, token);
            }
        }
    }
    context->position = position + count;
    context->filled = filled > UINT64_MAX - count ? filled : filled + count;
    context->ready = 1;
}
