/* Steps of a program.snn whose windows are full, for engine_instructions.py to count.
 *
 *     engine_instructions fill  program.snn KERNELS STATE ID ...   runs the tokens and keeps the state that they leave
 *     engine_instructions count program.snn KERNELS STATE ID ...   goes on from that state
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snn.h"

static void *memory_of(size_t bytes) {
    uint8_t *memory = (uint8_t *)malloc(bytes + SNN_ALIGNMENT);
    return memory == NULL ? NULL : memory + (SNN_ALIGNMENT - (uintptr_t)memory % SNN_ALIGNMENT);
}

static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    void *data = NULL;
    if (file == NULL) return NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        *size = (size_t)ftell(file);
        rewind(file);
        data = memory_of(*size);
        if (data != NULL && fread(data, 1, *size, file) != *size) data = NULL;
    }
    fclose(file);
    return data;
}

/* What callgrind counts (--toggle-collect=counted_step): a token with all of its logits. */
__attribute__((noinline)) static snn_status counted_step(snn_context *context, uint32_t token, int32_t *logits) {
    return snn_step(context, token, logits);
}

int main(int argc, char **argv) {
    const snn_kernels *kernels = &snn_kernels_reference;
    snn_model *model;
    snn_context *context;
    snn_info info;
    size_t size, bytes;
    uint64_t position = 0;
    uint8_t *state;
    void *data;
    int32_t *logits;
    int i;
    if (argc < 6 || (data = read_file(argv[2], &size)) == NULL) return 1;
    if (strcmp(argv[3], "swar") == 0) kernels = &snn_kernels_swar;
    if (strcmp(argv[3], "vector") == 0) kernels = &snn_kernels_vector;
    if (snn_model_size(data, size, kernels, &bytes) != SNN_OK) return 2;
    if (snn_model_open(data, size, memory_of(bytes), bytes, kernels, &model) != SNN_OK) return 2;
    if (snn_context_size(model, 1, &bytes) != SNN_OK) return 2;
    if (snn_context_open(model, 1, memory_of(bytes), bytes, &context) != SNN_OK) return 2;
    snn_model_info(model, &info);
    logits = (int32_t *)memory_of((size_t)info.vocab * sizeof *logits);
    if (strcmp(argv[1], "fill") == 0) {
        FILE *out = fopen(argv[4], "wb");
        state = (uint8_t *)memory_of(info.state_bytes);
        for (i = 5; i < argc; i++)
            if (snn_step(context, (uint32_t)strtoul(argv[i], NULL, 10), NULL) != SNN_OK) return 3;
        if (snn_save(context, 0, state, &position) != SNN_OK || out == NULL) return 3;
        fwrite(&position, sizeof position, 1, out);
        return fwrite(state, 1, info.state_bytes, out) == info.state_bytes && fclose(out) == 0 ? 0 : 3;
    }
    state = (uint8_t *)read_file(argv[4], &bytes);
    if (state == NULL || bytes != sizeof position + info.state_bytes) return 4;
    memcpy(&position, state, sizeof position);
    if (snn_restore(context, state + sizeof position, position) != SNN_OK) return 4;
    for (i = 5; i < argc; i++)
        if (counted_step(context, (uint32_t)strtoul(argv[i], NULL, 10), logits) != SNN_OK) return 5;
    return 0;
}
