/* Host shim: see snn_host.h. Kernels compiled for several instruction sets are chosen here at run time. */
#define _GNU_SOURCE
#include "snn_host.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "snn_cpu.h"
#include "snn_internal.h"
#ifdef SNN_HAVE_AVX2
#include "snn_rough.h"
#endif

#define HUGE_PAGE ((size_t)2 << 20)

#ifdef SNN_HAVE_AVX512
extern const snn_kernels snn_kernels_avx512;
#endif
#ifdef SNN_HAVE_AVX2
extern const snn_kernels snn_kernels_avx2;
#endif

struct snn_host {
    snn_model *model;
    uint8_t *model_memory;
    uint8_t *file;
    uint32_t chunk, batch, threads;
    size_t context_bytes;
    snn_context **contexts;
    uint8_t *context_memory;
#ifdef SNN_HAVE_AVX2
    uint8_t *rough_memory;
    snn_rough *rough; /* NULL where the table is read as it is */
#endif
};

static uint32_t list_kernels(const snn_kernels *found[8]) {
    uint32_t count = 0;
#ifdef SNN_HAVE_AVX512
    if (snn_cpu_avx512()) found[count++] = &snn_kernels_avx512;
#endif
#ifdef SNN_HAVE_AVX2
    if (snn_cpu_avx2()) found[count++] = &snn_kernels_avx2;
#endif
    found[count++] = &snn_kernels_vector;
    found[count++] = &snn_kernels_swar;
    found[count++] = &snn_kernels_reference;
    found[count++] = &snn_kernels_dsp; /* for processors of another kind: here it can be tried */
    return count;
}

const char *snn_host_kernels(uint32_t index) {
    const snn_kernels *found[8];
    return index < list_kernels(found) ? found[index]->name : NULL;
}

