/* The instructions of Armv7E-M and Armv8-M (DSP extension) that the kernels here are made of, each also in plain
 * C: so the same kernels run, and are tested, on any machine. "even" are bytes 0 and 2 of a word, "odd" 1 and 3;
 * either pair becomes two 16-bit lanes. Armv7-M Architecture Reference Manual: SXTAB16, UXTAB16, SXTB16, SMLAD.
 * Without optimisation a compiler has no register left for them, and takes the plain C. */
#ifndef EDGESNN_SNN_DSP_H
#define EDGESNN_SNN_DSP_H

#include "../snn_internal.h"

#if defined(__GNUC__)
#define DSP_INLINE static inline __attribute__((always_inline))
#else
#define DSP_INLINE static inline
#endif

static inline uint32_t dsp_load(const void *p) {
    uint32_t word;
    memcpy(&word, p, 4); /* these processors load words from any address */
    return word;
}

typedef struct dsp_four {
    uint32_t a, b, c, d;
} dsp_four;

/* Sums of sixteen columns: of bytes 0 and 2 of the first word, of its 1 and 3, and so on. */
typedef struct dsp_sums {
    uint32_t a, b, c, d, e, f, g, h;
} dsp_sums;

/* The lanes of a word of sums. */
static inline int32_t dsp_low(uint32_t sums) { return (int16_t)(uint16_t)sums; }
static inline int32_t dsp_high(uint32_t sums) { return (int16_t)(uint16_t)(sums >> 16); }

/* Elsewhere than in Thumb code LDRD and STRD want registers that stand side by side. */
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__GNUC__) && defined(__OPTIMIZE__)
#define DSP_INSTRUCTIONS
/* Adds sixteen bytes at a multiple of 4: two words are loaded at once, which costs what one does. */
#define DSP_ADD16(name, add)                                                                                  \
    DSP_INLINE void name(const uint8_t *row, dsp_sums *s) {                 \
        uint32_t w, x;                                                                                        \
        __asm__("ldrd %8, %9, [%10]\n\t" add " %0, %0, %8\n\t" add " %1, %1, %8, ror #8\n\t"                  \
                add " %2, %2, %9\n\t" add " %3, %3, %9, ror #8\n\tldrd %8, %9, [%10, #8]\n\t"                 \
                add " %4, %4, %8\n\t" add " %5, %5, %8, ror #8\n\t" add " %6, %6, %9\n\t"                     \
                add " %7, %7, %9, ror #8"                                                                     \
                : "+r"(s->a), "+r"(s->b), "+r"(s->c), "+r"(s->d), "+r"(s->e), "+r"(s->f), "+r"(s->g),         \
                  "+r"(s->h), "=&r"(w), "=&r"(x)                                                              \
                : "r"(row)                                                                                    \
                : "memory");                                                                                  \
    }
#define DSP_WIDEN(name, text)                                                                                 \
    static inline uint32_t name(uint32_t bytes) {                                                             \
        uint32_t lanes;                                                                                       \
        __asm__(text : "=r"(lanes) : "r"(bytes));                                                             \
        return lanes;                                                                                         \
    }
DSP_ADD16(dsp_add16, "sxtab16")
DSP_ADD16(dsp_add16_u, "uxtab16")
DSP_WIDEN(dsp_even, "sxtb16 %0, %1")
DSP_WIDEN(dsp_odd, "sxtb16 %0, %1, ror #8")

/* Four sums in order, to a multiple of 4. */
DSP_INLINE void dsp_put4(uint32_t even, uint32_t odd, int32_t *out) {
    uint32_t t, u;
    __asm__ volatile("sxth %0, %2\n\tsxth %1, %3\n\tstrd %0, %1, [%4]\n\t"
            "asr %0, %2, #16\n\tasr %1, %3, #16\n\tstrd %0, %1, [%4, #8]"
            : "=&r"(t), "=&r"(u)
            : "r"(even), "r"(odd), "r"(out)
            : "memory");
}

#define DSP_ROW(load, sum)                                                                                    \
    load "sxtb16 %6, %7\n\tsxtb16 %7, %7, ror #8\n\tsmlad " sum ", %6, %8, " sum "\n\tsmlad " sum             \
         ", %7, %9, " sum "\n\t"

