/* UART with rings, microsecond clock and marker of Arm's MPS boards; see ../board.h. */
#include "cmsdk.h"

#include "../board.h"
#include "../device.h"

/* More than the longest frame: one is on its way at a time, and a resend of it may follow. */
#define RX_RING 4096u
#define TX_RING 256u
#define KEPT    0x5EED0000u

extern uint8_t board_data[], board_arena[], board_arena_end[], board_stack[], board_stack_end[],
    board_flash_end[];

static volatile uint8_t rx[RX_RING], tx[TX_RING];
static volatile uint32_t rx_in, rx_out, tx_in, tx_out, dropped;
static uint32_t clock_high, clock_last;
static uint32_t kept_cause __attribute__((section(".kept")));
static board_facts facts = {
    BOARD_NAME, 1000000u, BOARD_CPU_HZ, (uint8_t *)BOARD_MODEL, BOARD_MODEL_BYTES, 0, 0, 0, 0,
};

const board_facts *board(void) { return &facts; }

static void quiet(void) { __asm__ volatile("cpsid i" ::: "memory"); }
static void loud(void) { __asm__ volatile("cpsie i" ::: "memory"); }

void uart_received(void) {
    UART_INT = 2u;
    while ((UART_STATE & 2u) != 0) {
        uint8_t byte = (uint8_t)UART_DATA;
        if (rx_in - rx_out < RX_RING) {
            rx[rx_in % RX_RING] = byte;
            rx_in++;
        } else {
            dropped++;
        }
    }
}

void uart_sent(void) {
    UART_INT = 1u;
    while (tx_out != tx_in && (UART_STATE & 1u) == 0) UART_DATA = tx[tx_out++ % TX_RING];
}

int board_get(void) {
    int byte;
    if (rx_in == rx_out) return -1;
    byte = rx[rx_out % RX_RING];
    rx_out++;
    return byte;
}

uint32_t board_dropped(void) { return dropped; }

/* Fills the ring and starts the transmitter, whose interrupt goes on. With interrupts off, as in a fault, it
 * does the interrupt's work itself. */
void board_put(const uint8_t *data, size_t size) {
    while (size > 0) {
        if (tx_in - tx_out < TX_RING) {
            tx[tx_in % TX_RING] = *data++;
            tx_in++;
            size--;
            if (size > 0 && tx_in - tx_out < TX_RING) continue;
        }
        quiet();
        uart_sent();
        loud();
    }
}

void board_wait(void) {
    quiet();
    if (rx_in == rx_out) __asm__ volatile("wfi" ::: "memory"); /* an interrupt that waits ends it */
    loud();
}

/* The counter wraps every 71 minutes; whoever sleeps longer than that has nothing to time. */
uint64_t board_now(void) {
    uint32_t now = FPGA_COUNT;
    if (now < clock_last) clock_high++;
    clock_last = now;
    return (uint64_t)clock_high << 32 | now;
}

void board_pin(int high) { FPGA_LED = high ? FPGA_LED | 1u : FPGA_LED & ~1u; }

uint32_t board_stack_used(void) {
    const uint8_t *at = board_stack;
    while (at < board_stack_end && *at == 0xA5) at++;
    return (uint32_t)(board_stack_end - at);
}

void board_reboot(int cause) {
    quiet();
    while (tx_out != tx_in) uart_sent();
    while ((UART_STATE & 1u) != 0) {}
    kept_cause = KEPT | (uint32_t)cause;
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = 0x05FA0004u; /* SYSRESETREQ */
    for (;;) {}
}

void board_fault(void) { __asm__ volatile("udf #0"); }

int main(void) {
    int cause = (kept_cause & 0xFFFF0000u) == KEPT ? (int)(kept_cause & 0xFFu) : 0;
    kept_cause = 0;
    facts.arena = board_arena;
    facts.arena_bytes = (uint32_t)(board_arena_end - board_arena);
    facts.flash_bytes = (uint32_t)(uintptr_t)board_flash_end - BOARD_FLASH;
    facts.static_bytes = (uint32_t)(board_arena - board_data);
    FPGA_SCALE = BOARD_CPU_HZ / 1000000 - 1;
    UART_BAUD = BOARD_CPU_HZ / 115200 < 16 ? 16 : BOARD_CPU_HZ / 115200;
    UART_CTRL = 0xFu;
    (void)UART_DATA; /* what came before there was a receiver stalls an emulator for a second */
    NVIC_ENABLE(BOARD_UART_RX_IRQ) = 1u << (BOARD_UART_RX_IRQ % 32);
    NVIC_ENABLE(BOARD_UART_TX_IRQ) = 1u << (BOARD_UART_TX_IRQ % 32);
    device_start(cause);
    for (;;) {
        device_poll();
        board_wait();
    }
}
