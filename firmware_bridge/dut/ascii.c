/* Commands of the MLPerf Tiny runner: text, ended by '%'. A frame is never taken for one: its second byte is the
 * number of a request, which is no character. */
#include "ascii.h"

#include <string.h>

#include "board.h"
#include "frame.h"
#include "store.h"

#define COMMAND_MAX 80u    /* EE_CMD_SIZE of the runner's firmware */
#define INPUT_MAX   27648u /* and its buffer: 96 * 96 * 3 */
#define WARM_UPS    10u    /* its default */

/* Built for the runner's energy mode. */
#ifndef DUT_ENERGY
#define DUT_ENERGY 0
#endif
#define PULSES_PER_S 10000u /* 100 us low: its filter wants 50 */

static char line[COMMAND_MAX + 1u];
static uint32_t held; /* COMMAND_MAX + 1: no text since the last zero */
static uint32_t expected, loaded; /* bytes of the input, which lies where results lie */

static void say(const char *text) { board_put((const uint8_t *)text, strlen(text)); }

static void say_number(uint32_t value) {
    char text[11];
    uint32_t at = 10;
    text[at] = 0;
    do {
        text[--at] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0);
    say(text + at);
}

static void say_line(const char *before, uint32_t value, const char *after) {
    say(before);
    say_number(value);
    say(after);
}

static void say_byte(uint8_t byte) {
    static const char digits[] = "0123456789abcdef";
    char text[3] = {digits[byte >> 4], digits[byte & 15u], 0};
    say(text);
}

static uint32_t lap_us(void) {
    uint64_t now = board_now(), hz = board()->tick_hz;
    return (uint32_t)(now / hz * 1000000u + now % hz * 1000000u / hz);
}

static void say_lap(uint32_t us) { say_line("m-lap-us-", us, "\r\n"); }

/* In the energy mode the pin stands high, and a timestamp is a falling edge for a meter: nothing is said. */
static void pulse(void) {
    uint64_t until = board_now() + board()->tick_hz / PULSES_PER_S + 1u;
    board_pin(0);
    while (board_now() < until) {}
    board_pin(1);
}

static void timestamp(void) {
    if (DUT_ENERGY) {
        pulse();
    } else {
        say_lap(lap_us());
    }
}

/* The next word of a command, ended by a zero; NULL at its end. */
static char *next_word(char **rest) {
    char *word = *rest, *at;
    if (word == NULL || *word == 0) return NULL;
    for (at = word; *at != 0 && *at != ' '; at++) {}
    *rest = *at == 0 ? NULL : at + 1;
    *at = 0;
    return word;
}

/* As atoi reads it; 0 for what is no number. */
static int64_t number_of(const char *word, int64_t otherwise) {
    int64_t value = 0;
    int minus;
    if (word == NULL) return otherwise;
    minus = *word == '-';
    for (word += minus; *word >= '0' && *word <= '9' && value < INT32_MAX; word++) {
        value = 10 * value + (*word - '0');
    }
    return minus ? -value : value;
}

