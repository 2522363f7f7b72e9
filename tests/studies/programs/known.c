/* Calls MPI a known number of times with known numbers of bytes; on P ranks, from rank to rank in a ring. */
#include <mpi.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int rank, size, flag = 0, provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SINGLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int right = (rank + 1) % size, left = (rank + size - 1) % size;
    double in[100], out[100] = {0};
    for (int i = 0; i < 10; i++) {
        MPI_Request requests[2];
        MPI_Irecv(in, 100, MPI_DOUBLE, left, 1, MPI_COMM_WORLD, &requests[0]);
        MPI_Isend(out, 100, MPI_DOUBLE, right, 1, MPI_COMM_WORLD, &requests[1]);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    }
    MPI_Send(out, 100, MPI_DOUBLE, MPI_PROC_NULL, 1, MPI_COMM_WORLD);
    MPI_Sendrecv(out, 50, MPI_INT, right, 2, in, 50, MPI_INT, left, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int i = 0; i < 5; i++) MPI_Allreduce(MPI_IN_PLACE, out, 7, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    int *counts = malloc(size * sizeof *counts), *places = malloc(size * sizeof *places);
    char *from = malloc(3 * size), *to = malloc(3 * size);
    for (int i = 0; i < size; i++) {
        counts[i] = 3;
        places[i] = 3 * i;
    }
    MPI_Alltoallv(from, counts, places, MPI_CHAR, to, counts, places, MPI_CHAR, MPI_COMM_WORLD);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, to, 3, MPI_CHAR, MPI_COMM_WORLD);
    for (int i = 0; i < 1000; i++) MPI_Iprobe(left, 9, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
