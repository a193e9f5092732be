/* Kernels in strict C99, written to be read: what every other kernel set must equal. */
#include "frames/snn_frames_kernels.h"
#include "snn_internal.h"

void snn_lif_scalar(const snn_op *op, uint32_t first, const int32_t *current, size_t stride,
                    uint32_t timesteps, uint64_t *bits) {
    uint32_t words = snn_words(op->channels), n = (uint32_t)op->numbers[0], c, t;
    for (c = first; c < op->channels; c++) {
        int32_t membrane = 0, threshold = op->left[c];
        for (t = 0; t < timesteps; t++) {
            uint32_t drive = 64u * (uint32_t)current[t * stride + c] + (uint32_t)op->right[c];
            if (t > 0) drive += (uint32_t)((int32_t)((uint32_t)membrane * n) / 256);
            membrane = (int32_t)drive;
            if (op->clip && membrane < -SNN_MEMBRANE_MAX) membrane = -SNN_MEMBRANE_MAX;
            if (membrane > threshold) {
                membrane = 0; /* the upper saturation lies above every threshold: it cannot change a spike */
                bits[(size_t)t * words + c / 64] |= (uint64_t)1 << (c % 64);
            }
        }
    }
}

static void reference_lif(const snn_op *op, const int32_t *current, size_t stride, uint32_t timesteps,
                          uint64_t *bits) {
    memset(bits, 0, (size_t)timesteps * snn_words(op->channels) * 8);
    snn_lif_scalar(op, 0, current, stride, timesteps, bits);
}

static void reference_linear(const snn_layer *layer) { snn_linear_columns(layer, 0); }

static void reference_attend(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots,
                             uint32_t words, uint32_t channels, uint32_t *scores, int32_t *out) {
    uint32_t j, w, c;
    (void)scores;
    memset(out, 0, (size_t)channels * sizeof *out);
    for (j = 0; j < slots; j++, k += words, v += words) {
        uint32_t score = 0;
        for (w = 0; w < words; w++) score += snn_popcount(q[w] & k[w]);
        for (c = 0; score != 0 && c < channels; c++)
            out[c] += (int32_t)(score & (0u - (uint32_t)(v[c / 64] >> (c % 64) & 1u)));
    }
}

static int32_t bit_at(const uint64_t *bits, uint32_t i) { return (int32_t)(bits[i / 64] >> (i % 64) & 1u); }

static void reference_attend_sums(const uint64_t *q, const uint64_t *k, const uint64_t *v,
                                  const uint64_t *old_k, const uint64_t *old_v, uint32_t words,
                                  uint32_t channels, uint8_t *sums, int32_t *out) {
    int32_t score = 0;
    uint32_t w, i, c;
    for (w = 0; w < words; w++) score += (int32_t)snn_popcount(q[w] & k[w]);
    for (c = 0; c < channels; c++) out[c] = score * bit_at(v, c);
    for (w = 0; w < words; w++) {
        uint32_t first = 64 * w, width = channels - first < 64 ? channels - first : 64;
        for (i = 0; i < channels; i++, sums += 64) {
            for (c = 0; bit_at(q, i) && c < width; c++) out[first + c] += sums[c];
            for (c = 0; bit_at(old_k, i) && c < width; c++)
                sums[c] = (uint8_t)(sums[c] - bit_at(old_v, first + c));
            for (c = 0; bit_at(k, i) && c < width; c++) sums[c] = (uint8_t)(sums[c] + bit_at(v, first + c));
        }
    }
}

static void reference_project(const int16_t *x, uint32_t rows, const int8_t *weight, uint32_t columns,
                              int32_t *out) {
    uint32_t j, c;
    memset(out, 0, (size_t)columns * sizeof *out);
    for (j = 0; j < rows; j++, weight += columns) {
        for (c = 0; x[j] != 0 && c < columns; c++) out[c] += x[j] * weight[c];
    }
}

static int32_t reference_logits(const int8_t *table, const uint8_t *packed, uint32_t rank,
                                const int8_t *codes, uint32_t first, uint32_t count, int32_t *out) {
    int32_t largest = INT32_MIN;
    uint32_t i, j;
    (void)packed;
    table += (size_t)first * rank;
    for (i = 0; i < count; i++, table += rank) {
        int32_t sum = 0;
        for (j = 0; j < rank; j++) sum += table[j] * codes[j];
        out[i] = sum;
        if (sum > largest) largest = sum;
    }
    return largest;
}

const snn_kernels snn_kernels_reference = {
    "reference",
    reference_linear,
    reference_lif,
    reference_attend,
    reference_attend_sums,
    reference_project,
    reference_logits,
    NULL,
    NULL,
    frames_scatter,
    frames_stateful,
};
