/* float32 and bfloat16 (as bits) in memory, float32 in registers. */
#ifndef EDGESNN_FLOATS_H
#define EDGESNN_FLOATS_H

#include <stdint.h>
#include <string.h>

typedef int64_t len;
typedef uint16_t b16;

static inline float get_f32(const float *p) { return *p; }
static inline void put_f32(float *p, float v) { *p = v; }

static inline float get_b16(const b16 *p) {
    uint32_t bits = (uint32_t)*p << 16;
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

/* round to nearest even, as torch does */
static inline void put_b16(b16 *p, float v) {
    uint32_t bits;
    memcpy(&bits, &v, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    *p = v != v ? (b16)0x7fc0 : (b16)rounded;
}

#endif
