/* The firmware on a computer: the same protocol on file descriptor 0, which is a socket or a pseudo-terminal.
 *
 *     loopback MODEL_BYTES ARENA_BYTES [CAUSE]
 *
 * It ends when the other end closes. Memory is static, as on a board; the two numbers say how much of it there
 * seems to be. LOOPBACK_NAME is what it calls itself, LOOPBACK_PIN a file for the levels of the marker pin.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../board.h"
#include "../device.h"

#define MODEL_MAX (16u << 20)
#define ARENA_MAX (16u << 20)

static uint8_t model_place[MODEL_MAX] __attribute__((aligned(64)));
static uint8_t arena_place[ARENA_MAX] __attribute__((aligned(64)));
static board_facts facts = {"loopback",  1000000000u, 0, model_place, MODEL_MAX, arena_place,
                            ARENA_MAX, 0,           0, NULL,        0};
static char **arguments;
static uint8_t came[4096];
static size_t got, taken;

const board_facts *board(void) { return &facts; }

static void look(int wait_ms) {
    struct pollfd line;
    ssize_t count;
    line.fd = 0;
    line.events = POLLIN;
    if (poll(&line, 1, wait_ms) <= 0) return;
    count = read(0, came, sizeof came);
    if (count <= 0) exit(0); /* the host is gone */
    got = (size_t)count;
    taken = 0;
}

int board_get(void) {
    if (taken == got) {
        got = taken = 0;
        look(0);
    }
    return taken < got ? came[taken++] : -1;
}

uint32_t board_dropped(void) { return 0; }

void board_put(const uint8_t *data, size_t size) {
    while (size > 0) {
        ssize_t count = write(0, data, size);
        if (count <= 0) exit(0);
        data += count;
        size -= (size_t)count;
    }
}

void board_wait(void) {
    if (taken == got) look(-1);
}

uint64_t board_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void board_pin(int high) {
    const char *name = getenv("LOOPBACK_PIN");
    FILE *file = name == NULL ? NULL : fopen(name, "a");
    if (file == NULL) return;
    fprintf(file, "%llu %d\n", (unsigned long long)board_now(), high);
    fclose(file);
}
uint32_t board_stack_used(void) { return 0; }

void board_reboot(int cause) {
    char text[2] = {(char)('0' + cause), 0};
    execl("/proc/self/exe", arguments[0], arguments[1], arguments[2], text, (char *)NULL);
    exit(3);
}

void board_fault(void) { device_fault(3, 0x1000u, 0x2000u, 0x10000u, 0); }

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    arguments = argv;
    if (getenv("LOOPBACK_NAME") != NULL) facts.name = getenv("LOOPBACK_NAME");
    facts.model_bytes = (uint32_t)strtoul(argv[1], NULL, 10);
    facts.arena_bytes = (uint32_t)strtoul(argv[2], NULL, 10);
    if (facts.model_bytes > MODEL_MAX || facts.arena_bytes > ARENA_MAX) return 2;
    device_start(argc > 3 ? argv[3][0] - '0' : 0);
    for (;;) {
        device_poll();
        board_wait();
    }
}