/* Memory in huge pages where the system gives them: rows of weights are visited in no order. */
static uint8_t *map(size_t bytes) {
    uint8_t *memory;
    size_t whole = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (bytes < HUGE_PAGE / 4)
        return posix_memalign((void **)&memory, SNN_ALIGNMENT, bytes) == 0 ? memory : NULL;
    if (whole < bytes || posix_memalign((void **)&memory, HUGE_PAGE, whole) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(memory, whole, MADV_HUGEPAGE);
#endif
    return memory;
}

snn_status snn_host_open(const void *data, size_t size, const char *kernels, uint32_t chunk,
                         snn_host **host) {
    const snn_kernels *found[8], *chosen = NULL;
    uint32_t count = list_kernels(found), i;
    size_t bytes;
    snn_status status;
    snn_host *made;
    for (i = 0; i < count && chosen == NULL; i++) {
        if (kernels == NULL || strcmp(kernels, found[i]->name) == 0) chosen = found[i];
    }
    if (chosen == NULL || host == NULL || data == NULL) return SNN_E_ARGUMENT;
    made = (snn_host *)calloc(1, sizeof *made);
    if (made == NULL) return SNN_E_MEMORY;
    made->file = map(size);
    status = made->file == NULL ? SNN_E_MEMORY : SNN_OK;
    if (status == SNN_OK) {
        memcpy(made->file, data, size);
        status = snn_model_size(made->file, size, chosen, &bytes);
    }
    if (status == SNN_OK) {
        made->model_memory = map(bytes);
        if (made->model_memory == NULL) status = SNN_E_MEMORY;
    }
    if (status == SNN_OK)
        status = snn_model_open(made->file, size, made->model_memory, bytes, chosen, &made->model);
    made->chunk = chunk;
    if (status == SNN_OK) status = snn_context_size(made->model, chunk, &made->context_bytes);
    if (status == SNN_OK) status = snn_host_reset(made, 1, 1);
    if (status != SNN_OK) {
        snn_host_close(made);
        return status;
    }
    (void)snn_host_two_pass(made, -1);
    *host = made;
    return SNN_OK;
}

void snn_host_close(snn_host *host) {
    if (host == NULL) return;
    free(host->contexts);
    free(host->context_memory);
#ifdef SNN_HAVE_AVX2
    free(host->rough_memory);
#endif
    free(host->model_memory);
    free(host->file);
    free(host);
}

void snn_host_info(const snn_host *host, snn_info *info) { snn_model_info(host->model, info); }

uint64_t snn_host_context_bytes(const snn_host *host) { return host->context_bytes; }

snn_status snn_host_reset(snn_host *host, uint32_t batch, uint32_t threads) {
    uint32_t i;
    if (batch < 1) return SNN_E_ARGUMENT;
    host->threads = threads < 1 ? 1 : threads;
    if (batch != host->batch) {
        free(host->contexts);
        free(host->context_memory);
        host->contexts = NULL;
        host->context_memory = NULL;
        host->batch = 0;
        if (host->context_bytes > SIZE_MAX / 2 / batch) return SNN_E_MEMORY;
        host->contexts = (snn_context **)calloc(batch, sizeof *host->contexts);
        host->context_memory = map(host->context_bytes * batch);
        if (host->contexts == NULL || host->context_memory == NULL) return SNN_E_MEMORY;
        for (i = 0; i < batch; i++) {
            snn_status status =
                snn_context_open(host->model, host->chunk, host->context_memory + i * host->context_bytes,
                                 host->context_bytes, &host->contexts[i]);
            if (status != SNN_OK) return status;
        }
        host->batch = batch;
    }
    for (i = 0; i < batch; i++) snn_reset(host->contexts[i]);
    return SNN_OK;
}

snn_status snn_host_step(snn_host *host, uint32_t token, int32_t *logits) {
    return host->batch == 1 ? snn_step(host->contexts[0], token, logits) : SNN_E_ARGUMENT;
}

/* What one thread does: every `step`-th sequence from `first`. */
typedef struct job {
    snn_host *host;
    const uint32_t *tokens;
    const int8_t *frames; /* instead of tokens */
    size_t length;
    int32_t *logits;
    uint32_t first, step;
    int all;
    snn_status status;
} job;

static void *work(void *argument) {
    job *mine = (job *)argument;
    const snn_model *model = mine->host->model;
    uint32_t i;
    for (i = mine->first; i < mine->host->batch; i += mine->step) {
        snn_context *context = mine->host->contexts[i];
        size_t rows = mine->all ? mine->length : 1, width = model->vocab + model->outputs;
        int32_t *logits = mine->logits == NULL ? NULL : mine->logits + i * rows * width;
        snn_status status;
        if (mine->frames != NULL) {
            const int8_t *frames = mine->frames + i * mine->length * model->inputs;
            status = snn_frames(context, frames, mine->length, logits, mine->all);
        } else if (mine->all) {
            status = snn_sequence(context, mine->tokens + i * mine->length, mine->length, logits);
        } else {
            status = snn_prefill(context, mine->tokens + i * mine->length, mine->length, logits);
        }
        if (status != SNN_OK) mine->status = status;
    }
    return NULL;
}

static snn_status run_all(snn_host *host, const uint32_t *tokens, const int8_t *frames, size_t length,
                          int32_t *logits, int all) {
    uint32_t threads = host->threads < host->batch ? host->threads : host->batch, i, started = 1;
    job jobs[64];
    pthread_t ids[64];
    snn_status status = SNN_OK;
    if (threads > 64) threads = 64;
    for (i = 0; i < threads; i++) {
        job one = {host, tokens, frames, length, logits, i, threads, all, SNN_OK};
        jobs[i] = one;
    }
    for (; started < threads; started++) {
        if (pthread_create(&ids[started], NULL, work, &jobs[started]) != 0) break;
    }
    work(&jobs[0]);
    for (i = started; i < threads; i++) work(&jobs[i]); /* no thread was to be had: this one does it */
    for (i = 1; i < started; i++) pthread_join(ids[i], NULL);
    for (i = 0; i < threads; i++) status = jobs[i].status != SNN_OK ? jobs[i].status : status;
    return status;
}

snn_status snn_host_steps(snn_host *host, const uint32_t *tokens, int32_t *logits) {
    return run_all(host, tokens, NULL, 1, logits, 0);
}

snn_status snn_host_prefill(snn_host *host, const uint32_t *tokens, size_t length, int32_t *logits) {
    return run_all(host, tokens, NULL, length, logits, 0);
}

snn_status snn_host_sequence(snn_host *host, const uint32_t *tokens, size_t length, int32_t *logits) {
    return run_all(host, tokens, NULL, length, logits, 1);
}

snn_status snn_host_frames(snn_host *host, const int8_t *frames, size_t length, int32_t *out, int all) {
    return frames == NULL ? SNN_E_ARGUMENT : run_all(host, NULL, frames, length, out, all);
}

#ifdef SNN_HAVE_AVX2
static void close_rough(snn_host *host) {
    free(host->rough_memory);
    host->rough_memory = NULL;
    host->rough = NULL;
}

static void open_rough(snn_host *host) {
    const snn_model *model = host->model;
    int wide = strcmp(model->kernels->name, "avx512") == 0;
    if (host->rough != NULL || (!wide && strcmp(model->kernels->name, "avx2") != 0)) return;
    host->rough_memory = map(snn_rough_bytes(model->vocab, model->rank));
    if (host->rough_memory == NULL) return;
    host->rough = snn_rough_open(model->ops[0].table, model->vocab, model->rank, wide, host->rough_memory);
}

/* Nanoseconds of the first pass, or of all logits, of codes that are as good as any. Each is timed behind the
 * other, so that neither finds its bytes where the last token would have left other ones. */
static void probe(snn_host *host, uint64_t *rough, uint64_t *whole) {
    snn_context *context = host->contexts[0];
    uint32_t round, first, i;
    *rough = *whole = UINT64_MAX;
    for (i = 0; i < host->model->rank; i++) context->codes[i] = (int8_t)(i * 37 % 61) - 30;
    for (round = 0; round < 4; round++) {
        uint64_t start = snn_host_now(), middle, end;
        for (first = 0; first < host->model->vocab; first += SNN_BLOCK) {
            uint32_t left = host->model->vocab - first;
            host->model->kernels->logits(host->model->ops[0].table, host->model->packed, host->model->rank,
                                         context->codes, first, left < SNN_BLOCK ? left : SNN_BLOCK,
                                         context->block);
        }
        middle = snn_host_now();
        snn_rough_bounds(host->rough, context->codes);
        end = snn_host_now();
        if (middle - start < *whole) *whole = middle - start;
        if (end - middle < *rough) *rough = end - middle;
    }
    snn_reset(context);
}
#endif

int snn_host_two_pass(snn_host *host, int wanted) {
#ifdef SNN_HAVE_AVX2
    uint64_t rough, whole;
    size_t table = (size_t)host->model->vocab * host->model->rank; /* 0 where frames are read */
    if (wanted == 0 || table == 0 || (wanted < 0 && table <= SNN_ROUGH_LEAST)) {
        close_rough(host);
        return 0;
    }
    open_rough(host);
    if (wanted < 0 && host->rough != NULL) {
        probe(host, &rough, &whole);
        if (rough * 10 > whole * 7) close_rough(host); /* the second pass wants its share */
    }
    return host->rough != NULL;
#else
    (void)host;
    (void)wanted;
    return 0;
#endif
}

snn_status snn_host_top(snn_host *host, uint32_t sequence, uint32_t k, uint32_t *ids, int32_t *values) {
    snn_context *context = sequence < host->batch ? host->contexts[sequence] : NULL;
#ifdef SNN_HAVE_AVX2
    if (context != NULL && host->rough != NULL && context->ready && k >= 1 && k <= SNN_TOP_MAX &&
        snn_rough_top(host->rough, context->codes, k, ids, values)) {
        return SNN_OK;
    }
#endif
    return snn_top(context, k, ids, values);
}

snn_status snn_host_greedy(snn_host *host, uint32_t token, uint32_t count, uint32_t end, uint32_t *ids,
                           uint32_t *made) {
    int32_t value;
    for (*made = 0; *made < count && (*made == 0 || token != end); (*made)++) {
        snn_status status = snn_host_step(host, token, NULL);
        if (status == SNN_OK) status = snn_host_top(host, 0, 1, &token, &value);
        if (status != SNN_OK) return status;
        ids[*made] = token;
    }
    return SNN_OK;
}

snn_status snn_host_save(snn_host *host, uint32_t sequence, int oldest_first, uint8_t *state,
                         uint64_t *position) {
    if (sequence >= host->batch) return SNN_E_ARGUMENT;
    return snn_save(host->contexts[sequence], oldest_first, state, position);
}

snn_status snn_host_restore(snn_host *host, uint32_t sequence, const uint8_t *state, uint64_t position) {
    return sequence < host->batch ? snn_restore(host->contexts[sequence], state, position) : SNN_E_ARGUMENT;
}

uint64_t snn_host_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t clock_of(void *user) {
    (void)user;
    return snn_host_now();
}

snn_status snn_host_window(snn_host *host, const uint32_t *tokens, size_t count, uint32_t repeat,
                           uint32_t warmup, int32_t *logits, uint64_t *stamps, int8_t *codes) {
    if (host->batch != 1) return SNN_E_ARGUMENT;
    return snn_window(host->contexts[0], tokens, count, repeat, warmup, logits, clock_of, NULL, stamps,
                      codes);
}

snn_status snn_host_frames_window(snn_host *host, const int8_t *frames, size_t count, uint32_t repeat,
                                  uint32_t warmup, uint64_t *stamps, int32_t *out) {
    snn_context *context = host->contexts[0];
    size_t width = host->model->inputs, i;
    snn_status status = host->batch == 1 && count > 0 ? SNN_OK : SNN_E_ARGUMENT;
    uint32_t pass;
    snn_reset(context);
    for (pass = 0; status == SNN_OK && pass < warmup; pass++)
        status = snn_frames(context, frames + pass % count * width, 1, out, 0);
    for (pass = 0; status == SNN_OK && pass < repeat; pass++) {
        snn_reset(context);
        for (i = 0; status == SNN_OK && i < count; i++, stamps += 2, out += host->model->outputs) {
            stamps[0] = snn_host_now();
            status = snn_frames(context, frames + i * width, 1, out, 0);
            stamps[1] = snn_host_now();
        }
    }
    return status;
}

snn_status snn_host_logits_of(snn_host *host, const int8_t *codes, int32_t *logits) {
    return host->batch == 0 ? SNN_E_ARGUMENT : snn_logits_of(host->contexts[0], codes, logits);
}

uint64_t snn_host_read(const uint64_t *memory, size_t words) {
    typedef uint64_t lanes __attribute__((vector_size(16)));
    lanes sums[4] = {{0}, {0}, {0}, {0}}, value;
    size_t i, part;
    for (i = 0; i + 8 <= words; i += 8) {
        for (part = 0; part < 4; part++) {
            memcpy(&value, memory + i + 2 * part, sizeof value);
            sums[part] += value;
        }
    }
    value = sums[0] + sums[1] + sums[2] + sums[3];
    return value[0] + value[1];
}
