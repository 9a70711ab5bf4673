/* What SimGrid's MPI simulator is asked: how long an operation takes, from an otherwise idle network.
 *
 *   all_reduce BYTES     every rank prints the seconds at which its MPI_Allreduce began and ended
 *   ring BYTES           every rank sends to the next one at once; begin and end of each rank
 *   pairs BYTES          each rank sends to each other rank, one message at a time; SRC DST SECONDS for each end of it
 *   nothing              starts and ends, for the time that this takes
 *
 * Buffers are one memory for all ranks, and the reduction reduces nothing: what is computed is no part of the question.
 */
#include <mpi.h>
#include <smpi/smpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void reduce_nothing(void *in, void *inout, int *count, MPI_Datatype *type) {
    (void)in, (void)inout, (void)count, (void)type;
}

static void all_reduce(size_t bytes) {
    MPI_Op op;
    void *in = SMPI_SHARED_MALLOC(bytes), *out = SMPI_SHARED_MALLOC(bytes);
    MPI_Op_create(reduce_nothing, 1, &op);
    double begin = MPI_Wtime();
    MPI_Allreduce(in, out, (int)(bytes / sizeof(float)), MPI_FLOAT, op, MPI_COMM_WORLD);
    printf("%.17g %.17g\n", begin, MPI_Wtime());
    SMPI_SHARED_FREE(in);
    SMPI_SHARED_FREE(out);
}

static void ring(size_t bytes, int rank, int ranks) {
    void *in = SMPI_SHARED_MALLOC(bytes), *out = SMPI_SHARED_MALLOC(bytes);
    double begin = MPI_Wtime();
    MPI_Sendrecv(in, (int)bytes, MPI_BYTE, (rank + 1) % ranks, 0, out, (int)bytes, MPI_BYTE,
                 (rank + ranks - 1) % ranks, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    printf("%.17g %.17g\n", begin, MPI_Wtime());
    SMPI_SHARED_FREE(in);
    SMPI_SHARED_FREE(out);
}

static void pairs(size_t bytes, int rank, int ranks) {
    void *buffer = SMPI_SHARED_MALLOC(bytes);
    for (int src = 0, turn = 0; src < ranks; src++)
        for (int dst = 0; dst < ranks; dst++) {
            if (src == dst) continue;
            turn++;
            if (rank != src && rank != dst) continue;
            usleep((useconds_t)((turn - MPI_Wtime()) * 1e6)); /* one turn a second */
            double begin = MPI_Wtime();
            if (rank == src)
                MPI_Send(buffer, (int)bytes, MPI_BYTE, dst, 0, MPI_COMM_WORLD);
            else
                MPI_Recv(buffer, (int)bytes, MPI_BYTE, src, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            printf("%d %d %.17g %.17g\n", src, dst, begin, MPI_Wtime());
        }
    SMPI_SHARED_FREE(buffer);
}

int main(int argc, char **argv) {
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const char *what = argc > 1 ? argv[1] : "nothing";
    size_t bytes = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (!strcmp(what, "all_reduce")) all_reduce(bytes);
    if (!strcmp(what, "ring")) ring(bytes, rank, ranks);
    if (!strcmp(what, "pairs")) pairs(bytes, rank, ranks);
    MPI_Finalize();
    return 0;
}
