"""Pool: the parent's side of the workers."""
import atexit
import contextlib
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from data.renderers.sandbox import (
    MEMORY,
    SCRATCH_BYTES,
    SCRATCH_FILES,
    THREADS,
    package_folders,
    remove_folder,
)
from data.renderers.scene import (
    KINDS,
    MAX_PIXELS,
    MAX_SIDE,
    RenderError,
    Rendering,
    check_size,
    scene_fault,
)
from data.renderers.worker import NOT_STARTED, receive
from data.verdict import InputError

ROOT = Path(__file__).resolve().parent.parent.parent
START = """import importlib, socket, sys
sys.path.insert(0, sys.argv[1])
serve = importlib.import_module(sys.argv[4]).serve
del sys.path[0]
serve(socket.socket(fileno=int(sys.argv[2])), sys.argv[3])"""
WHY = """import sys
sys.path.insert(0, sys.argv[1])
from data.renderers.worker import WARM_UP, warm_up
warm_up(*WARM_UP)"""
GRACE = 30.0  # seconds an answer may be late beyond the job's own deadline
LARGEST_SCENE = 12 << 20  # bytes
LARGEST_LIST = 96 << 20  # bytes of a chart's paint list, as data/renderers/paint_list.py packs it
TOO_MUCH = {"threads": f"it starts more than {THREADS} threads",
            "files": f"it writes more than {SCRATCH_FILES} files, or folders that cannot be read",
            "disk": f"it writes more than {SCRATCH_BYTES >> 20} MiB"}


class CannotDraw(InputError):
    """Nothing can be drawn on this machine; no program is to blame."""

    def __init__(self, log: str):
        why = log.strip().splitlines()[-1].rpartition("it could not be drawn: ")[2]
        super().__init__(f"Nothing can be drawn here: {why}. Is everything of requirements.txt "
                         "installed, and the library cairo?")


class Worker:
    """One worker process, seen from the parent: `module` of the project in `root`, which serves."""

    def __init__(self, pool_folder: str, root: Path = ROOT,
                 module: str = "data.renderers.worker"):
        self.folder = folder = tempfile.mkdtemp(dir=pool_folder)
        self.channel, theirs = socket.socketpair()
        kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "MPLCONFIGDIR", "XDG_CACHE_HOME")
        self.environment = {k: os.environ[k] for k in kept if k in os.environ} | {
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(package_folders())}
        with tempfile.TemporaryFile("w+", dir=folder) as log, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-BPc", START, str(root), str(theirs.fileno()), folder, module],
                pass_fds=[theirs.fileno()], env=self.environment,
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)  # Ctrl-C is for the parent
            theirs.close()
            self.channel.settimeout(120)  # the first import on a machine can be slow
            try:
                receive(self.channel, 1)
            except OSError:
                self.stop()
                log.seek(0)
                raise CannotDraw(log.read() or "it said nothing") from None

    def draw(self, task: str, code: str, size: int | tuple[int, int] | None,
             timeout: float) -> Rendering | RenderError:
        """Rendering or RenderError of one job; OSError if the worker itself is lost."""
        answer = self._job(task, code.encode(), size, timeout)
        if isinstance(answer, bytes):  # what the chart paints: now paint it elsewhere
            answer = self._job("paint", answer, size, timeout)
        return answer

    def _job(self, task, code, size, timeout):
        """One job of a drawing process: Rendering, RenderError, or a chart's packed paint list."""
        ours, theirs = socket.socketpair()
        self.channel.settimeout(timeout + GRACE)
        ours.settimeout(timeout + GRACE)
        with ours, theirs:
            socket.send_fds(self.channel, [struct.pack("=?f", task == "chart", timeout)],
                            [theirs.fileno()])
            theirs.close()
            answer, job = None, json.dumps([task, size]).encode()
            try:
                for part in (job, code):
                    ours.sendall(struct.pack("=I", len(part)))
                    ours.sendall(part)
                answer = _read_answer(ours, task, size)
            except TimeoutError:
                raise
            except Exception:  # cut off or forged: whatever it is, it is no answer
                pass
        status = receive(self.channel, 16).decode().strip()
        if status == NOT_STARTED:
            if why := subprocess.run([sys.executable, "-BPc", WHY, str(ROOT)], cwd=self.folder,
                                     env=self.environment, capture_output=True, text=True).stderr:
                raise CannotDraw(why)
            raise ConnectionError("killed while it started")
        return answer or _how_it_ended(status, timeout)

    def stop(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()
        remove_folder(self.folder)


def _read_answer(link, task, size):
    """Decode an answer, which the program may have forged: any exception means unsound."""
    def number(digits):
        if len(digits) > 25 or not math.isfinite(float(digits)):
            raise ValueError("not a number that a scene holds")
        return float(digits) if set(digits) & set(".eEn") else int(digits)

    length, width, height = struct.unpack("=III", receive(link, 12))
    if task == "chart" and (width, height) == (0, 1) and length <= LARGEST_LIST:
        return receive(link, length)
    most = size if isinstance(size, (tuple, list)) else (size or MAX_SIDE,) * 2
    if length > LARGEST_SCENE or width * height > MAX_PIXELS or width > most[0] or height > most[1]:
        raise ValueError("larger than any answer")
    text = receive(link, length).decode("utf-8", "replace")
    answer = json.loads(ESCAPED_SURROGATE.sub(_character, text), parse_int=number,
                        parse_float=number, parse_constant=number)
    if not width or task == "chart":
        kind, message = answer
        return RenderError(kind if kind in KINDS else "runtime",
                           " ".join(str(message).split())[:300])
    task = "chart" if task == "paint" else task
    try:
        check_size(width, height)
    except RenderError as error:
        return error
    why = scene_fault(answer)
    if why is not None:
        return RenderError("runtime", f"it gives no sound scene: {why}")
    if answer["task"] != task or answer["size"] != [width, height]:
        raise ValueError("the scene of another picture")
    pixels = receive(link, 3 * width * height)
    return Rendering(Image.frombytes("RGB", (width, height), pixels), answer)


# Half a character (a lone surrogate) in a label or message could be written to no file.
ESCAPED_SURROGATE = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[dD][89a-fA-F][0-9a-fA-F]{2})+)")


