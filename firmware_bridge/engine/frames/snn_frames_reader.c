/* Reading the ops of a program that reads frames: shapes and ranges, as edgesnn.program.validate does. */
#include "../snn_reader.h"

#define EXTENT_MAX  (1 << 20)
#define PADDED_MAX  ((uint64_t)1 << 22)
#define DELAYED_MAX ((uint64_t)1 << 24)
#define WINDOW_MAX  255
#define DELAY_MAX   1024

static int all_within(const int32_t *values, uint32_t count, int32_t low, int32_t high) {
    int ok = 1;
    uint32_t i;
    for (i = 0; i < count; i++) ok &= values[i] >= low && values[i] <= high;
    return ok;
}

/* Bits of a positive, finite float32. */
static int scale_ok(int32_t bits) { return bits > 0 && bits < 0x7F800000; }

static snn_status read_input(snn_op *op) {
    int32_t dimensions = op->numbers[0], i;
    uint64_t samples = 1;
    if (dimensions < 1 || dimensions > 3) return SNN_E_RANGE;
    for (i = 1; i <= 3; i++) {
        int32_t extent = op->numbers[i];
        if (i > dimensions) {
            if (extent != 0) return SNN_E_PADDING;
        } else if (extent < 1 || extent > EXTENT_MAX) {
            return SNN_E_RANGE;
        } else {
            samples *= (uint32_t)extent;
        }
    }
    if (samples != op->channels) return SNN_E_SHAPE;
    if (op->numbers[4] < -127 || op->numbers[4] > 0 || op->numbers[5] < 1 || op->numbers[5] > 127 ||
        !scale_ok(op->numbers[6])) {
        return SNN_E_RANGE;
    }
    op->made = op->numbers[4] == 0 && op->numbers[5] == 1 ? SNN_SPIKES : SNN_GRADED;
    return SNN_OK;
}

/* Length of an axis behind a window; 0 where it does not fit. */
static uint32_t behind(int32_t length, int32_t padding, int32_t reach, int32_t stride) {
    int32_t room = length + 2 * padding - reach;
    return room < 0 ? 0 : (uint32_t)(room / stride) + 1;
}

/* Height, width and padding of the input, and how many maps it has. */
static snn_status read_maps(const snn_op *op, const int32_t *padding, uint32_t *maps) {
    uint64_t high = (uint32_t)op->numbers[0], wide = (uint32_t)op->numbers[1];
    if (!all_within(op->numbers, 2, 1, EXTENT_MAX)) return SNN_E_RANGE;
    if (op->width % (high * wide) != 0) return SNN_E_SHAPE;
    *maps = (uint32_t)(op->width / (high * wide));
    if (!all_within(padding, 2, 0, WINDOW_MAX)) return SNN_E_RANGE;
    high += 2 * (uint32_t)padding[0];
    wide += 2 * (uint32_t)padding[1];
    return high * wide > PADDED_MAX || *maps * high * wide > PADDED_MAX ? SNN_E_RANGE : SNN_OK;
}

/* Whether the output has these extents and maps, and how many maps that are. */
static snn_status read_made(snn_op *op, uint32_t *maps) {
    uint64_t places = (uint64_t)op->extents[0] * op->extents[1];
    if (places == 0 || places > EXTENT_MAX) return SNN_E_RANGE;
    if (op->channels % places != 0) return SNN_E_SHAPE;
    *maps = (uint32_t)(op->channels / places);
    return SNN_OK;
}

static snn_status read_conv(const snn_file *file, const uint8_t *record, snn_op *op) {
    const int32_t *n = op->numbers;
    uint32_t shape[4], maps_in, groups, i;
    size_t weights;
    snn_status status;
    if (!all_within(n + 2, 2, 1, WINDOW_MAX) || !all_within(n + 6, 2, 1, WINDOW_MAX)) return SNN_E_RANGE;
    status = read_maps(op, n + 4, &maps_in);
    if (status != SNN_OK) return status;
    op->weight = (const int8_t *)snn_tensor_of_four(file, snn_u32(record + 48), SNN_INT8, shape);
    if (op->weight == NULL || shape[0] != maps_in) return SNN_E_SHAPE;
    for (i = 0; i < 2; i++) {
        if (shape[1 + i] > WINDOW_MAX) return SNN_E_RANGE;
        op->kernel[i] = shape[1 + i];
        op->extents[i] = behind(n[i], n[4 + i], n[6 + i] * ((int32_t)shape[1 + i] - 1) + 1, n[2 + i]);
    }
    status = read_made(op, &op->maps);
    if (status != SNN_OK) return status;
    op->each = shape[3];
    groups = op->maps / op->each;
    if (groups == 0 || op->maps % op->each != 0 || maps_in % groups != 0) return SNN_E_SHAPE;
    op->inside = maps_in / groups;
    weights = (size_t)shape[0] * shape[1] * shape[2] * shape[3];
    return snn_weights_ok(op->weight, weights) ? SNN_OK : SNN_E_RANGE;
}

