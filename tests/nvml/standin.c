/* Plays libnvidia-ml.so.1 for tests: answers come from a text file, read again when it changed.
 *
 * The file is named by STANDIN_NVML. A line is "GPU KEY VALUE", where GPU is an index, * for
 * all, or - for the driver; the last line that fits counts. A VALUE of !N answers with NVML
 * error N; a key that is not there answers NOT_SUPPORTED. "GPU proc PID BYTES" adds a process.
 * Calls before nvmlInit, and arguments that NVML rejects, are rejected as NVML does. What
 * connects the GPUs is in connections.c, what is counted between two calls in counters.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "standin.h"

static device devices[GPUS];
static int initialised;

#define LINES 512
static struct { char who[16], key[64], text[TEXT]; } answers[LINES];
static int answered;

static int fresh(void) { /* whether there are answers; they are read again when the file is another one */
    static struct timespec read_at;
    static long long size = -1;
    char line[256];
    const char *name = getenv("STANDIN_NVML");
    struct stat now;
    if (!name || stat(name, &now)) return 0;
    if (now.st_size == size && !memcmp(&now.st_mtim, &read_at, sizeof read_at)) return 1;
    FILE *file = fopen(name, "r");
    if (!file) return 0;
    for (answered = 0; answered < LINES && fgets(line, sizeof line, file);)
        answered += sscanf(line, "%15s %63s %95[^\n]", answers[answered].who, answers[answered].key,
                           answers[answered].text) == 3;
    fclose(file);
    size = now.st_size, read_at = now.st_mtim;
    return answered < LINES;
}

int look(int gpu, const char *key, char *value) {
    char wanted[16];
    if (!fresh()) return UNKNOWN;
    if (gpu < 0) strcpy(wanted, "-"); else snprintf(wanted, sizeof wanted, "%d", gpu);
    for (int i = answered - 1; i >= 0; i--)
        if (!strcmp(answers[i].key, key) && (!strcmp(answers[i].who, wanted) || (gpu >= 0 && !strcmp(answers[i].who, "*")))) {
            strcpy(value, answers[i].text);
            return value[0] == '!' ? atoi(value + 1) : SUCCESS;
        }
    return NOT_SUPPORTED;
}

static int driver_number(const char *key, long long *out) {
    char text[TEXT];
    int code = look(-1, key, text);
    if (code == SUCCESS) *out = atoll(text);
    return code;
}

int check(const device *d) {
    if (!initialised) return UNINITIALIZED;
    return d >= devices && d < devices + GPUS && d->index >= 0 ? SUCCESS : INVALID_ARGUMENT;
}

int up(void) { return initialised ? SUCCESS : UNINITIALIZED; }
device *handle(int index) { return &devices[index]; }

int copied(int code, const char *text, char *out, unsigned size) {
    if (code == SUCCESS && !out) code = INVALID_ARGUMENT;
    if (code == SUCCESS && strlen(text) >= size) code = INSUFFICIENT_SIZE;
    if (code == SUCCESS) strcpy(out, text);
    return code;
}

static int string_of(const device *d, const char *key, char *out, unsigned size) {
    char text[TEXT];
    int code = check(d);
    if (code == SUCCESS) code = look(d->index, key, text);
    return copied(code, text, out, size);
}

int numbers(const device *d, const char *key, long long *out, int count) {
    char text[TEXT], *at = text;
    int code = check(d);
    if (code == SUCCESS) code = look(d->index, key, text);
    for (int i = 0; code == SUCCESS && i < count; i++) out[i] = strtoll(at, &at, 0);
    return code;
}

int one(const device *d, const char *key, unsigned *out) {
    long long x;
    int code = out ? numbers(d, key, &x, 1) : INVALID_ARGUMENT;
    if (code == SUCCESS) *out = (unsigned)x;
    return code;
}

#define UINT(function, key) \
    int function(device *d, unsigned *out) { return one(d, key, out); }
#define SELECTED(function, valid, key) \
    int function(device *d, unsigned which, unsigned *out) { return (valid) ? one(d, key, out) : INVALID_ARGUMENT; }