def _character(match):
    halves = json.loads(f'"{match[2]}"').encode("utf-16", "surrogatepass")
    return match[1] + halves.decode("utf-16", "replace")


def _how_it_ended(status, timeout):
    if status in ("timeout", f"exit {-signal.SIGXCPU}"):
        return RenderError("timeout", f"not finished after {timeout:g} seconds")
    if status in (f"exit {-signal.SIGKILL}", f"exit {-signal.SIGABRT}"):
        return RenderError("memory", f"it needs more than {MEMORY >> 30} GiB of memory")
    if status in TOO_MUCH:
        return RenderError("too_large", TOO_MUCH[status])
    return RenderError("runtime", "its process ended without giving a picture"
                       + (f" ({status})" if status != "ok" else ""))


class Pool:
    """The workers of this process, started when first needed and replaced when lost."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="visual_erm_")
        self.workers, self.idle, self.count = set(), [], 0
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def borrow(self, limit: int, fresh: bool = False) -> Iterator[Worker]:
        """A worker of at most `limit`, new if `fresh`; who leaves with an exception lost it."""
        with self.changed:
            self.changed.wait_for(lambda: self.idle or self.count < limit)
            worker = self.idle.pop() if self.idle else None
            self.count += worker is None
        try:
            if worker and (fresh or worker.process.poll() is not None):  # killed while idle
                worker.stop()
                self.workers.discard(worker)
                worker = None
            worker = worker or Worker(self.folder)
            self.workers.add(worker)
            yield worker
            self.idle.append(worker)
        except BaseException:
            with self.changed:
                self.count -= 1
            if worker:
                worker.stop()
                self.workers.discard(worker)
            raise
        finally:
            with self.changed:
                self.changed.notify()

    def draw(self, task: str, code: str, size: int | tuple[int, int] | None, timeout: float,
             limit: int) -> Rendering | RenderError:
        for fresh in (False, True):  # once more if killed from outside: others may be, too
            try:
                with self.borrow(limit, fresh) as worker:
                    return worker.draw(task, code, size, timeout)
            except TimeoutError:
                return RenderError("timeout", f"no answer after {timeout + GRACE:g} seconds")
            except ConnectionError:
                answer = RenderError("runtime", "the drawing process was killed")
        return answer


_pool, _pool_lock = None, threading.Lock()


def the_pool() -> Pool:
    global _pool
    with _pool_lock:
        _pool = _pool or Pool()
        return _pool


def close() -> None:
    """Stop all workers, remove their folder. Runs at exit; rendering again starts new ones."""
    global _pool
    pool, _pool = _pool, None
    for worker in pool.workers if pool else ():
        worker.stop()
    if pool:
        remove_folder(pool.folder)


def _forget_pool():
    """A fork of this process owns no workers: close its copies, so that the parent's end counts."""
    global _pool, _pool_lock
    for worker in _pool.workers if _pool else ():
        worker.channel.close()
    _pool, _pool_lock = None, threading.Lock()


atexit.register(close)
os.register_at_fork(after_in_child=_forget_pool)
