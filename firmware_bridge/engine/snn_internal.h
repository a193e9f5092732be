/* What the files of the engine share. Not for users. */
#ifndef EDGESNN_SNN_INTERNAL_H
#define EDGESNN_SNN_INTERNAL_H

#include <string.h>

#include "snn.h"

enum {
    SNN_EMBED = 1,
    SNN_LINEAR,
    SNN_LIF,
    SNN_SHIFT,
    SNN_ATTEND,
    SNN_ADD,
    SNN_SATURATE,
    SNN_COUNT,
    SNN_READOUT,
    SNN_FRAMES, /* from here on of programs that read frames */
    SNN_CONV,
    SNN_SUM_POOL,
    SNN_STATEFUL,
    SNN_DELAY,
    SNN_OUTPUT
};

/* What an op makes. */
enum { SNN_CURRENT, SNN_SPIKES, SNN_COUNTS, SNN_LOGITS, SNN_GRADED, SNN_MEMBRANES, SNN_OUTPUTS };

/* What a spike does to the membrane of a StatefulLIF: edgesnn.program.ops_frames.Reset. */
enum { SNN_RESET_NONE, SNN_RESET_ZERO, SNN_RESET_SUBTRACT, SNN_RESET_LATE, SNN_RESET_MANY };

#define SNN_NONE         0xFFFFFFFFu
#define SNN_MEMBRANE_MAX 8388607
#define SNN_RESIDUAL_MAX 131071
#define SNN_COUNT_MAX    16777215
#define SNN_BLOCK        256u /* logits that snn_top looks at together */
#define SNN_HEAD_WORDS   4u   /* of the widest head: 255 channels */

/* Windows whose heads keep running sums. Below, visiting every slot of the ring costs less; above, a sum
 * could leave its byte. */
#define SNN_SUMS_LEAST 41u
#ifndef SNN_SUMS_MOST
#define SNN_SUMS_MOST 256u
#endif

/* One op with its inputs resolved and its buffer planned. Offsets of values are bytes per token of a chunk.
 */
typedef struct snn_op {
    uint32_t kind, clip, made;
    uint32_t first, second;
    uint32_t channels; /* of the output; of a Readout the vocabulary */
    uint32_t width;    /* channels of the first input; of an Embed the rank */
    uint32_t steps;    /* timesteps that the output stores: T, or 1 where all are equal */
    uint32_t last_use; /* number of the last op that reads the output */
    int32_t numbers[8];
    const int8_t *weight; /* Linear, projection of Embed, D of Readout */
    const int8_t *table;  /* E */
    const int32_t *left;  /* threshold, multiplier, channels of a Shift, windows */
    const int32_t *right; /* bias */
    const int32_t *third; /* decay of a StatefulLIF */
    const uint64_t *mask; /* of a Shift: bits of its channels */
    uint32_t count;       /* channels of a Shift, heads of an Attend, parameters of a StatefulLIF or Delay */
    uint32_t slots;       /* of an Attend: sum of its windows; of a Delay: the longest */
    uint32_t extents[2], maps; /* of a Conv or SumPool: height, width and maps of the output */
    uint32_t kernel[2];        /* of a Conv: height and width of the window */
    uint32_t inside, each;     /* of a Conv: maps of a group that come in and go out */
    uint64_t value;       /* offset of the output */
    uint64_t state;       /* offset of the state in the context */
} snn_op;

struct snn_model {
    const uint8_t *data;
    const snn_kernels *kernels;
    snn_op *ops;
    uint8_t *packed; /* the table again, where the kernels want it so */
    uint32_t timesteps, n_ops;
    uint32_t vocab, rank, window;
    uint32_t inputs, outputs; /* of a program that reads frames */
    uint32_t tail;        /* first op that no later token can notice */
    uint32_t rows_max;    /* widest input of a Linear */
    uint32_t width_max;   /* widest value that a projection makes */
    uint64_t value_bytes; /* of all values, per token of a chunk */
    uint64_t ring_bytes;  /* of all states */
    uint64_t saved_bytes; /* of snn_save */
};

/* Timesteps that share the rows of a Linear. */
#define SNN_GROUP 4u

/* Some rows of a list of row numbers, to be added to one timestep of a group or to two. Without rows it says
 * that all sums of the group must leave their 16 bits now. */
typedef struct snn_part {
    uint32_t start; /* in the list */
    uint16_t count;
    uint8_t first, second; /* timesteps in the group; second is SNN_GROUP where there is but one */
} snn_part;

/* A Linear over the tokens of a chunk, and what snn_lists makes of its spikes. */
typedef struct snn_layer {
    const int8_t *weight; /* [rows][columns] */
    const uint64_t *bits; /* [tokens][timesteps][words of rows], a token every bits_stride words */
    int32_t *out;         /* [tokens * timesteps][columns], a row every stride */
    size_t bits_stride, stride;
    uint32_t rows, columns, tokens, timesteps;
    uint16_t *list;   /* row numbers, with room for a register behind the last */
    snn_part *parts;  /* group after group */
    uint32_t *groups; /* where the parts of each group start; [tokens * snn_groups(timesteps) + 1] */
    uint64_t *masks;  /* scratch of snn_lists */
} snn_layer;

