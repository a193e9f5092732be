/* Reader of program.snn: header, checksum, tensor table. Every length is checked before it is used. */
#include "snn_reader.h"

/* Reads through bytes, so that no alignment is assumed before it was checked. */
static uint32_t u16_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
uint32_t snn_u32(const uint8_t *p) { return u16_at(p) | u16_at(p + 2) << 16; }
static uint64_t u64_at(const uint8_t *p) { return (uint64_t)snn_u32(p) | (uint64_t)snn_u32(p + 4) << 32; }

int snn_all_zero(const uint8_t *p, size_t count) {
    uint8_t any = 0;
    size_t i;
    for (i = 0; i < count; i++) any |= p[i];
    return any == 0;
}

#ifndef SNN_NO_CRC /* left out only by the fuzzer, so that damaged files reach the code behind the checksum  \
                    */
/* CRC-32 (IEEE 802.3, reflected) by half bytes: a table of 64 bytes instead of 1 KiB. */
static uint32_t crc32_of(uint32_t crc, const uint8_t *p, size_t count) {
    static const uint32_t table[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu,
                                       0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
                                       0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                       0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    size_t i;
    for (i = 0; i < count; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return crc;
}
#endif

static snn_status check_header(const uint8_t *data, size_t size) {
    static const uint8_t magic[8] = {'E', 'D', 'G', 'E', 'S', 'N', 'N', 0};
    if (size < SNN_HEADER_BYTES) return SNN_E_TRUNCATED;
    if (((uintptr_t)data & 3u) != 0) return SNN_E_ALIGNMENT;
    if (memcmp(data, magic, 8) != 0) return SNN_E_MAGIC;
    {
        uint32_t order; /* read as this machine reads numbers */
        memcpy(&order, data + 12, 4);
        if (order != 0x01020304u) return SNN_E_ENDIAN;
    }
    if (u16_at(data + 8) != 1 || u16_at(data + 10) > 1) return SNN_E_VERSION;
    if (u64_at(data + 16) != size || snn_u32(data + 28) != SNN_HEADER_BYTES) return SNN_E_SIZE;
#ifndef SNN_NO_CRC
    {
        uint32_t crc = crc32_of(0xFFFFFFFFu, data, 24);
        crc = crc32_of(crc, data + 28, size - 28);
        if ((crc ^ 0xFFFFFFFFu) != snn_u32(data + 24)) return SNN_E_CRC;
    }
#endif
    if (!snn_all_zero(data + 104, 24)) return SNN_E_PADDING;
    return SNN_OK;
}

snn_status snn_file_open(const void *bytes, size_t size, snn_file *file) {
    const uint8_t *data = (const uint8_t *)bytes;
    uint64_t ops_end, tensors_end, data_at;
    snn_status status;
    if (data == NULL) return SNN_E_ARGUMENT;
    status = check_header(data, size);
    if (status != SNN_OK) return status;
    file->data = data;
    file->size = size;
    file->frames = u16_at(data + 10) == 1;
    file->timesteps = snn_u32(data + 64);
    file->n_ops = snn_u32(data + 68);
    file->n_tensors = snn_u32(data + 72);
    if (file->timesteps < 1 || file->timesteps > 127 || file->n_ops < 2 || file->n_ops > SNN_OPS_MAX ||
        file->n_tensors > SNN_TENSORS_MAX || snn_u32(data + 76) != 0 ||
        (file->frames && file->timesteps != 1)) {
        return SNN_E_COUNT;
    }
    ops_end = SNN_HEADER_BYTES + (uint64_t)file->n_ops * SNN_OP_BYTES;
    tensors_end = ops_end + (uint64_t)file->n_tensors * SNN_TENSOR_BYTES;
    data_at = snn_aligned(tensors_end);
    if (u64_at(data + 80) != SNN_HEADER_BYTES || u64_at(data + 88) != ops_end ||
        u64_at(data + 96) != data_at || data_at > size) {
        return SNN_E_OFFSET;
    }
    file->ops = data + SNN_HEADER_BYTES;
    file->tensors = data + ops_end;
    if (!snn_all_zero(data + tensors_end, (size_t)(data_at - tensors_end))) return SNN_E_PADDING;
    return SNN_OK;
}

/* Checks every tensor's record: they follow each other, 64-byte aligned, zeros between, to the file's end. */
snn_status snn_check_tensors(const snn_file *file) {
    uint64_t position = (uint64_t)(file->tensors - file->data) + (uint64_t)file->n_tensors * SNN_TENSOR_BYTES;
    uint64_t end = snn_aligned(position);
    uint32_t i;
    for (i = 0; i < file->n_tensors; i++) {
        const uint8_t *record = file->tensors + (size_t)i * SNN_TENSOR_BYTES;
        uint32_t dimensions = record[1], most = file->frames ? 4 : 2, d;
        uint64_t offset = u64_at(record + 24), bytes = u64_at(record + 32), elements = 1, left;
        if ((record[0] != SNN_INT8 && record[0] != SNN_INT32) || dimensions < 1 || dimensions > most)
            return SNN_E_TENSOR;
        if (u16_at(record + 2) != 0 || !snn_all_zero(record + 40, 24)) return SNN_E_PADDING;
        for (d = 4 * dimensions; d < 20; d++) { /* extents that are none, and the word behind them */
            if (record[4 + d] != 0) return d < 8 ? SNN_E_TENSOR : SNN_E_PADDING;
        }
        for (d = 0; d < dimensions; d++) {
            elements *= snn_u32(record + 4 + 4 * (size_t)d);
            if (elements == 0 || elements > file->size) return SNN_E_TENSOR; /* so that no product wraps */
        }
        position = snn_aligned(end);
        if (offset != position || position > file->size) return SNN_E_OFFSET;
        left = (uint64_t)file->size - position;
        if (elements > left || elements * (record[0] == SNN_INT8 ? 1u : 4u) != bytes || bytes > left) {
            return SNN_E_TENSOR;
        }
        if (!snn_all_zero(file->data + end, (size_t)(position - end))) return SNN_E_PADDING;
        end = position + bytes;
    }
    return end == file->size ? SNN_OK : SNN_E_SIZE;
}

const void *snn_tensor_of_four(const snn_file *file, uint32_t index, uint32_t type, uint32_t shape[4]) {
    const uint8_t *record;
    uint32_t d;
    if (index >= file->n_tensors) return NULL;
    record = file->tensors + (size_t)index * SNN_TENSOR_BYTES;
    if (record[0] != type || record[1] != 4) return NULL;
    for (d = 0; d < 4; d++) shape[d] = snn_u32(record + 4 + 4 * (size_t)d);
    return file->data + (size_t)u64_at(record + 24);
}

/* The data of tensor `index` if it has this type and shape; an extent of 0 takes any, columns NULL means one
 * dimension. Call after snn_check_tensors. */
const void *snn_tensor(const snn_file *file, uint32_t index, uint32_t type, uint32_t *rows,
                       uint32_t *columns) {
    const uint8_t *record;
    uint32_t have_rows, have_columns;
    if (index >= file->n_tensors) return NULL;
    record = file->tensors + (size_t)index * SNN_TENSOR_BYTES;
    if (record[0] != type || record[1] != (columns == NULL ? 1 : 2)) return NULL;
    have_rows = snn_u32(record + 4);
    have_columns = snn_u32(record + 8);
    if (*rows != 0 && *rows != have_rows) return NULL;
    *rows = have_rows;
    if (columns != NULL) {
        if (*columns != 0 && *columns != have_columns) return NULL;
        *columns = have_columns;
    }
    return file->data + (size_t)u64_at(record + 24);
}
