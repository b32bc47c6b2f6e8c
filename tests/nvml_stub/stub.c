/* A pretended libnvidia-ml.so.1 for tests. What its devices say stands in the file that GSWARM_NVML_STUB names, one KEY=VALUE a line,
 * and is read again whenever that file has changed:
 *
 *   count=2                  GPUs
 *   gpu0.power=350000        a number, in NVML's own unit
 *   gpu0.power=!15           this error instead; 3 is NOT_SUPPORTED and what is not in the file answers so, 15 is GPU_IS_LOST
 *   gpu0.power=hang          the call returns when the file says something else
 *   gpu0.lost=1              every call about the device answers GPU_IS_LOST
 *   gpu0.processes=71:1000:50,72:2000:25     process id, bytes, SM percent
 *   gpu0.xid=79              an XID event, once each time the number changes
 *   gpu0.migs=2              MIG mode with that many places; gpu0.mig1.memory_total=... is one that exists
 *
 * Functions that are not here answer NOT_SUPPORTED: the builder adds one for every name that pynvml knows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15 };
enum { LINES_MAX = 2048, GPUS_MAX = 64, MIGS_MAX = 8 };

typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct { int gpu, mig; } Device;

static struct { char key[64], value[512]; } lines[LINES_MAX];
static int line_count;
static struct timespec read_at;
static off_t read_size = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Device devices[GPUS_MAX][MIGS_MAX + 1];
static u64 told_xid[GPUS_MAX];

static void read_state(void) {
    static struct timespec looked_at;
    const char *path = getenv("GSWARM_NVML_STUB");
    struct timespec clock;
    struct stat now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &clock);
    if (clock.tv_sec == looked_at.tv_sec && clock.tv_nsec == looked_at.tv_nsec) return; /* a look every few milliseconds is enough */
    looked_at = clock;
    if (path == NULL || stat(path, &now) != 0) return;
    if (now.st_mtim.tv_sec == read_at.tv_sec && now.st_mtim.tv_nsec == read_at.tv_nsec && now.st_size == read_size) return;
    FILE *file = fopen(path, "r");
    if (file == NULL) return;
    char text[640];
    for (line_count = 0; line_count < LINES_MAX && fgets(text, sizeof text, file) != NULL;) {
        char *equals = strchr(text, '=');
        if (equals == NULL) continue;
        *equals = 0;
        equals[1 + strcspn(equals + 1, "\r\n")] = 0;
        snprintf(lines[line_count].key, sizeof lines[0].key, "%.63s", text);
        snprintf(lines[line_count++].value, sizeof lines[0].value, "%.511s", equals + 1);
    }
    fclose(file);
    read_at = now.st_mtim;
    read_size = now.st_size;
}

static int find(const char *key, char *value, size_t size) {
    int found = 0;
    pthread_mutex_lock(&lock);
    read_state();
    for (int i = 0; i < line_count && !found; i++)
        if (strcmp(lines[i].key, key) == 0) {
            snprintf(value, size, "%s", lines[i].value);
            found = 1;
        }
    pthread_mutex_unlock(&lock);
    return found;
}

static void name_of(const Device *device, const char *sensor, char *key, size_t size) {
    if (device->mig < 0) snprintf(key, size, "gpu%d.%s", device->gpu, sensor);
    else snprintf(key, size, "gpu%d.mig%d.%s", device->gpu, device->mig, sensor);
}

static int is_lost(const Device *device) {
    char key[64], value[512];
    snprintf(key, sizeof key, "gpu%d.lost", device->gpu);
    return find(key, value, sizeof value) && atoi(value) != 0;
}

static int text_of(const Device *device, const char *sensor, char *value, size_t size) {
    char key[64];
    if (device == NULL) return INVALID_ARGUMENT;
    if (is_lost(device)) return GPU_IS_LOST;
    name_of(device, sensor, key, sizeof key);
    for (;;) {
        if (!find(key, value, size)) return NOT_SUPPORTED;
        if (strcmp(value, "hang") != 0) break;
        usleep(10000);
    }
    return value[0] == '!' ? atoi(value + 1) : OK;
}

static int number_of(const Device *device, const char *sensor, u64 *number) {
    char value[512];
    int status = text_of(device, sensor, value, sizeof value);
    if (status == OK) *number = strtoull(value, NULL, 10);
    return status;
}

static int u32_of(const Device *device, const char *sensor, u32 *number) {
    u64 wide = 0;
    int status = number_of(device, sensor, &wide);
    if (status == OK) *number = (u32)wide;
    return status;
}

static int copy_of(const Device *device, const char *sensor, char *out, u32 length) {
    char value[512];
    int status = text_of(device, sensor, value, sizeof value);
    if (status == OK) snprintf(out, length, "%s", value);
    return status;
}

static int gpu_count(void) {
    char value[512];
    return find("count", value, sizeof value) ? atoi(value) : 0;
}

/* ---- library and devices -------------------------------------------------------------------------------------------- */

