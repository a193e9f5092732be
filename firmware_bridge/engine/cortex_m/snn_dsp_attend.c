/* Attention for Cortex-M4, M7 and their like; see snn_dsp.c. */
#include "snn_dsp.h"

static uint32_t popcount(uint32_t x) {
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    return ((x + (x >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}

/* Four bits to four bytes: bit i to byte i. */
static const uint32_t bytes_of[16] = {
    0x00000000u, 0x00000001u, 0x00000100u, 0x00000101u, 0x00010000u, 0x00010001u, 0x00010100u, 0x00010101u,
    0x01000000u, 0x01000001u, 0x01000100u, 0x01000101u, 0x01010000u, 0x01010001u, 0x01010100u, 0x01010101u,
};

DSP_INLINE uint32_t spread(uint32_t bits) { return bytes_of[bits & 15u]; }

static uint32_t bits16(uint64_t word, uint32_t c) {
    return (uint32_t)(c % 64 < 32 ? word : word >> 32) >> c % 32; /* and what stands above them */
}

DSP_INLINE void put4(uint32_t bytes, int32_t *out) {
    out[0] = (int32_t)(bytes & 255u);
    out[1] = (int32_t)(bytes >> 8 & 255u);
    out[2] = (int32_t)(bytes >> 16 & 255u);
    out[3] = (int32_t)(bytes >> 24);
}

/* Adds sixteen bytes to sums, or puts them; at most `count` of them. */
static void put_bytes(const uint32_t lanes[4], int32_t *out, uint32_t count, int add) {
    uint32_t i;
    for (i = 0; i < count; i++) out[i] = (add ? out[i] : 0) + (int32_t)(lanes[i / 4] >> 8 * (i % 4) & 255u);
}

/* Slots that share spikes with q: score and number as one word (255 channels, 2**17 slots at most). With
 * `halves` 1 the upper half of a head's one word is empty. */
DSP_INLINE uint32_t find_scores(const uint64_t *q, const uint64_t *k, uint32_t slots, const uint32_t words,
                                const uint32_t halves, uint32_t *scores) {
    uint32_t *at = scores, j, w;
    for (j = 0; j < slots; j++, k += words) {
        uint32_t score = 0;
        for (w = 0; w < words; w++) {
            uint32_t low = (uint32_t)q[w] & (uint32_t)k[w], high;
            if (low != 0) score += popcount(low);
            if (halves == 1) continue;
            high = (uint32_t)(q[w] >> 32) & (uint32_t)(k[w] >> 32);
            if (high != 0) score += popcount(high);
        }
        if (score != 0) *at++ = j << 8 | score;
    }
    return (uint32_t)(at - scores);
}

/* Most slots share no spike with q: only the others are looked at again, 16 channels at a time. Byte lanes hold
 * until the scores added reach 255. */
void snn_dsp_attend(const uint64_t *q, const uint64_t *k, const uint64_t *v, uint32_t slots, uint32_t words,
                       uint32_t channels, uint32_t *scores, int32_t *out) {
    uint32_t found, j, c;
    if (channels <= 32) {
        found = find_scores(q, k, slots, 1, 1, scores);
    } else if (words == 1) {
        found = find_scores(q, k, slots, 1, 2, scores);
    } else {
        found = find_scores(q, k, slots, words, 2, scores);
    }
    for (c = 0; c < channels; c += 16) {
        uint32_t lanes[4] = {0, 0, 0, 0}, sum = 0, count = channels - c < 16 ? channels - c : 16;
        int add = 0;
        for (j = 0; j < found; j++) {
            uint32_t score = scores[j] & 255u, bits = bits16(v[(scores[j] >> 8) * words + c / 64], c);
            sum += score;
            if (sum > 255) {
                put_bytes(lanes, out + c, count, add);
                lanes[0] = lanes[1] = lanes[2] = lanes[3] = 0;
                sum = score;
                add = 1;
            }
            lanes[0] += spread(bits) * score;
            lanes[1] += spread(bits >> 4) * score;
            lanes[2] += spread(bits >> 8) * score;
            lanes[3] += spread(bits >> 12) * score;
        }
        if (count == 16 && !add) {
            put4(lanes[0], out + c);
            put4(lanes[1], out + c + 4);
            put4(lanes[2], out + c + 8);
            put4(lanes[3], out + c + 12);
        } else {
            put_bytes(lanes, out + c, count, add);
        }
    }
}

static uint32_t list_words(const uint64_t *bits, uint32_t words, uint16_t *list) {
    uint16_t *at = list;
    uint32_t w;
    for (w = 0; w < words; w++) {
        at = dsp_list((uint32_t)bits[w], 64 * w, 1, at);
        at = dsp_list((uint32_t)(bits[w] >> 32), 64 * w + 32, 1, at);
    }
    return (uint32_t)(at - list);
}

/* Adds four words to sixteen bytes of some rows, or takes them off. No byte overflows, so nothing is carried. */
static void enter(uint8_t *sums, const uint16_t *list, uint32_t count, const uint32_t bits[4], int leaves) {
    uint32_t a = bits[0], b = bits[1], c = bits[2], d = bits[3], i;
    if ((a | b | c | d) == 0) return;
    if (leaves) {
        a = 0u - a;
        b = 0u - b;
        c = 0u - c;
        d = 0u - d;
    }
    for (i = 0; i < count; i++) {
        uint32_t *row = (uint32_t *)(void *)(sums + 64 * (size_t)list[i]);
        row[0] += a;
        row[1] += b;
        row[2] += c;
        row[3] += d;
    }
}

void snn_dsp_attend_sums(const uint64_t *q, const uint64_t *k, const uint64_t *v, const uint64_t *old_k,
                            const uint64_t *old_v, uint32_t words, uint32_t channels, uint8_t *sums,
                            int32_t *out) {
    uint16_t asked[256], entering[256], leaving[256];
    uint32_t n_asked = list_words(q, words, asked), n_entering = list_words(k, words, entering);
    uint32_t n_leaving = list_words(old_k, words, leaving), score = 0, w, c, i;
    int32_t sixteen[16];
    for (w = 0; w < words; w++) {
        score += popcount((uint32_t)q[w] & (uint32_t)k[w]);
        score += popcount((uint32_t)(q[w] >> 32) & (uint32_t)(k[w] >> 32));
    }
    for (c = 0; c < channels; c += 16) {
        uint8_t *block = sums + (size_t)(c / 64) * channels * 64 + c % 64;
        uint32_t now = bits16(v[c / 64], c), past = bits16(old_v[c / 64], c);
        uint32_t fresh[4], stale[4], own[4];
        dsp_sums lanes;
        for (i = 0; i < 4; i++) {
            fresh[i] = spread(now >> 4 * i);
            stale[i] = spread(past >> 4 * i);
            own[i] = fresh[i] * score; /* a score fits a byte */
        }
        lanes.a = own[0] & 0x00FF00FFu;
        lanes.b = own[0] >> 8 & 0x00FF00FFu;
        lanes.c = own[1] & 0x00FF00FFu;
        lanes.d = own[1] >> 8 & 0x00FF00FFu;
        lanes.e = own[2] & 0x00FF00FFu;
        lanes.f = own[2] >> 8 & 0x00FF00FFu;
        lanes.g = own[3] & 0x00FF00FFu;
        lanes.h = own[3] >> 8 & 0x00FF00FFu;
        for (i = 0; i < n_asked; i++) dsp_add16_u(block + 64 * (size_t)asked[i], &lanes);
        dsp_put(&lanes, sixteen);
        for (i = 0; i < 16 && i < channels - c; i++) out[c + i] = sixteen[i] & 0xFFFF;
        enter(block, leaving, n_leaving, stale, 1);
        enter(block, entering, n_entering, fresh, 0);
    }
}
