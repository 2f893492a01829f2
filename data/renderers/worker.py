"""Worker: a clean process that holds the libraries and forks the processes that draw.

A chart takes two of them: a fresh one runs the program and answers with its paint list, the one
that also draws tables and SVG paints it, so no picture comes from a process that ran a program.
The pool starts it with this module. Landlock shuts the project's folder, so everything that a
drawing needs is imported by the warm-up drawings, before the doors close.
"""
import contextlib
import functools
import gc
import json
import math
import os
import resource
import select
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable

from data.renderers import draw, drawn_or_error
from data.renderers.chart import paint_chart, record_chart, reset_matplotlib
from data.renderers.sandbox import (
    FILE_BYTES,
    MEMORY,
    confine,
    excess,
    kernel,
    landlock,
    missing_layer,
    remove_folder,
    seccomp,
)
from data.renderers.scene import RenderError

WARM_UP = {     # one drawing a task with text, so that fonts and lazy imports are there to inherit
    "chart": "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\n"
             "ax.plot([1, 2], label='a')\nax.bar(['A'], [1])\nax.scatter([1], [1])\n"
             "ax.set_title('$x$')\nax.legend()",
    "svg": '<svg viewBox="0 0 9 9"><text y="8" font-weight="bold">Aa</text></svg>',
    "table": "<table><tr><th>Aa</th><td>1</td></tr></table>"}


NOT_STARTED = "not started"


def warm_up(*tasks: str) -> None:
    """Draw one picture a task; raises what stands in the way, such as a library not installed."""
    for task in tasks:
        draw(task, WARM_UP[task], 64)


def serve(channel: socket.socket, folder: str) -> None:
    """Serve jobs until the parent is gone. Each message is a descriptor on which the job comes.

    The worker never reads a job or an answer itself: both pass between the parent and the child
    that draws, so a chart program finds nothing in its memory of what was drawn before it.
    A chart gets a fresh child; tables and SVG share one until it is late, dies or is old. That
    one imports their libraries itself: the less this process holds, the cheaper is each fork.
    """
    gc.disable()                                # garbage would leave holes in pages shared later
    tempfile.tempdir = folder
    warm_up("chart")
    reset_matplotlib()
    filter_ = None if missing_layer() else seccomp()
    gc.freeze()                                 # the children need not touch these objects
    channel.sendall(b"r")                       # ready
    shared, served, parent_is_there = None, 0, True
    while parent_is_there:
        message, job, _, _ = socket.recv_fds(channel, 16, 1)
        if not job:
            break
        is_chart, timeout = struct.unpack("=?f", message)
        scratch = tempfile.mkdtemp(prefix="scratch_") if is_chart else None
        child = not is_chart and shared or fork(
            functools.partial(_draw, is_chart, timeout), scratch, filter_)
        started = True
        with contextlib.suppress(OSError):
            if not is_chart and not shared:
                started = bool(child[1].recv(1))    # it has imported its libraries
            socket.send_fds(child[1], [b"j"], job)
        os.close(job[0])
        ready, too_much = wait(child, channel, scratch, timeout)
        served += 1
        status, shared_lives = "ok", False
        with contextlib.suppress(OSError):
            shared_lives = not is_chart and child[1] in ready and child[1].recv(1) == b"d" \
                and served % 1000 > 0
        if not shared_lives:
            status = end(child, child[1] not in ready)
        if is_chart:
            remove_folder(scratch)
        else:
            shared = child if shared_lives else None
        parent_is_there = channel not in ready
        with contextlib.suppress(OSError):
            told = too_much or (status if started else NOT_STARTED)
            channel.sendall(told.encode().ljust(16))
    if shared:
        end(shared, True)
    remove_folder(folder)
    with contextlib.suppress(OSError):          # the last worker of a dead parent
        os.rmdir(os.path.dirname(folder))


def wait(child: tuple, channel: socket.socket, scratch: str | None, timeout: float) -> tuple:
    """Wait for the child's answer, at most `timeout` seconds, and look at what a program holds.

    Returns (which of the child's link and the channel can be read, what it holds too much of).
    """
    pid, link = child
    deadline, pause = time.monotonic() + timeout, 0.01
    while (left := deadline - time.monotonic()) > 0:
        ready = select.select([link, channel], [], [], min(left, pause) if scratch else left)[0]
        if ready:
            return ready, ""
        too_much = excess(pid, scratch) if scratch else ""
        if too_much:
            return [], too_much
        pause = min(2 * pause, 0.04)
    return [], ""


