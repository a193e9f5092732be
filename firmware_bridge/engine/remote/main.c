/* Commands in, answers out; see remote.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../snn.h"
#include "remote.h"

#define CHUNK 16u

static const snn_kernels *kernels;
static snn_context *context, *apart; /* `apart` runs whole sequences */
static snn_info info;
static size_t context_bytes, file_bytes;
static uint64_t load_ns, baseline_kb;
static uint32_t reaped, width, unit; /* numbers that come out; bytes of a token or of a frame */
static int32_t *logits;

static const snn_kernels *kernels_of(const char *name) {
    if (strcmp(name, "-") == 0) return SNN_KERNELS_DEFAULT;
    if (strcmp(name, "reference") == 0) return &snn_kernels_reference;
    if (strcmp(name, "swar") == 0) return &snn_kernels_swar;
    if (strcmp(name, "dsp") == 0) return &snn_kernels_dsp;
    if (strcmp(name, "vector") == 0) return &snn_kernels_vector;
    return NULL;
}

static void *aligned(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, SNN_ALIGNMENT, bytes) == 0 ? memory : NULL;
}

static snn_status open_context(snn_model *model, snn_context **made) {
    snn_status status = snn_context_size(model, CHUNK, &context_bytes);
    void *memory = status == SNN_OK ? aligned(context_bytes) : NULL;
    if (status != SNN_OK) return status;
    return memory == NULL ? SNN_E_MEMORY : snn_context_open(model, CHUNK, memory, context_bytes, made);
}

static snn_status open_program(const char *path) {
    struct stat facts;
    snn_model *model = NULL;
    size_t bytes = 0;
    snn_status status;
    void *data, *memory;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &facts) != 0 || facts.st_size <= 0) return SNN_E_TRUNCATED;
    file_bytes = (size_t)facts.st_size;
    data = mmap(NULL, file_bytes, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (data == MAP_FAILED) return SNN_E_MEMORY;
    status = snn_model_size(data, file_bytes, kernels, &bytes);
    if (status != SNN_OK) return status;
    memory = aligned(bytes);
    if (memory == NULL) return SNN_E_MEMORY;
    status = snn_model_open(data, file_bytes, memory, bytes, kernels, &model);
    if (status == SNN_OK) status = open_context(model, &context);
    if (status == SNN_OK) status = open_context(model, &apart);
    if (status != SNN_OK) return status;
    snn_model_info(model, &info);
    width = info.inputs > 0 ? info.outputs : info.vocab;
    unit = info.inputs > 0 ? info.inputs : 4;
    logits = (int32_t *)aligned((size_t)width * 4);
    return logits == NULL ? SNN_E_MEMORY : SNN_OK;
}

static int hello(uint32_t sequence) {
    char text[2048], hash[65], emulator[64];
    struct utsname system;
    unsigned i;
    int length;
    for (i = 0; i < 32; i++) sprintf(hash + 2 * i, "%02x", info.hash[i]);
    remote_emulator(emulator, sizeof emulator);
    if (uname(&system) != 0) memset(&system, 0, sizeof system);
    length = snprintf(
        text, sizeof text,
        "protocol=%u\nengine=%s\nkernels=%s\nprogram_hash=%s\nprogram_bytes=%llu\nvocab=%lu\nrank=%lu\ninputs=%lu\noutputs=%lu\n"
        "context_bytes=%llu\nload_ns=%llu\nbaseline_kb=%llu\nloaded_kb=%llu\npid=%ld\nuid=%ld\nsystem=%s %s\n"
        "machine=%s\nemulator=%s\nreaped=%lu\n",
        REMOTE_PROTOCOL, SNN_ENGINE_VERSION, info.kernels, hash, (unsigned long long)file_bytes,
        (unsigned long)info.vocab, (unsigned long)info.rank, (unsigned long)info.inputs,
        (unsigned long)info.outputs, (unsigned long long)context_bytes,
        (unsigned long long)load_ns, (unsigned long long)baseline_kb,
        (unsigned long long)remote_status_kb("VmRSS:"), (long)getpid(), (long)geteuid(), system.sysname,
        system.release, system.machine, emulator, (unsigned long)reaped);
    return remote_write(REMOTE_TEXT, sequence, text, (size_t)length) && remote_done(sequence, 0, 0, NULL, 0);
}

