/* A program with a known pattern: it computes, communicates and writes for an asked time in asked shares.
 *
 *   dummy --duration 2 --mpi 0.3 --message 65536 --write 1 --memory 64      closed loop: until the time is up
 *   dummy --work 12345,678,9,65536                                          fixed: as much as a closed loop did
 *   dummy --canary                                                          how fast the machine is just now
 *
 * Times are seconds since the program was started; the MPI share is that of the time between MPI_Init and
 * MPI_Finalize. After each cycle the ranks agree on what the next one needs, so that they always do the same. MPI is
 * loaded when it runs, so that one program serves every MPI: the one that started it, by its environment.
 */
#include "handles.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define CYCLE 0.005               /* s */
#define LEAST_CYCLES 50           /* in the duration */
#define CONTROL 40e-6             /* s: about what an agreement takes */
#define BLOCK 65536               /* bytes that are written at once */
#define FILE_BYTES (64 << 20)     /* then writing starts over at the beginning of the file */
#define LEAST_OPERATION 50e-6     /* s: shorter ones cannot be timed well from outside */
#define MOST_MESSAGE (16L << 20)
#define TOLERANCE 0.05

struct asked {
    double duration, mpi, write, finalize;
    long message, memory; /* bytes; a message of -1 is made as long as it takes */
    long units, operations, blocks; /* fixed work; -1: closed loop */
};

struct done {
    double mpi, writing; /* s */
    long units, operations, blocks;
};

static double seconds(void) { return (double)now() * 1e-9; }

/* ---- work --------------------------------------------------------------------------------------------------------- */

static volatile double sink;
static double *field;
static long field_length, field_at;

static void triad(double *a, const double *b, const double *c, long n) {
    for (long i = 0; i < n; i++) a[i] = b[i] + 1.0000001 * c[i];
}

/* About 10 us: multiply-adds on eight numbers, and a part of the memory where some was asked for. */
static void unit_of_work(void) {
    double x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int i = 0; i < 2048; i++)
        for (int k = 0; k < 8; k++) x[k] = x[k] * 0.9999999 + 1e-7;
    sink = x[0] + x[7];
    if (field) {
        long part = 2048, third = field_length / 3;
        if (field_at + part > third) field_at = 0;
        triad(field + field_at, field + third + field_at, field + 2 * third + field_at, part < third ? part : third);
        field_at += part;
    }
}

static void reserve(long bytes) {
    field_length = bytes / (long)sizeof *field;
    field = field_length >= 3 ? malloc((size_t)bytes) : NULL;
    for (long i = 0; field && i < field_length; i++) field[i] = 1.0;
}

static int file = -1;
static long file_at;

static void write_block(void) {
    static char block[BLOCK];
    if (file < 0) {
        char name[64];
        snprintf(name, sizeof name, "dummy-%d.out", (int)getpid());
        file = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0644);
        if (file < 0) {
            perror(name);
            exit(1);
        }
        unlink(name);
    }
    if (pwrite(file, block, sizeof block, file_at) != (ssize_t)sizeof block) {
        perror("write");
        exit(1);
    }
    file_at = (file_at + BLOCK) % FILE_BYTES;
}

