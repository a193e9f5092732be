/* From reset to main: vectors, memory, and the way of a fault to the host. */
#include <string.h>

#include "../device.h"
#include "chip.h"

extern uint8_t board_data[], board_data_end[], board_data_load[], board_bss[], board_bss_end[], board_stack[],
    board_stack_end[];

void start(void) __attribute__((noreturn));
void faulted(void);

static void spurious(void) {}

/* One entry is enough for all faults: IPSR tells which. The UART has one interrupt, or two. */
#define VECTORS (16 + BOARD_UART_TX_IRQ + 1)
typedef union vector {
    void (*call)(void);
    uint8_t *stack;
} vector;
__attribute__((section(".vectors"), used)) static const vector vectors[VECTORS] = {
    [0] = {.stack = board_stack_end},
    [1] = {.call = start},
    [2] = {.call = spurious},
    [3] = {.call = faulted},
    [4] = {.call = faulted},
    [5] = {.call = faulted},
    [6] = {.call = faulted},
    [7] = {.call = faulted},
    [11] = {.call = spurious},
    [12] = {.call = spurious},
    [14] = {.call = spurious},
    [15] = {.call = chip_tick},
    [16 + BOARD_UART_RX_IRQ] = {.call = uart_interrupt},
#if BOARD_UART_TX_IRQ != BOARD_UART_RX_IRQ
    [16 + BOARD_UART_TX_IRQ] = {.call = uart_interrupt},
#endif
};

void start(void) {
    uint8_t *here = (uint8_t *)__builtin_frame_address(0);
    memcpy(board_data, board_data_load, (size_t)(board_data_end - board_data));
    memset(board_bss, 0, (size_t)(board_bss_end - board_bss));
    memset(board_stack, 0xA5, (size_t)(here - 64 - board_stack)); /* board_stack_used looks for it */
    SCB_VTOR = (uint32_t)(uintptr_t)vectors; /* a boot ROM may have had its own */
    SCB_CPACR |= 0xFu << 20;                                      /* the floating-point and vector registers */
    SCB_SHCSR |= 0x7u << 16;                                      /* faults by their own names */
    __asm__ volatile("dsb\n isb" ::: "memory");
    (void)main();
    for (;;) {}
}

/* The registers that the processor pushed lie on the stack that was in use: the only one. */
__attribute__((naked)) void faulted(void) {
    __asm__ volatile("mov r0, sp\n"
                     "mrs r1, ipsr\n"
                     "b fault\n");
}

__attribute__((used)) void fault(const uint32_t *frame, uint32_t kind) {
    device_fault(kind, frame[6], frame[5], SCB_CFSR, SCB_BFAR);
    for (;;) {}
}
