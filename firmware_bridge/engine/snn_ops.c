/* Reading the ops of a program.snn: kinds, inputs, shapes and ranges, as edgesnn.program.validate does. */
#include "snn_reader.h"

#define CURRENT (1u << SNN_CURRENT)
#define SPIKES  (1u << SNN_SPIKES)
#define COUNTS  (1u << SNN_COUNTS)
#define EVENTS  (SPIKES | 1u << SNN_GRADED)

/* What each kind reads in programs of tokens and of frames, 0 where there is no such op, and what it makes; an
 * op of frames may correct that. */
static const uint8_t reads[2][16] = {
    {0, 1u << SNN_LOGITS, SPIKES, CURRENT, SPIKES, SPIKES, CURRENT, CURRENT, SPIKES, COUNTS, 0, 0, 0, 0, 0, 0},
    {0, 0, EVENTS, 0, 0, 0, CURRENT, CURRENT, 0, 0, 1u << SNN_LOGITS, EVENTS, EVENTS, CURRENT, EVENTS,
     EVENTS | 1u << SNN_MEMBRANES}};
static const uint8_t makes[16] = {0,           SNN_CURRENT, SNN_CURRENT, SNN_SPIKES, SNN_SPIKES, SNN_CURRENT,
                                  SNN_CURRENT, SNN_CURRENT, SNN_COUNTS,  SNN_LOGITS, SNN_SPIKES, SNN_CURRENT,
                                  SNN_GRADED,  SNN_SPIKES,  SNN_SPIKES,  SNN_OUTPUTS};
static const uint8_t n_inputs[16] = {0, 0, 1, 1, 1, 1, 2, 1, 1, 1, 0, 1, 1, 1, 1, 1};
static const uint8_t n_tensors[16] = {0, 3, 1, 2, 1, 1, 0, 0, 0, 4, 0, 1, 0, 3, 1, 0};
static const uint8_t n_numbers[16] = {0, 1, 0, 1, 0, 2, 0, 0, 0, 2, 7, 8, 8, 4, 0, 2};

static int in_range(const int32_t *values, size_t count, int32_t low, int32_t high) {
    int ok = 1;
    size_t i;
    for (i = 0; i < count; i++) ok &= values[i] >= low && values[i] <= high;
    return ok;
}

/* Weights are symmetric: -128 never occurs. */
int snn_weights_ok(const int8_t *values, size_t count) {
    int ok = 1;
    size_t i;
    for (i = 0; i < count; i++) ok &= values[i] != -128;
    return ok;
}

static int name_ok(const uint8_t *name) {
    size_t length = 0;
    while (length < 64 && name[length] >= 33 && name[length] < 127) length++;
    return length > 0 && length < 64 && snn_all_zero(name + length, 64 - length);
}

static snn_status read_embed(const snn_file *file, const uint8_t *record, snn_op *op) {
    uint32_t vocab = 0, rank = 0, width = op->channels;
    op->table = (const int8_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT8, &vocab, &rank);
    if (op->table == NULL) return SNN_E_SHAPE;
    op->weight = (const int8_t *)snn_tensor(file, snn_u32(record + 52), SNN_INT8, &rank, &width);
    op->left = (const int32_t *)snn_tensor(file, snn_u32(record + 56), SNN_INT32, &width, NULL);
    if (op->weight == NULL || op->left == NULL) return SNN_E_SHAPE;
    op->width = rank;
    op->count = vocab;
    if (op->numbers[0] < 0 || op->numbers[0] > 31 || !in_range(op->left, width, 0, INT32_MAX))
        return SNN_E_RANGE;
    if (!snn_weights_ok(op->table, (size_t)vocab * rank) || !snn_weights_ok(op->weight, (size_t)rank * width))
        return SNN_E_RANGE;
    return SNN_OK;
}