int nvmlInitWithFlags(unsigned flags) {
    long long code = SUCCESS;
    (void)flags;
    if (driver_number("init", &code) != NOT_SUPPORTED) { char text[TEXT]; return look(-1, "init", text); }
    for (int i = 0; i < GPUS; i++) devices[i].index = i;
    initialised = 1;
    return SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { if (!initialised) return UNINITIALIZED; initialised = 0; return SUCCESS; }
const char *nvmlErrorString(int code) { return code == UNKNOWN ? "Unknown Error" : "stand-in error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    char text[TEXT];
    return copied(initialised ? look(-1, "version", text) : UNINITIALIZED, text, out, size);
}
int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    long long x;
    int code = initialised ? driver_number("cuda", &x) : UNINITIALIZED;
    if (code == SUCCESS) *out = (int)x;
    return code;
}
int nvmlDeviceGetCount_v2(unsigned *out) {
    long long x;
    int code = initialised ? driver_number("count", &x) : UNINITIALIZED;
    if (code == SUCCESS) *out = (unsigned)x;
    return code;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **out) {
    long long count = 0;
    char text[TEXT];
    if (!initialised) return UNINITIALIZED;
    if (driver_number("count", &count) != SUCCESS || index >= count || index >= GPUS) return INVALID_ARGUMENT;
    int code = look((int)index, "handle", text); /* "3 handle !15": this GPU is lost */
    if (code != SUCCESS && code != NOT_SUPPORTED) return code;
    *out = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetName(device *d, char *out, unsigned size) { return string_of(d, "name", out, size); }
int nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor) {
    long long x[2]; int code = numbers(d, "capability", x, 2);
    if (code == SUCCESS) { *major = (int)x[0]; *minor = (int)x[1]; }
    return code;
}
int nvmlDeviceGetUtilizationRates(device *d, unsigned *out) { /* gpu, memory */
    long long x; int code = numbers(d, "util", &x, 1);
    if (code == SUCCESS) { out[0] = (unsigned)x; out[1] = (unsigned)x / 2; }
    return code;
}
int nvmlDeviceGetMemoryInfo(device *d, unsigned long long *out) { /* total, free, used */
    long long x[2]; int code = numbers(d, "memory", x, 2);
    if (code == SUCCESS) { out[0] = x[1]; out[1] = x[1] - x[0]; out[2] = x[0]; }
    return code;
}
static int with_period(device *d, const char *key, unsigned *share, unsigned *period) {
    long long x; int code = numbers(d, key, &x, 1);
    if (code == SUCCESS) { *share = (unsigned)x; *period = 167000; }
    return code;
}
int nvmlDeviceGetEncoderUtilization(device *d, unsigned *a, unsigned *b) { return with_period(d, "encoder", a, b); }
int nvmlDeviceGetDecoderUtilization(device *d, unsigned *a, unsigned *b) { return with_period(d, "decoder", a, b); }
UINT(nvmlDeviceGetPowerUsage, "power")
UINT(nvmlDeviceGetEnforcedPowerLimit, "power_limit")
UINT(nvmlDeviceGetPowerManagementDefaultLimit, "power_default")
UINT(nvmlDeviceGetPersistenceMode, "persistence")
UINT(nvmlDeviceGetComputeMode, "compute_mode")
UINT(nvmlDeviceGetCurrPcieLinkGeneration, "gen")
UINT(nvmlDeviceGetMaxPcieLinkGeneration, "gen_max")
UINT(nvmlDeviceGetCurrPcieLinkWidth, "width")
UINT(nvmlDeviceGetMaxPcieLinkWidth, "width_max")
UINT(nvmlDeviceGetPcieReplayCounter, "replays")
SELECTED(nvmlDeviceGetTemperature, which == 0, "temperature")
SELECTED(nvmlDeviceGetTemperatureThreshold, which < 8, which == 1 ? "slowdown" : which == 3 ? "gpu_max" : "other_threshold")
SELECTED(nvmlDeviceGetClockInfo, which < 4, which == 1 ? "sm_clock" : "other_clock")
SELECTED(nvmlDeviceGetMaxClockInfo, which < 4, which == 1 ? "sm_clock_max" : "other_clock_max")
SELECTED(nvmlDeviceGetPcieThroughput, which < 2, which == 0 ? "tx" : "rx")
int nvmlDeviceGetCurrentClocksEventReasons(device *d, unsigned long long *out) {
    long long x; int code = numbers(d, "reasons", &x, 1);
    if (code == SUCCESS) *out = (unsigned long long)x;
    return code;
}
int nvmlDeviceGetTotalEccErrors(device *d, unsigned type, unsigned counter, unsigned long long *out) {
    long long x; int code = type < 2 && counter < 2 ? numbers(d, "ecc", &x, 1) : INVALID_ARGUMENT;
    if (code == SUCCESS) *out = (unsigned long long)x;
    return code;
}
int nvmlDeviceGetMemoryErrorCounter(device *d, unsigned type, unsigned counter, unsigned place, unsigned long long *out) {
    long long x; int code = type < 2 && counter < 2 && place < 8 ? numbers(d, "sram", &x, 1) : INVALID_ARGUMENT;
    if (code == SUCCESS) *out = (unsigned long long)x;
    return code;
}
int nvmlDeviceGetRemappedRows(device *d, unsigned *corr, unsigned *unc, unsigned *pending, unsigned *failed) {
    long long x[4]; int code = numbers(d, "remapped", x, 4);
    if (code == SUCCESS) { *corr = (unsigned)x[0]; *unc = (unsigned)x[1]; *pending = (unsigned)x[2]; *failed = (unsigned)x[3]; }
    return code;
}
int nvmlDeviceGetMigMode(device *d, unsigned *current, unsigned *pending) {
    long long x; int code = numbers(d, "mig", &x, 1);
    if (code == SUCCESS) *current = *pending = (unsigned)x;
    return code;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process;
int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *count, process *out) {
    char line[256], who[16], wanted[16];
    unsigned pid, found = 0, room = count ? *count : 0;
    unsigned long long held;
    int code = check(d);
    if (code != SUCCESS) return code;
    FILE *file = fopen(getenv("STANDIN_NVML"), "r");
    if (!file) return UNKNOWN;
    snprintf(wanted, sizeof wanted, "%d", d->index);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%15s proc %u %llu", who, &pid, &held) == 3 && (!strcmp(who, wanted) || !strcmp(who, "*"))) {
            if (out && found < room) out[found] = (process){pid, held, 0, 0};
            found++;
        }
    fclose(file);
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
