/* edgesnn engine: runs program.snn. No malloc, no float, no libc beyond memcpy and memset.
 *
 * The caller owns all memory. A model is read in place from a const pointer (mmap, flash or RAM), which
 * must stay valid and unchanged; its index lives in memory that the caller gives. A context is one sequence:
 * its spikes of the past and the scratch of a token. Contexts of one model may run on different threads.
 *
 *     size_t bytes;
 *     snn_model_size(data, size, SNN_KERNELS_DEFAULT, &bytes);    give `bytes` of memory, 64-byte aligned
 *     snn_model_open(data, size, memory, bytes, SNN_KERNELS_DEFAULT, &model);
 *     snn_context_size(model, 1, &bytes);                       the same for the context
 *     snn_context_open(model, 1, memory, bytes, &context);
 *     snn_step(context, token, NULL);                           then any of:
 *     snn_logits(context, logits);  snn_top(context, k, ids, values);
 *
 * No function trusts a size or a number in the file; every one returns an error code and never aborts.
 * What is relied on: the compiler's proof that no sum overflows (docs/engine.md). A file that lies about it,
 * with a right CRC, gives wrong numbers, never an access out of bounds: all such sums wrap.
 */
#ifndef EDGESNN_SNN_H
#define EDGESNN_SNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SNN_ENGINE_VERSION "1.0"
/* Model and context memory must be aligned to this; the file itself to 4 (8 and more is faster). */
#define SNN_ALIGNMENT 64
/* Largest k of snn_top. */
#define SNN_TOP_MAX 64

typedef enum snn_status {
    SNN_OK = 0,
    SNN_E_ARGUMENT,  /* a null pointer or a number that makes no sense */
    SNN_E_ALIGNMENT, /* the file or the memory is not aligned */
    SNN_E_MEMORY,    /* the memory given is too small */
    SNN_E_TRUNCATED, /* fewer bytes than a header */
    SNN_E_MAGIC,     /* not a program.snn */
    SNN_E_ENDIAN,    /* other byte order */
    SNN_E_VERSION,   /* unknown version */
    SNN_E_SIZE,      /* the size in the header is not the size of the data */
    SNN_E_CRC,       /* the CRC-32 differs */
    SNN_E_COUNT,     /* number of timesteps, ops or tensors out of range */
    SNN_E_OFFSET,    /* an offset lies */
    SNN_E_PADDING,   /* a byte that must be zero is not */
    SNN_E_TENSOR,    /* unknown type, dimensions or size of a tensor */
    SNN_E_OP,        /* unknown kind, or an op in the wrong place */
    SNN_E_NAME,      /* a name that is empty, not printable or used twice */
    SNN_E_INPUT,     /* an op reads what no earlier op makes, or what it cannot read */
    SNN_E_SHAPE,     /* a tensor of an op has the wrong type or shape */
    SNN_E_RANGE,     /* a number of an op is out of range */
    SNN_E_LIMIT,     /* valid, but larger than this engine holds */
    SNN_E_TOKEN,     /* a token id outside the vocabulary */
    SNN_E_STATE,     /* a saved state that holds what no program of its kind leaves */
    SNN_E_FRAME      /* a sample of a frame that is out of range */
} snn_status;

typedef struct snn_model snn_model;
typedef struct snn_context snn_context;
typedef struct snn_kernels snn_kernels;

/* One kernel set; all give the same bits. Present where compiled in. */
extern const snn_kernels snn_kernels_reference; /* strict C99 */
extern const snn_kernels snn_kernels_swar;      /* two 16-bit lanes in a 32-bit word */
extern const snn_kernels snn_kernels_dsp;       /* by the instructions of Cortex-M4, M7 and their like */
extern const snn_kernels snn_kernels_vector;    /* GNU vector extensions, 16 bytes */

/* What to give when nothing better is known. */
#if defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON) || defined(__wasm_simd128__))
#define SNN_KERNELS_DEFAULT (&snn_kernels_vector)
#elif defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
#define SNN_KERNELS_DEFAULT (&snn_kernels_dsp)
#else
#define SNN_KERNELS_DEFAULT (&snn_kernels_swar)
#endif

