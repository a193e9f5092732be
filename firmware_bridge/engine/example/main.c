/* Runs a program.snn on this computer: token ids in, token ids out; or frames in, outputs out.
 *
 *     ./snn_example program.snn -n 20 17 4 99      continues the prompt 17 4 99 by the 20 best tokens, one id
 * a line echo 17 4 99 | ./snn_example program.snn     the same with ids from standard input
 *     ./snn_example program.snn --logits 17 4 99   writes int32 [tokens][vocab], little-endian, of every
 * prompt token -k reference | swar | dsp | vector              chooses the kernels
 *
 * ./snn_example program.snn -v vocab.bin 17 4 99          writes text in place of ids, to the end of the text
 *
 * ./snn_example program.snn --frames FILE          int8 [frames][inputs] of a program that reads frames: the
 * outputs of every frame, a line each, or with --logits int32 [frames][outputs], little-endian
 *
 * Ids are those of the student's tokenizer.json; `edgesnn generate --json` gives those of a prompt.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snn.h"

#define PROMPT_MAX 65536u
#define CHUNK      16u

static uint32_t prompt[PROMPT_MAX];

static int fail(const char *what, const char *which) {
    fprintf(stderr, "snn_example: %s: %s\n", what, which);
    return 1;
}

/* Memory aligned for the engine; it is never freed, as the process ends with its use. */
static void *aligned(size_t bytes) {
    uint8_t *memory = (uint8_t *)malloc(bytes + SNN_ALIGNMENT);
    return memory == NULL ? NULL : memory + (SNN_ALIGNMENT - (uintptr_t)memory % SNN_ALIGNMENT);
}

static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    void *data = NULL;
    long length;
    if (file == NULL) return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) > 0 && fseek(file, 0, SEEK_SET) == 0) {
        *size = (size_t)length;
        data = aligned(*size);
        if (data != NULL && fread(data, 1, *size, file) != *size) data = NULL;
    }
    fclose(file);
    return data;
}

static int read_id(const char *text, uint32_t *id) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *id = (uint32_t)value;
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && value <= UINT32_MAX;
}