def end(child: tuple, late: bool) -> str:
    """Kill the child with all its threads and processes, reap it, say how it ended."""
    pid, link = child
    done = status = 0
    for _ in range(0 if late else 100):         # it closed its link: it is about to exit
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)          # with all its threads and processes
    if not done:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)        # it may not have founded its group yet
        os.waitpid(pid, 0)
    link.close()
    code = os.waitstatus_to_exitcode(status)
    return "timeout" if late else f"exit {code}" if code else "ok"


def fork(run: Callable, scratch: str | None, filter_: bytes | None,
         readable: tuple[str, ...] = ()) -> tuple[int, socket.socket]:
    """Start a process that does `run(link, shut)`; returns (pid, our end of its link).

    `shut(limits)` sets resource limits, {number: most}, and closes the doors (see `confine`): it
    is for `run` to call before it touches what nobody vouches for. `readable`: folders that can be
    read besides Python's. Without `filter_` (see `seccomp`) there are limits and no doors.
    """
    ours, theirs = socket.socketpair()
    locks = (landlock(scratch, readable), filter_) if filter_ else None
    worker, pid = os.getpid(), os.fork()
    if pid:
        theirs.close()
        if locks:
            os.close(locks[0])
        return pid, ours
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        ruleset = locks[0] if locks else 2
        keep = [2, *sorted({theirs.fileno(), ruleset} - {2})]
        for low, high in zip(keep, [*keep[1:], 4096]):
            os.closerange(low + 1, high)
        run(theirs, functools.partial(_shut, scratch, locks, worker))
        os._exit(0)
    finally:
        os._exit(70)


def _shut(scratch, locks, worker, limits):
    """Limit this process and close its doors, for good."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)
    os.environ.clear()
    os.chdir(scratch or "/")
    for which, most in limits.items():
        with contextlib.suppress(ValueError, OSError):      # macOS cannot limit memory
            resource.setrlimit(which, (most, most))
    if locks:
        kernel("prctl", 1, signal.SIGKILL, 0, 0, 0)        # PR_SET_PDEATHSIG: die with the worker
        if os.getppid() != worker:
            os._exit(0)
        confine(*locks)


def _draw(is_chart, timeout, link, shut):
    """Lock the doors, then draw: one chart, or tables and SVG until killed."""
    warm_up(*(() if is_chart else WARM_UP))
    limits = {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 256,
              resource.RLIMIT_FSIZE: FILE_BYTES if is_chart else 0}
    if is_chart:
        limits[resource.RLIMIT_CPU] = math.ceil(timeout) + 1
    shut(limits)
    while True:
        if not is_chart:
            link.sendall(b"d")                              # ready, or done with the last
        _, job, _, _ = socket.recv_fds(link, 1, 1)
        if not job:
            return
        with socket.socket(fileno=job[0]) as answer_to:
            answer_to.sendall(_answer(answer_to))
        if is_chart:
            return


def _answer(link):
    """Read one job, do it, pack the answer.

    A job is (task, code, size) as JSON; the code of a "paint" job is a packed list. The answer:
    lengths, scene (or paint list, or error), pixels; a width of 0 means that there are no pixels,
    a height of 1 then that it is no error but a paint list.
    """
    task, size = json.loads(receive(link, *struct.unpack("=I", receive(link, 4))))
    code = receive(link, *struct.unpack("=I", receive(link, 4)))
    size = tuple(size) if isinstance(size, list) else size
    try:
        if task == "chart":
            packed = drawn_or_error(record_chart, code.decode(), size)
            return struct.pack("=III", len(packed), 0, 1) + packed
        image, answer = drawn_or_error(paint_chart, code, size) if task == "paint" else \
            draw(task, code.decode(), size)
        (width, height), pixels = image.size, image.tobytes()
    except RenderError as error:
        width, height, pixels, answer = 0, 0, b"", [error.kind, error.message]
    except MemoryError:
        width, height, pixels = 0, 0, b""
        answer = ["memory", f"it needs more than {MEMORY >> 30} GiB of memory"]
    text = json.dumps(answer, allow_nan=False).encode()
    return struct.pack("=III", len(text), width, height) + text + pixels


def receive(link: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes; ConnectionError if the other side ends before."""
    data, got = bytearray(count), 0
    while got < count:
        more = link.recv_into(memoryview(data)[got:])
        if not more:
            raise ConnectionError("the other side closed the connection")
        got += more
    return bytes(data)
