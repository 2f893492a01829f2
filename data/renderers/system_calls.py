"""System calls that a drawing process may make: number on (x86-64, arm64), None for none.

What is in neither table is refused: sockets, programs, processes, signals to others, System V
memory, mounts, locks, inotify, memory files, and whatever a later kernel adds.
"""

ALLOWED = {
    # files: Landlock says which
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70), "preadv2": (327, 286),
    "pwritev2": (328, 287), "lseek": (8, 62), "close": (3, 57), "close_range": (436, 436),
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None),
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79),
    "statx": (332, 291), "statfs": (137, 43), "fstatfs": (138, 44), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17),
    "chdir": (80, 49), "fchdir": (81, 50), "mkdir": (83, None), "mkdirat": (258, 34),
    "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None),
    "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "ftruncate": (77, 46), "fadvise64": (221, 223),
    "sendfile": (40, 71), "copy_file_range": (326, 285), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59), "umask": (95, 166),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "brk": (12, 214), "mincore": (27, 232),
    # waiting, time
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441),
    "eventfd": (284, None), "eventfd2": (290, 19), "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getitimer": (36, 102),
    "setitimer": (38, 103), "alarm": (37, None), "pause": (34, None), "futex": (202, 98),
    "futex_waitv": (449, 449), "futex_wake": (454, 454), "futex_wait": (455, 455),
    "futex_requeue": (456, 456), "sched_yield": (24, 124), "restart_syscall": (219, 128),
    "membarrier": (324, 283), "rseq": (334, 293),
    # itself
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148),
    "getresgid": (120, 150), "getgroups": (115, 158), "getpgrp": (111, None), "getpgid": (121, 155),
    "getsid": (124, 156), "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179),
    "uname": (63, 160), "getcpu": (309, 168), "sched_getaffinity": (204, 123),
    "getpriority": (140, 141), "getrandom": (318, 278), "set_tid_address": (218, 96),
    "set_robust_list": (273, 99),
    # its signal handlers; its end
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "wait4": (61, 260), "waitid": (247, 95), "exit": (60, 93),
    "exit_group": (231, 94),
    # its end of a link
    "recvfrom": (45, 207), "recvmsg": (47, 212), "shutdown": (48, 210), "getsockname": (51, 204),
    "getpeername": (52, 205), "getsockopt": (55, 209),
}


LOAD, AND, EQUAL, AT_LEAST, HAS_BIT, GIVE = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06      # BPF operations
ALLOW, KILL, EPERM, ENOSYS, DONE = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026, 0x00050000


def low(argument: int, *values: int) -> list[tuple[int, int, int, int]]:
    """Allow if the low 32 bits of an argument (the kernel reads no more of these) are one of."""
    n = len(values)
    tests = [(EQUAL, n - i, 0, value) for i, value in enumerate(values)]
    return [(LOAD, 0, 0, 16 + 8 * argument), *tests, (GIVE, 0, 0, EPERM), (GIVE, 0, 0, ALLOW)]


def null(argument: int) -> list[tuple[int, int, int, int]]:
    """Allow if a pointer is null: both halves of it are 0."""
    return [(LOAD, 0, 0, 16 + 8 * argument), (EQUAL, 0, 3, 0), (LOAD, 0, 0, 20 + 8 * argument),
            (EQUAL, 0, 1, 0), (GIVE, 0, 0, ALLOW), (GIVE, 0, 0, EPERM)]


BY_ARGUMENTS = {    # name: (numbers, steps that end with an answer)
    # threads only: CLONE_THREAD. clone3 hides its flags in memory: libc then tries clone
    "clone": ((56, 220), [(LOAD, 0, 0, 16), (HAS_BIT, 0, 1, 0x10000), (GIVE, 0, 0, ALLOW),
                          (GIVE, 0, 0, EPERM)]),
    "clone3": ((435, 435), [(GIVE, 0, 0, ENOSYS)]),
    # duplicate, read and set flags, size of a pipe; no owner, signal, lock, lease, seal, notice
    "fcntl": ((72, 25), low(1, 0, 1, 2, 3, 4, 1030, 1032)),
    # close on exec or not, bytes to read, blocking, is it a terminal, its size; no owner, no flags
    "ioctl": ((16, 29), low(1, 0x5451, 0x5450, 0x541B, 0x5421, 0x5401, 0x802C542A, 0x5413)),
    # streams: a pair of datagram sockets could send to any socket of the machine
    "socketpair": ((53, 199), [(LOAD, 0, 0, 24), (AND, 0, 0, 0xF), (EQUAL, 0, 3, 1),
                               (LOAD, 0, 0, 16), (EQUAL, 0, 1, 1), (GIVE, 0, 0, ALLOW),
                               (GIVE, 0, 0, EPERM)]),
    "sendto": ((44, 206), null(4)),             # no address; sendmsg could also send descriptors
    "prlimit64": ((302, 261), null(2)),         # read the limits, set none
    "madvise": ((28, 233), [(LOAD, 0, 0, 32), (AT_LEAST, 0, 1, 100), (GIVE, 0, 0, EPERM),
                            (GIVE, 0, 0, ALLOW)]),      # from 100 on it breaks memory on purpose
    # rights, times and attributes matter to nobody: shutil.copy2 goes on. They succeed, do nothing
    "chmod": ((90, None), [(GIVE, 0, 0, DONE)]),
    "fchmod": ((91, 52), [(GIVE, 0, 0, DONE)]),
    "fchmodat": ((268, 53), [(GIVE, 0, 0, DONE)]),
    "utimensat": ((280, 88), [(GIVE, 0, 0, DONE)]),
    "listxattr": ((194, 11), [(GIVE, 0, 0, DONE)]),
    # nothing has to reach the disk: the same
    "fsync": ((74, 82), [(GIVE, 0, 0, DONE)]),
    "fdatasync": ((75, 83), [(GIVE, 0, 0, DONE)]),
    "msync": ((26, 227), [(GIVE, 0, 0, DONE)])}
NEWER = 424             # from here on a refusal says ENOSYS, as a kernel without the call does


def bpf_filter(column: int, audit: int) -> list[tuple[int, int, int, int]]:
    """The steps of the filter on the machine of a column (0 x86-64, 1 arm64): tuples for struct."""
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (GIVE, 0, 0, KILL), (LOAD, 0, 0, 0),
             (AT_LEAST, 0, 1, 0x40000000), (GIVE, 0, 0, EPERM)]         # the x32 numbering
    for numbers, answer in BY_ARGUMENTS.values():
        if numbers[column] is not None:
            steps += [(EQUAL, 0, len(answer), numbers[column]), *answer]
    allowed = sorted(numbers[column] for numbers in ALLOWED.values() if numbers[column] is not None)
    steps += [(EQUAL, len(allowed) - i + 2, 0, number) for i, number in enumerate(allowed)]
    return [*steps, (AT_LEAST, 1, 0, NEWER), (GIVE, 0, 0, EPERM), (GIVE, 0, 0, ENOSYS),
            (GIVE, 0, 0, ALLOW)]
