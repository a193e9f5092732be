/* The functions of snn.h that run tokens and give logits. */
#include "snn_internal.h"

const char *snn_status_name(snn_status status) {
    static const char *const names[] = {
        "SNN_OK",      "SNN_E_ARGUMENT", "SNN_E_ALIGNMENT", "SNN_E_MEMORY", "SNN_E_TRUNCATED",
        "SNN_E_MAGIC", "SNN_E_ENDIAN",   "SNN_E_VERSION",   "SNN_E_SIZE",   "SNN_E_CRC",
        "SNN_E_COUNT", "SNN_E_OFFSET",   "SNN_E_PADDING",   "SNN_E_TENSOR", "SNN_E_OP",
        "SNN_E_NAME",  "SNN_E_INPUT",    "SNN_E_SHAPE",     "SNN_E_RANGE",  "SNN_E_LIMIT",
        "SNN_E_TOKEN", "SNN_E_STATE",    "SNN_E_FRAME"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "SNN_E_UNKNOWN";
}

void snn_model_info(const snn_model *model, snn_info *info) {
    info->timesteps = model->timesteps;
    info->ops = model->n_ops;
    info->vocab = model->vocab;
    info->rank = model->rank;
    info->window = model->window;
    info->exponent = model->inputs > 0 ? 0 : model->ops[model->n_ops - 1].numbers[1];
    info->state_bytes = (size_t)model->saved_bytes;
    info->hash = model->data + 32;
    info->kernels = model->kernels->name;
    info->inputs = model->inputs;
    info->outputs = model->outputs;
}

static size_t code_stride(const snn_model *model) { return (size_t)snn_aligned(model->rank); }

static int32_t logits_of(const snn_context *context, const int8_t *codes, uint32_t first, uint32_t count,
                         int32_t *logits) {
    const snn_model *model = context->model;
    return model->kernels->logits(model->ops[0].table, model->packed, model->rank, codes, first, count,
                                  logits);
}

/* Runs tokens in chunks; with `all` the logits of every one, else those of the last. Nothing runs when one of
 * them is outside the vocabulary. */
static snn_status run_tokens(snn_context *context, const uint32_t *tokens, size_t count, int32_t *logits,
                             int all) {
    const snn_model *model;
    size_t stride, done, i;
    if (context == NULL || tokens == NULL || count == 0) return SNN_E_ARGUMENT;
    model = context->model;
    stride = code_stride(model);
    for (i = 0; i < count; i++) {
        if (tokens[i] >= model->vocab) return SNN_E_TOKEN;
    }
    for (done = 0; done < count;) {
        uint32_t part = count - done < context->chunk ? (uint32_t)(count - done) : context->chunk;
        int last = done + part == count;
        /* Without logits to give, the layers behind the last one that remembers run for the last token only.
         */
        snn_run(context, tokens + done, part, all ? 0 : last ? part - 1 : part, context->codes, stride);
        for (i = 0; all && i < part; i++) {
            logits_of(context, context->codes + i * stride, 0, model->vocab,
                      logits + (done + i) * model->vocab);
        }
        if (last && part > 1) memcpy(context->codes, context->codes + (part - 1) * stride, model->rank);
        done += part;
    }
    if (!all && logits != NULL) logits_of(context, context->codes, 0, model->vocab, logits);
    return SNN_OK;
}

snn_status snn_step(snn_context *context, uint32_t token, int32_t *logits) {
    return run_tokens(context, &token, 1, logits, 0);
}

snn_status snn_prefill(snn_context *context, const uint32_t *tokens, size_t count, int32_t *logits) {
    return run_tokens(context, tokens, count, logits, 0);
}

snn_status snn_sequence(snn_context *context, const uint32_t *tokens, size_t count, int32_t *logits) {
    return logits == NULL ? SNN_E_ARGUMENT : run_tokens(context, tokens, count, logits, 1);
}

snn_status snn_logits_range(snn_context *context, uint32_t first, uint32_t count, int32_t *logits) {
    if (context == NULL || logits == NULL || !context->ready) return SNN_E_ARGUMENT;
    if (first > context->model->vocab || count > context->model->vocab - first) return SNN_E_TOKEN;
    logits_of(context, context->codes, first, count, logits);
    return SNN_OK;
}

snn_status snn_logits(snn_context *context, int32_t *logits) {
    return context == NULL ? SNN_E_ARGUMENT : snn_logits_range(context, 0, context->model->vocab, logits);
}

const int8_t *snn_codes(const snn_context *context) { return context->codes; }

snn_status snn_recall(snn_context *context, const int8_t *codes) {
    if (context == NULL || codes == NULL) return SNN_E_ARGUMENT;
    memcpy(context->codes, codes, context->model->rank); /* the kernels may read behind an unpadded row */
    context->ready = 1;
    return SNN_OK;
}

snn_status snn_logits_of(snn_context *context, const int8_t *codes, int32_t *logits) {
    snn_status status = logits == NULL ? SNN_E_ARGUMENT : snn_recall(context, codes);
    return status == SNN_OK ? snn_logits(context, logits) : status;
}

void snn_count_spikes(snn_context *context, int on) {
    context->counts = on;
    context->spikes = 0;
}

uint64_t snn_spikes(const snn_context *context) { return context->spikes; }

snn_status snn_top(snn_context *context, uint32_t k, uint32_t *ids, int32_t *values) {
    uint32_t first, i, found = 0, slot;
    if (context == NULL || ids == NULL || values == NULL || k < 1 || k > SNN_TOP_MAX ||
        k > context->model->vocab || !context->ready) {
        return SNN_E_ARGUMENT;
    }
    for (first = 0; first < context->model->vocab; first += SNN_BLOCK) {
        uint32_t left = context->model->vocab - first, count = left < SNN_BLOCK ? left : SNN_BLOCK;
        int32_t largest = logits_of(context, context->codes, first, count, context->block);
        int32_t beaten = found == k ? values[k - 1] : INT32_MIN; /* of no logit: it has less than 25 bits */
        if (largest <= beaten) continue; /* none of this block is among the best */
        for (i = 0; i < count; i++) {
            int32_t value = context->block[i];
            if (value <= beaten) continue;
            slot = found < k ? found++ : k - 1;
            for (; slot > 0 && values[slot - 1] < value; slot--) {
                values[slot] = values[slot - 1];
                ids[slot] = ids[slot - 1];
            }
            values[slot] = value;
            ids[slot] = first + i;
            if (found == k) beaten = values[k - 1];
        }
    }
    return SNN_OK;
}

uint32_t snn_argmax(snn_context *context) {
    uint32_t id = 0;
    int32_t value = 0;
    (void)snn_top(context, 1, &id, &value);
    return id;
}

snn_status snn_window(snn_context *context, const uint32_t *tokens, size_t count, uint32_t repeat,
                      uint32_t warmup, int32_t *logits, snn_clock clock, void *user, uint64_t *stamps,
                      int8_t *codes) {
    uint32_t pass, w;
    size_t i;
    snn_status status;
    if (context == NULL || tokens == NULL || logits == NULL || clock == NULL || stamps == NULL ||
        count == 0) {
        return SNN_E_ARGUMENT;
    }
    snn_reset(context);
    for (w = 0; w < warmup; w++) {
        status = snn_step(context, tokens[w % count], logits);
        if (status != SNN_OK) return status;
    }
    for (pass = 0; pass < repeat; pass++) {
        snn_reset(context);
        for (i = 0; i < count; i++, stamps += 2) {
            stamps[0] = clock(user);
            status = snn_step(context, tokens[i], logits);
            stamps[1] = clock(user);
            if (status != SNN_OK) return status;
            if (codes != NULL) {
                memcpy(codes, context->codes, context->model->rank);
                codes += context->model->rank;
            }
        }
    }
    return SNN_OK;
}
