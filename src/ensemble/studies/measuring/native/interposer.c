/* Times the MPI calls of a program that it is preloaded into, and writes what it saw when MPI is finalized.
 *
 * It is built without mpi.h, so that one library serves every MPI: an argument is passed on as a machine word, whatever
 * it is. The functions themselves are in calls.h, which is generated from calls.txt. Each calls the function of the
 * same name with a P in front, the profiling interface of the MPI standard (section 15.2 of MPI 4.0).
 *
 * A record goes to $ENSEMBLE_MPI_RECORD/rank-<rank>.<pid>.json. Times in it are nanoseconds.
 */
#include "handles.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MPI_TIME, IO_TIME };

struct call {
    const char *name;
    int kind;
    uint64_t count, ns, bytes;
    /* Of a call that polls, one in `stride` is timed; `left` of them are not before the next that is. */
    unsigned stride, left;
    uint64_t typical, seen; /* `seen`: when the last that was timed had ended */
};

static struct call calls[];
static const int number_of_calls;

#define MOST_STRIDE 64
#define SLOW_POLL_NS 5000

/* ---- the MPI that the program uses ------------------------------------------------------------------------- */

/* A program that asks whether its MPI has the functions for large counts finds those of the interposer. Where the MPI has
 * none, the function of the same arguments is called, which takes the lower half of a count; not where counts are arrays. */
static void *small_of_large(const char *symbol) {
    static const char *const arrays[] = {"allv_c", "allw_c", "gatherv_c", "scatterv_c", "educe_scatter_c"};
    size_t length = strlen(symbol);
    char small[64];
    if (length < 3 || length > sizeof small || strcmp(symbol + length - 2, "_c")) return 0;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (strstr(symbol, arrays[i])) return 0;
    snprintf(small, sizeof small, "%.*s", (int)length - 2, symbol);
    return look_up(small);
}

/* `symbol` is a name of the profiling interface. MPICH has none of its own for parts of mpi_f08: those call C. */
static void *find(const char *symbol) {
    void *found = look_up(symbol);
    if (!found) found = dlsym(RTLD_NEXT, symbol + 1);
    if (!found && (found = small_of_large(symbol))) return found;
    if (!found) {
        fprintf(stderr, "ensemble: the MPI of this program has no %s\n", symbol);
        abort();
    }
    return found;
}

static long proc_null(void) { return is_abi ? -3 : is_openmpi ? -2 : -1; }

static int in_place(W buffer) { return buffer == (is_abi || is_openmpi ? (W)1 : (W)-1); }

static int in_place_of_fortran(W buffer) {
    static W of_openmpi, of_mpich;
    if (is_openmpi) {
        if (!of_openmpi) of_openmpi = (W)look_up("mpi_fortran_in_place_");
        return buffer == of_openmpi;
    }
    if (!of_mpich) of_mpich = (W)look_up("MPIR_F_MPI_IN_PLACE");
    return of_mpich && buffer == *(W *)of_mpich;
}

static long ask(W handle, const char *symbol, void **next) {
    int answer = 0;
    if (!*next) *next = find(symbol);
    ((int (*)(W, int *))*next)(handle, &answer);
    return answer;
}

static long ask_fortran(W handle, const char *symbol, void **next) {
    int answer = 0, error = 0;
    if (!*next) *next = find(symbol);
    ((void (*)(W, int *, int *))*next)(handle, &answer, &error);
    return answer;
}

#define ASK(name, how, symbol) \
    static long name(W handle) { \
        static void *next; \
        return how(handle, symbol, &next); \
    }
ASK(bytes_of_type, ask, "PMPI_Type_size")
ASK(processes_of, ask, "PMPI_Comm_size")
ASK(bytes_of_type_of_fortran, ask_fortran, "pmpi_type_size_")
ASK(processes_of_fortran, ask_fortran, "pmpi_comm_size_")

/* An array of numbers of elements has 4 bytes for each, or 8 in a variant for large numbers; NULL is one of nothing. */
static long number_at(W array, long i, int wide) {
    if (!array) return 0;
    return wide ? (long)((int64_t *)array)[i] : (long)((int32_t *)array)[i];
}

static long sum_of(W array, long processes, int wide) {
    long sum = 0;
    for (long i = 0; i < processes; i++) sum += number_at(array, i, wide);
    return sum;
}

static long bytes_of_each(W numbers, W types, long processes, int wide) {
    long sum = 0;
    for (long i = 0; numbers && types && i < processes; i++) {
        W type = is_openmpi || is_abi ? ((W *)types)[i] : (W)((int32_t *)types)[i];
        sum += number_at(numbers, i, wide) * bytes_of_type(type);
    }
    return sum;
}

static long bytes_of_each_of_fortran(W numbers, W types, long processes) {
    long sum = 0;
    for (long i = 0; numbers && types && i < processes; i++)
        sum += number_at(numbers, i, 0) * bytes_of_type_of_fortran((W)((int32_t *)types + i));
    return sum;
}

