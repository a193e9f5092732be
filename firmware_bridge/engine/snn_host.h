/* Host shim: memory, threads and clocks for the engine on a computer with POSIX threads. The engine itself
 * needs none of them. Status codes are snn_status; sizes are checked by the caller. */
#ifndef EDGESNN_SNN_HOST_H
#define EDGESNN_SNN_HOST_H

#include "snn.h"

typedef struct snn_host snn_host;

/* Kernel set number `index` of this library that this processor can run, best first; NULL behind the last. */
const char *snn_host_kernels(uint32_t index);

/* Copies the file. `kernels` is a name of snn_host_kernels, or NULL for the best. */
snn_status snn_host_open(const void *data, size_t size, const char *kernels, uint32_t chunk, snn_host **host);
void snn_host_close(snn_host *host);
void snn_host_info(const snn_host *host, snn_info *info);
uint64_t snn_host_context_bytes(const snn_host *host);

/* `batch` new sequences, run by at most `threads` threads. */
snn_status snn_host_reset(snn_host *host, uint32_t batch, uint32_t threads);
/* One token for the only sequence. */
snn_status snn_host_step(snn_host *host, uint32_t token, int32_t *logits);
/* One token for each sequence: tokens [batch], logits int32 [batch][vocab] or NULL. */
snn_status snn_host_steps(snn_host *host, const uint32_t *tokens, int32_t *logits);
/* tokens [batch][length]; logits int32 [batch][vocab] of the last token, or NULL. */
snn_status snn_host_prefill(snn_host *host, const uint32_t *tokens, size_t length, int32_t *logits);
/* tokens [batch][length]; logits int32 [batch][length][vocab]. */
snn_status snn_host_sequence(snn_host *host, const uint32_t *tokens, size_t length, int32_t *logits);
/* Frames int8 [batch][length][inputs] of a program that reads frames; `out` int32 [batch][outputs] of the last
 * ones, with `all` [batch][length][outputs], or NULL. */
snn_status snn_host_frames(snn_host *host, const int8_t *frames, size_t length, int32_t *out, int all);
/* As snn_host_window, of frames int8 [count][inputs]; out int32 [repeat * count][outputs]. */
snn_status snn_host_frames_window(snn_host *host, const int8_t *frames, size_t count, uint32_t repeat,
                                  uint32_t warmup, uint64_t *stamps, int32_t *out);
/* As snn_top; the readout in two passes where snn_host_two_pass found that it pays. */
snn_status snn_host_top(snn_host *host, uint32_t sequence, uint32_t k, uint32_t *ids, int32_t *values);
/* Whether snn_host_top takes two passes (snn_rough.h): `wanted` 1 or 0, or -1 for what a probe of a
 * millisecond finds faster here, which is also asked when a program is opened. Gives what holds now: 0 where
 * the kernels have no such pass. */
int snn_host_two_pass(snn_host *host, int wanted);
/* Greedy generation: runs `token`, takes the best next one, runs that, and so on, until `count` are made or one
 * is `end`. ids [count]; the context has seen all but the last. */
snn_status snn_host_greedy(snn_host *host, uint32_t token, uint32_t count, uint32_t end, uint32_t *ids,
                           uint32_t *made);
snn_status snn_host_save(snn_host *host, uint32_t sequence, int oldest_first, uint8_t *state,
                         uint64_t *position);
snn_status snn_host_restore(snn_host *host, uint32_t sequence, const uint8_t *state, uint64_t position);

/* snn_window with the monotonic clock in nanoseconds. */
snn_status snn_host_window(snn_host *host, const uint32_t *tokens, size_t count, uint32_t repeat,
                           uint32_t warmup, int32_t *logits, uint64_t *stamps, int8_t *codes);
snn_status snn_host_logits_of(snn_host *host, const int8_t *codes, int32_t *logits);
uint64_t snn_host_now(void);
/* Reads memory once and adds it up: what benchmarks/engine.py measures bandwidth with. */
uint64_t snn_host_read(const uint64_t *memory, size_t words);

#endif
