/* The serial line with its rings, restarts, and main: the same on every board. See ../board.h. */
#include "../board.h"

#include "../device.h"
#include "chip.h"

/* More than the longest frame: one is on its way at a time, and a resend of it may follow. */
#define RX_RING 4096u
#define TX_RING 256u
#define KEPT    0x5EED0000u

extern uint8_t board_data[], board_arena[], board_arena_end[], board_stack[], board_stack_end[],
    board_flash_end[];
extern const uint8_t board_image[], board_image_end[];

static volatile uint8_t rx[RX_RING], tx[TX_RING];
static volatile uint32_t rx_in, rx_out, tx_in, tx_out, dropped;
static uint32_t kept_cause __attribute__((section(".kept")));
static board_facts facts = {
    BOARD_NAME, BOARD_TICK_HZ, BOARD_CPU_HZ, (uint8_t *)BOARD_MODEL, BOARD_MODEL_BYTES, 0, 0, 0, 0, 0, 0,
};

const board_facts *board(void) { return &facts; }

static void send_some(void) {
    while (tx_out != tx_in && chip_give(tx[tx_out % TX_RING])) tx_out++;
    chip_sends(tx_out != tx_in);
}

void uart_interrupt(void) {
    int byte;
    while ((byte = chip_take()) >= 0) {
        if ((byte & CHIP_LOST) != 0) dropped++;
        if (rx_in - rx_out < RX_RING) {
            rx[rx_in % RX_RING] = (uint8_t)byte;
            rx_in++;
        } else {
            dropped++;
        }
    }
    send_some();
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
        send_some();
        loud();
    }
}

void board_wait(void) {
    quiet();
    if (rx_in == rx_out) __asm__ volatile("wfi" ::: "memory"); /* an interrupt that waits ends it */
    loud();
}

uint32_t board_stack_used(void) {
    const uint8_t *at = board_stack;
    while (at < board_stack_end && *at == 0xA5) at++;
    return (uint32_t)(board_stack_end - at);
}

void board_reboot(int cause) {
    quiet();
    while (tx_out != tx_in) send_some();
    while (chip_busy()) {}
    kept_cause = KEPT | (uint32_t)cause;
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = 0x05FA0004u; /* SYSRESETREQ */
    for (;;) {}
}

void board_fault(void) { __asm__ volatile("udf #0"); }

int main(void) {
    int cause = 0;
    if (chip_restarted() && (kept_cause & 0xFFFF0000u) == KEPT) cause = (int)(kept_cause & 0xFFu);
    kept_cause = 0;
    facts.arena = board_arena;
    facts.arena_bytes = (uint32_t)(board_arena_end - board_arena);
    facts.flash_bytes = (uint32_t)(uintptr_t)board_flash_end - BOARD_FLASH;
    facts.static_bytes = (uint32_t)(board_arena - board_data);
    facts.image = board_image;
    facts.image_bytes = (uint32_t)(board_image_end - board_image);
    chip_start();
    NVIC_ENABLE(BOARD_UART_RX_IRQ) = 1u << (BOARD_UART_RX_IRQ % 32);
    NVIC_ENABLE(BOARD_UART_TX_IRQ) = 1u << (BOARD_UART_TX_IRQ % 32);
    device_start(cause);
    for (;;) {
        device_poll();
        board_wait();
    }
}
