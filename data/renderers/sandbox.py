"""Sandbox: what a drawing process may still do (Landlock and seccomp, through ctypes)."""
import contextlib
import ctypes
import functools
import glob
import itertools
import os
import platform
import re
import site
import stat
import struct
import subprocess
import sys
import sysconfig

from data.renderers.system_calls import bpf_filter
from data.verdict import InputError

HERE = os.path.realpath(__file__)
UNSAFE = "VISUAL_ERM_UNSAFE"    # environment variable: run chart code even where a layer is missing


class SandboxMissing(InputError):
    """Chart code was refused, because this system lacks a layer of the sandbox."""


MEMORY = 2 << 30            # bytes of address space of a drawing process
FILE_BYTES = 8 << 20        # largest file a chart program may write into its scratch folder
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 500    # all files in it; more and the program is ended
THREADS = 64                # of a chart program; RLIMIT_NPROC counts none for root
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, audit architecture


def kernel(function: str, *args: int | bytes | None) -> int:
    """Call libc's `syscall` or `prctl`; OSError if the kernel says no."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = getattr(libc, function)(*(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def package_folders() -> list[str]:
    """Folders of PYTHONPATH into which pip installed packages; others may hold anybody's files."""
    found = []
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        folder = os.path.realpath(folder)
        if glob.glob(glob.escape(folder) + "/*.dist-info") and not HERE.startswith(folder + os.sep):
            found.append(folder)
    return found


@functools.lru_cache
def missing_layer() -> str | None:
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


def landlock(scratch: str | None, readable: tuple[str, ...] = ()) -> int:
    """A ruleset descriptor: read Python, shared libraries and what is `readable`, write `scratch`
    (or nowhere).
    """
    abi = kernel("syscall", 444, None, 0, 1)
    truncate = (abi >= 3) << 14
    handled = (1 << 13) - 1 | (abi >= 2) << 13 | truncate | (abi >= 5) << 15
    ports = 0b11 * (abi >= 4)               # bind and connect TCP
    scopes = 0b11 * (abi >= 6)              # abstract sockets and signals of processes outside
    known = 8 * (1 + (abi >= 4) + (abi >= 6))                   # bytes of these that it knows
    ruleset = kernel("syscall", 444, struct.pack("QQQ", handled, ports, scopes), known, 0)
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages(), *package_folders(),
                sys.base_prefix + "/lib", "/lib", "/lib64", "/usr/lib", "/usr/lib64",
                "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo",
                "/dev/urandom"}
    read, use, write = 0b1100, 0b0110, 0b1_1011_1110 | truncate     # write: no links, no devices
    opened = [(folder, read) for folder in (*folders, *readable)]
    for path, rights in [*opened, ("/dev/null", use), (scratch, write)]:
        if path and os.path.exists(path):
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights &= -1 if os.path.isdir(path) else use | truncate
            kernel("syscall", 445, ruleset, 1, struct.pack("=Qi", rights, beneath), 0)
            os.close(beneath)
    return ruleset


def seccomp() -> bytes:
    """The BPF filter: a foreign machine dies, what is not allowed gives EPERM or ENOSYS."""
    steps = bpf_filter(*MACHINES[platform.machine()])
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def remove_folder(folder: str) -> None:
    """Remove a folder, however deep, also what a program made unreadable in it."""
    try:
        os.rmdir(folder)                                # most programs leave nothing
    except OSError:
        if os.path.isdir(folder):
            quiet = {"check": False, "stderr": subprocess.DEVNULL}
            subprocess.run(["chmod", "-R", "u+rwx", folder], **quiet)
            subprocess.run(["find", folder, "-delete"], **quiet)        # copes with 100,000 levels


def excess(pid: int, scratch: str) -> str:
    """What a program holds too much of ("threads", "files", "disk"), or "". The worker asks."""
    try:
        with open(f"/proc/{pid}/status") as status:
            threads = re.search(r"^Threads:\s*(\d+)", status.read(), re.M)
    except OSError:                                     # it ended; or a system without /proc
        threads = None
    if threads and int(threads[1]) > THREADS:
        return "threads"
    folders, files, size = [scratch], 0, _unlinked_bytes(pid)
    while folders:
        try:
            entries = list(itertools.islice(os.scandir(folders.pop()), SCRATCH_FILES + 1))
        except FileNotFoundError:                       # the program removed it meanwhile
            continue
        except OSError:                                 # it cannot be read, or its path is too long
            return "files"
        files += len(entries)
        if files > SCRATCH_FILES:
            return "files"
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return "disk" if size > SCRATCH_BYTES else ""


def _unlinked_bytes(pid):
    """Bytes on disk of the files that a process holds and has removed from their folder.

    It holds what it has open, and what it has mapped, which the kernel lists without sizes: each
    counts as the largest that a program may write.
    """
    size = 0
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", errors="replace") as maps:
        gone = {tuple(line.split()[3:5]) for line in maps if line.endswith("(deleted)\n")
                and not line.split()[5].startswith(("/dev/zero", "/SYSV", "/memfd:"))}
        size = FILE_BYTES * len(gone)
    with contextlib.suppress(OSError):                  # it ended; or a system without /proc
        for link in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                file = os.stat(link.path)
                size += file.st_blocks * 512 * (stat.S_ISREG(file.st_mode) and file.st_nlink == 0)
    return size


def confine(ruleset: int, filter_: bytes) -> None:
    """Close every door for good. What is open stays open, so descriptors must be closed before."""
    kernel("prctl", 38, 1, 0, 0, 0)                        # PR_SET_NO_NEW_PRIVS
    kernel("syscall", 446, ruleset, 0)                     # landlock_restrict_self
    os.close(ruleset)
    steps = ctypes.create_string_buffer(filter_, len(filter_))
    whole = struct.pack("HxxxxxxQ", len(filter_) // 8, ctypes.addressof(steps))
    kernel("prctl", 22, 2, whole, 0, 0)                    # PR_SET_SECCOMP
