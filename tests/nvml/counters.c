/* Performance metrics, events, MIG devices, UUIDs and the thermal margin.
 *
 * "GPU gpm 1" makes a GPU support performance metrics, "GPU gpm.ID VALUE" is the mean of one between two
 * samples. "GPU xid CODE" is an event, delivered once in the order of the lines; "GPU events MASK" are the
 * types that can be watched. "GPU mig.N UUID" is a MIG device of a GPU whose "mig" is 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "standin.h"

#define MIG_PARTS 7
#define MAX_METRIC 477

static int flag(const device *d, const char *key) {
    unsigned value;
    return one(d, key, &value) == SUCCESS && value;
}

/* --- performance metrics --- */

typedef struct { int gpu, serial; } sample;
typedef struct { unsigned id; int code; double value; const char *names[3]; } metric;
typedef struct { unsigned version, count; sample *older, *newer; metric metrics[MAX_METRIC]; } metrics_get;
static int live, serial;

int standin_live_samples(void) { return live; }
int nvmlGpmQueryDeviceSupport(device *d, unsigned *support) { /* version, isSupportedDevice */
    int code = check(d);
    if (code != SUCCESS || !support) return code != SUCCESS ? code : INVALID_ARGUMENT;
    if (support[0] != 1) return ARGUMENT_VERSION_MISMATCH;
    support[1] = (unsigned)flag(d, "gpm");
    return SUCCESS;
}
int nvmlGpmSampleAlloc(sample **out) {
    if (up() != SUCCESS || !out) return out ? UNINITIALIZED : INVALID_ARGUMENT;
    if (!(*out = calloc(1, sizeof **out))) return MEMORY;
    (*out)->gpu = -1;
    live++;
    return SUCCESS;
}
int nvmlGpmSampleFree(sample *s) {
    if (!s) return INVALID_ARGUMENT;
    free(s);
    live--;
    return SUCCESS;
}
int nvmlGpmSampleGet(device *d, sample *s) {
    int code = check(d);
    if (code != SUCCESS || !s) return code != SUCCESS ? code : INVALID_ARGUMENT;
    unsigned refused;
    if ((code = one(d, "gpm_get", &refused)) != NOT_SUPPORTED && code != SUCCESS) return code;
    if (!flag(d, "gpm") || flag(d, "mig")) return NOT_SUPPORTED;
    s->gpu = d->index, s->serial = ++serial;
    return SUCCESS;
}
int nvmlGpmMetricsGet(metrics_get *get) {
    if (up() != SUCCESS) return UNINITIALIZED;
    if (!get || !get->older || !get->newer || get->count < 1 || get->count > MAX_METRIC) return INVALID_ARGUMENT;
    if (get->version != 1) return ARGUMENT_VERSION_MISMATCH;
    if (get->older->gpu < 0 || get->older->gpu != get->newer->gpu) return INVALID_ARGUMENT;
    if (get->older->serial >= get->newer->serial) return INVALID_ARGUMENT;
    for (unsigned i = 0; i < get->count; i++) {
        metric *m = &get->metrics[i];
        char key[32], text[TEXT];
        snprintf(key, sizeof key, "gpm.%u", m->id);
        m->code = m->id && m->id < MAX_METRIC ? look(get->older->gpu, key, text) : INVALID_ARGUMENT;
        m->value = m->code == SUCCESS ? strtod(text, NULL) : -1;
    }
    return SUCCESS;
}

/* --- events --- */

