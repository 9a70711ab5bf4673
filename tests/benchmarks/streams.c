/* What a C program gets from this machine's memory: the kernels that ours are held against, by OpenMP on all cores.
 *
 *     gcc -O3 -march=native -fopenmp -shared -fPIC streams.c -o streams.so
 *
 * The loops are those of STREAM (J. D. McCalpin, 1995), static schedule, and a reduction of P buffers into one.
 */
#include <stddef.h>

void fill(float *restrict a, float value, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        a[i] = value;
}

void copy(float *restrict a, const float *restrict b, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        a[i] = b[i];
}

void triad(float *restrict a, const float *restrict b, const float *restrict c, float k, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        a[i] = b[i] + k * c[i];
}

/* Several sums a core, as the compiler may not reorder one: what `reduction` and -O3 without -ffast-math leave undone. */
float sum(const float *restrict x, size_t n)
{
    float total = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : total)
    for (size_t i = 0; i < n; i++)
        total += x[i];
    return total;
}

/* y = sum of the p rows of x, each of n elements; one pass for every number of rows that is asked for. */
#define REDUCE(P, EXPRESSION)                                                                                          \
    case P: {                                                                                                          \
        _Pragma("omp parallel for simd schedule(static)") for (size_t i = 0; i < n; i++) y[i] = EXPRESSION;            \
        break;                                                                                                         \
    }
#define R(P) x[(size_t)(P) * n + i]

void reduce(float *restrict y, const float *restrict x, int p, size_t n)
{
    switch (p) {
        REDUCE(2, R(0) + R(1))
        REDUCE(3, R(0) + R(1) + R(2))
        REDUCE(4, (R(0) + R(1)) + (R(2) + R(3)))
        REDUCE(5, (R(0) + R(1)) + (R(2) + R(3)) + R(4))
        REDUCE(6, (R(0) + R(1)) + (R(2) + R(3)) + (R(4) + R(5)))
        REDUCE(7, (R(0) + R(1)) + (R(2) + R(3)) + (R(4) + R(5)) + R(6))
        REDUCE(8, ((R(0) + R(1)) + (R(2) + R(3))) + ((R(4) + R(5)) + (R(6) + R(7))))
    }
}
