/* From ops to memory: where every value and state stands, and opening of models and contexts. */
#include "snn_reader.h"

static uint64_t value_bytes(const snn_op *op, uint32_t timesteps) {
    switch (op->made) {
    case SNN_SPIKES: return snn_aligned((uint64_t)timesteps * snn_words(op->channels) * 8);
    case SNN_COUNTS: return snn_aligned(op->channels);
    case SNN_GRADED: return snn_aligned((uint64_t)op->channels * 2);
    case SNN_LOGITS:
    case SNN_OUTPUTS: return 0;
    default: return snn_aligned((uint64_t)op->steps * snn_row(op->channels) * 4);
    }
}

/* The lowest offset at which `bytes` collide with no value that is still read: first fit. After a few
 * collisions the end is taken, so that no file can make this slow. */
static uint64_t place(const snn_model *model, uint32_t index, uint64_t bytes) {
    uint64_t at = 0;
    uint32_t i = 0, collisions = 0;
    while (i < index) {
        const snn_op *other = &model->ops[i];
        uint64_t size = value_bytes(other, model->timesteps);
        if (other->last_use >= index && at < other->value + size && other->value < at + bytes) {
            if (++collisions > 16) return model->value_bytes;
            at = other->value + size; /* behind it; look at all of them again */
            i = 0;
        } else {
            i++;
        }
    }
    return at;
}

static uint64_t state_bytes(const snn_op *op, uint32_t timesteps) {
    if (op->kind == SNN_SHIFT) return snn_aligned((uint64_t)timesteps * snn_words(op->channels) * 8);
    if (op->kind == SNN_ATTEND) {
        uint64_t sums = 0;
        uint32_t h;
        for (h = 0; h < op->count; h++) sums += snn_has_sums(op->left[h]) ? 1u : 0u;
        return snn_ring_bytes(op, timesteps) * 2 +
               sums * timesteps * snn_sums_bytes((uint32_t)op->numbers[0]);
    }
    return snn_aligned(snn_frame_state_bytes(op));
}

static uint64_t saved_bytes(const snn_op *op, uint32_t timesteps) {
    if (op->kind == SNN_SHIFT) return (uint64_t)timesteps * op->count;
    if (op->kind == SNN_ATTEND)
        return (uint64_t)timesteps * (op->slots - op->count) * (uint32_t)op->numbers[0] * 2;
    return snn_frame_state_bytes(op);
}

snn_status snn_plan(snn_model *model) {
    uint32_t i, h;
    model->window = 1;
    for (i = 0; i < model->n_ops; i++) {
        snn_op *op = &model->ops[i];
        uint64_t bytes = value_bytes(op, model->timesteps);
        op->value = place(model, i, bytes);
        if (op->value + bytes > model->value_bytes) model->value_bytes = op->value + bytes;
        op->state = model->ring_bytes;
        model->ring_bytes += state_bytes(op, model->timesteps);
        model->saved_bytes += saved_bytes(op, model->timesteps);
        if (op->kind == SNN_LINEAR && op->width > model->rows_max) model->rows_max = op->width;
        if (op->kind == SNN_SHIFT || op->kind == SNN_ATTEND) model->tail = i + 1;
        for (h = 0; op->kind == SNN_ATTEND && h < op->count; h++) {
            if ((uint32_t)op->left[h] > model->window) model->window = (uint32_t)op->left[h];
        }
    }
    if (model->ops[0].kind == SNN_FRAMES) {
        model->inputs = model->ops[0].channels;
        model->outputs = model->ops[model->n_ops - 1].channels;
        for (i = 0; i < model->n_ops; i++) {
            if (model->ops[i].channels > model->width_max) model->width_max = model->ops[i].channels;
        }
        return model->value_bytes > UINT32_MAX || model->ring_bytes > UINT32_MAX ? SNN_E_LIMIT : SNN_OK;
    }
    model->vocab = model->ops[0].count;
    model->rank = model->ops[0].width;
    model->width_max = model->ops[0].channels > model->rank ? model->ops[0].channels : model->rank;
    h = model->ops[model->n_ops - 1].width; /* inputs of the readout's projection */
    if (h > model->width_max) model->width_max = h;
    /* Far above any student, and low enough that no sum of sizes below can wrap. */
    return model->value_bytes > UINT32_MAX || model->ring_bytes > (uint64_t)1 << 48 ? SNN_E_LIMIT : SNN_OK;
}

