/* What the parts of the stand-in share; see standin.c. */
#ifndef STANDIN_H
#define STANDIN_H

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, TIMEOUT = 10, MEMORY = 20, ARGUMENT_VERSION_MISMATCH = 25, UNKNOWN = 999
};
#define GPUS 16
#define TEXT 96

typedef struct { int index; } device;

int look(int gpu, const char *key, char *value);                       /* the text of a key, or an NVML error */
int check(const device *d);                                            /* SUCCESS for the handle of a GPU */
int up(void);                                                          /* SUCCESS after nvmlInit */
int numbers(const device *d, const char *key, long long *out, int count);
int one(const device *d, const char *key, unsigned *out);
int copied(int code, const char *text, char *out, unsigned size);      /* a text into a caller's buffer */
device *handle(int index);

#endif