struct snn_context {
    const snn_model *model;
    uint32_t chunk;
    int32_t ready;     /* whether codes belong to a token */
    int32_t counts;    /* whether spikes are counted */
    uint64_t spikes;   /* how many there were */
    uint64_t position; /* n, tokens since reset */
    uint64_t filled;   /* slots of every ring that can hold a token, from 0: min(n, ring) until a restore */
    uint8_t *state;
    uint8_t *values;
    uint16_t *list; /* of the Linear at work: see snn_layer */
    snn_part *parts;
    uint32_t *groups;
    uint64_t *masks;
    uint32_t *scores; /* of one attention window, padded */
    uint64_t *head;   /* q, k and v of one head, SNN_HEAD_WORDS each */
    int32_t *sums;    /* of a projection */
    int16_t *inputs;  /* of a projection */
    int32_t *block;   /* SNN_BLOCK logits */
    int8_t *codes;    /* z8 of the last token, padded with zeros */
};

/* Kernels. All arrays are exactly as long as their extents say unless a padding is named. */
struct snn_kernels {
    const char *name;
    /* out[v][c] = sum over the set bits r of vector v of weight[r][c]. */
    void (*linear)(const snn_layer *layer);
    /* Spikes of one token: bits [timesteps][words]. Rows of current are `stride` apart, 0 when all are equal.
     */
    void (*lif)(const snn_op *op, const int32_t *current, size_t stride, uint32_t timesteps, uint64_t *bits);
    /* out[c] = sum over j of popcount(q & k[j]) * bit c of v[j]; `words` words a slot; scores has room for
     * slots + 64 words. */
    void (*attend)(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots, uint32_t words,
                   uint32_t channels, uint32_t *scores, int32_t *out);
    /* The same for a head that keeps sums uint8 [words][channels][64] of its ring, sums[w][i][c] = how many
     * slots have bit i in k and bit 64 w + c in v: out = q . sums + popcount(q & k) * v for the token itself;
     * then the slot that leaves is taken off the sums and the token added. No sum leaves a byte and out fits
     * 16 bits. */
    void (*attend_sums)(const uint64_t *q, const uint64_t *k, const uint64_t *v, const uint64_t *old_k,
                        const uint64_t *old_v, uint32_t words, uint32_t channels, uint8_t *sums,
                        int32_t *out);
    /* out[c] = sum over j of x[j] * weight[j][c]. */
    void (*project)(const int16_t *x, uint32_t rows, const int8_t *weight, uint32_t columns, int32_t *out);
    /* out[i] = table[first + i] . codes; codes are padded with zeros to a multiple of 64. Gives the largest.
     */
    int32_t (*logits)(const int8_t *table, const uint8_t *packed, uint32_t rank, const int8_t *codes,
                      uint32_t first, uint32_t count, int32_t *out);
    /* A second copy of the table in the order that logits reads fastest; NULL where the table itself serves.
     */
    size_t (*packed_bytes)(uint32_t vocab, uint32_t rank);
    void (*pack)(const int8_t *table, uint32_t vocab, uint32_t rank, uint8_t *packed);
    /* Of frames/snn_frames_kernels.h: sums [height'][width'][maps] += the weights of the input's events, which
     * are bits, or graded values where bits is NULL. */
    void (*scatter)(const snn_op *op, const uint64_t *bits, const int16_t *graded, int32_t *sums);
    /* One frame of a StatefulLIF. */
    void (*stateful)(const snn_op *op, const int32_t *current, int32_t *membranes, uint64_t *bits,
                     int16_t *graded, int32_t *seen);
};

static inline uint32_t snn_words(uint32_t channels) { return (channels + 63u) / 64u; }

static inline uint64_t snn_aligned(uint64_t bytes) {
    return (bytes + (SNN_ALIGNMENT - 1)) / SNN_ALIGNMENT * SNN_ALIGNMENT;
}

/* Row length of a stored current: a multiple of 64 bytes. */
static inline uint32_t snn_row(uint32_t channels) { return (channels + 15u) / 16u * 16u; }

static inline int snn_has_sums(int32_t window) {
    return (uint32_t)window >= SNN_SUMS_LEAST && (uint32_t)window <= SNN_SUMS_MOST;
}

/* Bytes of one head's running sums at one timestep. */
static inline size_t snn_sums_bytes(uint32_t channels) { return (size_t)snn_words(channels) * channels * 64; }

/* The state of an Attend: keys, values [T][slots][words] of this many bytes each, then the sums of the heads
 * that have them, timestep after timestep. */
