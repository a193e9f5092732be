/* The device's end of the serial protocol (../PROTOCOL.md): sessions, resends, and the commands on a model.
 *
 *     device_start(cause);
 *     for (;;) { device_poll(); board_wait(); }
 *
 * C99, no heap, no float. All memory is static, or the two regions that the board names.
 */
#ifndef EDGESNN_DUT_DEVICE_H
#define EDGESNN_DUT_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#define DEVICE_FIRMWARE "1.1"

void device_start(int cause);
/* Takes all bytes that came and obeys what they ask. */
void device_poll(void);
/* From a fault handler: tells the host and starts again. */
void device_fault(uint32_t kind, uint32_t pc, uint32_t lr, uint32_t status, uint32_t address);

/* --- between device.c and model.c --- */

/* The reply to the request at work: DUT_PAYLOAD_MAX bytes, the first four of them written already. */
typedef struct device_reply {
    uint8_t *data;
    size_t size;
} device_reply;

void device_refuse(device_reply *reply, int status, uint32_t value, uint32_t limit);
/* Between two pieces of long work: answers resends of the request at work. 0 when the work shall end, because
 * another session begins. */
int device_breathe(uint32_t done, uint32_t total);

/* Names of the kernel sets in the order of OPEN's numbers. */
extern const char *const model_kernels;
void model_start(void);
/* Whether a model is open; opens one that lies in memory whole, put there by a loader. */
int model_find(void);
/* Obeys a command on the model; 0 when it is none. */
int model_obey(uint8_t command, const uint8_t *payload, size_t size, device_reply *reply);
/* What HELLO tells of the model: 44 bytes. */
void model_describe(uint8_t *at);

#endif
