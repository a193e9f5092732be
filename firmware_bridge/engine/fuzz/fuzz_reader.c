/* Damages a program.snn thousands of times, opens what is left and runs what opens. Built with -DSNN_NO_CRC
 * and sanitizers by tests/fuzz/test_engine_reader.py:  fuzz_reader FILE SEED ROUNDS Prints how many files
 * were refused and how many ran; any finding ends the process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../snn.h"

#define MEMORY_MAX ((size_t)64 << 20)

static uint64_t state;

/* xorshift64*: the same numbers everywhere. */
static uint32_t next(uint32_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 32) % below;
}

static uint32_t interesting(void) {
    static const uint32_t values[] = {
        0,    1,      2,      3,          4,          7,          8,          9,    15,
        16,   63,     64,     127,        128,        255,        256,        1040, 1041,
        4096, 65535,  65536,  0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100,      31,   32,
        0xFF, 131071, 131072, 0xFFFFFF80, 0x3FFFFFFF, 0x40000000, 0xFFFFFFFE, 5,    6};
    return values[next(sizeof values / sizeof *values)];
}

static void put32(uint8_t *p, uint32_t value) { memcpy(p, &value, 4); }

static uint32_t get32(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, 4);
    return value;
}

/* One edit that knows the layout: a field of the header, of an op or of a tensor's record, or data. */
static void edit(uint8_t *data, size_t size) {
    uint32_t ops = get32(data + 68), tensors = get32(data + 72);
    size_t tables = 128 + (size_t)ops * 128 + (size_t)tensors * 64, at;
    if (tables > size || ops == 0 || tensors == 0) tables = size;
    switch (next(8)) {
    case 0: data[next((uint32_t)size)] ^= (uint8_t)(1u << next(8)); break;
    case 1: data[next((uint32_t)size)] = (uint8_t)next(256); break;
    case 2: put32(data + 64 + 4 * next(10), interesting()); break;
    case 3:
        if (ops == 0 || tables == size) break;
        put32(data + 128 + 128 * (size_t)next(ops) + 4 * next(16), next(2) ? interesting() : next(ops + 2));
        break;
    case 4:
        if (ops == 0 || tables == size) break;
        data[128 + 128 * (size_t)next(ops)] = (uint8_t)next(11);
        break;
    case 5:
        if (tensors == 0 || tables == size) break;
        at = 128 + 128 * (size_t)ops + 64 * (size_t)next(tensors) + 4 * next(10);
        put32(data + at, next(2) ? interesting() : get32(data + at) + next(5) - 2);
        break;
    case 6: /* one op becomes another */
        if (ops == 0 || tables == size) break;
        memmove(data + 128 + 128 * (size_t)next(ops), data + 128 + 128 * (size_t)next(ops), 64);
        break;
    default:
        if (tables + 4 > size) break;
        put32(data + tables + next((uint32_t)(size - tables - 3)), interesting());
        break;
    }
}

static void *allocate(size_t bytes) {
    void *memory = NULL;
    if (bytes > MEMORY_MAX || posix_memalign(&memory, SNN_ALIGNMENT, bytes) != 0) return NULL;
    memset(memory, 0xA5, bytes); /* nothing may rely on zeros */
    return memory;
}

static void use(snn_context *context, const snn_info *info) {
    uint32_t tokens[5], ids[4], k = info->vocab < 4 ? info->vocab : 4, i;
    int32_t values[4], *logits;
    uint64_t position;
    uint8_t *saved;
    for (i = 0; i < 5; i++) tokens[i] = next(info->vocab);
    (void)snn_prefill(context, tokens, 5, NULL);
    (void)snn_top(context, k, ids, values);
    for (i = 0; i < 5; i++) (void)snn_step(context, tokens[i], NULL);
    logits = (int32_t *)allocate((size_t)info->vocab * 4);
    if (logits != NULL) (void)snn_logits(context, logits);
    free(logits);
    saved = (uint8_t *)allocate(info->state_bytes + 1);
    if (saved != NULL && snn_save(context, (int)next(2), saved, &position) == SNN_OK) {
        if (snn_restore(context, saved, position) == SNN_OK) (void)snn_step(context, tokens[0], NULL);
    }
    free(saved);
}

