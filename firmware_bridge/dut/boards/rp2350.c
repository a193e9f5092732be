/* Raspberry Pi RP2350 (Cortex-M33, secure state) by its registers, as its datasheet names them. See chip.h.
 * UART0 on GPIO0 (out) and GPIO1 (in), the marker on GPIO2 and on the LED (GPIO25). Never run by us. */
#include "../board.h"
#include "chip.h"

#define CLOCKS    0x40010000u
#define RESETS    0x40020000u
#define IO_BANK   0x40028000u
#define PADS_BANK 0x40038000u
#define XOSC      0x40048000u
#define PLL_SYS   0x40050000u
#define UART      0x40070000u
#define TIMER     0x400B0000u
#define TICKS     0x40108000u
#define SIO       0xD0000000u

#define UART_DR   REGISTER(UART + 0x00) /* bit 11: bytes were lost */
#define UART_FR   REGISTER(UART + 0x18) /* bit 3: at work, 4: nothing came, 5: the transmitter is full */
#define UART_IMSC REGISTER(UART + 0x38) /* bit 4: receiver, 5: transmitter, 6: receiver waits */

#define CRYSTAL_HZ 12000000u
#define BLOCKS     (1u << 6 | 1u << 9 | 1u << 14 | 1u << 23 | 1u << 26) /* pins, pads, PLL, TIMER0, UART0 */
#define MARKER     2u
#define LED        25u

/* The boot ROM takes a flash whose first 4 kB hold this block: one item, "an executable of Arm's secure state
 * for RP2350", and a loop of blocks that is this one alone. */
__attribute__((section(".boot"), used)) static const uint32_t image_definition[] = {
    0xFFFFDED3u, 0x10210142u, 0x000001FFu, 0x00000000u, 0xAB123579u,
};

static void pin_function(uint32_t pin, uint32_t function) {
    REGISTER(IO_BANK + 4u + 8u * pin) = function;
    REGISTER(PADS_BANK + 4u + 4u * pin) = 0x5Au; /* 4 mA, input on, pulled up, Schmitt trigger, no longer isolated */
}

static void clocks(void) {
    REGISTER(CLOCKS + 0x3Cu) = 0; /* the system runs from the reference while its PLL is set up */
    while ((REGISTER(CLOCKS + 0x44u) & 1u) == 0) {}
    REGISTER(XOSC + 0x0Cu) = 282u; /* times 256 cycles: 6 ms for the crystal */
    REGISTER(XOSC) = 0xFABu << 12 | 0xAA0u;
    while ((REGISTER(XOSC + 4u) & 1u << 31) == 0) {}
    REGISTER(CLOCKS + 0x30u) = 2u; /* the reference is the crystal */
    while ((REGISTER(CLOCKS + 0x38u) & 1u << 2) == 0) {}
    REGISTER(RESETS) |= BLOCKS;
    REGISTER(RESETS) &= ~BLOCKS;
    while ((~REGISTER(RESETS + 8u) & BLOCKS) != 0) {}
    REGISTER(PLL_SYS + 8u) = 125u; /* 1,500 MHz, then divided by 5 and 2 */
    REGISTER(PLL_SYS + 4u) = 0x0Cu;
    while ((REGISTER(PLL_SYS) & 1u << 31) == 0) {}
    REGISTER(PLL_SYS + 0x0Cu) = 5u << 16 | 2u << 12;
    REGISTER(PLL_SYS + 4u) = 0x04u;
    REGISTER(CLOCKS + 0x3Cu) = 1u; /* the system runs from its PLL */
    while ((REGISTER(CLOCKS + 0x44u) & 2u) == 0) {}
    REGISTER(CLOCKS + 0x48u) = 1u << 11; /* the peripherals run with the system */
    REGISTER(TICKS + 0x1Cu) = CRYSTAL_HZ / 1000000u;
    REGISTER(TICKS + 0x18u) = 1u; /* TIMER0 counts microseconds */
}

void chip_start(void) {
    uint32_t divisor = (4u * BOARD_CPU_HZ + BOARD_BAUD / 2u) / BOARD_BAUD; /* 64ths of 16 times the rate */
    clocks();
    pin_function(0, 2u);
    pin_function(1, 2u);
    pin_function(MARKER, 5u);
    pin_function(LED, 5u);
    REGISTER(SIO + 0x38u) = 1u << MARKER | 1u << LED;
    REGISTER(UART + 0x24u) = divisor >> 6;
    REGISTER(UART + 0x28u) = divisor & 63u;
    REGISTER(UART + 0x2Cu) = 3u << 5 | 1u << 4; /* 8 bits, queues on */
    REGISTER(UART + 0x30u) = 1u << 9 | 1u << 8 | 1u;
    UART_IMSC = 1u << 4 | 1u << 6;
}

int chip_take(void) {
    uint32_t byte;
    if ((UART_FR & 1u << 4) != 0) return -1;
    byte = UART_DR;
    return (int)(byte & 0xFFu) | ((byte & 1u << 11) != 0 ? CHIP_LOST : 0);
}

int chip_give(uint8_t byte) {
    if ((UART_FR & 1u << 5) != 0) return 0;
    UART_DR = byte;
    return 1;
}

void chip_sends(int on) { UART_IMSC = 1u << 4 | 1u << 6 | (on ? 1u << 5 : 0u); }
int chip_busy(void) { return (UART_FR & 1u << 3) != 0; }
int chip_restarted(void) { return 1; }
void chip_tick(void) {}

uint64_t board_now(void) {
    uint32_t high, low;
    do {
        high = REGISTER(TIMER + 0x24u);
        low = REGISTER(TIMER + 0x28u);
    } while (high != REGISTER(TIMER + 0x24u));
    return (uint64_t)high << 32 | low;
}

void board_pin(int high) { REGISTER(SIO + (high ? 0x18u : 0x20u)) = 1u << MARKER | 1u << LED; }
