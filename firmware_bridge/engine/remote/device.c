/* What a device's Linux is asked: clock, processors, files below /sys and /proc, the emulator. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "remote.h"

#define FILE_MAX 4096u

uint64_t remote_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* At most `room` bytes of a file; -1 when it cannot be read. */
static ssize_t contents(const char *path, char *into, size_t room) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = 0, part;
    if (file < 0) return -1;
    do {
        part = read(file, into + got, room - (size_t)got);
        if (part > 0) got += part;
    } while (part > 0 && (size_t)got < room);
    close(file);
    return part < 0 && got == 0 ? -1 : got;
}

void remote_cpu(uint32_t *cpu, uint32_t *khz) {
    char path[96], text[32];
    unsigned number = 0;
    ssize_t got;
    *cpu = *khz = 0;
    if (syscall(SYS_getcpu, &number, NULL, NULL) != 0) return;
    *cpu = number;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/cpufreq/scaling_cur_freq", number);
    got = contents(path, text, sizeof text - 1);
    if (got <= 0) return;
    text[got] = 0;
    *khz = (uint32_t)strtoul(text, NULL, 10);
}

int remote_affinity(const uint8_t *words, uint32_t count) {
    static cpu_set_t whole;
    static int known;
    cpu_set_t set;
    uint32_t i;
    if (!known) {
        if (sched_getaffinity(0, sizeof whole, &whole) != 0) return 0;
        known = 1;
    }
    CPU_ZERO(&set);
    for (i = 0; i < count; i++) {
        uint32_t cpu = remote_u32(words + 4 * (size_t)i);
        if (cpu >= CPU_SETSIZE) return 0;
        CPU_SET(cpu, &set);
    }
    return sched_setaffinity(0, sizeof set, count == 0 ? &whole : &set) == 0;
}

int remote_files(uint32_t sequence, char *patterns) {
    static char reply[REMOTE_PATH_MAX + FILE_MAX];
    char *rest = NULL, *pattern;
    int heard = 1;
    for (pattern = strtok_r(patterns, "\n", &rest); pattern != NULL && heard;
         pattern = strtok_r(NULL, "\n", &rest)) {
        glob_t found;
        size_t i;
        if (glob(pattern, 0, NULL, &found) != 0) continue;
        for (i = 0; i < found.gl_pathc && heard; i++) {
            size_t name = strlen(found.gl_pathv[i]) + 1;
            ssize_t got;
            if (name > REMOTE_PATH_MAX) continue;
            memcpy(reply, found.gl_pathv[i], name);
            got = contents(found.gl_pathv[i], reply + name, FILE_MAX);
            if (got >= 0) heard = remote_write(REMOTE_FILE, sequence, reply, name + (size_t)got);
        }
        globfree(&found);
    }
    return heard;
}

uint64_t remote_status_kb(const char *key) {
    static char text[FILE_MAX + 1];
    ssize_t got = contents("/proc/self/status", text, FILE_MAX);
    const char *line;
    if (got <= 0) return 0;
    text[got] = 0;
    line = strstr(text, key);
    return line == NULL ? 0 : strtoull(line + strlen(key), NULL, 10);
}

/* User-mode QEMU answers for /proc/self/exe with the program it runs; it lets the same link of a thread
 * through, which names QEMU itself. */
void remote_emulator(char *name, size_t size) {
    char link[REMOTE_PATH_MAX];
    ssize_t got = readlink("/proc/thread-self/exe", link, sizeof link - 1);
    const char *base;
    name[0] = 0;
    if (got <= 0) return;
    link[got] = 0;
    base = strrchr(link, '/');
    base = base == NULL ? link : base + 1;
    if (strncmp(base, "qemu-", 5) == 0) snprintf(name, size, "%s", base);
}
