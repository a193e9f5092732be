/* The best tokens without all logits, exactly: for tables that a processor reads slowly (part of the host shim).
 *
 * Beside the table stands a rough copy of half its bytes: row i as step_i * h_i + l_i with h in -8..7. Of any
 * codes z a logit is then at most step_i (h_i . z) + |l_i| |z| (Cauchy-Schwarz, both norms rounded up). The first
 * pass computes these bounds, the second the logits of the few rows whose bound reaches the best found so far.
 */
#ifndef EDGESNN_SNN_ROUGH_H
#define EDGESNN_SNN_ROUGH_H

#include "snn_internal.h"

/* Tables up to this many bytes are left alone: they stay in the processor's second cache. */
#define SNN_ROUGH_LEAST ((size_t)1 << 20)

typedef struct snn_rough snn_rough;

/* Memory for snn_rough_open. */
size_t snn_rough_bytes(uint32_t vocab, uint32_t rank);
/* The rough copy of a table, for a processor with AVX2, or with AVX-512 where `wide`; `memory` is 64-byte
 * aligned. */
snn_rough *snn_rough_open(const int8_t *table, uint32_t vocab, uint32_t rank, int wide, void *memory);
/* The first pass alone: bounds of all tokens. */
void snn_rough_bounds(snn_rough *rough, const int8_t *codes);
/* As snn_top for codes that are padded with zeros to a multiple of 64. Gives 0 where so many rows have to be
 * looked at that all logits cost less; then nothing is written. */
int snn_rough_top(snn_rough *rough, const int8_t *codes, uint32_t k, uint32_t *ids, int32_t *values);

#endif