int nvmlInit_v2(void) { return OK; }
int nvmlInitWithFlags(u32 flags) { (void)flags; return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int status) { (void)status; return "an error of the stub"; }
int nvmlSystemGetDriverVersion(char *version, u32 length) { snprintf(version, length, "999.1"); return OK; }
int nvmlDeviceGetCount_v2(u32 *count) { *count = (u32)gpu_count(); return OK; }

int nvmlDeviceGetHandleByIndex_v2(u32 index, Device **device) {
    if ((int)index >= gpu_count() || index >= GPUS_MAX) return INVALID_ARGUMENT;
    *device = &devices[index][MIGS_MAX];
    **device = (Device){(int)index, -1};
    return is_lost(*device) ? GPU_IS_LOST : OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **device) {
    char found[128];
    for (int index = 0; index < gpu_count(); index++) {
        Device *one = NULL;
        if (nvmlDeviceGetHandleByIndex_v2((u32)index, &one) == OK && copy_of(one, "uuid", found, sizeof found) == OK && strcmp(found, uuid) == 0) {
            *device = one;
            return OK;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(Device *device, u32 *index) { *index = (u32)device->gpu; return is_lost(device) ? GPU_IS_LOST : OK; }
int nvmlDeviceGetName(Device *device, char *name, u32 length) { return copy_of(device, "name", name, length); }
int nvmlDeviceGetUUID(Device *device, char *uuid, u32 length) { return copy_of(device, "uuid", uuid, length); }
int nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) { *major = 9; *minor = 0; return is_lost(device) ? GPU_IS_LOST : OK; }

/* ---- MIG ------------------------------------------------------------------------------------------------------------ */

int nvmlDeviceIsMigDeviceHandle(Device *device, u32 *is_mig) { *is_mig = device->mig >= 0; return OK; }

int nvmlDeviceGetMaxMigDeviceCount(Device *device, u32 *count) {
    int status = u32_of(device, "migs", count);
    if (status == NOT_SUPPORTED) *count = 0;
    return status == NOT_SUPPORTED ? OK : status;
}

int nvmlDeviceGetMigMode(Device *device, u32 *current, u32 *pending) {
    u32 count = 0;
    if (device->mig >= 0) return NOT_SUPPORTED;
    int status = u32_of(device, "migs", &count);
    *current = *pending = count > 0;
    return status;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *parent, u32 index, Device **mig) {
    u64 unused;
    if (index >= MIGS_MAX) return INVALID_ARGUMENT;
    Device *device = &devices[parent->gpu][index];
    *device = (Device){parent->gpu, (int)index};
    int status = number_of(device, "memory_total", &unused);
    *mig = device;
    return status == NOT_SUPPORTED ? NOT_FOUND : status;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *mig, Device **parent) { return nvmlDeviceGetHandleByIndex_v2((u32)mig->gpu, parent); }
int nvmlDeviceGetGpuInstanceId(Device *device, u32 *id) { *id = (u32)device->mig; return device->mig >= 0 ? OK : NOT_SUPPORTED; }
int nvmlDeviceGetComputeInstanceId(Device *device, u32 *id) { *id = 0; return device->mig >= 0 ? OK : NOT_SUPPORTED; }

/* ---- sensors -------------------------------------------------------------------------------------------------------- */

typedef struct { u64 total, free, used; } Memory;
typedef struct { u32 version; u64 total, reserved, free, used; } MemoryV2;
typedef struct { u32 gpu, memory; } Utilization;

int nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    int status = number_of(device, "memory_total", &memory->total);
    if (status == OK) status = number_of(device, "memory_used", &memory->used);
    memory->free = memory->total - memory->used;
    return status;
}

int nvmlDeviceGetMemoryInfo_v2(Device *device, MemoryV2 *memory) {
    Memory old = {0, 0, 0};
    int status = nvmlDeviceGetMemoryInfo(device, &old);
    memory->total = old.total;
    memory->used = old.used;
    memory->free = old.free;
    memory->reserved = 0;
    return status;
}

int nvmlDeviceGetUtilizationRates(Device *device, Utilization *rates) {
    int status = u32_of(device, "utilization", &rates->gpu);
    if (status == OK && u32_of(device, "memory_utilization", &rates->memory) != OK) rates->memory = 0;
    return status;
}

int nvmlDeviceGetPowerUsage(Device *device, u32 *power) { return u32_of(device, "power", power); }
int nvmlDeviceGetEnforcedPowerLimit(Device *device, u32 *limit) { return u32_of(device, "power_limit", limit); }
int nvmlDeviceGetTotalEnergyConsumption(Device *device, u64 *energy) { return number_of(device, "energy", energy); }
int nvmlDeviceGetTemperature(Device *device, int sensor, u32 *celsius) { (void)sensor; return u32_of(device, "temperature", celsius); }

typedef struct { u32 version; int sensor, celsius; } Temperature;

int nvmlDeviceGetTemperatureV(Device *device, Temperature *answer) {
    u32 celsius = 0;
    int status = u32_of(device, "temperature", &celsius);
    answer->celsius = (int)celsius;
    return status;
}

int nvmlDeviceGetClockInfo(Device *device, int clock, u32 *mhz) { return u32_of(device, clock == 2 ? "memory_clock" : "sm_clock", mhz); }
int nvmlDeviceGetFanSpeed(Device *device, u32 *percent) { return u32_of(device, "fan", percent); }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, u64 *reasons) { return number_of(device, "throttle", reasons); }
int nvmlDeviceGetPcieThroughput(Device *device, int counter, u32 *kib) { return u32_of(device, counter == 0 ? "pcie_tx" : "pcie_rx", kib); }