static inline uint64_t snn_ring_bytes(const snn_op *op, uint32_t timesteps) {
    return snn_aligned((uint64_t)timesteps * op->slots * snn_words((uint32_t)op->numbers[0]) * 8);
}

/* trunc(value / 2**shift), by magnitude: `>>` of a negative number would round down. */
static inline int32_t snn_trunc(int32_t value, uint32_t shift) {
    uint32_t magnitude = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    magnitude >>= shift;
    return value < 0 ? (int32_t)(0u - magnitude) : (int32_t)magnitude;
}

static inline uint32_t snn_popcount(uint64_t x) {
#if defined(__GNUC__)
    return (uint32_t)__builtin_popcountll(x);
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (uint32_t)((x * 0x0101010101010101u) >> 56);
#endif
}

/* Number of trailing zeros of a word that is not 0. */
static inline uint32_t snn_lowest(uint64_t x) {
#if defined(__GNUC__)
    return (uint32_t)__builtin_ctzll(x);
#else
    return snn_popcount((x & (0u - x)) - 1u);
#endif
}

/* n / d of numbers that are not negative; extents and strides are mostly powers of two, which only shift. */
static inline uint32_t snn_divide(uint32_t n, uint32_t d) {
    return (d & (d - 1)) == 0 ? n >> snn_lowest(d) : n / d;
}

/* A word of the bits of at most 64 bytes that are 0 or 1; eight of them are the top byte of a product. */
static inline uint64_t snn_pack(const uint8_t *bytes, uint32_t count) {
    uint64_t word = 0, eight;
    uint32_t i;
    for (i = 0; i + 8 <= count; i += 8) {
        memcpy(&eight, bytes + i, 8);
        word |= eight * 0x0102040810204080u >> 56 << i;
    }
    for (; i < count; i++) word |= (uint64_t)bytes[i] << i;
    return word;
}

/* Groups of timesteps of a token. */
static inline uint32_t snn_groups(uint32_t timesteps) { return (timesteps + SNN_GROUP - 1) / SNN_GROUP; }

/* Where the sums of a group of timesteps go, and how many timesteps it has. */
static inline int32_t *snn_group_out(const snn_layer *layer, uint32_t group, uint32_t *steps) {
    uint32_t per_token = snn_groups(layer->timesteps), step = group % per_token * SNN_GROUP;
    *steps = layer->timesteps - step < SNN_GROUP ? layer->timesteps - step : SNN_GROUP;
    return layer->out + ((size_t)(group / per_token) * layer->timesteps + step) * layer->stride;
}

/* Numbers of the set bits; returns how many. May write 64 bytes behind the last. */
typedef uint32_t (*snn_events_of)(const uint64_t *bits, uint32_t words, uint16_t *rows);
uint32_t snn_events(const uint64_t *bits, uint32_t words, uint16_t *rows);
/* Most parts of a group, and bytes of the masks, for so many rows. */
uint32_t snn_parts_max(uint32_t rows);
size_t snn_masks_bytes(uint32_t rows);
/* Fills list, parts and groups of a layer. */
void snn_lists(const snn_layer *layer, snn_events_of events);
/* Length of the lists of the first groups. */
uint32_t snn_list_length(const snn_layer *layer, uint32_t groups);
/* Columns [first, columns) of a layer: the equation itself, used by every kernel set for what its lanes
 * leave. */
void snn_linear_columns(const snn_layer *layer, uint32_t first);
/* Bits [first, first + count) of a bit row, moved to bit 0; unused bits of the last word are 0. */
void snn_bits(const uint64_t *bits, uint32_t first, uint32_t count, uint64_t *out);
/* LIF of channels [first, channels), whose bits are 0 before: the equation itself, used by every kernel set
 * for what its lanes leave. */
void snn_lif_scalar(const snn_op *op, uint32_t first, const int32_t *current, size_t stride,
                    uint32_t timesteps, uint64_t *bits);
/* Run tokens [0, count) of a chunk; ops from `tail` on only from token `first`; codes of token i go to
 * codes + i * stride. */
void snn_run(snn_context *context, const uint32_t *tokens, uint32_t count, uint32_t first, int8_t *codes,
             size_t stride);
/* A Linear of spikes over tokens [first, count) of a chunk; an Add or Saturate of one token. */
void snn_run_linear(snn_context *context, uint32_t index, uint32_t first, uint32_t count);
void snn_run_sum(snn_context *context, uint32_t index, uint32_t token);
/* State of an op of a program that reads frames: its bytes, which are those of a saved one; saving it, where
 * slot s of a ring is saved as slot (s - turn) mod ring; and the whole state from a saved one. */
uint64_t snn_frame_state_bytes(const snn_op *op);
uint8_t *snn_save_frames(const snn_context *context, const snn_op *op, uint64_t turn, uint8_t *state);
snn_status snn_restore_frames(snn_context *context, const uint8_t *state);

#endif