/* ---- time ----------------------------------------------------------------------------------------------------- */

static int running; /* between MPI_Init and MPI_Finalize */
static uint64_t clock_cost;
static __thread int inside __attribute__((tls_model("initial-exec"))); /* MPI that is called by MPI counts once */

static void calibrate(void) {
    clock_cost = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        uint64_t start = now(), cost = now() - start;
        if (cost < clock_cost) clock_cost = cost;
    }
}

static uint64_t since(uint64_t start) {
    uint64_t gone = now() - start;
    return gone > clock_cost ? gone - clock_cost : 0;
}

static void add(uint64_t *sum, uint64_t more) { __atomic_fetch_add(sum, more, __ATOMIC_RELAXED); }

static void note(struct call *call, uint64_t ns, uint64_t bytes) {
    add(&call->count, 1);
    add(&call->ns, ns);
    if (bytes) add(&call->bytes, bytes);
}

static long switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw + usage.ru_nivcsw;
}

/* The time of polls that were not timed: each took as long as is typical, and all had no more than the time from the
 * last that was timed until `end`. */
static uint64_t untimed(const struct call *call, unsigned polls, uint64_t end) {
    uint64_t guess = polls * call->typical, most = end - call->seen;
    return guess < most ? guess : most;
}

/* Those of the polls that were not timed are taken to be like this one, unless another process ran during this one:
 * then they are taken to be like the last without. Polls that are slow are all timed. */
static void note_poll(struct call *call, uint64_t start, uint64_t ns, int interrupted) {
    if (!interrupted) call->typical = ns;
    note(call, ns + (call->stride ? untimed(call, call->stride - 1, start) : 0), 0);
    call->seen = start + ns;
    if (interrupted ? call->typical > SLOW_POLL_NS : ns > SLOW_POLL_NS)
        call->stride = 1;
    else
        call->stride = call->stride ? (call->stride < MOST_STRIDE ? call->stride * 2 : MOST_STRIDE) : 1;
    call->left = call->stride - 1;
}

/* `next` is the function of the profiling interface, `size` the bytes that the call stands for. */
#define NEXT(symbol, types) \
    static int(*next) types; \
    if (!next) next = (int(*) types)find(symbol);

#define CALL(number, symbol, types, values, size) \
    { \
        NEXT(symbol, types) \
        if (inside || !running) return next values; \
        inside = 1; \
        uint64_t bytes = (uint64_t)(size); \
        uint64_t start = now(); \
        int code = next values; \
        note(&calls[number], since(start), bytes); \
        inside = 0; \
        return code; \
    }

#define POLL(number, symbol, types, values, size) \
    { \
        NEXT(symbol, types) \
        struct call *call = &calls[number]; \
        if (inside || !running) return next values; \
        int code; \
        inside = 1; \
        if (call->left) { \
            call->left--; \
            add(&call->count, 1); \
            code = next values; \
        } else { \
            long before = switches(); \
            uint64_t start = now(); \
            code = next values; \
            uint64_t ns = since(start); \
            note_poll(call, start, ns, switches() != before); \
        } \
        inside = 0; \
        return code; \
    }

/* ---- the record ------------------------------------------------------------------------------------------------ */

struct usage {
    uint64_t at, user, system, voluntary, involuntary, read, written;
    int64_t run_delay; /* time in which it could have run and had no core; -1 where the kernel does not say */
};

static uint64_t started_at, started_real, init_ns;
static struct usage first;
static int rank = -1, size_of_world;
static char library[256];

__attribute__((constructor)) static void at_the_start(void) {
    started_at = now();
    started_real = clock_ns(CLOCK_REALTIME);
}

static uint64_t number_in(const char *path, const char *format, int64_t otherwise) {
    FILE *file = fopen(path, "r");
    uint64_t number = (uint64_t)otherwise;
    char line[256];
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, format, &number) == 1) break;
    if (file) fclose(file);
    return number;
}

static struct usage usage_now(void) {
    struct usage found;
    struct rusage of_process;
    getrusage(RUSAGE_SELF, &of_process);
    found.user = (uint64_t)of_process.ru_utime.tv_sec * 1000000000u + (uint64_t)of_process.ru_utime.tv_usec * 1000u;
    found.system = (uint64_t)of_process.ru_stime.tv_sec * 1000000000u + (uint64_t)of_process.ru_stime.tv_usec * 1000u;
    found.voluntary = (uint64_t)of_process.ru_nvcsw;
    found.involuntary = (uint64_t)of_process.ru_nivcsw;
    found.run_delay = (int64_t)number_in("/proc/self/schedstat", "%*u %" SCNu64, -1);
    found.read = number_in("/proc/self/io", "rchar: %" SCNu64, 0);
    found.written = number_in("/proc/self/io", "wchar: %" SCNu64, 0);
    found.at = now();
    return found;
}

