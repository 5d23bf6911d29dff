/* A disk whose syncs take longer by SLOW_SYNC_US microseconds, for a program that is started with it:
 *
 *     cc -shared -fPIC -o /tmp/slow_sync.so benches/peers/slow_sync.c -ldl
 *     SLOW_SYNC_US=1000 LD_PRELOAD=/tmp/slow_sync.so benches/peers/target/release/ckptdb-peers 1000 2000
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(const char *name, int file)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *time = getenv("SLOW_SYNC_US");
    usleep(time ? atoi(time) : 1000);
    return real(file);
}

int fsync(int file) { return slowly("fsync", file); }
int fdatasync(int file) { return slowly("fdatasync", file); }
