/* The C program that the compiled loop is held against: the same barrier, clock, batching, thread level and pinning.
 *
 *   mpiexec -n P ./all_reduce BYTES SAMPLES BATCH WARMUP
 *
 * prints one line a sample: seconds a call, the maximum over ranks. */
#define _GNU_SOURCE
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int rank, ranks;

static void barrier(MPI_Comm comm) {
    for (int distance = 1; distance < ranks; distance *= 2)
        MPI_Sendrecv(NULL, 0, MPI_BYTE, (rank + distance) % ranks, 1, NULL, 0, MPI_BYTE,
                     (rank - distance + ranks) % ranks, 1, comm, MPI_STATUS_IGNORE);
}

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pin(void) {
    MPI_Comm local;
    cpu_set_t allowed, mine;
    int local_rank, seen = 0;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
    MPI_Comm_rank(local, &local_rank);
    MPI_Comm_free(&local);
    sched_getaffinity(0, sizeof allowed, &allowed);
    local_rank %= CPU_COUNT(&allowed);
    CPU_ZERO(&mine);
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed) && seen++ == local_rank) CPU_SET(core, &mine);
    sched_setaffinity(0, sizeof mine, &mine);
}

int main(int argc, char **argv) {
    MPI_Comm comm;
    MPI_Init(&argc, &argv);
    if (argc != 5) {
        fprintf(stderr, "usage: all_reduce BYTES SAMPLES BATCH WARMUP\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    pin();
    size_t bytes = strtoull(argv[1], NULL, 10);
    int samples = atoi(argv[2]), batch = atoi(argv[3]), warmup = atoi(argv[4]);
    int count = (int)(bytes / sizeof(float));
    float *in = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), *out = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    double *seconds = malloc(samples * sizeof(double)), *slowest = malloc(samples * sizeof(double));
    memset(in, 0, bytes);
    memset(out, 0, bytes);
    for (int i = 0; i < warmup; i++) MPI_Allreduce(in, out, count, MPI_FLOAT, MPI_SUM, comm);
    for (int i = 0; i < samples; i++) {
        barrier(comm);
        long long start = now_ns();
        for (int k = 0; k < batch; k++) MPI_Allreduce(in, out, count, MPI_FLOAT, MPI_SUM, comm);
        seconds[i] = (now_ns() - start) * 1e-9 / batch;
    }
    MPI_Allreduce(seconds, slowest, samples, MPI_DOUBLE, MPI_MAX, comm);
    if (rank == 0)
        for (int i = 0; i < samples; i++) printf("%.12g\n", slowest[i]);
    MPI_Finalize();
    return 0;
}
