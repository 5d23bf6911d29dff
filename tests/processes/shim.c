/*
 * Preloaded into a child: answers for the system when a file below one folder is written, sized,
 * synced, named or created. What it answers is said in a shared page of 64-bit words, which
 * tests/processes/shim.rs writes; the words' places are the same there.
 *
 * Every call that is let through is the bare system call, so that nothing depends on the order in
 * which libraries are initialised.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { MASK, AT, ACTION, VALUE, STICKY, CALLS, FIRED, FIRST, QUOTA, COUNTS };
enum { KINDS = 15, UNSYNCED, WORDS };
enum { WRITE = 1, SYNC = 2, SIZE = 4, NAME = 8, CREATE = 16, RESERVE = 32 };
enum { COUNT, FAIL, SHORT, INTERRUPT, SLEEP, FILL };
/* Bytes of a header, and of one with a note behind it (docs/format.md). */
enum { HEADER = 320, SECTOR = 512 };

static volatile uint64_t *word;
static const char *folder;
/* A header with a note behind it was written: 1; and synced: 2. The next is that without the note. */
static int noted;

__attribute__((constructor)) static void begin(void)
{
    const char *control = getenv("CKPTDB_SHIM_CONTROL");
    folder = getenv("CKPTDB_SHIM_FOLDER");
    if (!control || !folder)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *page = mmap(NULL, WORDS * sizeof *word, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (page != MAP_FAILED)
        word = page;
}

static int is_below(const char *path)
{
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_watched(int fd)
{
    char link[64], path[4096];
    if (!word || !word[MASK])
        return 0;
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = kept;
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

/* Notes that something changed which no sync has made durable: a file, or a name in a folder. */
static void changed(uint64_t class)
{
    if (word && word[MASK])
        word[UNSYNCED] |= class == WRITE ? 1 : 2;
}

static int synced(int fd, int result)
{
    struct stat status;
    int kept = errno;
    if (result == 0 && is_watched(fd) && fstat(fd, &status) == 0) {
        word[UNSYNCED] &= ~(uint64_t)(S_ISDIR(status.st_mode) ? 2 : 1);
        noted = noted == 1 ? 2 : 0;
    }
    errno = kept;
    return result;
}

/* Counts a call, and says what to do with it: COUNT lets it through. */
static int decide(uint64_t class)
{
    static int interrupted;
    if (!word || !(word[MASK] & class))
        return COUNT;
    uint64_t call = ++word[CALLS];
    word[COUNTS + __builtin_ctzll(class)]++;
    int action = (int)word[ACTION];
    int fires = word[STICKY] ? call >= word[AT] : call == word[AT];
    if (action == COUNT || !fires)
        return COUNT;
    /* Whoever is interrupted tries again, and gets through. */
    if (action == INTERRUPT && (interrupted = !interrupted) == 0)
        return COUNT;
    if (word[FIRED]++ == 0)
        word[FIRST] = class;
    word[KINDS] |= class;
    if (action == SLEEP)
        usleep((useconds_t)(word[VALUE] * 1000));
    return action;
}

/* Whether the call fails now, with errno set. */
static int fails(uint64_t class)
{
    int action = decide(class);
    if (action != FAIL && action != INTERRUPT)
        return 0;
    errno = action == FAIL ? (int)word[VALUE] : EINTR;
    return 1;
}

/* How many of the bytes at this place there is room for: those that the file has, and the quota. */
static size_t room(int fd, size_t bytes, off_t at)
{
    off_t place = lseek(fd, 0, SEEK_CUR), next = at, end = at + (off_t)bytes;
    while (next < end) {
        off_t hole = lseek(fd, next, SEEK_HOLE);
        if (hole < 0)
            hole = next;
        if (hole > next) {
            next = hole < end ? hole : end;
            continue;
        }
        off_t data = lseek(fd, next, SEEK_DATA);
        if (data < 0 || data > end)
            data = end;
        uint64_t wanted = (uint64_t)(data - next);
        if (wanted > word[QUOTA]) {
            next += (off_t)word[QUOTA];
            word[QUOTA] = 0;
            break;
        }
        word[QUOTA] -= wanted;
        next = data;
    }
    lseek(fd, place, SEEK_SET);
    return (size_t)(next - at);
}

/* How many bytes to write, or -1 with errno set. */
static ssize_t allowed(int fd, size_t bytes, off_t at)
{
    if (!is_watched(fd))
        return (ssize_t)bytes;
    changed(WRITE);
    int action = decide(WRITE);
    if (action == FAIL || action == INTERRUPT) {
        errno = action == FAIL ? (int)word[VALUE] : EINTR;
        return -1;
    }
    if (action == SHORT && bytes > 1)
        return (ssize_t)(bytes / 2);
    if (action == FILL) {
        size_t fits = room(fd, bytes, at);
        if (fits == 0 && bytes > 0) {
            errno = ENOSPC;
            return -1;
        }
        return (ssize_t)fits;
    }
    return (ssize_t)bytes;
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t at)
{
    /* That a sync has returned is written down for whoever opens the file next. It may be true without
     * that, and nobody waits for it: neither a fault nor what a sync should follow. */
    if (at == 0 && bytes == HEADER && noted == 2 && is_watched(fd)) {
        noted = 0;
        return syscall(SYS_pwrite64, fd, from, bytes, at);
    }
    if (at == 0 && bytes == SECTOR && is_watched(fd))
        noted = 1;
    ssize_t count = allowed(fd, bytes, at);
    return count < 0 ? -1 : syscall(SYS_pwrite64, fd, from, (size_t)count, at);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at)
{
    return pwrite64(fd, from, bytes, at);
}

ssize_t write(int fd, const void *from, size_t bytes)
{
    ssize_t count = allowed(fd, bytes, lseek(fd, 0, SEEK_CUR));
    return count < 0 ? -1 : syscall(SYS_write, fd, from, (size_t)count);
}

int fsync(int fd)
{
    return is_watched(fd) && fails(SYNC) ? -1 : synced(fd, (int)syscall(SYS_fsync, fd));
}

int fdatasync(int fd)
{
    return is_watched(fd) && fails(SYNC) ? -1 : synced(fd, (int)syscall(SYS_fdatasync, fd));
}

/* Where the environment says so, the folder is on another machine. */
static int placed(const char *path, int result, long *type)
{
    if (result == 0 && is_below(path) && getenv("CKPTDB_SHIM_NETWORK"))
        *type = 0x6969;
    return result;
}

int statfs64(const char *path, struct statfs64 *disk)
{
    return placed(path, (int)syscall(SYS_statfs, path, disk), (long *)&disk->f_type);
}

int statfs(const char *path, struct statfs *disk)
{
    return placed(path, (int)syscall(SYS_statfs, path, disk), (long *)&disk->f_type);
}

/* There, a lock of the whole file is in the way of one of a part of it. */
int flock(int fd, int operation)
{
    if (is_watched(fd) && getenv("CKPTDB_SHIM_NETWORK")) {
        errno = EWOULDBLOCK;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, operation);
}

static uint64_t held(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}

int ftruncate64(int fd, off64_t length)
{
    if (!is_watched(fd))
        return (int)syscall(SYS_ftruncate, fd, length);
    changed(WRITE);
    if (fails(SIZE))
        return -1;
    uint64_t before = held(fd);
    int result = (int)syscall(SYS_ftruncate, fd, length);
    uint64_t after = held(fd);
    if (word[ACTION] == FILL && after < before)
        word[QUOTA] += before - after;
    return result;
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length)
{
    if (is_watched(fd)) {
        changed(WRITE);
        if (fails(RESERVE))
            return -1;
        if (word[ACTION] == FILL && room(fd, (size_t)length, at) < (size_t)length) {
            errno = ENOSPC;
            return -1;
        }
    }
    return (int)syscall(SYS_fallocate, fd, mode, at, length);
}

int fallocate(int fd, int mode, off_t at, off_t length)
{
    return fallocate64(fd, mode, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length)
{
    return fallocate64(fd, 0, at, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t at, off_t length)
{
    return posix_fallocate64(fd, at, length);
}

/* Whether giving a file this name fails. */
static int names(const char *to)
{
    if (!is_below(to))
        return 0;
    changed(NAME);
    return fails(NAME);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    if (names(to))
        return -1;
    return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    if (names(to))
        return -1;
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

/*
 * A process that says so is forked where it asks for its parent's number, which nobody needs: the
 * answer is that of fork. The program's own language has no fork that it calls safe.
 */
pid_t getppid(void)
{
    return getenv("CKPTDB_SHIM_FORKS") ? fork() : (pid_t)syscall(SYS_getppid);
}

static int open_as(int at, const char *path, int flags, unsigned mode)
{
    if ((flags & O_CREAT) && is_below(path) && fails(CREATE))
        return -1;
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

#define MODE_OF(flags, mode)                  \
    unsigned mode = 0;                        \
    if ((flags) & (O_CREAT | O_TMPFILE)) {    \
        va_list rest;                         \
        va_start(rest, flags);                \
        mode = va_arg(rest, unsigned);        \
        va_end(rest);                         \
    }

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_as(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_as(AT_FDCWD, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_as(at, path, flags | O_LARGEFILE, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_as(at, path, flags, mode);
}
