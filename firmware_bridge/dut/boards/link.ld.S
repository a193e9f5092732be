/* Memory map of a board; the preprocessor puts the numbers of its header in. */
#include BOARD_HEADER

MEMORY {
    FLASH (rx) : ORIGIN = BOARD_FLASH, LENGTH = BOARD_FLASH_BYTES
    RAM (rw) : ORIGIN = BOARD_RAM, LENGTH = BOARD_RAM_BYTES
#ifdef BOARD_IMAGE
    IMAGE (r) : ORIGIN = BOARD_IMAGE, LENGTH = BOARD_IMAGE_BYTES
#endif
}

#ifndef BOARD_IMAGE
REGION_ALIAS("IMAGE", FLASH)
#endif

ENTRY(start)

SECTIONS {
    .text : {
        KEEP(*(.vectors))
        KEEP(*(.boot)) /* what a boot ROM looks for behind them */
        *(.text .text.* .rodata .rodata.*)
        . = ALIGN(4);
    } > FLASH
    .ARM.exidx : { *(.ARM.exidx*) } > FLASH
    .data : {
        . = ALIGN(4);
        board_data = .;
        *(.data .data.*)
        . = ALIGN(4);
        board_data_end = .;
    } > RAM AT > FLASH
    board_data_load = LOADADDR(.data);
    board_flash_end = LOADADDR(.data) + SIZEOF(.data);
    .model : ALIGN(64) { /* none, or what image.S brings */
        board_image = .;
        KEEP(*(.model))
        board_image_end = .;
    } > IMAGE
    .bss (NOLOAD) : {
        board_bss = .;
        *(.bss .bss.* COMMON)
        . = ALIGN(4);
        board_bss_end = .;
    } > RAM
    .kept (NOLOAD) : { *(.kept) } > RAM /* survives a restart of the firmware */
    .stack (NOLOAD) : {
        . = ALIGN(8);
        board_stack = .;
        . += 4096;
        board_stack_end = .;
    } > RAM
    board_arena = ALIGN(64);
    board_arena_end = ORIGIN(RAM) + LENGTH(RAM);
}
