/* NVLink, the fields of nvmlDeviceGetFieldValues, the way between two GPUs, and where they are on the bus.
 *
 * "GPU link.N STATE KIND BUS" is a link (KIND 0 a GPU, 2 a switch), "GPU field.ID TYPE VALUE" a field of
 * all scopes and "GPU field.ID.SCOPE TYPE VALUE" of one, with TYPE as in nvmlValueType_t. "GPU ancestor
 * LEVEL" and "GPU p2p.INDEX STATUS" hold for all its pairs, "GPU ancestor@J" and "GPU p2p.INDEX@J" with J.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "standin.h"

#define MAX_LINKS 36
#define MAX_FIELD 300

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
} pci_info;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    union { double d; unsigned u; unsigned long ul; unsigned long long ull; } value;
} field_value;

static int fill(int code, const char *text, pci_info *out) {
    unsigned domain, bus, number, function;
    if (code != SUCCESS) return code;
    if (!out) return INVALID_ARGUMENT;
    if (sscanf(text, "%x:%x:%x.%x", &domain, &bus, &number, &function) != 4) return UNKNOWN;
    memset(out, 0, sizeof *out);
    out->domain = domain, out->bus = bus, out->device = number;
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.%X", domain, bus, number, function);
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(device *d, pci_info *out) {
    char text[TEXT];
    int code = check(d);
    return fill(code == SUCCESS ? look(d->index, "bus", text) : code, text, out);
}

/* State, kind and address of a link; a card without NVLink does not support the question. */
static int link_of(device *d, unsigned link, unsigned *state, unsigned *kind, char *bus) {
    char key[32], text[TEXT];
    int code = check(d);
    if (code == SUCCESS && link >= MAX_LINKS) code = INVALID_ARGUMENT;
    if (code == SUCCESS && (code = look(d->index, "link.0", text)) == SUCCESS) {
        snprintf(key, sizeof key, "link.%u", link);
        code = look(d->index, key, text);
        if (code == NOT_SUPPORTED) code = INVALID_ARGUMENT;
    }
    if (code == SUCCESS && sscanf(text, "%u %u %31s", state, kind, bus) < 1) code = UNKNOWN;
    return code;
}

int nvmlDeviceGetNvLinkState(device *d, unsigned link, unsigned *out) {
    unsigned state, kind; char bus[32];
    int code = out ? link_of(d, link, &state, &kind, bus) : INVALID_ARGUMENT;
    if (code == SUCCESS) *out = state;
    return code;
}
static int other_end(device *d, unsigned link, unsigned *kind, char *bus) {
    unsigned state;
    int code = link_of(d, link, &state, kind, bus);
    return code == SUCCESS && !state ? NOT_SUPPORTED : code;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(device *d, unsigned link, unsigned *out) {
    unsigned kind = 255; char bus[32];
    int code = out ? other_end(d, link, &kind, bus) : INVALID_ARGUMENT;
    if (code == SUCCESS) *out = kind;
    return code;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(device *d, unsigned link, pci_info *out) {
    unsigned kind; char bus[32] = "";
    return fill(other_end(d, link, &kind, bus), bus, out);
}

static int field(const device *d, field_value *v) {
    char key[48], text[TEXT];
    int code;
    memset(&v->value, 0xa5, sizeof v->value); /* without success the value is not defined */
    if (v->field == 0 || v->field >= MAX_FIELD) return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "field.%u.%u", v->field, v->scope);
    code = look(d->index, key, text);
    snprintf(key, sizeof key, "field.%u", v->field);
    if (code == NOT_SUPPORTED) code = look(d->index, key, text);
    if (code != SUCCESS) return code;
    char *at;
    v->type = (unsigned)strtoul(text, &at, 10);
    memset(&v->value, 0, sizeof v->value);
    if (v->type == 0) v->value.d = strtod(at, NULL);
    else if (v->type == 1) v->value.u = (unsigned)strtoul(at, NULL, 10);
    else v->value.ull = strtoull(at, NULL, 10);
    return SUCCESS;
}
int nvmlDeviceGetFieldValues(device *d, int count, field_value *values) {
    int code = check(d), good = 0;
    if (code != SUCCESS) return code;
    if (!values || count < 1) return INVALID_ARGUMENT;
    if (look(d->index, "fields", (char[TEXT]){0}) != NOT_SUPPORTED) { char text[TEXT]; return look(d->index, "fields", text); }
    for (int i = 0; i < count; i++) good += (values[i].code = field(d, &values[i])) == SUCCESS;
    return SUCCESS; /* also when none is good: each value has its own code */
}

static int between(device *one_gpu, device *other, const char *key, unsigned *out) {
    char pair[48];
    int code = check(one_gpu);
    if (code == SUCCESS) code = check(other);
    if (code != SUCCESS) return code;
    snprintf(pair, sizeof pair, "%s@%d", key, other->index);
    code = one(one_gpu, pair, out);
    return code == NOT_SUPPORTED ? one(one_gpu, key, out) : code;
}
int nvmlDeviceGetTopologyCommonAncestor(device *a, device *b, unsigned *out) { return between(a, b, "ancestor", out); }
int nvmlDeviceGetP2PStatus(device *a, device *b, unsigned index, unsigned *out) {
    char key[16];
    snprintf(key, sizeof key, "p2p.%u", index);
    return index < 5 ? between(a, b, key, out) : INVALID_ARGUMENT;
}
