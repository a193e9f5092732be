/* The folder of a session: locked while its process lives, removed when it ends. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "remote.h"

/* All that a session puts into its folder. */
static const char *const files[] = {"program.snn", "snn_remote", "lock"};
#define FILES (sizeof files / sizeof files[0])

static char paths[FILES][REMOTE_PATH_MAX + 16], own[REMOTE_PATH_MAX];
static volatile sig_atomic_t armed;

/* Only what a signal handler may call. */
void remote_clean(void) {
    size_t i;
    if (!armed) return;
    armed = 0;
    for (i = 0; i < FILES; i++) unlink(paths[i]);
    rmdir(own);
}

static void on_signal(int number) {
    remote_clean();
    _exit(128 + number);
}

int remote_folder(const char *folder) {
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT};
    struct sigaction action;
    size_t i;
    int lock;
    if (strlen(folder) >= REMOTE_PATH_MAX) return 0;
    strcpy(own, folder);
    for (i = 0; i < FILES; i++) snprintf(paths[i], sizeof paths[i], "%s/%s", folder, files[i]);
    lock = open(paths[FILES - 1], O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) return 0; /* held until the process ends */
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    for (i = 0; i < sizeof signals / sizeof signals[0]; i++) sigaction(signals[i], &action, NULL);
    armed = 1;
    return 1;
}

static int older(const struct stat *facts, time_t now, time_t seconds) {
    return now - facts->st_mtime > seconds;
}

/* Whether the process of a folder is dead: its lock can be had and is not new, or there never was one. */
static int is_dead(const char *folder, const struct stat *facts, time_t now) {
    char path[REMOTE_PATH_MAX + 16];
    struct stat lock_facts;
    int lock, dead;
    snprintf(path, sizeof path, "%s/lock", folder);
    lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock < 0) return older(facts, now, REMOTE_NO_LOCK_S);
    dead = fstat(lock, &lock_facts) == 0 && older(&lock_facts, now, REMOTE_GRACE_S) &&
           flock(lock, LOCK_EX | LOCK_NB) == 0;
    close(lock);
    return dead;
}

static int remove_folder(const char *folder) {
    DIR *list = opendir(folder);
    struct dirent *entry;
    char path[REMOTE_PATH_MAX + 264];
    if (list == NULL) return 0;
    while ((entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    closedir(list);
    return rmdir(folder) == 0;
}

uint32_t remote_reap(const char *folder) {
    char base[REMOTE_PATH_MAX], path[REMOTE_PATH_MAX];
    const char *slash = strrchr(folder, '/'), *name = slash == NULL ? folder : slash + 1;
    struct dirent *entry;
    struct stat facts;
    uint32_t removed = 0;
    time_t now = time(NULL);
    DIR *list;
    if (slash == NULL || slash == folder || (size_t)(slash - folder) >= sizeof base) return 0;
    memcpy(base, folder, (size_t)(slash - folder));
    base[slash - folder] = 0;
    list = opendir(base);
    if (list == NULL) return 0;
    while ((entry = readdir(list)) != NULL) {
        if (strncmp(entry->d_name, REMOTE_PREFIX, sizeof REMOTE_PREFIX - 1) != 0) continue;
        if (strcmp(entry->d_name, name) == 0) continue;
        if (snprintf(path, sizeof path, "%s/%s", base, entry->d_name) >= (int)sizeof path) continue;
        if (lstat(path, &facts) != 0 || !S_ISDIR(facts.st_mode) || facts.st_uid != geteuid()) continue;
        if (is_dead(path, &facts, now)) removed += (uint32_t)remove_folder(path);
    }
    closedir(list);
    return removed;
}
