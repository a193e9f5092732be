/* Memory map of a board; the preprocessor puts the numbers of its header in. */
#include BOARD_HEADER

MEMORY {
    FLASH (rx) : ORIGIN = BOARD_FLASH, LENGTH = BOARD_FLASH_BYTES
    RAM (rw) : ORIGIN = BOARD_RAM, LENGTH = BOARD_RAM_BYTES
}

ENTRY(start)

SECTIONS {
    .text : {
        KEEP(*(.vectors))
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