/* Four bytes of four rows, `rank` apart, times four codes as lanes; row and code move on. */
DSP_INLINE void dsp_dots(const int8_t **row, size_t rank, size_t thrice,
                                                           const uint32_t **code, dsp_four *sums) {
    uint32_t t, w, even, odd;
    __asm__("ldrd %8, %9, [%5], #8\n\t" /* */
            DSP_ROW("ldr %7, [%4, %10]\n\t", "%1") /* */
            DSP_ROW("ldr %7, [%4, %10, lsl #1]\n\t", "%2") /* */
            DSP_ROW("ldr %7, [%4, %11]\n\t", "%3") /* */
            DSP_ROW("ldr %7, [%4], #4\n\t", "%0")
            : "+r"(sums->a), "+r"(sums->b), "+r"(sums->c), "+r"(sums->d), "+r"(*row), "+r"(*code), "=&r"(t),
              "=&r"(w), "=&r"(even), "=&r"(odd)
            : "r"(rank), "r"(thrice)
            : "memory");
}

/* One channel over four timesteps, as lif_step of snn_dsp.c has it: its spikes enter the words from below.
 * `to_theta` and `to_bias` are bytes from the current to threshold and bias. */
#define DSP_DECAY "mul %5, %4, %12\n\tadd %4, %5, %4, lsr #24\n\t"
#define DSP_DRIVE "add %5, %7, %5, lsl #6\n\tadd %4, %5, %4, asr #8\n\tsub %5, %6, %4\n\t"
#define DSP_FIRE  "bic %4, %4, %5, asr #31\n\t"
#define DSP_WORD(word) "adds %5, %5, %5\n\tadc " word ", " word ", " word "\n\t"
DSP_INLINE void dsp_lif4(const int32_t *current, size_t stride,
                                                           size_t to_theta, size_t to_bias, uint32_t n,
                                                           dsp_four *words) {
    uint32_t m, d, theta, bias;
    __asm__("ldr %6, [%8, %10]\n\tldr %7, [%8, %11]\n\t"
            "ldr %4, [%8]\n\tadd %4, %7, %4, lsl #6\n\tsub %5, %6, %4\n\t" /* */
            DSP_FIRE DSP_WORD("%0") /* */
            DSP_DECAY "ldr %5, [%8, %9]\n\t" DSP_DRIVE DSP_FIRE DSP_WORD("%1") /* */
            DSP_DECAY "ldr %5, [%8, %9, lsl #1]\n\t" DSP_DRIVE DSP_FIRE DSP_WORD("%2") /* */
            DSP_DECAY "add %5, %8, %9\n\tldr %5, [%5, %9, lsl #1]\n\t" DSP_DRIVE DSP_WORD("%3")
            : "+r"(words->a), "+r"(words->b), "+r"(words->c), "+r"(words->d), "=&r"(m), "=&r"(d),
              "=&r"(theta), "=&r"(bias)
            : "r"(current), "r"(stride), "r"(to_theta), "r"(to_bias), "r"(n)
            : "cc", "memory");
}
#else
/* Lanes neither carry nor borrow. */
static inline uint32_t dsp_lanes(uint32_t low, uint32_t high) { return (low & 0xFFFFu) | high << 16; }

static inline uint32_t dsp_signed(uint32_t byte) { return (uint32_t)(int8_t)(uint8_t)byte; }

static inline uint32_t dsp_even(uint32_t bytes) {
    return dsp_lanes(dsp_signed(bytes), dsp_signed(bytes >> 16));
}

static inline uint32_t dsp_odd(uint32_t bytes) { return dsp_even(bytes >> 8); }

static inline uint32_t dsp_add(uint32_t sums, uint32_t lanes) {
    return dsp_lanes(sums + lanes, (sums >> 16) + (lanes >> 16));
}

static inline void dsp_put4(uint32_t even, uint32_t odd, int32_t *out) {
    out[0] = dsp_low(even);
    out[1] = dsp_low(odd);
    out[2] = dsp_high(even);
    out[3] = dsp_high(odd);
}