typedef struct { unsigned long long registered[GPUS]; int delivered; } event_set;
typedef struct { device *gpu; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event;
#define XID 8ull

int nvmlEventSetCreate(event_set **out) {
    if (up() != SUCCESS || !out) return out ? UNINITIALIZED : INVALID_ARGUMENT;
    return (*out = calloc(1, sizeof **out)) ? SUCCESS : MEMORY;
}
int nvmlEventSetFree(event_set *set) { if (!set) return INVALID_ARGUMENT; free(set); return SUCCESS; }
int nvmlDeviceGetSupportedEventTypes(device *d, unsigned long long *out) {
    long long mask = 0;
    int code = out ? numbers(d, "events", &mask, 1) : INVALID_ARGUMENT;
    if (code != SUCCESS && code != NOT_SUPPORTED) return code;
    *out = (unsigned long long)mask;
    return SUCCESS;
}
int nvmlDeviceRegisterEvents(device *d, unsigned long long types, event_set *set) {
    unsigned long long offered;
    int code = nvmlDeviceGetSupportedEventTypes(d, &offered);
    if (code != SUCCESS) return code;
    if (!set || !types) return INVALID_ARGUMENT;
    unsigned refused;
    if ((code = one(d, "register", &refused)) != NOT_SUPPORTED && code != SUCCESS) return code;
    if (types & ~offered) return NOT_SUPPORTED;
    set->registered[d->index] |= types;
    return SUCCESS;
}
int nvmlEventSetWait_v2(event_set *set, event *out, unsigned timeout_ms) {
    char line[256];
    int gpu, seen = 0;
    unsigned long long xid;
    if (up() != SUCCESS) return UNINITIALIZED;
    if (!set || !out) return INVALID_ARGUMENT;
    FILE *file = fopen(getenv("STANDIN_NVML"), "r");
    if (!file) return UNKNOWN;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%d xid %llu", &gpu, &xid) != 2 || gpu < 0 || gpu >= GPUS) continue;
        if (!(set->registered[gpu] & XID) || seen++ < set->delivered) continue;
        *out = (event){handle(gpu), XID, xid, 0xffffffff, 0xffffffff};
        set->delivered++;
        fclose(file);
        return SUCCESS;
    }
    fclose(file);
    usleep(timeout_ms * 1000);
    return TIMEOUT;
}

/* --- UUIDs and MIG --- */

typedef struct { int parent, place; } part; /* a MIG device is no device to the calls for whole GPUs */
static part parts[GPUS][MIG_PARTS];

int nvmlDeviceGetUUID(device *d, char *out, unsigned size) {
    char text[TEXT], key[16];
    part *p = (part *)d;
    int code = up();
    if (code != SUCCESS) return code;
    if (p >= &parts[0][0] && p < &parts[0][0] + GPUS * MIG_PARTS) {
        snprintf(key, sizeof key, "mig.%d", p->place);
        return copied(look(p->parent, key, text), text, out, size);
    }
    code = check(d);
    return copied(code == SUCCESS ? look(d->index, "uuid", text) : code, text, out, size);
}
int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *out) {
    int code = check(d);
    if (code == SUCCESS) *out = flag(d, "mig") ? MIG_PARTS : 0;
    return code;
}
int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned place, part **out) {
    char key[16], text[TEXT];
    int code = check(d);
    if (code == SUCCESS && !flag(d, "mig")) code = NOT_SUPPORTED;
    if (code == SUCCESS && (place >= MIG_PARTS || !out)) code = INVALID_ARGUMENT;
    if (code != SUCCESS) return code;
    snprintf(key, sizeof key, "mig.%u", place);
    if (look(d->index, key, text) != SUCCESS) return NOT_FOUND;
    parts[d->index][place] = (part){d->index, (int)place};
    *out = &parts[d->index][place];
    return SUCCESS;
}

/* --- temperature --- */

int nvmlDeviceGetMarginTemperature(device *d, unsigned *margin) { /* version, degrees */
    long long x = 0;
    int code = check(d);
    if (code == SUCCESS && margin[0] != 0x1000008) code = ARGUMENT_VERSION_MISMATCH;
    if (code == SUCCESS) code = numbers(d, "margin", &x, 1);
    if (code == SUCCESS) margin[1] = (unsigned)x;
    return code;
}
