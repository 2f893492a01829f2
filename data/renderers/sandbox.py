"""Sandbox: what a drawing process may still do (Landlock and seccomp, through ctypes)."""
import ctypes
import functools
import os
import platform
import site
import struct
import sys
import sysconfig

from data.verdict import InputError

UNSAFE = "VISUAL_ERM_UNSAFE"    # environment variable: run chart code even where a layer is missing


class SandboxMissing(InputError):
    """Chart code was refused, because this system lacks a layer of the sandbox."""


MEMORY = 2 << 30            # bytes of address space of a drawing process
FILE_BYTES = 8 << 20        # largest file a chart program may write into its scratch folder
REFUSED = {                 # what seccomp refuses: system call numbers on (x86-64, arm64)
    "network": ([41, 42, 49, 50], [198, 203, 200, 201]),
    "programs and processes": ([57, 58, 59, 322, 101, 310, 311], [221, 281, 117, 270, 271]),
    "who it is, and whether it dies with its worker (setuid, capset, prctl)": (
        [105, 106, 113, 114, 116, 117, 119, 122, 123, 126, 157],
        [146, 144, 145, 143, 159, 147, 149, 151, 152, 91, 167]),
    "signals": ([62, 129, 200, 234, 297, 424, 434, 438], [129, 138, 130, 131, 240, 424, 434, 438]),
    "limits, priorities, processors": (
        [141, 142, 144, 160, 203, 251, 256, 279, 302, 314],
        [140, 118, 119, 164, 122, 30, 238, 239, 261, 274]),
    "metadata, which Landlock does not cover: chmod, chown, utime, setxattr, truncate": (
        [76, 90, 91, 92, 93, 94, 132, 188, 189, 190, 197, 198, 199, 235, 260, 261, 268, 280, 452,
         463, 466], [45, 52, 53, 54, 55, 5, 6, 7, 14, 15, 16, 88, 452, 463, 466]),
    "what outlives a process: System V memory, queues, keys": (
        [29, 64, 68, 240, 248, 249, 250], [194, 190, 186, 180, 217, 218, 219]),
    "the system: mount, namespaces, modules, clocks, bpf, perf, io_uring, file handles": (
        [155, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 172, 173, 175, 176, 227, 246, 272,
         298, 300, 303, 304, 305, 308, 313, 321, 323, 425, 428, 429, 442],
        [41, 171, 51, 89, 170, 40, 39, 224, 225, 142, 161, 105, 106, 112, 104, 97, 241, 262, 264,
         265, 266, 268, 273, 280, 282, 425, 428, 429, 442])}
MACHINES = {"x86_64": (0, 0xC000003E, 56), "aarch64": (1, 0xC00000B7, 220)}   # column, audit, clone


def kernel(function, *args):
    """Call libc's `syscall` or `prctl`; OSError if the kernel says no."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = getattr(libc, function)(*(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@functools.lru_cache
def missing_layer():
    """The isolation layer this system lacks, as a phrase; None if chart code can be confined."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return f"Landlock (it needs Linux on x86-64 or arm64; this is {platform.platform()})"
    try:
        layer = "Landlock, which Linux has since 5.13"
        kernel("syscall", 444, None, 0, 1)             # landlock_create_ruleset: its version
        layer = "seccomp"
        kernel("prctl", 21, 0, 0, 0, 0)                # PR_GET_SECCOMP
    except OSError as error:
        return f"{layer} (the kernel answers: {error.strerror})"
    return None


def landlock(scratch):
    """A ruleset descriptor: read Python and shared libraries, write `scratch` (or nowhere)."""
    abi = kernel("syscall", 444, None, 0, 1)
    truncate = (abi >= 3) << 14
    handled = (1 << 13) - 1 | (abi >= 2) << 13 | truncate | (abi >= 5) << 15
    ruleset = kernel("syscall", 444, struct.pack("Q", handled), 8, 0)
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages(), sys.base_prefix + "/lib",
                "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache",
                "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"}
    read, use, write = 0b1100, 0b0110, 0b1_1011_1110 | truncate     # write: no links, no devices
    for path, rights in [*((f, read) for f in folders), ("/dev/null", use), (scratch, write)]:
        if path and os.path.exists(path):
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights &= -1 if os.path.isdir(path) else use | truncate
            kernel("syscall", 445, ruleset, 1, struct.pack("=Qi", rights, beneath), 0)
            os.close(beneath)
    return ruleset


def seccomp():
    """The BPF filter: a foreign machine dies, REFUSED gives EPERM, only threads may be cloned."""
    column, audit, clone = MACHINES[platform.machine()]
    numbers = sorted(n for group in REFUSED.values() for n in group[column])
    load, equal, at_least, has_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06     # BPF operations
    allow, kill, eperm, enosys = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
    code = [(load, 0, 0, 4), (equal, 1, 0, audit), (give, 0, 0, kill), (load, 0, 0, 0),
            (at_least, 0, 1, 0x40000000), (give, 0, 0, eperm),      # the x32 numbering
            (equal, 0, 1, 435), (give, 0, 0, enosys),               # clone3: libc tries clone then
            (equal, 0, 4, clone), (load, 0, 0, 16),                 # clone: its flags
            (has_bit, 0, 1, 0x10000), (give, 0, 0, allow), (give, 0, 0, eperm),
            *((equal, len(numbers) - i, 0, n) for i, n in enumerate(numbers)),
            (give, 0, 0, allow), (give, 0, 0, eperm)]
    return b"".join(struct.pack("HBBI", *step) for step in code)


def confine(ruleset, filter_):
    """Close every door for good. What is open stays open, so descriptors must be closed before."""
    kernel("prctl", 38, 1, 0, 0, 0)                        # PR_SET_NO_NEW_PRIVS
    kernel("syscall", 446, ruleset, 0)                     # landlock_restrict_self
    os.close(ruleset)
    steps = ctypes.create_string_buffer(filter_, len(filter_))
    whole = struct.pack("HxxxxxxQ", len(filter_) // 8, ctypes.addressof(steps))
    kernel("prctl", 22, 2, whole, 0, 0)                    # PR_SET_SECCOMP