static double canary_once(double *a, double *b, double *c, long n) {
    double start = seconds();
    for (int i = 0; i < 500; i++) unit_of_work();
    for (int i = 0; i < 3; i++) triad(a, b, c, n);
    sink = a[n / 2];
    return seconds() - start;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of a few short pieces of the same work. */
static int canary(void) {
    enum { PIECES = 5 };
    long n = 1 << 18;
    double took[PIECES], *memory = malloc(3 * (size_t)n * sizeof *memory);
    for (long i = 0; i < 3 * n; i++) memory[i] = 1.0;
    canary_once(memory, memory + n, memory + 2 * n, n);
    for (int i = 0; i < PIECES; i++) took[i] = canary_once(memory, memory + n, memory + 2 * n, n);
    qsort(took, PIECES, sizeof *took, ascending);
    printf("%.6f\n", took[PIECES / 2]);
    return 0;
}

/* ---- MPI ---------------------------------------------------------------------------------------------------------- */

static int rank, ranks = 1, with_mpi;
static W bytes_type, double_type, sum, no_status;
static char *outbox, *inbox;
static long message;

static int (*mpi_allreduce)(W, W, W, W, W, W);
static int (*mpi_sendrecv)(W, W, W, W, W, W, W, W, W, W, W, W);

static void *load(const char *name) {
    return dlopen(name, RTLD_NOW | RTLD_GLOBAL);
}

/* An MPI that is installed beside its launcher, as from PyPI, lies in ../lib of it. */
static void *load_beside_launcher(const char *name) {
    char path[4096], *folder, *rest, *paths = strdup(getenv("PATH") ? getenv("PATH") : "");
    void *found = NULL;
    for (folder = strtok_r(paths, ":", &rest); folder && !found; folder = strtok_r(NULL, ":", &rest)) {
        snprintf(path, sizeof path, "%s/mpiexec", folder);
        if (access(path, X_OK)) continue;
        snprintf(path, sizeof path, "%s/../lib/%s", folder, name);
        found = load(path);
        break;
    }
    free(paths);
    return found;
}

static void load_mpi(void) {
    static const char *const openmpi[] = {"libmpi.so.40", NULL};
    static const char *const mpich[] = {"libmpi.so.12", "libmpich.so.12", NULL};
    const char *named = getenv("ENSEMBLE_MPI_LIBRARY");
    int by_openmpi = getenv("OMPI_COMM_WORLD_SIZE") || (getenv("PMIX_RANK") && !getenv("PMI_RANK"));
    const char *const *order[2] = {by_openmpi ? openmpi : mpich, by_openmpi ? mpich : openmpi};
    if (named && load(named)) return;
    for (int i = 0; i < 2; i++)
        for (const char *const *name = order[i]; *name; name++)
            if (load_beside_launcher(*name) || load(*name)) return;
    fprintf(stderr, "dummy: no MPI was found; ENSEMBLE_MPI_LIBRARY names its library\n");
    exit(1);
}

static void *need(const char *symbol) {
    void *found = look_up(symbol);
    if (found) return found;
    fprintf(stderr, "dummy: the MPI has no %s\n", symbol);
    exit(1);
}

static void start_mpi(void) {
    load_mpi();
    recognize_mpi();
    ((int (*)(W, W))need("MPI_Init"))(0, 0);
    ((int (*)(W, int *))need("MPI_Comm_rank"))(world(), &rank);
    ((int (*)(W, int *))need("MPI_Comm_size"))(world(), &ranks);
    *(void **)&mpi_allreduce = need("MPI_Allreduce");
    *(void **)&mpi_sendrecv = need("MPI_Sendrecv");
    bytes_type = is_openmpi ? (W)need("ompi_mpi_byte") : 0x4c00010d;
    double_type = is_openmpi ? (W)need("ompi_mpi_double") : 0x4c00080b;
    sum = is_openmpi ? (W)need("ompi_mpi_op_sum") : 0x58000003;
    no_status = is_openmpi ? 0 : 1;
    with_mpi = 1;
}

static void reserve_message(long bytes) {
    message = bytes;
    outbox = realloc(outbox, (size_t)message + 1);
    inbox = realloc(inbox, (size_t)message + 1);
    memset(outbox, 0, (size_t)message + 1);
    memset(inbox, 0, (size_t)message + 1);
}

static void communicate(void) {
    W right = (W)((rank + 1) % ranks), left = (W)((rank + ranks - 1) % ranks);
    mpi_sendrecv((W)outbox, (W)message, bytes_type, right, 1, (W)inbox, (W)message, bytes_type, left, 1, world(),
                 no_status);
}

/* Replace numbers by their mean over the ranks. */
static void agree(double *numbers, int count) {
    if (!with_mpi) return;
    double sums[8];
    mpi_allreduce((W)numbers, (W)sums, (W)count, double_type, sum, world());
    for (int i = 0; i < count; i++) numbers[i] = sums[i] / ranks;
}

/* ---- the loops ---------------------------------------------------------------------------------------------------- */

static void operate(long operations, struct done *done) {
    double start = seconds();
    for (long i = 0; i < operations; i++) communicate();
    done->mpi += seconds() - start;
    done->operations += operations;
}

static void write_blocks(long blocks, struct done *done) {
    double start = seconds();
    for (long i = 0; i < blocks; i++) write_block();
    done->writing += seconds() - start;
    done->blocks += blocks;
}

/* Choose a length of messages with which an operation can be timed; all ranks choose the same. */
static void choose_message(struct done *done) {
    for (reserve_message(BLOCK); message < MOST_MESSAGE; reserve_message(2 * message)) {
        double took[1] = {1};
        for (int i = 0; i < 3; i++) {
            double at = seconds();
            communicate();
            took[0] = fmin(took[0], seconds() - at);
            done->mpi += seconds() - at;
        }
        agree(took, 1);
        if (took[0] >= LEAST_OPERATION) break;
    }
}

static void closed_loop(const struct asked *asked, double begin, double end, struct done *done) {
    double cycle = fmin(fmax(CYCLE, with_mpi && asked->mpi > 0 ? 2 * CONTROL / asked->mpi : 0), asked->duration / 20);
    double operation = 50e-6; /* s, as of the last cycle */
    /* blocks a second; what MPI_Init took is made up for */
    double rate = asked->write * 1e6 * asked->duration / BLOCK / fmax(end - begin, 1e-3);
    cycle = fmax(fmin(cycle, asked->duration / LEAST_CYCLES), 1e-4);
    for (;;) {
        double at = seconds(), known[4] = {done->mpi, at - begin, end - at, operation};
        if (asked->mpi > 0) {
            agree(known, 4);
            done->mpi += seconds() - at;
        }
        double length = fmin(cycle, known[2]);
        if (length <= 0) return;
        double mpi = asked->mpi * (known[1] + length) - known[0];
        mpi = asked->mpi > 0 ? fmin(fmax(mpi, 0), length) : 0;
        long blocks = (long)(rate * (known[1] + length)) - done->blocks;
        double until = at + length - mpi;
        if (blocks > 0) write_blocks(blocks, done);
        for (; seconds() < until; done->units++) unit_of_work();
        long operations = (long)(mpi / known[3] + 0.5);
        if (operations > 0) {
            double before = done->mpi;
            operate(operations, done);
            operation = fmax((done->mpi - before) / (double)operations, 1e-7);
        }
    }
}

static void fixed_work(const struct asked *asked, struct done *done) {
    enum { SLICES = 100 };
    for (long i = 1; i <= SLICES; i++) {
        for (; done->units < asked->units * i / SLICES; done->units++) unit_of_work();
        write_blocks(asked->blocks * i / SLICES - done->blocks, done);
        operate(asked->operations * i / SLICES - done->operations, done);
    }
}

static int misses(double got, double wanted) { return wanted > 0 && fabs(got / wanted - 1) > TOLERANCE; }

static void report(const struct asked *asked, const struct done *done, double took, double share) {
    double written = (double)done->blocks * BLOCK * 1e-6;
    int closed = asked->units < 0;
    printf("duration %.6f\nmpi_share %.6f\nwritten %.3f\n", took, share, written);
    printf("work %ld,%ld,%ld,%ld\n", done->units, done->operations, done->blocks, message);
    printf("missed%s%s%s\n", closed && misses(took, asked->duration) ? " duration" : "",
           closed && misses(share, asked->mpi) ? " mpi" : "",
           closed && misses(written, asked->write * asked->duration) ? " write" : "");
}

/* ---- the command line --------------------------------------------------------------------------------------------- */

static double number(const char *option, const char *text, double least, double most) {
    char *end;
    double value = text ? strtod(text, &end) : NAN;
    if (text && *text && !*end && value >= least && value <= most) return value;
    fprintf(stderr, "dummy: %s needs a number from %g to %g\n", option, least, most);
    exit(2);
}

static struct asked read_options(char **words) {
    struct asked asked = {.duration = 1, .finalize = -1, .message = -1, .units = -1};
    for (; *words; words += 2) {
        const char *option = *words, *value = words[1];
        if (!strcmp(option, "--duration"))
            asked.duration = number(option, value, 1e-3, 1e7);
        else if (!strcmp(option, "--mpi"))
            asked.mpi = number(option, value, 0, 1);
        else if (!strcmp(option, "--message"))
            asked.message = (long)number(option, value, 0, 1 << 30);
        else if (!strcmp(option, "--write"))
            asked.write = number(option, value, 0, 1e6);
        else if (!strcmp(option, "--memory"))
            asked.memory = (long)(1e6 * number(option, value, 0, 1e7));
        else if (!strcmp(option, "--finalize"))
            asked.finalize = number(option, value, 0, 60);
        else if (!strcmp(option, "--work")) {
            if (!value || sscanf(value, "%ld,%ld,%ld,%ld", &asked.units, &asked.operations, &asked.blocks,
                                 &asked.message) != 4) {
                fprintf(stderr, "dummy: --work needs the four numbers that a run printed after `work`\n");
                exit(2);
            }
        } else {
            fprintf(stderr, "dummy: there is no option %s\n", option);
            exit(2);
        }
    }
    return asked;
}

static int started_by_mpi(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_FD", NULL};
    for (const char *const *name = names; *name; name++)
        if (getenv(*name)) return 1;
    return 0;
}

int main(int argc, char **argv) {
    double started = seconds() - (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) * 1e-9;
    if (argc > 1 && !strcmp(argv[1], "--canary")) return canary();
    struct asked asked = read_options(argv + 1);
    struct done done = {0};
    reserve(asked.memory);
    if (asked.mpi > 0 || asked.operations > 0 || started_by_mpi()) start_mpi();
    /* what MPI_Finalize takes, measured on one machine */
    double finalize = !with_mpi ? 0 : asked.finalize >= 0 ? asked.finalize : is_openmpi ? 0.045 : 0.006;
    double begin = seconds();
    if (with_mpi && asked.message >= 0)
        reserve_message(asked.message);
    else if (with_mpi && asked.mpi > 0)
        choose_message(&done);
    if (asked.units < 0)
        closed_loop(&asked, begin, started + asked.duration - finalize, &done);
    else
        fixed_work(&asked, &done);
    double shares[1] = {done.mpi / (seconds() - begin)};
    agree(shares, 1);
    if (with_mpi) ((int (*)(void))need("MPI_Finalize"))();
    if (!rank) report(&asked, &done, seconds() - started, shares[0]);
    return 0;
}