/* vocab.bin, little-endian: "SNNV", n, id that ends a text, n + 1 offsets, the bytes of all tokens. */
static uint32_t word_of(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int vocab_is_sound(const uint8_t *vocab, size_t size, uint32_t tokens) {
    size_t head = 16 + (size_t)tokens * 4;
    uint32_t i;
    if (size < head || memcmp(vocab, "SNNV", 4) != 0 || word_of(vocab + 4) != tokens) return 0;
    if (word_of(vocab + 12) != 0 || word_of(vocab + head - 4) != size - head) return 0;
    for (i = 0; i < tokens; i++) {
        if (word_of(vocab + 12 + (size_t)i * 4) > word_of(vocab + 16 + (size_t)i * 4)) return 0;
    }
    return 1;
}

/* Whole characters of UTF-8 only: a token may end within one. What is no UTF-8 becomes U+FFFD. */
static struct {
    uint8_t bytes[4], low, high;
    unsigned have, need;
} character;

static void lose_character(void) {
    if (character.have > 0) fputs("\xEF\xBF\xBD", stdout);
    character.have = 0;
}

static void put_byte(uint8_t byte) {
    if (character.have > 0 && (byte < character.low || byte > character.high)) lose_character();
    if (character.have == 0) {
        character.low = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
        character.high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
        character.need = byte < 0x80 ? 1 : byte < 0xC2 ? 0 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
        if (byte > 0xF4) character.need = 0;
    } else {
        character.low = 0x80;
        character.high = 0xBF;
    }
    character.bytes[character.have++] = byte;
    if (character.need == 0) lose_character();
    if (character.have > 0 && character.have == character.need) {
        fwrite(character.bytes, 1, character.have, stdout);
        character.have = 0;
    }
}

/* Writes a token as text; 0 when it ends the text. */
static int put_text(const uint8_t *vocab, uint32_t token) {
    const uint8_t *offsets = vocab + 12, *text = offsets + ((size_t)word_of(vocab + 4) + 1) * 4;
    uint32_t i, end = word_of(offsets + ((size_t)token + 1) * 4);
    if (token == word_of(vocab + 8)) return 0;
    for (i = word_of(offsets + (size_t)token * 4); i < end; i++) put_byte(text[i]);
    return 1;
}

static const snn_kernels *kernels_of(const char *name) {
    if (strcmp(name, "reference") == 0) return &snn_kernels_reference;
    if (strcmp(name, "swar") == 0) return &snn_kernels_swar;
    if (strcmp(name, "dsp") == 0) return &snn_kernels_dsp;
#if defined(__GNUC__)
    if (strcmp(name, "vector") == 0) return &snn_kernels_vector;
#endif
    return NULL;
}

static snn_status write_logits(snn_context *context, uint32_t vocab, size_t count) {
    int32_t *logits = (int32_t *)aligned((size_t)vocab * 4);
    snn_status status = logits == NULL ? SNN_E_MEMORY : SNN_OK;
    size_t i;
    for (i = 0; i < count && status == SNN_OK; i++) {
        status = snn_step(context, prompt[i], logits);
        if (status == SNN_OK && fwrite(logits, 4, vocab, stdout) != vocab) status = SNN_E_ARGUMENT;
    }
    return status;
}

static snn_status write_outputs(snn_context *context, const snn_info *info, const int8_t *frames, size_t count,
                                int binary) {
    int32_t *out = (int32_t *)aligned((size_t)info->outputs * 4);
    snn_status status = out == NULL ? SNN_E_MEMORY : SNN_OK;
    size_t i;
    uint32_t c;
    for (i = 0; i < count && status == SNN_OK; i++) {
        status = snn_frames(context, frames + i * info->inputs, 1, out, 0);
        if (status != SNN_OK) break;
        if (binary) {
            if (fwrite(out, 4, info->outputs, stdout) != info->outputs) status = SNN_E_ARGUMENT;
            continue;
        }
        for (c = 0; c < info->outputs; c++) printf("%s%ld", c > 0 ? " " : "", (long)out[c]);
        puts("");
    }
    return status;
}

static snn_status generate(snn_context *context, size_t count, uint32_t more, const uint8_t *vocab) {
    snn_status status = snn_prefill(context, prompt, count, NULL);
    for (; status == SNN_OK && more > 0; more--) {
        uint32_t best = snn_argmax(context);
        if (vocab == NULL) {
            printf("%lu\n", (unsigned long)best);
        } else if (!put_text(vocab, best)) {
            break;
        }
        fflush(stdout);
        if (more > 1) status = snn_step(context, best, NULL);
    }
    if (vocab != NULL) {
        lose_character();
        puts("");
    }
    return status;
}

static snn_status open_context(const void *data, size_t size, const snn_kernels *kernels, snn_info *info,
                               snn_context **context) {
    snn_model *model = NULL;
    size_t bytes = 0;
    snn_status status = snn_model_size(data, size, kernels, &bytes);
    if (status == SNN_OK) {
        void *memory = aligned(bytes);
        status = memory == NULL ? SNN_E_MEMORY : snn_model_open(data, size, memory, bytes, kernels, &model);
    }
    if (status == SNN_OK) status = snn_context_size(model, CHUNK, &bytes);
    if (status == SNN_OK) {
        void *memory = aligned(bytes);
        status = memory == NULL ? SNN_E_MEMORY : snn_context_open(model, CHUNK, memory, bytes, context);
    }
    if (status == SNN_OK) snn_model_info(model, info);
    return status;
}

int main(int argc, char **argv) {
    const snn_kernels *kernels = SNN_KERNELS_DEFAULT;
    size_t size = 0, count = 0, vocab_size = 0, frames_size = 0;
    const char *vocab_path = NULL, *frames_path = NULL;
    uint8_t *vocab = NULL;
    uint32_t more = 16;
    int i, logits = 0;
    void *data;
    snn_context *context = NULL;
    snn_info info;
    snn_status status;
    if (argc < 2) return fail("usage", "program.snn [-n COUNT] [-v VOCAB] [-k KERNELS] [--logits] [ID ... | --frames FILE]");
    for (i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--logits") == 0) {
            logits = 1;
        } else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
            if (!read_id(argv[++i], &more)) return fail("not a number", argv[i]);
        } else if (strcmp(argv[i], "--frames") == 0 && i + 1 < argc) {
            frames_path = argv[++i];
        } else if (strcmp(argv[i], "-v") == 0 && i + 1 < argc) {
            vocab_path = argv[++i];
        } else if (strcmp(argv[i], "-k") == 0 && i + 1 < argc) {
            kernels = kernels_of(argv[++i]);
            if (kernels == NULL) return fail("no such kernels", argv[i]);
        } else if (count == PROMPT_MAX || !read_id(argv[i], &prompt[count++])) {
            return fail("not a token id", argv[i]);
        }
    }
    if (count == 0 && frames_path == NULL) {
        unsigned long id;
        while (count < PROMPT_MAX && scanf("%lu", &id) == 1) prompt[count++] = (uint32_t)id;
    }
    if (count == 0 && frames_path == NULL) return fail("no token ids", "give them as arguments or on standard input");
    data = read_file(argv[1], &size);
    if (data == NULL) return fail("cannot read", argv[1]);
    status = open_context(data, size, kernels, &info, &context);
    if (status == SNN_OK && (info.inputs > 0) != (frames_path != NULL))
        return fail(argv[1], info.inputs > 0 ? "reads frames: give --frames FILE" : "reads token ids, no frames");
    if (status == SNN_OK && frames_path != NULL) {
        const int8_t *frames = (const int8_t *)read_file(frames_path, &frames_size);
        if (frames == NULL) return fail("cannot read", frames_path);
        if (frames_size % info.inputs != 0) return fail("no whole number of frames", frames_path);
        status = write_outputs(context, &info, frames, frames_size / info.inputs, logits);
        return status == SNN_OK ? 0 : fail(frames_path, snn_status_name(status));
    }
    if (status == SNN_OK && vocab_path != NULL) {
        vocab = (uint8_t *)read_file(vocab_path, &vocab_size);
        if (vocab == NULL) return fail("cannot read", vocab_path);
        if (!vocab_is_sound(vocab, vocab_size, info.vocab))
            return fail("not this program's vocab", vocab_path);
    }
    if (status == SNN_OK)
        status = logits ? write_logits(context, info.vocab, count) : generate(context, count, more, vocab);
    return status == SNN_OK ? 0 : fail(argv[1], snn_status_name(status));
}