typedef struct snn_info {
    uint32_t timesteps;
    uint32_t ops;
    uint32_t vocab;
    uint32_t rank;       /* bytes of the readout codes */
    uint32_t window;     /* longest attention window in tokens */
    int32_t exponent;    /* float logits = logits * 2**-exponent */
    size_t state_bytes;  /* of snn_save */
    const uint8_t *hash; /* the 32 bytes that name the program */
    const char *kernels; /* name of the kernel set */
    uint32_t inputs;     /* samples of a frame; 0 where the program reads tokens, else vocab and rank are 0 */
    uint32_t outputs;    /* of a program that reads frames */
} snn_info;

/* Name of a status, for example "SNN_E_CRC". */
const char *snn_status_name(snn_status status);

snn_status snn_model_size(const void *data, size_t size, const snn_kernels *kernels, size_t *bytes);
snn_status snn_model_open(const void *data, size_t size, void *memory, size_t bytes,
                          const snn_kernels *kernels, snn_model **model);
void snn_model_info(const snn_model *model, snn_info *info);

/* `chunk` tokens of a prompt are run through each layer together; 1 is enough for snn_step. */
snn_status snn_context_size(const snn_model *model, uint32_t chunk, size_t *bytes);
snn_status snn_context_open(const snn_model *model, uint32_t chunk, void *memory, size_t bytes,
                            snn_context **context);
/* Forget everything: a new sequence. */
void snn_reset(snn_context *context);

/* One token; `logits` int32 [vocab], or NULL when snn_top or snn_logits will be asked. */
snn_status snn_step(snn_context *context, uint32_t token, int32_t *logits);
/* `count` tokens; `logits` int32 [vocab] of the last one, or NULL. The context goes on after them. */
snn_status snn_prefill(snn_context *context, const uint32_t *tokens, size_t count, int32_t *logits);
/* `count` tokens; `logits` int32 [count][vocab] of all of them. The context goes on after them. */
snn_status snn_sequence(snn_context *context, const uint32_t *tokens, size_t count, int32_t *logits);

/* `count` frames int8 [count][inputs] of a program that reads frames, which the functions of tokens refuse; the
 * context goes on after them. `out` int32 [outputs] of the last one, with `all` [count][outputs] of all of
 * them, or NULL. What stands before a frame that is refused has run. */
snn_status snn_frames(snn_context *context, const int8_t *frames, size_t count, int32_t *out, int all);

/* Of the last token: logits of `count` tokens from `first`; all logits; the readout codes int8 [rank]. */
snn_status snn_logits_range(snn_context *context, uint32_t first, uint32_t count, int32_t *logits);
snn_status snn_logits(snn_context *context, int32_t *logits);
const int8_t *snn_codes(const snn_context *context);
/* Readout codes that were kept are those of the last token again: its logits can be asked for. */
snn_status snn_recall(snn_context *context, const int8_t *codes);
/* Logits int32 [vocab] of readout codes that were kept. */
snn_status snn_logits_of(snn_context *context, const int8_t *codes, int32_t *logits);
/* The k best tokens, best first, the lower id first among equals; no logits are stored. */
snn_status snn_top(snn_context *context, uint32_t k, uint32_t *ids, int32_t *values);
uint32_t snn_argmax(snn_context *context);

/* Count spikes of all LIF neurons from now on, from 0; and how many there were. It costs a little time. */
void snn_count_spikes(snn_context *context, int on);
uint64_t snn_spikes(const snn_context *context);

/* A measurement window: `warmup` tokens, then `repeat` passes over the tokens, each from a new context, every
 * token with its logits. `clock` is read before and after each token: stamps [repeat * count][2].
 * `codes` int8 [repeat * count][rank] keeps what every token left, or is NULL. */
typedef uint64_t (*snn_clock)(void *user);
snn_status snn_window(snn_context *context, const uint32_t *tokens, size_t count, uint32_t repeat,
                      uint32_t warmup, int32_t *logits, snn_clock clock, void *user, uint64_t *stamps,
                      int8_t *codes);

/* The state: every state tensor of the program (edgesnn.program.state) in order of its ops. Bytes 0 and 1 of
 * shift [T][channels], k [T][dh][slots], v [T][slots][dh]; little-endian int32 of membranes and counts
 * [channels], int16 of a delay [longest][channels]; `position` is n, tokens or frames since reset.
 * With `oldest_first` every ring is turned so that position is 0 (the form that a prefill gives). */
snn_status snn_save(const snn_context *context, int oldest_first, uint8_t *state, uint64_t *position);
snn_status snn_restore(snn_context *context, const uint8_t *state, uint64_t position);

#ifdef __cplusplus
}
#endif
#endif