static snn_status read_readout(const snn_file *file, const uint8_t *record, snn_op *op) {
    uint32_t vocab = op->channels, rank = 0, width = op->width;
    op->table = (const int8_t *)snn_tensor(file, snn_u32(record + 60), SNN_INT8, &vocab, &rank);
    if (op->table == NULL) return SNN_E_SHAPE;
    op->weight = (const int8_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT8, &width, &rank);
    op->right = (const int32_t *)snn_tensor(file, snn_u32(record + 52), SNN_INT32, &rank, NULL);
    op->left = (const int32_t *)snn_tensor(file, snn_u32(record + 56), SNN_INT32, &rank, NULL);
    if (op->weight == NULL || op->left == NULL || op->right == NULL) return SNN_E_SHAPE;
    op->count = rank;
    if (rank > 1040 || op->numbers[0] < 0 || op->numbers[0] > 31 || op->numbers[1] < -126 ||
        op->numbers[1] > 126 || !in_range(op->left, rank, 0, INT32_MAX) ||
        !in_range(op->right, rank, -INT32_MAX, INT32_MAX) ||
        !snn_weights_ok(op->weight, (size_t)width * rank)) {
        return SNN_E_RANGE;
    }
    return SNN_OK;
}

static snn_status read_attend(const snn_file *file, const uint8_t *record, snn_op *op) {
    uint32_t heads = 0, i;
    uint64_t slots = 0;
    op->left = (const int32_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT32, &heads, NULL);
    if (op->left == NULL) return SNN_E_SHAPE;
    if (op->numbers[0] < 1 || op->numbers[0] > 255 || op->numbers[1] < 0 ||
        (uint32_t)op->numbers[1] != heads ||
        !in_range(op->left, heads, 1, SNN_RESIDUAL_MAX / op->numbers[0])) {
        return SNN_E_RANGE;
    }
    if ((uint64_t)heads * (uint32_t)op->numbers[0] != op->channels ||
        op->width != (uint64_t)op->channels * 3) {
        return SNN_E_SHAPE;
    }
    for (i = 0; i < heads; i++) slots += (uint32_t)op->left[i];
    if (slots > INT32_MAX) return SNN_E_LIMIT;
    op->count = heads;
    op->slots = (uint32_t)slots;
    return SNN_OK;
}

static snn_status read_shift(const snn_file *file, const uint8_t *record, snn_op *op) {
    uint32_t count = 0, i;
    op->left = (const int32_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT32, &count, NULL);
    if (op->left == NULL || op->channels != op->width) return SNN_E_SHAPE;
    for (i = 0; i < count; i++) {
        if (op->left[i] < (i == 0 ? 0 : op->left[i - 1] + 1) || (uint32_t)op->left[i] >= op->width)
            return SNN_E_RANGE;
    }
    op->count = count;
    return SNN_OK;
}

static snn_status read_body(const snn_file *file, const uint8_t *record, snn_op *op) {
    uint32_t width = op->width, channels = op->channels;
    switch (op->kind) {
    case SNN_EMBED: return read_embed(file, record, op);
    case SNN_READOUT: return read_readout(file, record, op);
    case SNN_ATTEND: return read_attend(file, record, op);
    case SNN_SHIFT: return read_shift(file, record, op);
    case SNN_LINEAR:
        op->weight = (const int8_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT8, &width, &channels);
        if (op->weight == NULL) return SNN_E_SHAPE;
        return snn_weights_ok(op->weight, (size_t)width * channels) ? SNN_OK : SNN_E_RANGE;
    case SNN_LIF:
        op->left = (const int32_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT32, &width, NULL);
        op->right = (const int32_t *)snn_tensor(file, snn_u32(record + 52), SNN_INT32, &width, NULL);
        if (op->left == NULL || op->right == NULL || channels != width) return SNN_E_SHAPE;
        if (op->numbers[0] < 1 || op->numbers[0] > 256 ||
            !in_range(op->left, width, 1, SNN_MEMBRANE_MAX - 1) ||
            !in_range(op->right, width, -(1 << 30), 1 << 30)) {
            return SNN_E_RANGE;
        }
        return SNN_OK;
    default: return channels == width ? SNN_OK : SNN_E_SHAPE; /* Add, Saturate, Count */
    }
}