/* Bytes of the model's index: itself, its ops, and the channel masks of its Shifts. */
static snn_status model_bytes(const snn_file *file, const snn_kernels *kernels, size_t *bytes) {
    uint64_t total = snn_aligned(sizeof(snn_model)) + snn_aligned((uint64_t)file->n_ops * sizeof(snn_op));
    uint32_t i;
    for (i = 0; i < file->n_ops; i++) {
        const uint8_t *record = file->ops + (size_t)i * SNN_OP_BYTES;
        uint32_t channels = snn_u32(record + 12);
        if (record[0] != SNN_SHIFT) continue;
        if (channels > 65535) return SNN_E_LIMIT;
        total += snn_aligned(snn_words(channels) * (uint64_t)8);
    }
    if (kernels->packed_bytes != NULL && !file->frames) { /* the table is the first tensor of the first op */
        uint32_t vocab = 0, rank = 0;
        if (snn_tensor(file, snn_u32(file->ops + 48), SNN_INT8, &vocab, &rank) == NULL) return SNN_E_SHAPE;
        total += snn_aligned(kernels->packed_bytes(vocab, rank));
    }
    if (total > SIZE_MAX) return SNN_E_LIMIT;
    *bytes = (size_t)total;
    return SNN_OK;
}

snn_status snn_model_size(const void *data, size_t size, const snn_kernels *kernels, size_t *bytes) {
    snn_file file;
    snn_status status;
    if (bytes == NULL || kernels == NULL) return SNN_E_ARGUMENT;
    status = snn_file_open(data, size, &file);
    if (status == SNN_OK) status = snn_check_tensors(&file);
    return status == SNN_OK ? model_bytes(&file, kernels, bytes) : status;
}

snn_status snn_model_open(const void *data, size_t size, void *memory, size_t bytes,
                          const snn_kernels *kernels, snn_model **model) {
    snn_file file;
    snn_model *made = (snn_model *)memory;
    size_t need;
    uint8_t *free_at;
    uint32_t i, c;
    snn_status status;
    if (memory == NULL || model == NULL || kernels == NULL) return SNN_E_ARGUMENT;
    if (((uintptr_t)memory & (SNN_ALIGNMENT - 1u)) != 0) return SNN_E_ALIGNMENT;
    status = snn_file_open(data, size, &file);
    if (status == SNN_OK) status = snn_check_tensors(&file);
    if (status == SNN_OK) status = model_bytes(&file, kernels, &need);
    if (status == SNN_OK && bytes < need) status = SNN_E_MEMORY;
    if (status != SNN_OK) return status;
    memset(memory, 0, need);
    made->data = file.data;
    made->kernels = kernels;
    made->timesteps = file.timesteps;
    made->n_ops = file.n_ops;
    made->ops = (snn_op *)((uint8_t *)memory + snn_aligned(sizeof(snn_model)));
    status = snn_read_ops(&file, made);
    if (status == SNN_OK) status = snn_plan(made);
    if (status != SNN_OK) return status;
    free_at = (uint8_t *)made->ops + snn_aligned((uint64_t)file.n_ops * sizeof(snn_op));
    for (i = 0; i < made->n_ops; i++) {
        snn_op *op = &made->ops[i];
        uint64_t *mask = (uint64_t *)(void *)free_at;
        if (op->kind != SNN_SHIFT) continue;
        for (c = 0; c < op->count; c++) mask[op->left[c] / 64] |= (uint64_t)1 << (op->left[c] % 64);
        op->mask = mask;
        free_at += snn_aligned(snn_words(op->channels) * (uint64_t)8);
    }
    if (kernels->pack != NULL && !file.frames) {
        kernels->pack(made->ops[0].table, made->vocab, made->rank, free_at);
        made->packed = free_at;
    }
    *model = made;
    return SNN_OK;
}