/* Behind frames stand the outputs of the last one. */
static uint32_t input_max(void) {
    uint32_t room = store.context == NULL ? 0 : store.work_bytes / 4u * 4u;
    uint32_t behind = reads_frames() ? store.row : 0;
    room = room < behind ? 0 : room - behind;
    return room < INPUT_MAX ? room : INPUT_MAX;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void take_hex(const char *word) {
    size_t length = strlen(word), i;
    if (length % 2u != 0) {
        say("e-[Insufficent number of hex digits]\r\n");
        return;
    }
    for (i = 0; i < length; i++) {
        char digit[2] = {word[i], 0};
        if (digit_of(word[i]) >= 0) continue;
        say("e-[Invalid hex digit '");
        say(digit);
        say("']\r\n");
        return;
    }
    for (i = 0; i < length && loaded < expected; i += 2) {
        store.work[loaded++] = (uint8_t)(digit_of(word[i]) << 4 | digit_of(word[i + 1]));
        if (loaded == expected) say("m-load-done\r\n");
    }
}

static void load(const char *word) {
    int64_t size = number_of(word, 0);
    if (word == NULL) {
        say("e-[Command 'db load' requires the # of bytes]\r\n");
    } else if (size <= 0) {
        say("e-[Command 'db load' must be >0 bytes]\r\n");
    } else if (size > input_max()) {
        say_line("Supplied buffer size ", (uint32_t)size, " exceeds maximum of ");
        say_line("", input_max(), "\n");
    } else {
        forget_results();
        expected = (uint32_t)size;
        loaded = 0;
        say_line("m-[Expecting ", expected, " bytes]\r\n");
    }
}

static void print(char *rest) {
    char *count_word = next_word(&rest), *offset_word = next_word(&rest);
    int64_t count = number_of(count_word, loaded), at = number_of(offset_word, 0), end, i;
    if (at < 0 || at > loaded) at = loaded;
    end = count < 0 ? at : at + count < loaded ? at + count : loaded;
    for (i = at; i < end; i++) {
        if ((i - at) % 8 == 0) say("m-buffer");
        say("-");
        say_byte(store.work[i]);
        if ((i - at) % 8 == 7 || i + 1 == end) say("\r\n");
    }
}

static void buffer(char *rest) {
    char *word = next_word(&rest);
    if (word == NULL) {
        say("e-[Command 'db' requires a subcommand]\r\n");
    } else if (strcmp(word, "load") == 0) {
        load(next_word(&rest));
    } else if (strcmp(word, "print") == 0) {
        print(rest);
    } else {
        take_hex(word);
    }
}

static void say_value(int32_t value, int first) {
    if (!first) say(",");
    if (value < 0) say("-");
    say_number(value < 0 ? 0u - (uint32_t)value : (uint32_t)value);
}

/* Logits of the last token or outputs of the last frame, all of them in order, as the integers that they are. */
static void results(void) {
    uint32_t first, i;
    say("m-results-[");
    for (i = 0; store.kept_rows > 0 && i < store.info.outputs; i++) {
        say_value((int32_t)frame_u32(kept_row(store.kept_rows - 1u) + 4u * (size_t)i), i == 0);
    }
    for (first = 0; first < store.info.vocab; first += BLOCK) {
        uint32_t part = store.info.vocab - first < BLOCK ? store.info.vocab - first : BLOCK;
        if (snn_logits_range(store.context, first, part, store.block) != SNN_OK) break; /* nothing ran yet */
        for (i = 0; i < part; i++) say_value(store.block[i], first + i == 0);
    }
    say("]\r\n");
}

/* One inference: the tokens of the input from an empty context, and the best token after the last; or its
 * frames, and the outputs of the last. */
static int infer_once(void) {
    uint32_t at;
    snn_status status = SNN_OK;
    snn_reset(store.context);
    if (reads_frames()) {
        uint32_t count = loaded / store.unit;
        store.kept_at = (uint32_t)inputs_bytes(count);
        store.kept_rows = 1;
        status = snn_frames(store.context, (const int8_t *)store.work, count, (int32_t *)(void *)kept_row(0), 0);
        return status == SNN_OK;
    }
    for (at = 0; at + 4u <= loaded && status == SNN_OK; at += 4u) {
        status = snn_step(store.context, frame_u32(store.work + at), NULL);
    }
    if (status == SNN_OK) (void)snn_argmax(store.context);
    return status == SNN_OK;
}

static void infer(char *rest) {
    char *count_word = next_word(&rest), *warm_word = next_word(&rest);
    int64_t count = number_of(count_word, 1), warm = number_of(warm_word, WARM_UPS), i;
    uint32_t start, end;
    int good = 1;
    if (count <= 0) {
        say("e-[Inference iterations must be >0]\r\n");
        return;
    }
    if (warm < 0) {
        say("e-[Inference warmup must be >=0]\r\n");
        return;
    }
    if (expected == 0 || loaded != expected || loaded % store.unit != 0) {
        say("e-[The input is no whole number of ");
        say_line(reads_frames() ? "frames of " : "tokens of ", store.unit, " bytes]\r\n");
        return;
    }
    forget_results(); /* what a frame left may stand where the outputs go */
    say_line("m-warmup-start-", (uint32_t)warm, "\r\n");
    for (i = 0; i < warm && good; i++) good = infer_once();
    say("m-warmup-done\r\n");
    say_line("m-infer-start-", (uint32_t)count, "\r\n");
    if (DUT_ENERGY) {
        pulse();
    } else {
        board_pin(1);
    }
    start = lap_us();
    for (i = 0; i < count && good; i++) good = infer_once();
    end = lap_us();
    if (DUT_ENERGY) {
        pulse();
    } else {
        board_pin(0);
    }
    if (!good) {
        store.kept_rows = 0;
        say(reads_frames() ? "e-[A sample is out of range]\r\n" : "e-[A token is not in the vocabulary]\r\n");
        return;
    }
    if (!DUT_ENERGY) { /* told after the last one: sending is no part of the time */
        say_lap(start);
        say_lap(end);
    }
    say("m-infer-done\r\n");
    results();
}

static void obey(char *rest) {
    const char *word = next_word(&rest);
    if (word == NULL) return;
    if (strcmp(word, "name") == 0) {
        say("m-name-dut-[edgesnn]\r\n");
    } else if (strcmp(word, "profile") == 0) {
        say("m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[edgesnn]\r\n");
    } else if (strcmp(word, "timestamp") == 0) {
        timestamp();
    } else if (strcmp(word, "help") == 0) {
        say("edgesnn " DEVICE_FIRMWARE "\r\n\r\nname profile timestamp help db infer results\r\n");
    } else if (strcmp(word, "db") == 0 || strcmp(word, "infer") == 0 || strcmp(word, "results") == 0) {
        if (!model_find()) {
            say("e-[There is no model]\r\n");
        } else if (*word == 'd') {
            buffer(rest);
        } else if (*word == 'i') {
            infer(rest);
        } else {
            results();
        }
    } else {
        say("e-[Unknown command: ");
        say(word);
        say("]\r\n");
    }
}

void ascii_forget(void) { expected = loaded = 0; }

void ascii_start(void) {
    held = 0;
    ascii_forget();
    if (DUT_ENERGY) board_pin(1);
    say(DUT_ENERGY ? "m-timestamp-mode-energy\r\n" : "m-timestamp-mode-performance\r\n");
    timestamp();
    say("m-init-done\r\nm-ready\r\n");
}

int ascii_take(uint8_t byte) {
    if (byte == 0) {
        held = 0;
    } else if (byte == '%' && held <= COMMAND_MAX) {
        line[held] = 0;
        obey(line);
        say("m-ready\r\n");
        held = 0;
        return 1;
    } else if (byte < ' ' || byte > '~' || held >= COMMAND_MAX) {
        held = COMMAND_MAX + 1u;
    } else {
        line[held++] = (char)byte;
    }
    return 0;
}
