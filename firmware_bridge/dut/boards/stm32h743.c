/* ST STM32H743 (Cortex-M7) on a Nucleo-144 by its registers, as RM0433 names them. See chip.h.
 * USART3 on PD8 (out) and PD9 (in), the serial port of the ST-LINK; marker PB0, the green LED; 400 MHz from the
 * 8 MHz that the ST-LINK gives. Never run by us. */
#include "../board.h"
#include "chip.h"

#define RCC        0x58024400u
#define PWR        0x58024800u
#define GPIOB      0x58020400u
#define GPIOD      0x58020C00u
#define FLASH_ACR  REGISTER(0x52002000u)
#define USART      0x40004800u
#define USART_CR1  REGISTER(USART + 0x00)
#define USART_ISR  REGISTER(USART + 0x1C) /* bit 3: bytes were lost, 5: a byte came, 6: all sent, 7: has room */
#define USART_ICR  REGISTER(USART + 0x20)
#define USART_RDR  REGISTER(USART + 0x24)
#define USART_TDR  REGISTER(USART + 0x28)
#define CR1_ON     (1u << 29 | 1u << 5 | 1u << 3 | 1u << 2 | 1u) /* queues, receive interrupt, both ways, on */
#define USART_HZ   100000000u
#define SCB_CCSIDR REGISTER(0xE000ED80)
#define SCB_CSSELR REGISTER(0xE000ED84)
#define ICIALLU    REGISTER(0xE000EF50)
#define DCISW      REGISTER(0xE000EF60)

static volatile uint32_t clock_high; /* times that SysTick ran through its 24 bits */

static void barrier(void) { __asm__ volatile("dsb\n isb" ::: "memory"); }

static void caches(void) {
    uint32_t size, set, way;
    ICIALLU = 0;
    SCB_CSSELR = 0;
    barrier();
    size = SCB_CCSIDR;
    for (set = 0; set <= (size >> 13 & 0x7FFFu); set++) {
        for (way = 0; way <= (size >> 3 & 0x3FFu); way++) DCISW = way << 30 | set << 5;
    }
    barrier();
    SCB_CCR |= 1u << 17 | 1u << 16;
    barrier();
}

static void clocks(void) {
    REGISTER(PWR + 0x0Cu) = (REGISTER(PWR + 0x0Cu) & ~7u) | 2u; /* the core's supply is the regulator */
    while ((REGISTER(PWR + 0x04u) & 1u << 13) == 0) {}
    REGISTER(PWR + 0x18u) |= 3u << 14; /* scale 1 */
    while ((REGISTER(PWR + 0x18u) & 1u << 13) == 0) {}
    REGISTER(RCC) |= 1u << 18; /* an oscillator of the board, not a crystal */
    REGISTER(RCC) |= 1u << 16;
    while ((REGISTER(RCC) & 1u << 17) == 0) {}
    REGISTER(RCC + 0x28u) = 1u << 4 | 2u;                            /* PLL1 from it, undivided */
    REGISTER(RCC + 0x2Cu) = 1u << 16 | 3u << 2;                      /* input 8 to 16 MHz, output P */
    REGISTER(RCC + 0x30u) = 1u << 24 | 1u << 16 | 1u << 9 | 99u;     /* times 100, divided by 2 */
    REGISTER(RCC) |= 1u << 24;
    while ((REGISTER(RCC) & 1u << 25) == 0) {}
    FLASH_ACR = 0x22u;                            /* 2 wait states at 200 MHz */
    REGISTER(RCC + 0x18u) = 4u << 4 | 8u;         /* buses at 200 MHz, peripherals at 100 */
    REGISTER(RCC + 0x1Cu) = 4u << 8 | 4u << 4;
    REGISTER(RCC + 0x20u) = 4u << 4;
    REGISTER(RCC + 0x10u) |= 3u;
    while ((REGISTER(RCC + 0x10u) & 7u << 3) != 3u << 3) {}
}

void chip_start(void) {
    clocks();
    caches();
    REGISTER(RCC + 0xE0u) |= 1u << 3 | 1u << 1; /* ports D and B */
    REGISTER(RCC + 0xE8u) |= 1u << 18;          /* USART3 */
    (void)REGISTER(RCC + 0xE8u);
    REGISTER(GPIOB) = (REGISTER(GPIOB) & ~3u) | 1u;
    REGISTER(GPIOD + 0x24u) = (REGISTER(GPIOD + 0x24u) & ~0xFFu) | 0x77u; /* PD8, PD9: function 7 */
    REGISTER(GPIOD) = (REGISTER(GPIOD) & ~(0xFu << 16)) | 0xAu << 16;
    REGISTER(USART + 0x0Cu) = (USART_HZ + BOARD_BAUD / 2u) / BOARD_BAUD;
    USART_CR1 = CR1_ON;
    SYST_RVR = 0x00FFFFFFu;
    SYST_CVR = 0;
    SYST_CSR = 7u; /* on, with its interrupt, from the processor's clock */
}

int chip_take(void) {
    uint32_t state = USART_ISR;
    int lost = 0;
    if ((state & 1u << 3) != 0) {
        USART_ICR = 1u << 3;
        lost = CHIP_LOST;
    }
    return (state & 1u << 5) != 0 ? (int)(USART_RDR & 0xFFu) | lost : -1;
}

int chip_give(uint8_t byte) {
    if ((USART_ISR & 1u << 7) == 0) return 0;
    USART_TDR = byte;
    return 1;
}

void chip_sends(int on) { USART_CR1 = CR1_ON | (on ? 1u << 7 : 0u); }
int chip_busy(void) { return (USART_ISR & 1u << 6) == 0; }

/* Memory with check bits is not read before it was written. */
int chip_restarted(void) {
    uint32_t flags = REGISTER(RCC + 0xD0u);
    REGISTER(RCC + 0xD0u) = 1u << 16;
    return (flags & 1u << 24) != 0;
}

void chip_tick(void) { clock_high++; }

/* Cycles of the processor: SysTick counts them down, 24 bits of them; its interrupt counts the rounds. */
uint64_t board_now(void) {
    uint32_t left, high;
    quiet();
    high = clock_high;
    left = SYST_CVR;
    if ((SCB_ICSR & 1u << 26) != 0) { /* a round ended, and its interrupt waits */
        left = SYST_CVR;
        high++;
    }
    loud();
    return (uint64_t)high << 24 | ((0u - left) & 0x00FFFFFFu);
}

void board_pin(int high) { REGISTER(GPIOB + 0x18u) = high ? 1u : 1u << 16; }
