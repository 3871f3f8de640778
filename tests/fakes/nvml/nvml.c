/* A libnvidia-ml.so.1 whose cards are lines of a text file, read anew on every call.
 *
 * $FAKE_NVML_STATE names the file; fake_nvml.py writes it and lists the lines. Only what
 * forgather_spool/host/nvml*.py asks for is here, with the signatures of nvml.h. Every
 * init and shutdown is noted, one word a line, in $FAKE_NVML_STATE.log.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9 };
enum { SLICES = 1000, MAX_SLICES = 7 }; /* handles: card + 1, or SLICES + card * MAX_SLICES + slice */

typedef uintptr_t handle_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int version, sensor; int temperature; } temperature_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } process_t;

static char state[1 << 16];
static int inits, generation;

static int load(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    state[fread(state, 1, sizeof state - 1, file)] = 0;
    fclose(file);
    return 1;
}

/* The rest of the nth line (from 0) that starts with `key` and a space. */
static int line(const char *key, int nth, char *out, size_t size) {
    size_t length = strlen(key);
    for (char *at = state; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        if (strncmp(at, key, length) || at[length] != ' ' || nth--) continue;
        snprintf(out, size, "%.*s", (int)(strcspn(at, "\n") - length - 1), at + length + 1);
        return 1;
    }
    return 0;
}

static long long number(const char *key, long long otherwise) {
    char text[64];
    return line(key, 0, text, sizeof text) ? strtoll(text, NULL, 10) : otherwise;
}

static int of_card(int card, const char *field, int nth, char *out, size_t size) {
    char key[96];
    snprintf(key, sizeof key, "%d.%s", card, field);
    return line(key, nth, out, size);
}

static int code_of_card(int card, const char *field) {
    char text[64];
    return of_card(card, field, 0, text, sizeof text) ? atoi(text) : OK;
}

static int check_session(void) {
    if (!load()) return DRIVER_NOT_LOADED;
    return inits && number("generation", 0) == generation ? (int)number("fail", OK) : UNINITIALIZED;
}

static int check(int card, const char *field) {
    char key[96];
    int code = check_session();
    if (!code) code = code_of_card(card, "lost");
    snprintf(key, sizeof key, "fail.%s", field);
    return code ? code : code_of_card(card, key);
}

static int text_of(handle_t device, const char *field, char *out, unsigned int size) {
    int card = (int)device - 1;
    int code = check(card, field);
    if (code) return code;
    return of_card(card, field, 0, out, size) ? OK : NOT_SUPPORTED;
}

static int number_of(handle_t device, const char *field, unsigned int *out) {
    char text[64];
    int code = text_of(device, field, text, sizeof text);
    if (!code) *out = (unsigned int)strtoul(text, NULL, 10);
    return code;
}

static void note(const char *word) {
    char path[4096];
    snprintf(path, sizeof path, "%s.log", getenv("FAKE_NVML_STATE"));
    FILE *file = fopen(path, "a");
    if (file) fprintf(file, "%s\n", word), fclose(file);
}

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    if (!load()) return DRIVER_NOT_LOADED;
    int code = (int)number("init", OK);
    if (code) return code;
    note("init");
    generation = (int)number("generation", 0);
    inits++;
    return OK;
}

int nvmlShutdown(void) {
    if (!inits) return UNINITIALIZED;
    note("shutdown");
    inits--;
    return OK;
}

const char *nvmlErrorString(int code) { return code == 31 ? "Fake failure 31" : "Fake failure"; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    int code = check_session();
    if (!code) *count = (unsigned int)number("cards", 0);
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, handle_t *device) {
    int code = check((int)index, "handle");
    if (code) return code;
    if (index >= number("cards", 0)) return INVALID_ARGUMENT;
    *device = index + 1;
    return OK;
}

int nvmlDeviceGetUUID(handle_t device, char *out, unsigned int size) {
    if (device < SLICES) return text_of(device, "uuid", out, size);
    int card = (int)(device - SLICES) / MAX_SLICES, slice = (int)(device - SLICES) % MAX_SLICES;
    int code = check(card, "slice");
    if (code) return code;
    return of_card(card, "slice", slice, out, size) ? OK : NOT_FOUND;
}

int nvmlDeviceGetName(handle_t device, char *out, unsigned int size) { return text_of(device, "name", out, size); }

int nvmlDeviceGetMemoryInfo(handle_t device, memory_t *out) {
    char total[64], used[64];
    int code = check((int)device - 1, "memory");
    if (!code) code = text_of(device, "memory_total_bytes", total, sizeof total);
    if (!code) code = text_of(device, "memory_used_bytes", used, sizeof used);
    if (code) return code;
    out->total = strtoull(total, NULL, 10);
    out->used = strtoull(used, NULL, 10);
    out->free = out->total - out->used;
    return OK;
}

int nvmlDeviceGetUtilizationRates(handle_t device, utilization_t *out) {
    out->memory = 0;
    return number_of(device, "utilization_percent", &out->gpu);
}

int nvmlDeviceGetTemperatureV(handle_t device, temperature_t *out) {
    int code = check((int)device - 1, "temperature_v");
    return code ? code : number_of(device, "temperature_c", (unsigned int *)&out->temperature);
}

int nvmlDeviceGetTemperature(handle_t device, unsigned int sensor, unsigned int *out) {
    (void)sensor;
    return number_of(device, "temperature_c", out);
}

int nvmlDeviceGetPowerUsage(handle_t device, unsigned int *out) { return number_of(device, "power_mw", out); }

int nvmlDeviceGetFanSpeed(handle_t device, unsigned int *out) { return number_of(device, "fan_percent", out); }

/* Lines are "<card>.compute <pid> <bytes>"; bytes -1 is NVML_VALUE_NOT_AVAILABLE. */
static int processes(handle_t device, const char *kind, const char *version, unsigned int *count, process_t *out) {
    char text[128];
    unsigned int found = 0, room = out ? *count : 0;
    int card = (int)device - 1;
    int code = check(card, kind);
    if (!code) code = check(card, version);
    if (code) return code;
    for (; of_card(card, kind, (int)found, text, sizeof text); found++) {
        long long used = -1;
        unsigned int pid = 0;
        sscanf(text, "%u %lld", &pid, &used);
        if (found < room) out[found] = (process_t){pid, (unsigned long long)used, 0xFFFFFFFF, 0xFFFFFFFF};
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(handle_t device, unsigned int *count, process_t *out) {
    return processes(device, "compute", "processes_v3", count, out);
}

int nvmlDeviceGetComputeRunningProcesses_v2(handle_t device, unsigned int *count, process_t *out) {
    return processes(device, "compute", "processes_v2", count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(handle_t device, unsigned int *count, process_t *out) {
    return processes(device, "graphics", "processes_v3", count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v2(handle_t device, unsigned int *count, process_t *out) {
    return processes(device, "graphics", "processes_v2", count, out);
}

int nvmlDeviceGetMigMode(handle_t device, unsigned int *current, unsigned int *pending) {
    int code = number_of(device, "mig", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(handle_t device, unsigned int *count) {
    *count = MAX_SLICES;
    return check((int)device - 1, "slice");
}

int nvmlDeviceGetMigDeviceHandleByIndex(handle_t device, unsigned int index, handle_t *slice) {
    char text[128];
    int card = (int)device - 1;
    int code = check(card, "slice");
    if (code) return code;
    if (!of_card(card, "slice", (int)index, text, sizeof text) || !*text) return NOT_FOUND;
    *slice = SLICES + (handle_t)card * MAX_SLICES + index;
    return OK;
}