static int refused(uint32_t sequence, snn_status status) {
    return remote_failed(sequence, snn_status_name(status));
}

static int little_endian(void) {
    const uint32_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

static int put_logits(uint32_t sequence) {
    return remote_write(REMOTE_LOGITS, sequence, logits, (size_t)width * 4);
}

/* Tokens or frames, `unit` bytes each; the logits or outputs of the last, where they are wanted. */
static snn_status run(snn_context *on, const uint8_t *inputs, uint32_t count, int32_t *out) {
    const uint32_t *tokens = (const uint32_t *)(const void *)inputs;
    if (info.inputs > 0) return snn_frames(on, (const int8_t *)inputs, count, out, 0);
    return count == 1 ? snn_step(on, tokens[0], out) : snn_prefill(on, tokens, count, out);
}

/* One input, or a prompt of which the last answers. */
static int forward(uint32_t sequence, const uint8_t *inputs, uint32_t count, int fresh) {
    uint64_t start, end;
    snn_status status;
    if (fresh) snn_reset(context);
    start = remote_now();
    status = run(context, inputs, count, logits);
    end = remote_now();
    if (status != SNN_OK) return refused(sequence, status);
    return put_logits(sequence) && remote_done(sequence, start, end, NULL, 0);
}

static int save(uint32_t sequence) {
    uint8_t *state = malloc(info.state_bytes + 1), more[8];
    uint64_t position = 0;
    snn_status status = state == NULL ? SNN_E_MEMORY : snn_save(context, 0, state, &position);
    int heard;
    remote_put64(more, position);
    heard = status != SNN_OK ? refused(sequence, status)
                             : remote_write(REMOTE_STATE, sequence, state, info.state_bytes) &&
                                   remote_done(sequence, 0, 0, more, sizeof more);
    free(state);
    return heard;
}

static int restore(uint32_t sequence, const uint8_t *at, uint32_t length) {
    snn_status status = SNN_E_ARGUMENT;
    if (length == 8 + info.state_bytes) {
        uint64_t position = remote_u32(at) | (uint64_t)remote_u32(at + 4) << 32;
        status = snn_restore(context, at + 8, position);
    }
    return status == SNN_OK ? remote_done(sequence, 0, 0, NULL, 0) : refused(sequence, status);
}

static int whole_sequence(uint32_t sequence, const uint8_t *inputs, uint32_t count) {
    uint64_t spent = 0;
    uint32_t i;
    snn_reset(apart);
    for (i = 0; i < count; i++) {
        uint64_t start = remote_now();
        snn_status status = run(apart, inputs + (size_t)i * unit, 1, logits);
        spent += remote_now() - start;
        if (status != SNN_OK) return refused(sequence, status);
        if (!put_logits(sequence)) return 0;
    }
    return remote_done(sequence, 0, spent, NULL, 0);
}

static uint64_t clock_of(void *user) {
    (void)user;
    return remote_now();
}

/* As snn_window does it, over frames; `outputs` int32 [repeat * count][outputs]. */
static snn_status frames_window(const uint8_t *frames, uint32_t count, uint32_t repeat, uint32_t warmup,
                                uint64_t *stamps, uint8_t *outputs) {
    snn_status status = SNN_OK;
    uint32_t pass, i;
    size_t row = 0;
    snn_reset(context);
    for (i = 0; i < warmup && status == SNN_OK; i++)
        status = run(context, frames + (size_t)(i % count) * unit, 1, logits);
    for (pass = 0; pass < repeat && status == SNN_OK; pass++) {
        snn_reset(context);
        for (i = 0; i < count && status == SNN_OK; i++, row++) {
            stamps[2 * row] = remote_now();
            status = run(context, frames + (size_t)i * unit, 1, logits);
            stamps[2 * row + 1] = remote_now();
            memcpy(outputs + row * width * 4, logits, (size_t)width * 4);
        }
    }
    return status;
}

/* SHA-256 of all logits, made again from what every timed step left: hashing inside would heat the device. */
static void hash_logits(const int8_t *codes, size_t steps, uint8_t digest[32]) {
    remote_sha sha;
    size_t i;
    remote_sha_start(&sha);
    if (info.inputs > 0) remote_sha_add(&sha, codes, steps * width * 4);
    for (i = 0; i < steps && info.inputs == 0; i++) {
        snn_logits_of(context, codes + i * info.rank, logits);
        remote_sha_add(&sha, logits, (size_t)info.vocab * 4);
    }
    remote_sha_digest(&sha, digest);
}

static int window(uint32_t sequence, const uint8_t *at, uint32_t count) {
    uint32_t repeat = remote_u32(at), warmup = remote_u32(at + 4), cpu[2], khz[2];
    uint64_t steps = (uint64_t)repeat * count, sent, *stamps;
    size_t left = info.inputs > 0 ? (size_t)width * 4 : info.rank; /* by every step */
    int8_t *codes;
    snn_status status;
    int heard = 1;
    uint8_t more[sizeof(remote_window)];
    if (count < 1 || repeat < 1 || steps > REMOTE_WINDOW_MAX || warmup > REMOTE_WINDOW_MAX)
        return remote_failed(sequence, "a window of no or too many steps");
    stamps = (uint64_t *)malloc((size_t)steps * 16);
    codes = (int8_t *)malloc((size_t)steps * left);
    if (stamps == NULL || codes == NULL) {
        free(stamps);
        free(codes);
        return refused(sequence, SNN_E_MEMORY);
    }
    /* Pages that are touched for the first time inside a step would count as its time. */
    memset(stamps, 0, (size_t)steps * 16);
    memset(codes, 0, (size_t)steps * left);
    remote_cpu(&cpu[0], &khz[0]);
    status = info.inputs > 0 ? frames_window(at + 8, count, repeat, warmup, stamps, (uint8_t *)codes)
                             : snn_window(context, (const uint32_t *)(const void *)(at + 8), count, repeat, warmup,
                                          logits, clock_of, NULL, stamps, codes);
    remote_cpu(&cpu[1], &khz[1]);
    if (status == SNN_OK) {
        hash_logits(codes, (size_t)steps, more);
        remote_put32(more + 32, cpu[0]);
        remote_put32(more + 36, khz[0]);
        remote_put32(more + 40, cpu[1]);
        remote_put32(more + 44, khz[1]);
        for (sent = 0; sent < steps && heard; sent += REMOTE_PART / 16) {
            uint64_t part = steps - sent < REMOTE_PART / 16 ? steps - sent : REMOTE_PART / 16;
            heard = remote_write(REMOTE_STAMPS, sequence, stamps + 2 * sent, (size_t)part * 16);
        }
        heard = heard && remote_done(sequence, stamps[0], stamps[2 * steps - 1], more, sizeof more);
    } else {
        heard = refused(sequence, status);
    }
    snn_reset(context);
    free(stamps);
    free(codes);
    return heard;
}

static int play(uint32_t sequence, const uint8_t *at, uint32_t words) {
    uint64_t start = remote_now(), deadline = start, now;
    uint8_t *nothing = (uint8_t *)calloc(1, unit); /* token 0, or a frame of zeros */
    uint32_t i;
    if (nothing == NULL) return refused(sequence, SNN_E_MEMORY);
    for (i = 0; i + 1 < words; i += 2) {
        deadline += (uint64_t)remote_u32(at + 4 * (size_t)i + 4) * 1000000u;
        if (remote_u32(at + 4 * (size_t)i) != 0) {
            snn_reset(context);
            while (remote_now() < deadline) (void)run(context, nothing, 1, NULL);
        }
        for (now = remote_now(); now < deadline; now = remote_now()) {
            uint64_t left = deadline - now;
            usleep(left > 900000000u ? 900000u : (useconds_t)(left / 1000u) + 1u);
        }
    }
    free(nothing);
    snn_reset(context);
    return remote_done(sequence, start, remote_now(), NULL, 0);
}

/* 0 when the session is over. */
static int obey(int command, uint32_t sequence, uint8_t *at, uint32_t length) {
    uint32_t words = length / 4, count = length / unit; /* numbers; tokens or frames */
    uint64_t now;
    switch (command) {
    case REMOTE_HELLO: return hello(sequence);
    case REMOTE_RESET: snn_reset(context); return remote_done(sequence, 0, 0, NULL, 0);
    case REMOTE_STEP: return count < 1 ? remote_failed(sequence, "no token") : forward(sequence, at, 1, 0);
    case REMOTE_PREFILL:
        return count < 1 ? remote_failed(sequence, "no token") : forward(sequence, at, count, 1);
    case REMOTE_EXTEND:
        return count < 1 ? remote_failed(sequence, "no token") : forward(sequence, at, count, 0);
    case REMOTE_SAVE: return save(sequence);
    case REMOTE_RESTORE: return restore(sequence, at, length);
    case REMOTE_SEQUENCE: return whole_sequence(sequence, at, count);
    case REMOTE_WINDOW:
        return length < 8 ? remote_failed(sequence, "a window of no or too many steps")
                          : window(sequence, at, (length - 8) / unit);
    case REMOTE_PLAY: return play(sequence, at, words);
    case REMOTE_CLOCK: now = remote_now(); return remote_done(sequence, now, now, NULL, 0);
    case REMOTE_FILES: return remote_files(sequence, (char *)at) && remote_done(sequence, 0, 0, NULL, 0);
    case REMOTE_AFFINITY:
        return remote_affinity(at, words) ? remote_done(sequence, 0, 0, NULL, 0)
                                          : remote_failed(sequence, "the system refuses these processors");
    case REMOTE_END: (void)remote_done(sequence, 0, 0, NULL, 0); return 0;
    default: return remote_failed(sequence, "unknown command");
    }
}

int main(int argc, char **argv) {
    uint32_t sequence = 0, length = 0;
    uint8_t *payload = NULL;
    uint64_t start;
    snn_status status;
    int command = -1;
    if (argc != 4 || !little_endian()) {
        fprintf(stderr, "snn_remote: usage: snn_remote PROGRAM KERNELS FOLDER, on a little-endian machine\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    kernels = kernels_of(argv[2]);
    if (kernels == NULL) {
        fprintf(stderr, "snn_remote: no such kernels: %s\n", argv[2]);
        return 2;
    }
    if (strcmp(argv[3], "-") != 0) {
        if (!remote_folder(argv[3])) {
            fprintf(stderr, "snn_remote: cannot lock the folder %s\n", argv[3]);
            return 2;
        }
        reaped = remote_reap(argv[3]);
    }
    baseline_kb = remote_status_kb("VmHWM:");
    start = remote_now();
    status = open_program(argv[1]);
    load_ns = remote_now() - start;
    if (status != SNN_OK) {
        fprintf(stderr, "snn_remote: %s: %s\n", argv[1], snn_status_name(status));
        remote_clean();
        return 3;
    }
    while ((command = remote_read(&sequence, &payload, &length)) > 0) {
        if (!obey(command, sequence, payload, length)) break;
    }
    remote_clean();
    if (command < 0) fprintf(stderr, "snn_remote: what came in is no frame\n");
    return command < 0 ? 4 : command == REMOTE_END ? 0 : 5;
}
