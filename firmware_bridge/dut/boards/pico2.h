/* Raspberry Pi Pico 2: RP2350, 4 MB of flash, 520 KB of SRAM. Models of up to 320 KB can come over the line;
 * larger ones are built in and read in place. */
#ifndef EDGESNN_BOARD_H
#define EDGESNN_BOARD_H

#define BOARD_NAME        "pico2 (Cortex-M33)"
#define BOARD_CPU_HZ      150000000u
#define BOARD_TICK_HZ     1000000
#define BOARD_FLASH       0x10000000
#define BOARD_FLASH_BYTES 0x00400000
#define BOARD_RAM         0x20000000
#define BOARD_RAM_BYTES   0x00030000
#define BOARD_MODEL       0x20030000
#define BOARD_MODEL_BYTES 0x00050000
#define BOARD_UART_RX_IRQ 33
#define BOARD_UART_TX_IRQ 33

#endif