static void begin(uint64_t start) {
    char version[8192] = "";
    int length = 0;
    void *get_rank = find("PMPI_Comm_rank"), *get_version = look_up("PMPI_Get_library_version");
    recognize_mpi();
    ((int (*)(W, int *))get_rank)(world(), &rank);
    ((int (*)(W, int *))find("PMPI_Comm_size"))(world(), &size_of_world);
    if (get_version) ((int (*)(char *, int *))get_version)(version, &length);
    snprintf(library, sizeof library, "%.*s", (int)strcspn(version, "\n,"), version);
    calibrate();
    init_ns = now() - start;
    first = usage_now();
    running = 1;
}

static void text(FILE *file, const char *name, const char *value) {
    fprintf(file, "\"%s\": \"", name);
    for (; *value; value++) fputc(*value == '"' || *value == '\\' || (unsigned char)*value < ' ' ? ' ' : *value, file);
    fprintf(file, "\", ");
}

static void write_record(const struct usage *last) {
    const char *folder = getenv("ENSEMBLE_MPI_RECORD");
    char part[4096], path[4096], host[256] = "";
    if (!folder) return;
    int pid = (int)getpid();
    snprintf(part, sizeof part, "%s/.rank-%d.%d", folder, rank, pid);
    snprintf(path, sizeof path, "%s/rank-%d.%d.json", folder, rank, pid);
    FILE *file = fopen(part, "w");
    if (!file) {
        perror(part);
        return;
    }
    gethostname(host, sizeof host - 1);
    struct rusage of_process;
    getrusage(RUSAGE_SELF, &of_process);
    uint64_t sums[2] = {0, 0};
    for (int i = 0; i < number_of_calls; i++) {
        struct call *call = &calls[i];
        if (call->stride) call->ns += untimed(call, call->stride - 1 - call->left, last->at);
        sums[call->kind] += call->ns;
    }
    fprintf(file, "{\"format\": 1, \"rank\": %d, \"size\": %d, \"pid\": %d, ", rank, size_of_world, pid);
    text(file, "host", host);
    text(file, "library", library);
#define FIELD(name, value) fprintf(file, "\"%s\": %" PRIu64 ", ", name, (uint64_t)(value))
    FIELD("started", started_real);
    FIELD("wall", now() - started_at);
    FIELD("init", init_ns);
    FIELD("window", last->at - first.at);
    FIELD("mpi", sums[MPI_TIME]);
    FIELD("io", sums[IO_TIME]);
    FIELD("user", last->user - first.user);
    FIELD("system", last->system - first.system);
    FIELD("voluntary", last->voluntary - first.voluntary);
    FIELD("involuntary", last->involuntary - first.involuntary);
    FIELD("read", last->read - first.read);
    FIELD("written", last->written - first.written);
    FIELD("memory", (uint64_t)of_process.ru_maxrss * 1024u);
    if (last->run_delay >= 0) FIELD("run_delay", last->run_delay - first.run_delay);
    fprintf(file, "\"calls\": [");
    const char *between = "";
    for (int i = 0; i < number_of_calls; i++) {
        const struct call *call = &calls[i];
        if (!call->count) continue;
        fprintf(file, "%s{\"call\": \"%s\", \"count\": %" PRIu64 ", \"ns\": %" PRIu64 ", \"bytes\": %" PRIu64 "}",
                between, call->name, call->count, call->ns, call->bytes);
        between = ", ";
    }
    fprintf(file, "]}\n");
    if (fclose(file) || rename(part, path)) perror(path);
}

/* ---- start and end ---------------------------------------------------------------------------------------------- */

#define INIT(name, symbol, types, values) \
    int name types { \
        NEXT(symbol, types) \
        if (inside) return next values; \
        uint64_t start = now(); \
        inside = 1; \
        int code = next values; \
        begin(start); \
        inside = 0; \
        return code; \
    }

#define FINALIZE(name, symbol, types, values) \
    int name types { \
        NEXT(symbol, types) \
        if (inside || !running) return next values; \
        struct usage last = usage_now(); \
        running = 0; \
        inside = 1; \
        int code = next values; \
        inside = 0; \
        write_record(&last); \
        return code; \
    }

INIT(MPI_Init, "PMPI_Init", (W a0, W a1), (a0, a1))
INIT(MPI_Init_thread, "PMPI_Init_thread", (W a0, W a1, W a2, W a3), (a0, a1, a2, a3))
INIT(mpi_init_, "pmpi_init_", (W a0), (a0))
INIT(mpi_init_f08_, "pmpi_init_f08_", (W a0), (a0))
INIT(mpi_init_thread_, "pmpi_init_thread_", (W a0, W a1, W a2), (a0, a1, a2))
INIT(mpi_init_thread_f08_, "pmpi_init_thread_f08_", (W a0, W a1, W a2), (a0, a1, a2))
FINALIZE(MPI_Finalize, "PMPI_Finalize", (void), ())
FINALIZE(mpi_finalize_, "pmpi_finalize_", (W a0), (a0))
FINALIZE(mpi_finalize_f08_, "pmpi_finalize_f08_", (W a0), (a0))

#include "calls.h"
