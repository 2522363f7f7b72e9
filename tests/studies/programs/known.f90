! Calls MPI from Fortran a known number of times with known numbers of bytes.
program known
include 'mpif.h'
integer rank, size, left, right, error, i
integer status(MPI_STATUS_SIZE)
double precision out(100), in(100)
logical flag
call MPI_Init(error)
call MPI_Comm_rank(MPI_COMM_WORLD, rank, error)
call MPI_Comm_size(MPI_COMM_WORLD, size, error)
right = mod(rank + 1, size)
left = mod(rank + size - 1, size)
out = 0
do i = 1, 10
  call MPI_Sendrecv(out, 100, MPI_DOUBLE_PRECISION, right, 1, &
                    in, 100, MPI_DOUBLE_PRECISION, left, 1, MPI_COMM_WORLD, status, error)
end do
call MPI_Send(out, 100, MPI_DOUBLE_PRECISION, MPI_PROC_NULL, 1, MPI_COMM_WORLD, error)
do i = 1, 5
  call MPI_Allreduce(MPI_IN_PLACE, out, 7, MPI_DOUBLE_PRECISION, MPI_SUM, MPI_COMM_WORLD, error)
end do
call MPI_Allgather(MPI_IN_PLACE, 0, MPI_INTEGER, out, 3, MPI_DOUBLE_PRECISION, MPI_COMM_WORLD, error)
do i = 1, 1000
  call MPI_Iprobe(left, 9, MPI_COMM_WORLD, flag, status, error)
end do
call MPI_Barrier(MPI_COMM_WORLD, error)
call MPI_Finalize(error)
end