int nvmlDeviceGetTotalEccErrors(Device *device, int kind, int counter, u64 *errors) {
    (void)counter;
    return number_of(device, kind == 0 ? "ecc_corrected" : "ecc_uncorrected", errors);
}

typedef struct { u32 field, scope; int64_t timestamp, latency; u32 type; int status; union { double d; u32 u; u64 ull; } value; } Field;

int nvmlDeviceGetFieldValues(Device *device, int count, Field *values) {
    if (is_lost(device)) return GPU_IS_LOST;
    for (int i = 0; i < count; i++) {
        u32 field = values[i].field;
        const char *sensor = field == 82 ? "memory_temperature" : field == 91 ? "nvlinks" : field == 138 ? "nvlink_tx" : field == 139 ? "nvlink_rx" : "none";
        int is_counter = field == 138 || field == 139;
        u64 number = 0;
        values[i].timestamp = 0;
        values[i].type = is_counter ? 3 : 1;
        values[i].status = number_of(device, sensor, &number);
        if (is_counter) values[i].value.ull = number;
        else values[i].value.u = (u32)number;
    }
    return OK;
}

/* ---- processes ------------------------------------------------------------------------------------------------------ */

typedef struct { u32 pid; u64 used; u32 gpu_instance, compute_instance; } Process;
typedef struct { u32 pid; u64 timestamp; u32 sm, memory, encoder, decoder; } Share;

static int processes_of(const Device *device, Process *found, u32 *sm, u32 room) {
    char value[512], *rest = value;
    u32 count = 0;
    if (text_of(device, "processes", value, sizeof value) != OK) return 0;
    for (char *one; count < room && (one = strsep(&rest, ",")) != NULL;) {
        unsigned pid;
        u64 used;
        if (sscanf(one, "%u:%llu:%u", &pid, &used, &sm[count]) != 3) continue;
        found[count++] = (Process){pid, used, 0xFFFFFFFF, 0xFFFFFFFF};
    }
    return (int)count;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, u32 *count, Process *out) {
    Process found[64];
    u32 sm[64];
    if (is_lost(device)) return GPU_IS_LOST;
    u32 there = (u32)processes_of(device, found, sm, 64);
    int fits = *count >= there;
    if (fits && out != NULL) memcpy(out, found, there * sizeof *out);
    *count = there;
    return fits ? OK : INSUFFICIENT_SIZE;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *device, u32 *count, Process *out) {
    (void)out;
    *count = 0;
    return is_lost(device) ? GPU_IS_LOST : OK;
}

int nvmlDeviceGetProcessUtilization(Device *device, Share *out, u32 *count, u64 since) {
    Process found[64];
    u32 sm[64];
    if (is_lost(device)) return GPU_IS_LOST;
    if (device->mig >= 0) return NOT_SUPPORTED;
    u32 there = (u32)processes_of(device, found, sm, 64);
    if (there == 0) return NOT_FOUND;
    if (out == NULL || *count < there) {
        *count = there;
        return INSUFFICIENT_SIZE;
    }
    for (u32 i = 0; i < there; i++) out[i] = (Share){found[i].pid, since + 1, sm[i], 0, 0, 0};
    *count = there;
    return OK;
}

/* ---- events --------------------------------------------------------------------------------------------------------- */

typedef struct { Device *device; u64 type, data; u32 gpu_instance, compute_instance; } Event;

int nvmlEventSetCreate(void **set) { *set = devices; return OK; }
int nvmlEventSetFree(void *set) { (void)set; return OK; }

int nvmlDeviceRegisterEvents(Device *device, u64 types, void *set) {
    u64 xid = 0;
    (void)types;
    (void)set;
    return number_of(device, "xid", &xid);
}

int nvmlEventSetWait_v2(void *set, Event *event, u32 timeout_ms) {
    (void)set;
    (void)timeout_ms;
    for (int index = 0; index < gpu_count() && index < GPUS_MAX; index++) {
        Device *device = NULL;
        u64 xid = 0;
        if (nvmlDeviceGetHandleByIndex_v2((u32)index, &device) != OK || number_of(device, "xid", &xid) != OK) continue;
        if (xid == told_xid[index]) continue;
        told_xid[index] = xid;
        *event = (Event){device, 8, xid, 0xFFFFFFFF, 0xFFFFFFFF};
        return OK;
    }
    return TIMEOUT;
}
