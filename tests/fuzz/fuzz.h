/* tests/fuzz/fuzz.h: what the harnesses share. A harness takes the bytes of the fuzzer, lets the
 * code of src/ work on them and ends the process where a promise is broken. The bytes are copied to
 * memory of exactly their size, so that a step too far is seen. */
#ifndef FM_TESTS_FUZZ_H
#define FM_TESTS_FUZZ_H

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold, with the place and the evidence. */
#define HOLDS(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not %s: ", __FILE__, __LINE__, #condition);                    \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline char *fuzz_copy(const void *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    if (n)
        memcpy(copy, p, n);
    return copy;
}

/* A place in n bytes that the fuzzer chooses by the last two of them; 0 where there is none. */
static inline size_t fuzz_cut(const uint8_t *data, size_t size, size_t n)
{
    return size < 2 || n == 0 ? 0 : (data[size - 1] | (size_t)data[size - 2] << 8) % n;
}

#endif