static snn_status read_pool(snn_op *op) {
    const int32_t *n = op->numbers;
    uint32_t maps_in, i;
    snn_status status = read_maps(op, n + 6, &maps_in);
    if (status != SNN_OK) return status;
    if (!all_within(n + 2, 4, 1, WINDOW_MAX) || n[6] >= n[2] || n[7] >= n[3]) return SNN_E_RANGE;
    for (i = 0; i < 2; i++) op->extents[i] = behind(n[i], n[6 + i], n[2 + i], n[4 + i]);
    status = read_made(op, &op->maps);
    if (status != SNN_OK) return status;
    return op->maps == maps_in ? SNN_OK : SNN_E_SHAPE;
}

static snn_status read_stateful(const snn_file *file, const uint8_t *record, snn_op *op) {
    const int32_t *n = op->numbers;
    uint32_t count = 0;
    op->third = (const int32_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT32, &count, NULL);
    if (op->third == NULL || op->channels != op->width || op->channels % count != 0) return SNN_E_SHAPE;
    op->left = (const int32_t *)snn_tensor(file, snn_u32(record + 52), SNN_INT32, &count, NULL);
    op->right = (const int32_t *)snn_tensor(file, snn_u32(record + 56), SNN_INT32, &count, NULL);
    if (op->left == NULL || op->right == NULL) return SNN_E_SHAPE;
    op->count = count;
    if (!all_within(n, 1, SNN_RESET_NONE, SNN_RESET_MANY) || !all_within(n + 1, 1, 0, 6) ||
        !all_within(n + 2, 2, 0, 1) || !all_within(op->third, count, 0, 256) ||
        !all_within(op->left, count, 1, SNN_MEMBRANE_MAX - 1) ||
        !all_within(op->right, count, -(1 << 30), 1 << 30)) {
        return SNN_E_RANGE;
    }
    op->made = n[3] ? SNN_MEMBRANES : n[0] == SNN_RESET_MANY ? SNN_GRADED : SNN_SPIKES;
    return SNN_OK;
}

static snn_status read_delay(const snn_file *file, const uint8_t *record, snn_op *op) {
    uint32_t count = 0, i;
    op->left = (const int32_t *)snn_tensor(file, snn_u32(record + 48), SNN_INT32, &count, NULL);
    if (op->left == NULL || op->channels != op->width || op->channels % count != 0) return SNN_E_SHAPE;
    if (!all_within(op->left, count, 0, DELAY_MAX)) return SNN_E_RANGE;
    op->count = count;
    for (i = 0; i < count; i++) {
        if ((uint32_t)op->left[i] > op->slots) op->slots = (uint32_t)op->left[i];
    }
    if (op->slots == 0 || (uint64_t)op->slots * op->channels > DELAYED_MAX) return SNN_E_RANGE;
    return SNN_OK;
}

snn_status snn_read_frames_op(const snn_file *file, const uint8_t *record, uint32_t read, snn_op *op) {
    uint32_t i;
    switch (op->kind) {
    case SNN_FRAMES: return read_input(op);
    case SNN_CONV: return read_conv(file, record, op);
    case SNN_SUM_POOL: return read_pool(op);
    case SNN_STATEFUL: return read_stateful(file, record, op);
    case SNN_DELAY: op->made = read; return read_delay(file, record, op);
    case SNN_OUTPUT:
        if (op->channels != op->width) return SNN_E_SHAPE;
        if (!all_within(op->numbers, 1, 0, 1) || !scale_ok(op->numbers[1])) return SNN_E_RANGE;
        return op->numbers[0] && read == SNN_MEMBRANES ? SNN_E_INPUT : SNN_OK;
    default: /* Linear: a convolution over one place */
        for (i = 0; i < 2; i++) op->extents[i] = 1;
        op->maps = op->channels;
        return SNN_OK;
    }
}