/* The same with frames: samples of all sizes, some of them out of range, a state with bytes changed. */
static void use_frames(snn_context *context, const snn_info *info) {
    int8_t *frames = (int8_t *)allocate((size_t)info->inputs * 3);
    int32_t *out = (int32_t *)allocate((size_t)info->outputs * 3 * 4);
    uint8_t *saved = (uint8_t *)allocate(info->state_bytes + 1);
    uint64_t position;
    size_t i;
    for (i = 0; frames != NULL && i < (size_t)info->inputs * 3; i++)
        frames[i] = (int8_t)(next(4) ? next(2) : next(256));
    if (frames != NULL && out != NULL && saved != NULL) {
        (void)snn_frames(context, frames, 3, out, 1);
        for (i = 0; i < (size_t)info->inputs * 3; i++) frames[i] = (int8_t)next(2);
        (void)snn_frames(context, frames, 3, out, 1);
        (void)snn_frames(context, frames, 1, NULL, 0);
        if (snn_save(context, (int)next(2), saved, &position) == SNN_OK) {
            if (info->state_bytes > 0 && next(2)) saved[next((uint32_t)info->state_bytes)] ^= (uint8_t)next(256);
            if (snn_restore(context, saved, position) == SNN_OK) (void)snn_frames(context, frames, 2, out, 0);
        }
    }
    free(saved);
    free(out);
    free(frames);
}

static int run(const uint8_t *data, size_t size, const snn_kernels *kernels) {
    size_t bytes = 0;
    snn_model *model = NULL;
    snn_context *context = NULL;
    snn_info info;
    void *index, *memory = NULL;
    int ran = 0;
    if (snn_model_size(data, size, kernels, &bytes) != SNN_OK) return 0;
    index = allocate(bytes);
    if (index != NULL && snn_model_open(data, size, index, bytes, kernels, &model) == SNN_OK &&
        snn_context_size(model, 3, &bytes) == SNN_OK && (memory = allocate(bytes)) != NULL &&
        snn_context_open(model, 3, memory, bytes, &context) == SNN_OK) {
        snn_model_info(model, &info);
        if (info.inputs > 0) {
            use_frames(context, &info);
        } else {
            use(context, &info);
        }
        ran = 1;
    }
    free(memory);
    free(index);
    return ran;
}

int main(int argc, char **argv) {
    static const snn_kernels *const sets[] = {&snn_kernels_reference, &snn_kernels_swar, &snn_kernels_dsp,
                                              &snn_kernels_vector};
    FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
    uint8_t *whole;
    long size, round, rounds, ran = 0;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 128) return 2;
    whole = (uint8_t *)malloc((size_t)size);
    rewind(file);
    if (whole == NULL || fread(whole, 1, (size_t)size, file) != (size_t)size) return 2;
    fclose(file);
    state = strtoull(argv[2], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
    rounds = strtol(argv[3], NULL, 10);
    for (round = 0; round < rounds; round++) {
        size_t length = next(16) == 0 ? (size_t)next((uint32_t)size + 1) : (size_t)size;
        uint8_t *copy =
            (uint8_t *)malloc(length == 0 ? 1 : length); /* exactly as long: a byte too far is found */
        uint32_t edits = 1 + next(3);
        if (copy == NULL) return 2;
        memcpy(copy, whole, length);
        if (length >= 128 && length != (size_t)size && next(2)) put32(copy + 16, (uint32_t)length);
        for (; edits > 0 && length >= 128; edits--) edit(copy, length);
        ran += run(copy, length, sets[round % 3]);
        free(copy);
    }
    printf("%ld refused, %ld ran\n", rounds - ran, ran);
    free(whole);
    return 0;
}
