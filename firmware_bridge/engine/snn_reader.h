/* The layout of program.snn (docs of edgesnn.program.snn_format) and its checked reading. Not for users. */
#ifndef EDGESNN_SNN_READER_H
#define EDGESNN_SNN_READER_H

#include "snn_internal.h"

#define SNN_HEADER_BYTES 128u
#define SNN_OP_BYTES     128u
#define SNN_TENSOR_BYTES 64u
#define SNN_OPS_MAX      4096u
#define SNN_TENSORS_MAX  16384u
#define SNN_INT8         1u
#define SNN_INT32        2u

typedef struct snn_file {
    const uint8_t *data, *ops, *tensors;
    size_t size;
    uint32_t timesteps, n_ops, n_tensors;
    int frames; /* whether the program reads frames: version 1.1 */
} snn_file;

uint32_t snn_u32(const uint8_t *p);
int snn_all_zero(const uint8_t *p, size_t count);
snn_status snn_file_open(const void *bytes, size_t size, snn_file *file);
snn_status snn_check_tensors(const snn_file *file);
const void *snn_tensor(const snn_file *file, uint32_t index, uint32_t type, uint32_t *rows,
                       uint32_t *columns);
/* The data of tensor `index` if it has this type and four dimensions, which go to `shape`. */
const void *snn_tensor_of_four(const snn_file *file, uint32_t index, uint32_t type, uint32_t shape[4]);
int snn_weights_ok(const int8_t *values, size_t count);
/* What only programs that read frames have: checks an op whose input makes `read`. */
snn_status snn_read_frames_op(const snn_file *file, const uint8_t *record, uint32_t read, snn_op *op);
/* Reads and checks all ops into model->ops. */
snn_status snn_read_ops(const snn_file *file, snn_model *model);
/* Places values and states: sizes and offsets of everything that a context holds. */
snn_status snn_plan(snn_model *model);

#endif
