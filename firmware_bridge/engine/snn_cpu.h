/* What this x86 processor and its system can run. Asked directly: not every compiler that builds the engine
 * links the model that __builtin_cpu_supports needs (zig 0.17 answers no to everything). */
#ifndef EDGESNN_SNN_CPU_H
#define EDGESNN_SNN_CPU_H

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

/* Registers that the system saves: bit 2 AVX, bits 5 to 7 AVX-512. */
static inline uint32_t snn_saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static inline int snn_has_avx(uint32_t *leaf7_b, uint32_t *leaf7_c, uint32_t *saved) {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c >> 27 & 1u) == 0 || (c >> 23 & 1u) == 0)
        return 0; /* OSXSAVE, POPCNT */
    if (!__get_cpuid_count(7, 0, &a, leaf7_b, leaf7_c, &d)) return 0;
    *saved = snn_saved_registers();
    return (*saved & 6u) == 6u;
}

static inline int snn_cpu_avx2(void) {
    uint32_t b, c, saved;
    const uint32_t need = 1u << 3 | 1u << 5 | 1u << 8; /* BMI1, AVX2, BMI2 */
    return snn_has_avx(&b, &c, &saved) && (b & need) == need;
}

static inline int snn_cpu_avx512(void) {
    uint32_t b, c, saved;
    const uint32_t need_b = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    const uint32_t need_c =
        1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14; /* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
    return snn_cpu_avx2() && snn_has_avx(&b, &c, &saved) && (saved & 0xE6u) == 0xE6u &&
           (b & need_b) == need_b && (c & need_c) == need_c;
}
#endif
#endif