static snn_status read_inputs(const snn_model *model, const uint8_t *record, uint32_t index, int frames,
                              snn_op *op) {
    uint32_t i;
    op->first = snn_u32(record + 4);
    op->second = snn_u32(record + 8);
    for (i = 0; i < 2; i++) {
        uint32_t source = i == 0 ? op->first : op->second;
        if (i >= n_inputs[op->kind]) {
            if (source != SNN_NONE) return SNN_E_INPUT;
            continue;
        }
        if (source >= index || !(reads[frames][op->kind] >> model->ops[source].made & 1u)) return SNN_E_INPUT;
        if (i == 0) op->width = model->ops[source].channels;
        if (i == 1 && model->ops[source].channels != op->width) return SNN_E_SHAPE;
        model->ops[source].last_use = index;
    }
    return SNN_OK;
}

static snn_status read_op(const snn_file *file, snn_model *model, uint32_t index) {
    const uint8_t *record = file->ops + (size_t)index * SNN_OP_BYTES;
    snn_op *op = &model->ops[index];
    uint32_t i, flags = (uint32_t)record[2] | (uint32_t)record[3] << 8;
    snn_status status;
    op->kind = (uint32_t)record[0] | (uint32_t)record[1] << 8;
    if (op->kind > SNN_OUTPUT || reads[file->frames][op->kind] == 0 ||
        (op->kind == (file->frames ? SNN_FRAMES : SNN_EMBED)) != (index == 0) ||
        (op->kind == (file->frames ? SNN_OUTPUT : SNN_READOUT)) != (index + 1 == file->n_ops)) {
        return SNN_E_OP;
    }
    op->made = makes[op->kind];
    if (flags > 1 || (flags == 1 && op->kind != SNN_LIF)) return SNN_E_PADDING;
    op->clip = flags;
    op->channels = snn_u32(record + 12);
    if (op->channels == 0) return SNN_E_SHAPE;
    if (op->channels > (file->frames ? (uint32_t)1 << 20 : 65535u) && op->kind != SNN_READOUT)
        return SNN_E_LIMIT;
    if (!name_ok(record + 64)) return SNN_E_NAME;
    for (i = 0; i < index; i++) {
        if (memcmp(file->ops + (size_t)i * SNN_OP_BYTES + 64, record + 64, 64) == 0) return SNN_E_NAME;
    }
    status = read_inputs(model, record, index, file->frames, op);
    if (status != SNN_OK) return status;
    for (i = 0; i < 8; i++) {
        uint32_t number = snn_u32(record + 16 + 4 * (size_t)i);
        if (i >= n_numbers[op->kind] && number != 0) return SNN_E_PADDING;
        memcpy(&op->numbers[i], &number, 4);
    }
    for (i = n_tensors[op->kind]; i < 4; i++) {
        if (snn_u32(record + 48 + 4 * (size_t)i) != SNN_NONE) return SNN_E_PADDING;
    }
    if (op->kind == SNN_LINEAR && op->width > 65535) return SNN_E_LIMIT; /* a list holds 16-bit numbers */
    if (file->frames && (op->kind >= SNN_FRAMES || op->kind == SNN_LINEAR)) {
        status = snn_read_frames_op(file, record, index == 0 ? SNN_LOGITS : model->ops[op->first].made, op);
        if (status != SNN_OK) return status;
    }
    status = op->kind >= SNN_FRAMES ? SNN_OK : read_body(file, record, op);
    if (status != SNN_OK) return status;
    op->steps = op->made == SNN_COUNTS || op->made == SNN_LOGITS ? 1 : model->timesteps;
    if (op->kind == SNN_EMBED) op->steps = 1;
    if (op->kind == SNN_SATURATE) op->steps = model->ops[op->first].steps;
    if (op->kind == SNN_ADD && model->ops[op->first].steps == 1 && model->ops[op->second].steps == 1)
        op->steps = 1;
    return SNN_OK;
}

snn_status snn_read_ops(const snn_file *file, snn_model *model) {
    const snn_op *embed = &model->ops[0], *readout = &model->ops[file->n_ops - 1];
    uint32_t i;
    for (i = 0; i < file->n_ops; i++) {
        snn_status status = read_op(file, model, i);
        if (status != SNN_OK) return status;
    }
    for (i = 0; i + 1 < file->n_ops; i++) {
        if (model->ops[i].last_use == 0) return SNN_E_INPUT; /* nothing reads it */
    }
    return file->frames || embed->table == readout->table ? SNN_OK : SNN_E_SHAPE;
}