static inline void dsp_add16(const uint8_t *row, dsp_sums *s) {
    uint32_t w = dsp_load(row), x = dsp_load(row + 4), y = dsp_load(row + 8), z = dsp_load(row + 12);
    s->a = dsp_add(s->a, dsp_even(w));
    s->b = dsp_add(s->b, dsp_odd(w));
    s->c = dsp_add(s->c, dsp_even(x));
    s->d = dsp_add(s->d, dsp_odd(x));
    s->e = dsp_add(s->e, dsp_even(y));
    s->f = dsp_add(s->f, dsp_odd(y));
    s->g = dsp_add(s->g, dsp_even(z));
    s->h = dsp_add(s->h, dsp_odd(z));
}

static inline void dsp_add16_u(const uint8_t *row, dsp_sums *s) {
    uint32_t w = dsp_load(row), x = dsp_load(row + 4), y = dsp_load(row + 8), z = dsp_load(row + 12);
    s->a = dsp_add(s->a, w & 0x00FF00FFu);
    s->b = dsp_add(s->b, w >> 8 & 0x00FF00FFu);
    s->c = dsp_add(s->c, x & 0x00FF00FFu);
    s->d = dsp_add(s->d, x >> 8 & 0x00FF00FFu);
    s->e = dsp_add(s->e, y & 0x00FF00FFu);
    s->f = dsp_add(s->f, y >> 8 & 0x00FF00FFu);
    s->g = dsp_add(s->g, z & 0x00FF00FFu);
    s->h = dsp_add(s->h, z >> 8 & 0x00FF00FFu);
}

/* SMLAD */
static inline uint32_t dsp_dot(uint32_t a, uint32_t b, uint32_t sum) {
    uint32_t low = (uint32_t)((int32_t)(int16_t)(uint16_t)a * (int16_t)(uint16_t)b);
    uint32_t high = (uint32_t)((int32_t)(int16_t)(uint16_t)(a >> 16) * (int16_t)(uint16_t)(b >> 16));
    return sum + low + high;
}

static inline void dsp_dots(const int8_t **row, size_t rank, size_t thrice, const uint32_t **code,
                            dsp_four *sums) {
    uint32_t even = (*code)[0], odd = (*code)[1], w = dsp_load(*row), x = dsp_load(*row + rank);
    uint32_t y = dsp_load(*row + 2 * rank), z = dsp_load(*row + thrice);
    sums->a = dsp_dot(dsp_odd(w), odd, dsp_dot(dsp_even(w), even, sums->a));
    sums->b = dsp_dot(dsp_odd(x), odd, dsp_dot(dsp_even(x), even, sums->b));
    sums->c = dsp_dot(dsp_odd(y), odd, dsp_dot(dsp_even(y), even, sums->c));
    sums->d = dsp_dot(dsp_odd(z), odd, dsp_dot(dsp_even(z), even, sums->d));
    *row += 4;
    *code += 2;
}
#endif

DSP_INLINE void dsp_put(const dsp_sums *s, int32_t *out) {
    dsp_put4(s->a, s->b, out);
    dsp_put4(s->c, s->d, out + 4);
    dsp_put4(s->e, s->f, out + 8);
    dsp_put4(s->g, s->h, out + 12);
}

/* Numbers of the set bits of a word, each times `unit`. */
DSP_INLINE uint16_t *dsp_list(uint32_t bits, uint32_t first, uint32_t unit, uint16_t *list) {
    for (; bits != 0; bits &= bits - 1) {
#if defined(__GNUC__)
        *list++ = (uint16_t)((first + (uint32_t)__builtin_ctz(bits)) * unit);
#else
        *list++ = (uint16_t)((first + snn_lowest(bits)) * unit);
#endif
    }
    return list;
}

/* Of snn_dsp_attend.c; see snn_internal.h. */
void snn_dsp_attend(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots, uint32_t words,
                    uint32_t channels, uint32_t *scores, int32_t *out);
void snn_dsp_attend_sums(const uint64_t *q, const uint64_t *k, const uint64_t *v, const uint64_t *old_k,
                         const uint64_t *old_v, uint32_t words, uint32_t channels, uint8_t *sums, int32_t *out);

#endif