#define PARTS 12 /* of a context */

/* Sizes of the parts of a context, in the order in which they stand. */
static snn_status parts_of(const snn_model *model, uint32_t chunk, uint64_t sizes[PARTS], uint64_t *total) {
    uint64_t vectors = (uint64_t)chunk * model->timesteps,
             groups = (uint64_t)chunk * snn_groups(model->timesteps);
    int i;
    sizes[0] = snn_aligned(sizeof(snn_context));
    sizes[1] = snn_aligned(model->ring_bytes);
    sizes[2] = snn_aligned(model->value_bytes * chunk);
    sizes[3] = snn_aligned((vectors * model->rows_max + 64) * 2);
    sizes[4] = snn_aligned(groups * snn_parts_max(model->rows_max) * sizeof(snn_part));
    sizes[5] = snn_aligned(((uint64_t)model->window + 64) * 4);
    sizes[6] = snn_aligned(3 * SNN_HEAD_WORDS * 8);
    sizes[7] = snn_aligned((uint64_t)snn_row(model->width_max) * 4);
    sizes[8] = sizes[7];
    sizes[9] = SNN_BLOCK * 4 + (uint64_t)chunk * snn_aligned(model->rank);
    *total = 0;
    sizes[10] = snn_aligned((groups + 1) * 4);
    sizes[11] = snn_aligned(snn_masks_bytes(model->rows_max));
    for (i = 0; i < PARTS; i++) *total += sizes[i];
    return vectors * model->rows_max > UINT32_MAX || *total > SIZE_MAX / 2 ? SNN_E_LIMIT : SNN_OK;
}

snn_status snn_context_size(const snn_model *model, uint32_t chunk, size_t *bytes) {
    uint64_t sizes[PARTS], total;
    snn_status status;
    if (model == NULL || bytes == NULL || chunk < 1 || chunk > 4096) return SNN_E_ARGUMENT;
    if (model->inputs > 0) chunk = 1; /* frames run one by one */
    status = parts_of(model, chunk, sizes, &total);
    if (status == SNN_OK) *bytes = (size_t)total;
    return status;
}

snn_status snn_context_open(const snn_model *model, uint32_t chunk, void *memory, size_t bytes,
                            snn_context **context) {
    uint64_t sizes[PARTS], total;
    uint8_t *at[PARTS];
    snn_context *made = (snn_context *)memory;
    snn_status status;
    int i;
    if (model == NULL || memory == NULL || context == NULL || chunk < 1 || chunk > 4096)
        return SNN_E_ARGUMENT;
    if (((uintptr_t)memory & (SNN_ALIGNMENT - 1u)) != 0) return SNN_E_ALIGNMENT;
    if (model->inputs > 0) chunk = 1;
    status = parts_of(model, chunk, sizes, &total);
    if (status != SNN_OK) return status;
    if (bytes < total) return SNN_E_MEMORY;
    memset(memory, 0, (size_t)total);
    at[0] = (uint8_t *)memory;
    for (i = 1; i < PARTS; i++) at[i] = at[i - 1] + (size_t)sizes[i - 1];
    made->model = model;
    made->chunk = chunk;
    made->state = at[1];
    made->values = at[2];
    made->list = (uint16_t *)(void *)at[3];
    made->parts = (snn_part *)(void *)at[4];
    made->scores = (uint32_t *)(void *)at[5];
    made->head = (uint64_t *)(void *)at[6];
    made->sums = (int32_t *)(void *)at[7];
    made->inputs = (int16_t *)(void *)at[8];
    made->block = (int32_t *)(void *)at[9];
    made->codes = (int8_t *)at[9] + SNN_BLOCK * 4;
    made->groups = (uint32_t *)(void *)at[10];
    made->masks = (uint64_t *)(void *)at[11];
    *context = made;
    return SNN_OK;
}

void snn_reset(snn_context *context) {
    memset(context->state, 0, (size_t)context->model->ring_bytes);
    context->position = 0;
    context->filled = 0;
    context->ready = 0;
}
