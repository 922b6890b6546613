/* A disk that fails, for LD_PRELOAD: calls on files below one folder are counted, and the n-th fails; or its syncs are lies.
 *
 * FAILING_DISK_UNDER   the folder, without a slash at its end; other files are left alone
 * FAILING_DISK_FAMILY  write (write, pwrite, writev, ftruncate, fallocate, rename, mkdir, open of a new file), sync (fsync, fdatasync)
 *                      or lie (fsync and fdatasync do nothing and say that all is well)
 * FAILING_DISK_FROM    number of the first call that fails, from 1
 * FAILING_DISK_TIMES   how many calls in a row fail; 0 is all of them
 * FAILING_DISK_WHILE   if set: calls fail only as long as this file exists
 * FAILING_DISK_ERRNO   what they fail with
 * FAILING_DISK_TALLY   if set: a file that gets a line for each call that was counted: "-", or "!" where it failed, and what it was on
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int counted;
static _Thread_local char concerned[PATH_MAX + 8];

/* The true call goes by its number: nothing has to be looked up before main. */
static int below(const char *path) {
    const char *under = getenv("FAILING_DISK_UNDER");
    size_t length;
    if (under == NULL || path == NULL) return 0;
    length = strlen(under);
    if (strncmp(path, under, length) != 0 || (path[length] != '/' && path[length] != '\0')) return 0;
    snprintf(concerned, sizeof concerned, "- .%.*s\n", PATH_MAX - 1, path + length);
    return 1;
}

static int below_fd(int fd) {
    char link[64], path[PATH_MAX];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return below(path);
}

static int below_at(int folder, const char *name) {
    char link[64], path[2 * PATH_MAX];
    ssize_t length;
    if (name == NULL) return 0;
    if (name[0] == '/') return below(name);
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = '/';
    snprintf(path + length + 1, PATH_MAX, "%s", name);
    return below(path);
}

static int of_family(const char *family) {
    const char *wanted = getenv("FAILING_DISK_FAMILY");
    return wanted != NULL && strcmp(wanted, family) == 0;
}

static int number(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? 0 : atoi(text);
}

static int is_to_fail(int call) {
    const char *while_there = getenv("FAILING_DISK_WHILE");
    int from = number("FAILING_DISK_FROM"), times = number("FAILING_DISK_TIMES");
    if (from == 0 || call < from || (times != 0 && call >= from + times)) return 0;
    return while_there == NULL || syscall(SYS_faccessat, AT_FDCWD, while_there, F_OK) == 0;
}

/* Counts a call that concerns us; true where it is to fail, with errno set. */
static int fails(void) {
    const char *tally = getenv("FAILING_DISK_TALLY");
    int failing = is_to_fail(atomic_fetch_add(&counted, 1) + 1);
    if (tally != NULL) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, tally, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (failing) concerned[0] = '!';
        if (fd >= 0) {
            syscall(SYS_write, fd, concerned, strlen(concerned));
            syscall(SYS_close, fd);
        }
    }
    if (failing) errno = number("FAILING_DISK_ERRNO");
    return failing;
}

static int write_fails(int ours) { return ours && fails(); }

ssize_t write(int fd, const void *data, size_t size) {
    if (of_family("write") && write_fails(below_fd(fd))) return -1;
    return syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (of_family("write") && write_fails(below_fd(fd))) return -1;
    return syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return pwrite(fd, data, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (of_family("write") && write_fails(below_fd(fd))) return -1;
    return syscall(SYS_writev, fd, parts, count);
}

int ftruncate(int fd, off_t size) {
    if (of_family("write") && write_fails(below_fd(fd))) return -1;
    return (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int fallocate(int fd, int mode, off_t from, off_t size) {
    if (of_family("write") && write_fails(below_fd(fd))) return -1;
    return (int)syscall(SYS_fallocate, fd, mode, from, size);
}

int fallocate64(int fd, int mode, off64_t from, off64_t size) { return fallocate(fd, mode, from, size); }

/* This one returns its error. */
int posix_fallocate(int fd, off_t from, off_t size) {
    if (of_family("write") && write_fails(below_fd(fd))) return errno;
    return syscall(SYS_fallocate, fd, 0, from, size) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off64_t from, off64_t size) { return posix_fallocate(fd, from, size); }

int renameat2(int from, const char *old, int to, const char *new, unsigned int flags) {
    if (of_family("write") && write_fails(below_at(from, old))) return -1;
    return (int)syscall(SYS_renameat2, from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }

int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int mkdirat(int folder, const char *name, mode_t mode) {
    if (of_family("write") && write_fails(below_at(folder, name))) return -1;
    return (int)syscall(SYS_mkdirat, folder, name, mode);
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

static int open_in(int folder, const char *name, int flags, mode_t mode) {
    int makes = (flags & O_CREAT) != 0 && syscall(SYS_faccessat, folder, name, F_OK) != 0;
    if (makes && of_family("write") && write_fails(below_at(folder, name))) return -1;
    return (int)syscall(SYS_openat, folder, name, flags, mode);
}

static mode_t mode_of(int flags, va_list rest) {
    return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
}

#define OPENS(function, parameters, folder)                \
    int function parameters {                              \
        va_list rest;                                      \
        mode_t mode;                                       \
        va_start(rest, flags);                             \
        mode = mode_of(flags, rest);                       \
        va_end(rest);                                      \
        return open_in(folder, name, flags, mode);         \
    }

OPENS(open, (const char *name, int flags, ...), AT_FDCWD)
OPENS(open64, (const char *name, int flags, ...), AT_FDCWD)
OPENS(openat, (int folder, const char *name, int flags, ...), folder)
OPENS(openat64, (int folder, const char *name, int flags, ...), folder)

static int sync_as(long call, int fd) {
    if (of_family("lie") && below_fd(fd)) return 0;
    if (of_family("sync") && below_fd(fd) && fails()) return -1;
    return (int)syscall(call, fd);
}

int fsync(int fd) { return sync_as(SYS_fsync, fd); }

int fdatasync(int fd) { return sync_as(SYS_fdatasync, fd); }
