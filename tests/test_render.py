"""render.py: what each program must give (a scene, or an error's kind), and what must not leak."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import timeit
from pathlib import Path

import psutil
import pytest

import render as rendering
from conftest import ROOT, field_cases
from data.renderers import draw, pool, sandbox, system_calls
from data.renderers.scene import scene_fault
from render import RenderError, SandboxMissing, extract_code, render, render_many

PLOT = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(4, 3))\n"
LINE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
confined = pytest.mark.skipif(sandbox.missing_layer() is not None,
                              reason="this system lacks a layer of the sandbox")

# ---- Programs that must not work, or must not do harm: (task, code, kind or "ok", in the message)

PAIR = "import fcntl, os, socket, struct\na, b = socket.socketpair()\n"
CALL = ("import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(name, *args):\n"
        " if getattr(libc, name)(*args) < 0:\n"
        "  raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n")
# What these would do if they were let through is harmless: empty lengths, flags that change nothing.
KERNEL = {
    "signal by owner": PAIR + "fcntl.fcntl(a, 8, os.getppid())",
    "signal by number": PAIR + "fcntl.fcntl(a, 10, 9)",
    "signal by owner, extended": PAIR + "fcntl.fcntl(a, 15, struct.pack('ii', 1, os.getppid()))",
    "signal by owner, ioctl": PAIR + "fcntl.ioctl(a, 0x8901, struct.pack('i', os.getppid()))",
    "signal by group, ioctl": PAIR + "fcntl.ioctl(a, 0x8902, struct.pack('i', os.getppid()))",
    "lease": "import fcntl; fcntl.fcntl(open('a', 'w'), 1024, 2)",
    "notice": "import fcntl, os; fcntl.fcntl(os.open('.', 0), 1026, 0)",
    "lock": "import fcntl, os; fcntl.flock(open(os.__file__), fcntl.LOCK_SH)",
    "lock of a part": "import fcntl; fcntl.lockf(open('a', 'w'), fcntl.LOCK_EX)",
    "inotify": CALL + "call('inotify_init1', 0)",
    "attributes of a file": "import fcntl, struct; fcntl.ioctl(open('a', 'w'), 0x40086602, struct.pack('l', 0))",
    "terminal": PAIR + "fcntl.ioctl(a, 0x5412, b'x')",
    "pair of datagrams": PAIR + "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "pair of packets": PAIR + "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
    "to an address": PAIR + "a.sendto(b'x', '/nowhere')",
    "to an abstract address": PAIR + "a.sendto(b'x', '\\0nowhere')",
    "message": PAIR + "a.sendmsg([b'x'])",
    "descriptors in flight": PAIR + "socket.send_fds(a, [b'x'], [0])",
    "memory file": "import os; os.memfd_create('a')",
    "fallocate": "import os; os.posix_fallocate(open('a', 'wb').fileno(), 0, 4096)",
    "shmget": CALL + "call('shmget', 0, 0, 0)", "shmat": CALL + "call('shmat', -1, None, 0)",
    "shmdt": CALL + "call('shmdt', None)", "shmctl": CALL + "call('shmctl', -1, 2, None)",
    "msgget": CALL + "call('msgget', -1, 0)", "msgrcv": CALL + "call('msgrcv', -1, None, 0, 0, 0)",
    "msgsnd": CALL + "call('msgsnd', -1, None, 0, 0)", "semget": CALL + "call('semget', -1, 0, 0)",
    "semop": CALL + "call('semop', -1, None, 0)", "mq_open": CALL + "call('mq_open', b'/a', 0)",
    "domain name": CALL + "call('setdomainname', None, -1)", "host name": CALL + "call('sethostname', None, -1)",
    "kernel log": CALL + "call('klogctl', 10, None, 0)", "swap": CALL + "call('swapoff', b'')",
    "sync": CALL + "call('syscall', {'x86_64': 162}.get(os.uname().machine, 81))",
    "broken memory": CALL + "call('madvise', None, 0, 100)", "locked memory": CALL + "call('mlock', None, 0)",
    "its own priority": "import os; os.nice(1)", "a clone without CLONE_THREAD": CALL +
    "call('syscall', {'x86_64': 56}.get(os.uname().machine, 220), 0x800, None, None, None, None)"}

HOSTILE = {name: ("chart", code, "forbidden", "PermissionError") for name, code in KERNEL.items()} | {
    "fsopen": ("chart", CALL + "call('syscall', 430, b'', -1)", "runtime", "not implemented"),
    "fsmount": ("chart", CALL + "call('syscall', 432, -1, 0, 0)", "runtime", "not implemented"),
    "io_uring": ("chart", CALL + "call('syscall', 425, 0, None)", "runtime", "not implemented"),
    "200 threads": ("chart", "import threading, time\nfor _ in range(200):\n threading.Thread(target=time.sleep, "
                    "args=[20], daemon=True).start()\ntime.sleep(20)", "too_large", "64 threads"),
    "many files": ("chart", "import time\nfor i in range(62_000): open(f'{i}', 'w').close()\ntime.sleep(20)",
                   "too_large", "500 files"),
    "many folders": ("chart", "import os, time\nfor i in range(5_000): os.mkdir('a'); os.chdir('a')\ntime.sleep(20)",
                     "too_large", "500 files"),
    "much disk": ("chart", "import time\nfor i in range(50): open(f'{i}', 'wb').write(bytes(8 << 20))\ntime.sleep(20)",
                  "too_large", "64 MiB"),
    "syntax": ("chart", "plt.plot([", "syntax", "line 1"),
    "prose": ("chart", "Sure! Here is the chart.", "syntax", ""),
    "null byte": ("chart", "x = 1\0", "syntax", "null"),
    "parentheses": ("chart", "(" * 100_000, "syntax", ""),
    "not UTF-8": ("chart", b"\xff\xfe", "syntax", "UTF-8"),
    "surrogate": ("chart", "x = '\ud800'", "syntax", "UTF-8"),
    "empty": ("chart", "", "blank", "no figure"),
    "exception": ("chart", "x = 1\n1 / 0", "runtime", "line 2: ZeroDivisionError"),
    "error while drawing": ("chart", LINE + r"plt.title('$\frac{$')", "runtime", "ValueError"),
    "endless loop": ("chart", "while True: pass", "timeout", "1.5 seconds"),
    "endless, catching all": ("chart", "while True:\n try:\n  while True: pass\n"
                              " except BaseException: pass", "timeout", ""),
    "sleep": ("chart", "import time; time.sleep(99)", "timeout", ""),
    "3 GB": ("chart", "import numpy as np; np.ones(3 << 30, 'u1')", "memory", ""),
    "3 GB of bytes": ("chart", "bytearray(3 << 30)", "memory", ""),
    "fork bomb": ("chart", "import os\nwhile True: os.fork()", "forbidden", "PermissionError"),
    "fork, then draw": ("chart", "import os\ntry: os.fork()\nexcept OSError: pass\n" + LINE, "ok", ""),
    "program": ("chart", "import subprocess; subprocess.run(['ls'])", "forbidden", ""),
    "shell": ("chart", "import os; assert os.system('true') == 0", "runtime", ""),
    "os._exit": ("chart", LINE + "import os; os._exit(0)", "runtime", "without giving a picture"),
    "os._exit(3)": ("chart", "import os; os._exit(3)", "runtime", "exit 3"),
    "sys.exit(1)": ("chart", LINE + "import sys; sys.exit(1)", "runtime", "exit 1"),
    "sys.exit()": ("chart", LINE + "import sys; sys.exit()", "ok", ""),
    "crash": ("chart", "import ctypes; ctypes.string_at(0)", "runtime", "exit -11"),
    "socket": ("chart", "import socket; socket.socket()", "forbidden", ""),
    "download": ("chart", "import urllib.request as u; u.urlopen('http://127.0.0.1')",
                 "forbidden", ""),
    "reference picture": ("chart", "import matplotlib.pyplot as plt\n"
                          "plt.imshow(plt.imread('{secret}'))", "forbidden", "secret.png"),
    "this file": ("chart", f"open({os.path.abspath(__file__)!r})", "forbidden", ""),
    "/etc/passwd": ("chart", "open('/etc/passwd')", "forbidden", "/etc/passwd"),
    "environment": ("chart", "open('/proc/self/environ')", "forbidden", ""),
    "empty environment": ("chart", "import os; assert not os.environ\n" + LINE, "ok", ""),
    "memory of others": ("chart", "import os; open(f'/proc/{os.getppid()}/mem', 'rb')",
                         "forbidden", ""),
    "list a folder": ("chart", "import os; os.listdir('{folder}')", "forbidden", ""),
    "write": ("chart", "open('{folder}/x', 'w')", "forbidden", ""),
    "overwrite": ("chart", "open('{secret}', 'r+')", "forbidden", ""),
    "delete": ("chart", "import os; os.remove('{secret}')", "forbidden", ""),
    "rename": ("chart", "import os; os.rename('{secret}', '{secret}2')", "forbidden", ""),
    "link": ("chart", "import os; os.link('{secret}', 'a')", "runtime", "cross-device"),
    "truncate": ("chart", "import os; os.truncate('{secret}', 0)", "forbidden", ""),
    "chmod": ("chart", "import os; os.chmod('{secret}', 0)", "forbidden", ""),
    "chown": ("chart", "import os; os.chown('{secret}', 1, 1)", "forbidden", ""),
    "utime": ("chart", "import os; os.utime('{secret}')", "forbidden", ""),
    "setxattr": ("chart", "import os; os.setxattr('{secret}', 'user.a', b'b')", "forbidden", ""),
    "kill the worker": ("chart", "import os; os.kill(os.getppid(), 9)", "forbidden", ""),
    "signal all": ("chart", "import os; os.kill(-1, 0)", "forbidden", ""),
    "raise the limits": ("chart", "import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))",
                         "runtime", ""),
    "change user": ("chart", "import os; os.setuid(65534)", "forbidden", ""),
    "outlive the worker": ("chart", "import ctypes\n"
                           "assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0", "runtime", ""),
    "shared memory": ("chart", "import ctypes\nassert ctypes.CDLL(None).shmget(0, 9, 512) >= 0",
                      "runtime", ""),
    "large file": ("chart", "open('a', 'wb').write(bytes(9 << 20))", "runtime", "too large"),
    "own scratch": ("chart", LINE + "import os; os.makedirs('out/a'); open('out/b', 'w').write('c')",
                    "ok", ""),
    "scratch is empty": ("chart", LINE + "import os; assert os.listdir('.') == []", "ok", ""),
    "threads left over": ("chart", LINE + "import threading, time\n"
                          "threading.Thread(target=time.sleep, args=[99]).start()", "ok", ""),
    "100,000 px": ("chart", "import matplotlib.pyplot as plt\nplt.figure(figsize=(1000, 1000))\n"
                   "plt.plot([1])", "too_large", "100000 x 100000 px"),
    "long program": ("chart", "#" * 1_000_001, "too_large", "1000001 characters"),
    "blank figure": ("chart", "import matplotlib.pyplot as plt\nplt.figure()", "blank", "empty"),
    "flat figure": ("chart", PLOT + "ax.axis('off'); ax.plot([1, 2], color='white')", "blank", ""),
    "no figure": ("chart", "import matplotlib.pyplot as plt", "blank", "no figure"),
    "forged text": ("chart", "import os\nfor f in range(3, 9):\n try: os.write(f, b'x' * 999)\n"
                    " except OSError: pass\nos._exit(0)", "runtime", ""),
    "forged scene": ("chart", "import os, struct\nj = b'{}'\nfor f in range(3, 9):\n try: os.write("
                     "f, struct.pack('=III', 2, 1, 1) + j + b'abc')\n except OSError: pass\n"
                     "os._exit(0)", "runtime", ""),
    "forged error": ("chart", "import os, struct\nfor f in range(3, 9):\n try: os.write("
                     "f, struct.pack('=III', 1, 0, 0) + b'3')\n except OSError: pass\n"
                     "os._exit(0)", "runtime", ""),
    "forged depth": ("chart", "import os, struct\nj = b'[' * 90000\nfor f in range(3, 9):\n try: "
                     "os.write(f, struct.pack('=III', 90000, 1, 1) + j)\n except OSError: pass\n"
                     "os._exit(0)", "runtime", ""),
    "forged height of 0": ("chart", "import os, struct\nj = b'{}'\nfor f in range(3, 9):\n try: os.write("
                           "f, struct.pack('=III', 2, 9, 0) + j)\n except OSError: pass\nos._exit(0)",
                           "too_large", "9 x 0 px"),
    "forged aspect": ("chart", "import os, struct\nj = b'{}'\nfor f in range(3, 9):\n try: os.write("
                      "f, struct.pack('=III', 2, 96, 0) + j)\n except OSError: pass\nos._exit(0)",
                      "too_large", "96 x 0 px"),
    "flat figure of 1 px": ("chart", "import matplotlib.pyplot as plt\nplt.figure(figsize=(9, 0.05))\n"
                            "plt.plot([1])", "too_large", "150 times"),
    "half a character in a message": ("chart", "raise ValueError('a\\ud800b')", "runtime", "ValueError: a"),
    "half a character in a label": ("chart", LINE + "plt.plot([2, 1], label='a\\ud800')", "ok", ""),
    "svg: flat": ("svg", '<svg width="900" height="5"><rect width="9" height="9"/></svg>',
                  "too_large", "900 x 5 px; one side may be at most 150 times"),
    "svg: flat when drawn small": ("svg", '<svg viewBox="0 0 149.9 1"><rect width="9" height="1"/></svg>',
                                   "ok", ""),
    "svg: empty": ("svg", "  ", "blank", "empty"),
    "svg: cut off": ("svg", '<svg viewBox="0 0 9 9"><rect', "syntax", ""),
    "svg: not svg": ("svg", "<html></html>", "syntax", "<html>"),
    "svg: nothing drawn": ("svg", '<svg viewBox="0 0 9 9"><rect fill="none"/></svg>', "blank", ""),
    "svg: bomb": ("svg", '<!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>'
                  '<svg viewBox="0 0 9 9"><text>&b;</text></svg>', "forbidden", "entities"),
    "svg: file": ("svg", '<svg viewBox="0 0 9 9"><image href="/etc/passwd" width="9" height="9"/>'
                  "</svg>", "forbidden", "/etc/passwd"),
    "svg: address": ("svg", '<svg viewBox="0 0 9 9"><use xlink:href="http://127.0.0.1/a.svg#b"/>'
                     "</svg>", "forbidden", "http://127.0.0.1"),
    "svg: external entity": ("svg", '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
                             "<svg><text>&a;</text></svg>", "forbidden", ""),
    "svg: standard doctype": ("svg", '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://a/b">'
                              '<svg viewBox="0 0 9 9"><rect width="4" height="4"/></svg>', "ok", ""),
    "svg: 100,000 px": ("svg", '<svg width="100000" height="9"><rect width="9" height="9"/></svg>',
                        "too_large", ""),
    "svg: deep": ("svg", '<svg viewBox="0 0 9 9">' + "<g>" * 5000 + "</g>" * 5000 + "</svg>",
                  "too_large", "nested"),
    "svg: 10^8 uses": ("svg", '<svg viewBox="0 0 9 9"><defs><g id="a0"><rect/></g>' + "".join(
        f'<g id="a{i}">' + f'<use href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, 9))
        + '</defs><use href="#a8"/></svg>', "timeout", ""),
    "table: empty": ("table", "", "blank", ""),
    "table: no rows": ("table", "<table></table>", "blank", ""),
    "table: spans of 1e9": ("table", "<table><tr><td colspan=1000000000>x<td rowspan=1000000000>y"
                            "<tr><td>z</table>", "ok", ""),
    "table: too many slots": ("table", "<table>" + "<tr><td colspan=1000 rowspan=65534>x" * 3000,
                              "too_large", "slots"),
    "table: too long": ("table", "<table>" + "<tr><td>x" * 3000, "too_large", ""),
    "table: deep": ("table", "<table><tr><td>" * 3000, "too_large", "nested"),
    "table: file": ("table", "<table><tr><td><img src='/etc/passwd'></table>", "forbidden",
                    "/etc/passwd"),
    "table: style sheet": ("table", "<style>@import url(http://127.0.0.1/a.css)</style><table>"
                           "<tr><td>x</table>", "forbidden", "a.css"),
    "after all that, a chart": ("chart", LINE, "ok", "")}


@pytest.fixture(scope="module")
def hostile_results(tmp_path_factory):
    assert sandbox.missing_layer() is None and not os.environ.get(sandbox.UNSAFE)   # else they would run
    folder = tmp_path_factory.mktemp("dataset")
    secret = folder / "secret.png"
    draw("chart", LINE, 64)[0].save(secret)
    before = secret.read_bytes(), secret.stat().st_mtime_ns, sorted(os.listdir(folder))
    results = {}
    for late, seconds in ((True, 1.5), (False, 60)):
        names = [name for name, row in HOSTILE.items() if (row[2] == "timeout") == late]
        jobs = [(HOSTILE[name][0], HOSTILE[name][1]) for name in names]
        jobs = [(task, code if isinstance(code, bytes) else
                 code.replace("{secret}", str(secret)).replace("{folder}", str(folder)))
                for task, code in jobs]
        results |= zip(names, render_many(jobs, size=96, timeout=seconds))
    assert before == (secret.read_bytes(), secret.stat().st_mtime_ns, sorted(os.listdir(folder)))
    return results


@confined
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name, hostile_results):
    _, _, kind, words = HOSTILE[name]
    result = hostile_results[name]
    if kind == "ok":
        assert not isinstance(result, RenderError), result
        assert max(result.image.size) <= 96
        json.dumps(result.scene, ensure_ascii=False).encode()       # a file can hold it
    else:
        assert isinstance(result, RenderError)
        assert result.kind == kind and words in result.message, result
        assert "\n" not in result.message and len(result.message.encode()) <= 600


@confined
def test_scratch_does_not_outlive_its_program():
    keep = LINE + "import os\nos.mkdir('keep', 0o300)\nopen('keep/a', 'w').close()\nos.mkdir('keep/b', 0)\n"
    empty = LINE + "import os\nassert os.listdir('.') == [] and not os.path.exists('keep/a')"
    results = render_many([("chart", keep), ("chart", empty)] * 2, size=64, timeout=60, workers=1)
    for result in results[::2]:     # who is not root cannot read the folder: the worker may end the program
        assert not isinstance(result, RenderError) or result.kind == "too_large", result
    assert not any(isinstance(result, RenderError) for result in results[1::2]), results
    left = [name for _, folders, files in os.walk(pool.the_pool().folder) for name in folders + files]
    assert not [name for name in left if name.startswith(("scratch_", "keep"))]


WORKING = {     # what the sandbox must leave alone
    "linear algebra": "import numpy as np\na = np.random.rand(300, 300)\n"
                      "assert np.allclose(np.linalg.inv(a) @ a, np.eye(300), atol=1e-3)",
    "threads of BLAS": "import numpy as np, threading\nones = np.ones((300, 300))\n"
                       "ts = [threading.Thread(target=ones.dot, args=[ones]) for _ in range(16)]\n"
                       "[t.start() for t in ts]; [t.join() for t in ts]",
    "scipy": "import scipy.integrate, scipy.interpolate, scipy.ndimage, scipy.optimize, scipy.signal, scipy.stats\n"
             "assert abs(scipy.optimize.minimize(lambda x: (x - 1) ** 2, 0.0).x[0] - 1) < 1e-3\n"
             "scipy.stats.gaussian_kde([1, 2, 4])(3)",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor\n"
                   "with ThreadPoolExecutor(16) as pool: assert sum(pool.map(abs, range(100))) == 4950",
    "asyncio": "import asyncio\nasync def one():\n await asyncio.sleep(0.01)\n return 1\n"
               "assert asyncio.run(one()) == 1",
    "files": "import os, pathlib, shutil, tempfile\npathlib.Path('a').write_text('x'); shutil.copyfile('a', 'b')\n"
             "os.rename('b', 'c'); os.mkdir('d'); os.rmdir('d'); assert sorted(os.listdir()) == ['a', 'c']\n"
             "with open('a', 'w') as f: f.write('y'); f.flush(); os.fsync(f.fileno())",
    "arrays on disk": "import numpy as np\nm = np.memmap('m', 'f8', 'w+', shape=9); m[:] = 1; m.flush()\n"
                      "assert np.memmap('m', 'f8', 'r').sum() == 9",
    "timer": "import signal, time\nsignal.signal(signal.SIGALRM, lambda *a: None)\n"
             "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)",
    "selectors": "import selectors, socket\na, b = socket.socketpair(); s = selectors.DefaultSelector()\n"
                 "s.register(a, selectors.EVENT_READ); b.sendall(b'x'); assert s.select(); a.recv(1)",
    "time zones, limits, database": "import zoneinfo, resource, sqlite3, os\nzoneinfo.ZoneInfo('Europe/Berlin')\n"
    "assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256 and not os.isatty(0)\nsqlite3.connect(':memory:')"}


@confined
def test_the_sandbox_leaves_alone_what_programs_need():
    results = render_many([("chart", code + "\n" + LINE) for code in WORKING.values()], size=64, timeout=60)
    assert {name: str(r) for name, r in zip(WORKING, results) if isinstance(r, RenderError)} == {}


# ---- The filter of system calls, run here for both machines (number, arguments) -> answer

def filter_says(machine, number, *arguments):
    column, audit = sandbox.MACHINES[machine]
    data = struct.pack("<IIQ6Q", number, audit, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    steps, at, value = system_calls.bpf_filter(column, audit), 0, 0
    while True:
        operation, yes, no, operand = steps[at]
        at += 1
        if operation == system_calls.GIVE:
            return operand
        if operation == system_calls.LOAD:
            value, = struct.unpack_from("<I", data, operand)
        elif operation == system_calls.AND:
            value &= operand
        else:
            holds = {system_calls.EQUAL: value == operand, system_calls.AT_LEAST: value >= operand,
                     system_calls.HAS_BIT: value & operand}[operation]
            at += yes if holds else no


@pytest.mark.parametrize("machine", sandbox.MACHINES)
def test_the_filter_allows_what_its_tables_say(machine):
    column = sandbox.MACHINES[machine][0]
    allowed = {n[column] for n in system_calls.ALLOWED.values()} - {None}
    special = {n[column]: name for name, (n, _) in system_calls.BY_ARGUMENTS.items()}
    assert not allowed & special.keys() and len(special) == len(system_calls.BY_ARGUMENTS)
    for number in set(range(600)) - special.keys():
        refused = system_calls.ENOSYS if number >= system_calls.NEWER else system_calls.EPERM
        assert filter_says(machine, number) == (system_calls.ALLOW if number in allowed else refused), number
    assert filter_says(machine, 0x40000000 + 1) == system_calls.EPERM
    numbers = {name: number for number, name in special.items()}
    for name, arguments, says in [
            ("clone", [0x3D0F00], "ALLOW"), ("clone", [0x1200011], "EPERM"), ("clone3", [1], "ENOSYS"),
            ("fcntl", [3, 1030], "ALLOW"), ("fcntl", [3, 4], "ALLOW"), ("fcntl", [3, 8], "EPERM"),
            ("fcntl", [3, 10], "EPERM"), ("fcntl", [3, 7], "EPERM"), ("ioctl", [3, 0x5401], "ALLOW"),
            ("ioctl", [3, 0x8901], "EPERM"), ("ioctl", [3, (1 << 32) + 0x5412], "EPERM"),
            ("socketpair", [1, 0x80001], "ALLOW"), ("socketpair", [1, 2], "EPERM"), ("socketpair", [1, 5], "EPERM"),
            ("socketpair", [2, 1], "EPERM"), ("sendto", [3, 99, 1, 0, 0, 0], "ALLOW"),
            ("sendto", [3, 99, 1, 0, 1 << 32, 9], "EPERM"), ("sendto", [3, 99, 1, 0, 1, 9], "EPERM"),
            ("prlimit64", [0, 9, 0, 99], "ALLOW"), ("prlimit64", [0, 9, 1 << 40, 0], "EPERM"),
            ("madvise", [0, 0, 8], "ALLOW"), ("madvise", [0, 0, 101], "EPERM"), ("fsync", [3], "DONE")]:
        assert filter_says(machine, numbers[name], *arguments) == getattr(system_calls, says), (name, arguments)


@pytest.mark.parametrize("column, header", [(0, "x86_64-linux-gnu/asm/unistd_64.h"), (1, "asm-generic/unistd.h")])
def test_numbers_of_system_calls_are_the_kernel_s(column, header):
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip(f"{path} is missing")
    names = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    names["newfstatat"] = names.get("newfstatat") or names["fstatat"]
    ours = system_calls.ALLOWED | {name: numbers for name, (numbers, _) in system_calls.BY_ARGUMENTS.items()}
    for name, numbers in ours.items():
        if name in names or numbers[column] is None:    # a header can be older than a call
            assert str(numbers[column]) == names.get(name, "None"), name


# ---- Which figure counts: (code, title of the figure that is taken)

TAKEN = {
    "savefig over several lines": ("plt.title('a')\nplt.savefig(\n    'a.png',\n    dpi=300,\n)", "a"),
    "savefig in an if": ("plt.title('a')\nif True:\n    plt.savefig('a.png')\n", "a"),
    "show in an if": ("plt.title('a')\nif __name__ == '__main__':\n    plt.show()", "a"),
    "two figures": ("plt.title('a')\nplt.figure()\nplt.title('b')", "b"),
    "the last is empty": ("plt.title('a')\nplt.figure()", "a"),
    "closed": ("plt.title('a')\nplt.savefig('a.png', bbox_inches='tight')\nplt.close('all')", "a"),
    "cleared after saving": ("plt.title('a')\nplt.savefig('a.png')\nplt.clf()", "a"),
    "cleared without saving": ("plt.title('a')\nplt.clf()\nplt.title('b')", "b"),
    "saved into a buffer": ("import io\nplt.title('a')\nb = io.BytesIO()\nplt.savefig(b)\nb.seek(0)\n"
                            "plt.imread(b).shape[2]", "a"),
    "bars in space": ("ax = plt.axes(projection='3d')\nax.bar([1, 2], [3, 4], zs=1, zdir='y')\nax.set_title('a')", "a"),
    "object style": ("fig, ax = plt.subplots()\nax.set_title('a')\nfig.savefig('x/y.png')", "a"),
    "another backend": ("import matplotlib\nmatplotlib.use('TkAgg')\nplt.title('a')", "a"),
    "no pyplot": ("from matplotlib.figure import Figure\nFigure().subplots().set_title('a')", "a"),
    "functions": ("def main():\n    plt.title(name())\ndef name():\n    return 'a'\nmain()", "a")}


@pytest.mark.parametrize("name", TAKEN)
def test_which_figure_is_taken(name):
    code, title = TAKEN[name]
    _, scene = draw("chart", "import matplotlib.pyplot as plt\n" + code, 96)
    assert [a["title"] for a in scene["axes"]] == [title]


# ---- What the scene says: (task, code, {path: value}); a path is keys and indices joined by dots

M = "axes.0.marks.0."
SCENES = {
    "bar": ("chart", PLOT + "ax.bar(['A', 'B'], [3, -7], color=['red', '#00F'], edgecolor='k')\n"
            "ax.set_title('Sales'); ax.set_xlabel('item'); ax.set_ylim(-8, 8); fig.tight_layout()", {
                M + "type": "bars", M + "orient": "v", M + "names": ["A", "B"],
                M + "value": [3.0, -7.0], M + "base": [0.0, 0.0], M + "pos": [0.0, 1.0],
                M + "thick": [0.8, 0.8], M + "colors": ["#ff0000", "#0000ff"],
                M + "edges": ["#000000", "#000000"], "axes.0.title": "Sales",
                "axes.0.xlabel": "item", "axes.0.ylim": [-8.0, 8.0], "axes.0.xticks": [
                    {"pos": 0.0, "text": "A"}, {"pos": 1.0, "text": "B"}], "title": "",
                "axes.0.spines": ["left", "right", "bottom", "top"], "axes.0.legend": None}),
    "pyplot state": ("chart", "import matplotlib.pyplot as plt\nplt.figure(figsize=(3, 3))\n"
                     "plt.barh(['u', 'v'], [1, 2], height=0.5, alpha=0.5, hatch='/')\n"
                     "plt.grid(axis='x')\nplt.suptitle('T')", {
                         M + "orient": "h", M + "names": ["u", "v"], M + "value": [1.0, 2.0],
                         M + "thick": [0.5, 0.5], M + "alpha": 0.5, M + "hatch": "/",
                         "axes.0.grid": {"x": True, "y": False}, "title": "T"}),
    "stacked and grouped": ("chart", PLOT + "ax.bar([0, 1], [1, 2], width=0.4, label='a')\n"
                            "ax.bar([0, 1], [3, 4], 0.4, bottom=[1, 2], label='b')\n"
                            "ax.bar([0.4, 1.4], [5, 6], 0.4, label='_c')\n"
                            "ax.set_xticks([0.2, 1.2], ['p', 'q']); ax.legend(title='L')", {
                                M + "label": "a", M + "names": ["p", "q"],
                                "axes.0.marks.1.base": [1.0, 2.0],
                                "axes.0.marks.1.value": [4.0, 6.0], "axes.0.marks.2.label": "",
                                "axes.0.legend": {"title": "L", "entries": [
                                    {"text": "a", "color": "#1f77b4"},
                                    {"text": "b", "color": "#ff7f0e"}]}}),
    "histogram": ("chart", PLOT + "ax.hist([1, 1, 2, 3], bins=2)", {
        M + "type": "bars", M + "value": [2.0, 2.0], M + "pos": [1.5, 2.5], M + "thick": [1.0, 1.0]}),
    "line": ("chart", PLOT + "ax.plot([1, 2, 3], [4, float('nan'), 6], 'r--o', lw=2, label='s')", {
        M + "type": "line", M + "x": [1.0, 3.0], M + "y": [4.0, 6.0], M + "color": "#ff0000",
        M + "linestyle": "--", M + "marker": "o", M + "linewidth": 2.0, M + "markersize": 6.0,
        M + "label": "s", M + "alpha": 1.0}),
    "markers only": ("chart", PLOT + "ax.plot([1, 2], [3, 4], 'gs')", {
        M + "linestyle": "none", M + "marker": "s", M + "color": "#008000", M + "linewidth": 0.0}),
    "axhline": ("chart", PLOT + "ax.set_xlim(0, 10); ax.axhline(0.5, color='gray')", {
        M + "type": "line", M + "x": [0.0, 10.0], M + "y": [0.5, 0.5], M + "color": "#808080"}),
    "log axes": ("chart", PLOT + "ax.loglog([1, 10, 100], [1, 10, 100])", {
        "axes.0.xscale": "log", "axes.0.yscale": "log", M + "x": [1.0, 10.0, 100.0],
        "axes.0.xticks.0": {"pos": 1.0, "text": "10^{0}"}}),
    "scatter": ("chart", PLOT + "ax.scatter([1, 2], [3, 4], s=[9, 25], c=['red', 'blue'], "
                "marker='^', alpha=0.25)", {
                    M + "type": "scatter", M + "x": [1.0, 2.0], M + "sizes": [9.0, 25.0],
                    M + "colors": ["#ff0000", "#0000ff"], M + "marker": "^", M + "alpha": 0.25}),
    "pie": ("chart", PLOT + "ax.pie([1, 3], labels=['a', 'b'], autopct='%d%%', startangle=90, "
            "explode=[0, 0.2], colors=['red', 'lime'], wedgeprops={'width': 0.4})", {
                M + "type": "pie", M + "names": ["a", "b"], M + "fractions": [0.25, 0.75],
                M + "colors": ["#ff0000", "#00ff00"], M + "start": 90.0, M + "hole": 0.6,
                M + "explode": [0.0, 0.2], M + "texts": ["25%", "75%"], M + "clockwise": False,
                "axes.0.annotations": [], "axes.0.spines": [], "axes.0.xticks": []}),
    "clockwise pie": ("chart", PLOT + "ax.pie([1, 3], counterclock=False)", {
        M + "start": 0.0, M + "clockwise": True, M + "names": ["", ""]}),
    "error bars": ("chart", PLOT + "ax.errorbar([1, 2], [3, 4], yerr=[0.5, 1], fmt='o', "
                   "capsize=3, color='k', label='e')", {
                       M + "type": "errorbar", M + "x": [1.0, 2.0], M + "ylow": [2.5, 3.0],
                       M + "yhigh": [3.5, 5.0], M + "xlow": None, M + "color": "#000000",
                       M + "marker": "o", M + "label": "e", "axes.0.marks": 1}),
    "bars with errors": ("chart", PLOT + "ax.bar([1, 2], [3, 4], yerr=1)", {
        M + "type": "bars", "axes.0.marks.1.type": "errorbar",
        "axes.0.marks.1.yhigh": [4.0, 5.0], "axes.0.marks": 2}),
    "area": ("chart", PLOT + "ax.fill_between([1, 2], [3, 4], [1, 5], color='red', alpha=0.5)", {
        M + "type": "area", M + "x": [1.0, 2.0], M + "low": [1.0, 4.0], M + "high": [3.0, 5.0],
        M + "color": "#ff0000", M + "alpha": 0.5}),
    "image": ("chart", PLOT + "ax.imshow([[1, 2], [3, 4]], cmap='hot')", {
        M + "type": "image", M + "data": [[1.0, 2.0], [3.0, 4.0]], M + "shape": [2, 2],
        M + "cmap": "hot", "axes.0.ylim": [1.5, -0.5]}),
    "mesh": ("chart", PLOT + "ax.pcolormesh([[1, 2, 3]])", {M + "type": "image", M + "shape": [1, 3]}),
    "box": ("chart", PLOT + "ax.boxplot([[1, 2, 3, 4, 20]], tick_labels=['p'])", {
        M + "type": "box", M + "median": [3.0], M + "q1": [2.0], M + "q3": [4.0], M + "low": [1.0],
        M + "high": [4.0], M + "names": ["p"], M + "fliers": [[20.0]], "axes.0.marks": 1}),
    "stem": ("chart", PLOT + "ax.stem([1, 2], [3, 4])", {
        M + "type": "line", M + "drawstyle": "stem", M + "y": [3.0, 4.0], "axes.0.marks": 1}),
    "patches": ("chart", PLOT + "ax.add_patch(plt.Circle((0.5, 0.5), 0.25, color='red'))\n"
                "ax.add_patch(plt.Rectangle((0, 0), 1, 0.1))", {
                    M + "type": "patch", M + "shape": "Circle", M + "color": "#ff0000",
                    M + "box": [0.25, 0.25, 0.75, 0.75], "axes.0.marks.1.type": "bars"}),
    "vlines": ("chart", PLOT + "ax.vlines([1, 2], 0, 5)", {
        M + "shape": "LineCollection", M + "segments": [[1.0, 0.0, 1.0, 5.0], [2.0, 0.0, 2.0, 5.0]]}),
    "subplots": ("chart", "import matplotlib.pyplot as plt\nfig, axes = plt.subplots(2, 2)\n"
                 "for a, t in zip(axes.flat[::-1], 'dcba'): a.set_title(t); a.plot([1, 2])\n"
                 "axes[1, 1].set_visible(False)", {
                     "axes": 3, "axes.0.title": "a", "axes.1.title": "b", "axes.2.title": "c"}),
    "twin": ("chart", PLOT + "ax.plot([1, 2], 'b'); t = ax.twinx(); t.plot([3, 4], 'r')", {
        "axes": 2, "axes.0.twin": None, "axes.1.twin": 0, "axes.1.marks.0.color": "#ff0000"}),
    "annotation": ("chart", PLOT + "ax.plot([0, 4], [0, 4])\nax.annotate('peak', xy=(2, 2), "
                   "xytext=(1, 3), arrowprops={'arrowstyle': '->'})\nax.text(0.5, 0.5, 'mid', "
                   "transform=ax.transAxes)\nax.text(99, 99, 'away', clip_on=True)", {
                       "axes.0.annotations": [{"text": "peak", "x": 1.0, "y": 3.0,
                                               "target": [2.0, 2.0]},
                                              {"text": "mid", "x": 2.0, "y": 2.0}]}),
    "annotated date and category": (
        "chart", PLOT + "import numpy as np\nax.plot([np.datetime64('1970-01-02')], ['a'], 'o')\n"
        "ax.annotate('first', xy=(np.datetime64('1970-01-02'), 'a'), xytext=(np.datetime64('1970-01-03'), 'a'), "
        "arrowprops={'arrowstyle': '->'})", {
            "axes.0.annotations": [{"text": "first", "x": 2.0, "y": 0.0, "target": [1.0, 0.0]}]}),
    "what cannot be seen": ("chart", PLOT + "ax.plot([1, 2], visible=False)\nax.plot([], [])\n"
                            "ax.plot([1, 2], alpha=0)\nax.bar([50], [1])\nax.set_xticks([1, 9])\n"
                            "ax.set_xlim(0, 2); ax.yaxis.set_visible(False)\n"
                            "ax.spines['top'].set_visible(False); fig.text(5, 5, 'off')", {
                                "axes.0.marks": 0, "axes.0.xticks": [{"pos": 1.0, "text": "1"}],
                                "axes.0.yticks": [], "axes.0.spines": ["left", "right", "bottom"],
                                "texts": []}),
    "dates": ("chart", PLOT + "import datetime as d\nax.plot([d.date(1970, 1, 2)], [1], 'o')", {
        M + "x": [1.0]}),
    "polar": ("chart", "import matplotlib.pyplot as plt\nax = plt.subplot(projection='polar')\n"
              "ax.plot([0, 1], [1, 2])", {"axes.0.projection": "polar", M + "y": [1.0, 2.0]}),
    "3-D": ("chart", "import matplotlib.pyplot as plt\nax = plt.figure().add_subplot("
            "projection='3d')\nax.plot([0, 1], [1, 2], [3, 4])", {
                "axes.0.projection": "3d", M + "z": [3.0, 4.0]}),
    "table": ("table", "<p>Note</p><table><caption>Cap</caption><tr><th>A</th><th>B</th></tr>"
              "<tr><td align=right>1 <br> 2</td><td><b>x</b></td></tr></table>", {
                  "outside": "Note", "tables": 1, "tables.0.rows": 2, "tables.0.cols": 2,
                  "tables.0.caption": "Cap", "tables.0.cells.0": {
                      "row": 0, "col": 0, "rowspan": 1, "colspan": 1, "text": "A", "header": True,
                      "align": "center", "bold": True, "color": "#000000",
                      "background": "#eeeeee"},
                  "tables.0.cells.2.text": "1 2", "tables.0.cells.2.align": "right",
                  "tables.0.cells.2.bold": False, "tables.0.cells.2.background": None,
                  "tables.0.cells.3.bold": True}),
    "spans": ("table", "<table><thead><tr><th rowspan=2>A<th colspan=2>B<tr><th>c<th>d</thead>"
              "<tr><td>1<td>2<td rowspan=99>3<tr><td colspan=2>4</table>", {
                  "tables.0.rows": 4, "tables.0.cols": 3, "tables.0.cells.1.colspan": 2,
                  "tables.0.cells.2.col": 1, "tables.0.cells.6.rowspan": 2,
                  "tables.0.cells.7.row": 3, "tables.0.cells.7.colspan": 2}),
    "columns without width": ("table", "<table><tr><td colspan=9>a<tr><td colspan=9>b</table>", {
        "tables.0.cols": 1, "tables.0.cells.0.colspan": 1}),
    "style sheet": ("table", "<style>td{color:red} .n{background:#00f!important;display:none}"
                    "#k{text-align:center}</style><table><tr><td id=k style='background:lime'>a"
                    "<td class=n>b</table>", {
                        "tables.0.cells.0.color": "#ff0000", "tables.0.cells.0.align": "center",
                        "tables.0.cells.0.background": "#00ff00", "tables.0.cells.1.text": ""}),
    "nested": ("table", "<table><tr><td>a<table><tr><td>b</table></table>", {
        "tables": 1, "tables.0.cells": 1, "tables.0.cells.0.text": "a b",
        "tables.0.cells.0.nested": True}),
    "markdown": ("table", "Title\n\n| a | b |\n|:-:|--:|\n| **1** | x\\|y |\n| 2 |\n", {
        "outside": "Title", "tables.0.rows": 3, "tables.0.cols": 2,
        "tables.0.cells.0.header": True, "tables.0.cells.2.bold": True,
        "tables.0.cells.2.align": "center", "tables.0.cells.3.text": "x|y",
        "tables.0.cells.3.align": "right", "tables.0.cells.5.text": ""}),
    "svg shapes": ("svg", '<svg viewBox="0 0 64 64"><rect x="16" y="32" width="16" height="8" '
                   'fill="red" stroke="blue" stroke-width="2" stroke-dasharray="3"/>'
                   '<text x="32" y="60" font-size="16">Hi <tspan>you</tspan></text></svg>', {
                       "viewbox": [0.0, 0.0, 64.0, 64.0], "shapes": 2, "shapes.0.type": "rect",
                       "shapes.0.box": [0.25, 0.5, 0.5, 0.625], "shapes.0.fill": "#ff0000",
                       "shapes.0.stroke": "#0000ff", "shapes.0.stroke_width": 0.03125,
                       "shapes.0.dash": True, "shapes.0.closed": True, "shapes.0.outline": [
                           [0.25, 0.5], [0.5, 0.5], [0.5, 0.625], [0.25, 0.625]],
                       "shapes.1.type": "text", "shapes.1.text": "Hi you",
                       "shapes.1.font_size": 0.25}),
    "svg transforms": ("svg", '<svg viewBox="0 0 10 10"><g transform="translate(5 5)" opacity=".5">'
                       '<g transform="rotate(90) scale(2)"><rect width="1" height="2" '
                       'opacity=".25"/></g></g></svg>', {
                           "shapes.0.box": [0.1, 0.5, 0.5, 0.7], "shapes.0.opacity": 0.5,
                           "shapes.0.fill_opacity": 0.25}),
    "svg reuse": ("svg", '<svg viewBox="0 0 10 10"><defs><linearGradient id="g"><stop offset="0" '
                  'stop-color="red"/><stop offset="1" stop-color="lime"/></linearGradient></defs>'
                  '<symbol id="s"><rect width="2" height="2" fill="url(#g)"/></symbol>'
                  '<use xlink:href="#s" x="4" y="6"/><use href="#s" x="90"/></svg>', {
                      "shapes": 1, "shapes.0.box": [0.4, 0.6, 0.6, 0.8],
                      "shapes.0.fill": "gradient", "shapes.0.stops": ["#ff0000", "#00ff00"]}),
    "svg style": ("svg", '<svg viewBox="0 0 10 10"><style>.a{fill:#0f0}</style>'
                  '<path class="a" d="M1 1h4v4z"/><circle r="3" fill="none"/>'
                  '<circle r="3" style="display:none"/><line x2="9" stroke="red"/></svg>', {
                      "shapes": 2, "shapes.0.type": "path", "shapes.0.fill": "#00ff00",
                      "shapes.1.type": "line", "shapes.1.fill": None, "shapes.1.closed": False}),
    "svg sub-paths": ("svg", '<svg viewBox="0 0 10 10"><path d="M1 1h4v4zM6 6h2v2z"/></svg>', {
        "shapes.0.starts": [0, 3]})}


def look_up(scene, path):
    for key in path.split("."):
        scene = scene[int(key)] if isinstance(scene, list) else scene[key]
    return scene


@pytest.mark.parametrize("name", SCENES)
def test_scene(name):
    task, code, expected = SCENES[name]
    image, scene = draw(task, code, 200)
    assert scene_fault(json.loads(json.dumps(scene, allow_nan=False))) is None
    assert scene["task"] == task and scene["size"] == list(image.size) and image.mode == "RGB"
    for path, value in expected.items():
        found = look_up(scene, path)
        if isinstance(found, list) and isinstance(value, int):
            found = len(found)
        assert found == value, path


# ---- Forged scenes: (task, path, value put there, where and why it is refused)

FORGED = [
    ("chart", "", None, "task: none of"), ("chart", "axes", None, "axes: no list"),
    ("chart", "size", [1], "size: 1 instead of 2"), ("chart", "size.0", 1.5, "size.0: no count"),
    ("chart", "size.0", True, "size.0: no count"), ("chart", "size.0", -1, "size.0: no count"),
    ("chart", "title", 3, "title: no text"), ("chart", "title", None, "title: no text"),
    ("chart", "title", "a" * 10_001, "title: no text"), ("chart", "more", 1, "more: not in the schema"),
    ("chart", "facecolor", "#FFF", "facecolor"), ("chart", "axes.0.xlim", [1.0], "axes.0.xlim: 1 instead of 2"),
    ("chart", "axes.0.xlim.0", float("nan"), "axes.0.xlim.0: no number"),
    ("chart", "axes.0.xlim.0", 1e101, "axes.0.xlim.0: no number"),
    ("chart", "axes.0.xlim.0", True, "axes.0.xlim.0: no number"), ("chart", "axes.0.twin", 9, "no such axes"),
    ("chart", "axes.0.grid", {"x": True}, "axes.0.grid.y: missing"),
    ("chart", "axes.0.marks.0.type", "cake", "axes.0.marks.0: no known type"),
    ("chart", "axes.0.marks.0.type", [], "axes.0.marks.0: no known type"),
    ("chart", "axes.0.marks.0.x", [1.0], "axes.0.marks.0.y: 2 instead of 1"),
    ("chart", "axes.0.marks.0.x", [1.0] * 100_001, "axes.0.marks.0.x: too long"),
    ("chart", "axes.0.marks.0.z", [1.0], "axes.0.marks.0.z: 1 instead of 2"),
    ("chart", "axes.0.xticks.0", None, "axes.0.xticks.0: no object"),
    ("table", "tables.0.cells.0.row", 9, "tables.0.cells.0: outside of its table"),
    ("table", "tables.0.rows", 999_999, "more rows or columns than cells"),
    ("table", "tables.0.cells.0.align", "up", "tables.0.cells.0.align"),
    ("svg", "viewbox.3", 0, "viewbox.3: no number in its bounds"), ("svg", "shapes.0.box.0", None, "no number"),
    ("svg", "shapes.0.type", "text", "shapes.0.text: missing"),
    ("svg", "shapes.0.outline", [[1.0]], "shapes.0.outline.0: 1 instead of 2"),
    ("svg", "shapes.0.fill", "red", "shapes.0.fill")]


@pytest.fixture(scope="module")
def sound_scenes():
    return {task: json.dumps(draw(task, code, 64)[1])
            for task, code in (("chart", LINE), ("svg", SMALL_SVG), ("table", SMALL_TABLE))}


@pytest.mark.parametrize("task, path, value, why", FORGED)
def test_forged_scenes_are_refused(task, path, value, why, sound_scenes):
    scene = json.loads(sound_scenes[task])
    assert scene_fault(scene) is None
    *before, key = path.split(".")
    if path:
        holder = look_up(scene, ".".join(before)) if before else scene
        holder[int(key) if isinstance(holder, list) else key] = value
    assert why in scene_fault(scene if path else value)


# ---- Sizes: (task, code, size, size of the picture)

WIDE = "import matplotlib.pyplot as plt\nplt.figure(figsize=(6.4, 4.8))\nplt.plot([1, 2])"
SMALL_SVG = '<svg viewBox="0 0 64 64"><rect width="64" height="9" fill="red"/></svg>'
SMALL_TABLE = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>"
SIZES = [("chart", WIDE, None, (640, 480)), ("chart", WIDE, 128, (128, 96)),
         ("chart", WIDE, 127, (127, 95)), ("chart", WIDE, (128, 128), (128, 128)),
         ("chart", WIDE.replace("figsize", "dpi=50, figsize"), None, (320, 240)),
         ("svg", SMALL_SVG, None, (64, 64)), ("svg", SMALL_SVG, 128, (128, 128)),
         ("svg", '<svg width="40" height="20"><circle r="5"/></svg>', None, (40, 20)),
         ("svg", '<svg width="40" height="20"><circle r="5"/></svg>', 100, (100, 50)),
         ("svg", '<svg width="100%"><circle r="5"/></svg>', None, (300, 150)),
         ("svg", '<svg width="2in" height="25.4mm"><circle r="5"/></svg>', None, (192, 96)),
         ("svg", '<svg width="40" height="20"><circle r="5"/></svg>', (64, 64), (64, 64)),
         ("table", SMALL_TABLE, None, (69, 47)), ("table", SMALL_TABLE, 500, (69, 47)),
         ("table", SMALL_TABLE, (128, 128), (128, 128)), ("table", SMALL_TABLE, 30, (30, 20))]


@pytest.mark.parametrize("task, code, size, expected", SIZES)
def test_size(task, code, size, expected):
    assert draw(task, code, size)[0].size == expected


def test_table_begins_at_pixel_3_3():
    image, _ = draw("table", SMALL_TABLE)
    assert image.getpixel((3, 3)) == (0, 0, 0)
    assert image.getpixel((2, 2)) == image.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("task, code", [
    ("svg", '<svg viewBox="0 0 40 40"><text y="30" font-size="30">Wxk</text></svg>'),
    ("table", "<table><tr><td>Wxk</td></tr></table>"), ("chart", PLOT + "ax.set_title('Wxk')")])
def test_black_text_has_no_coloured_fringes(task, code):
    red, green, blue = draw(task, code, 200)[0].split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


def test_worker_and_this_process_draw_the_same():
    jobs = [(task, code) for task, code, _ in SCENES.values()]
    for (task, code), result in zip(jobs, render_many(jobs, size=(128, 128), timeout=60)):
        if not (isinstance(result, RenderError) and sandbox.missing_layer()):
            image, scene = draw(task, code, (128, 128))
            assert result.scene == scene and result.image.tobytes() == image.tobytes(), code


@confined
def test_settings_do_not_leak_into_the_next_render():
    change = "import matplotlib.pyplot as plt\nplt.rcParams['lines.linewidth'] = 9\n" \
             "plt.style.use('dark_background')\n" + LINE
    first, changed, again = render_many([("chart", LINE), ("chart", change), ("chart", LINE)],
                                        size=64, workers=1, timeout=60)
    assert first.image.tobytes() == again.image.tobytes() != changed.image.tobytes()
    draw("chart", change, 64)       # nor in one process
    assert draw("chart", LINE, 64)[0].tobytes() == first.image.tobytes()


@confined
def test_order_is_kept():
    jobs = [("chart", PLOT + f"import time; time.sleep({0.3 * (i == 0)})\nax.set_title('{i}')")
            if i % 2 == 0 else ("svg", f'<svg viewBox="0 0 9 9"><text y="9">{i}</text></svg>')
            for i in range(8)]
    found = [r.scene["axes"][0]["title"] if "axes" in r.scene else r.scene["shapes"][0]["text"]
             for r in render_many(jobs, size=64, timeout=60)]
    assert found == [str(i) for i in range(8)]


@confined
def test_lost_workers_are_replaced(monkeypatch):
    pool.close()
    ours = pool.the_pool()
    with ours.borrow(2), ours.borrow(2):        # two workers
        pass
    for worker in list(ours.workers):
        os.kill(worker.process.pid, signal.SIGKILL)
        monkeypatch.setattr(worker.process, "poll", lambda: None)       # not yet seen as dead
    assert len(ours.workers) == 2
    assert render("chart", LINE, size=64, timeout=60).image.size == (64, 48)
    monkeypatch.setattr(pool, "GRACE", 0.5)
    for worker in list(ours.workers):
        os.kill(worker.process.pid, signal.SIGSTOP)
    with pytest.raises(RenderError) as caught:
        render("chart", LINE, timeout=0.5)
    assert caught.value.kind == "timeout"
    monkeypatch.setattr(pool, "GRACE", 60)
    pool.close()
    assert render("chart", LINE, size=64, timeout=60).image.size == (64, 48)


@confined
def test_nothing_is_left_behind():
    jobs = [(HOSTILE[name][0], HOSTILE[name][1]) for name in (
        "exception", "os._exit", "fork bomb", "own scratch", "threads left over", "svg: file",
        "table: deep", "3 GB", "forged text")] * 4 + [("svg", SMALL_SVG)] * 9
    me = psutil.Process()
    for _ in range(20):     # until each worker has its process for tables and SVG
        render_many(jobs, size=64, timeout=30)
        if len(me.children(recursive=True)) == 2 * len(pool.the_pool().workers):
            break

    def holdings():
        children = me.children(recursive=True)
        files = [f for _, folders, files in os.walk(pool.the_pool().folder)
                 for f in folders + files]
        return len(children), me.num_fds() + sum(c.num_fds() for c in children), len(files)

    before = holdings()
    render_many(jobs, size=64, timeout=30)
    assert all(b <= a for a, b in zip(before, holdings()))
    folder = pool.the_pool().folder
    pool.close()
    assert not os.path.exists(folder) and not me.children(recursive=True)


@confined
def test_workers_die_with_their_parent():
    program = ("import sys; sys.path.insert(0, {!r})\n"
               "from data.renderers.pool import the_pool\nimport render as r\n"
               "r.render('svg', {!r})\n"
               "print(the_pool().folder, *(w.process.pid for w in the_pool().workers), "
               "flush=True)\nr.render('chart', 'while True: pass', timeout=60)")
    with subprocess.Popen([sys.executable, "-c", program.format(
            str(ROOT), '<svg viewBox="0 0 9 9"><circle r="4"/></svg>')],
            stdout=subprocess.PIPE, text=True) as parent:
        folder, pid = parent.stdout.readline().split()
        worker = psutil.Process(int(pid))
        deadline = time.time() + 30
        while len(worker.children()) < 2 and time.time() < deadline:    # the chart has started
            time.sleep(0.05)
        family = [worker, *worker.children()]
        parent.kill()
    psutil.wait_procs(family, timeout=30)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not os.path.exists(folder)


def test_without_a_sandbox_charts_are_refused(monkeypatch):
    monkeypatch.delenv(sandbox.UNSAFE, raising=False)
    monkeypatch.setattr(rendering, "missing_layer", lambda: "Landlock, which Linux has since 5.13")
    with pytest.raises(SandboxMissing, match=r"lacks Landlock.*VISUAL_ERM_UNSAFE=1 \(--unsafe"):
        render("chart", LINE)
    render("table", SMALL_TABLE, timeout=60)    # these hold no program
    monkeypatch.setenv(sandbox.UNSAFE, "1")
    render("chart", LINE, timeout=60)


def test_unknown_task_is_a_sentence():
    with pytest.raises(ValueError, match="unknown task 'graph': it must be one of chart, table, svg"):
        render("graph", LINE)


# ---- Code out of answers: (task, answer, code)

ANSWERS = [
    ("chart", LINE, LINE),
    ("chart", "x = '''```'''\n", "x = '''```'''\n"),
    ("chart", "Sure!\n```python\nimport a\n```\nDone.", "import a\n"),
    ("chart", "```bash\npip install a\n```\n```py\nx = 1\n```", "x = 1\n"),
    ("chart", "```\nx = 1\n```", "x = 1\n"),
    ("chart", "```python\nx = 1\ny =", "x = 1\ny ="),
    ("chart", "<think>```python\nbad\n```</think>\n```python\ngood\n```", "good\n"),
    ("chart", "thought</think>import a\nx = 1", "import a\nx = 1"),
    ("chart", "<think>never ends", ""),
    ("chart", "Here you are:\nimport a\nx = 1\n\nHope that helps!", "import a\nx = 1\n\n"),
    ("svg", "<svg><g/></svg>", "<svg><g/></svg>"),
    ("svg", "The icon:\n<svg a='1'>\n<g/>\n</svg>\nEnjoy", "<svg a='1'>\n<g/>\n</svg>"),
    ("svg", "```xml\n<?xml version='1.0'?>\n<svg></svg>\n```", "<svg></svg>"),
    ("svg", "```svg\n<svg><rect/>", "<svg><rect/>"),
    ("table", "```html\n<table><tr></tr></table>\n```", "<table><tr></tr></table>"),
    ("table", "Two: <table>1</table> and <table>2</table>.", "<table>1</table> and <table>2</table>"),
    ("table", "| a |\n|---|\n| 1 |", "| a |\n|---|\n| 1 |"),
    ("table", "```markdown\n| a |\n|---|\n```", "| a |\n|---|\n"),
    ("table", "", "")]


@pytest.mark.parametrize("task, answer, code", ANSWERS)
def test_extract_code(task, answer, code):
    assert extract_code(task, answer) == code


CASES = field_cases("code")


@pytest.mark.parametrize("name", CASES)
def test_extract_code_of_answers_from_the_field(name):
    case = CASES[name]
    assert extract_code(case["task"], case["input"]) == case["expected"]


@pytest.mark.parametrize("text", ["```", "```\n", "<svg", "<table>", "|\n|-\n", "<style>", "import a\n", "<|a", "*"])
def test_extract_code_is_quick_on_hostile_text(text):
    for task in rendering.TASKS:
        seconds = min(timeit.repeat(lambda: extract_code(task, text * (100_000 // len(text))), number=1, repeat=2))
        assert seconds < 0.5


# ---- The command line: (file name, content, more arguments, exit code, words on standard error)

COMMANDS = {
    "chart": ("a.py", LINE, ["--size", "64", "--scene", "a.json"], 0, ""),
    "svg by its ending": ("a.svg", SMALL_SVG, [], 0, ""),
    "no task": ("a.txt", LINE, [], 2, "add --task chart, table or svg"),
    "wrong code": ("a.py", "1 / 0", [], 2, "a.py: line 1: ZeroDivisionError: division by zero"),
    "no file": ("", "", [], 2, "No such file or directory"),
    "not a picture name": ("a.py", LINE, ["--out", "a.unknown"], 2, "unknown file extension"),
    "not UTF-8": ("a.svg", b"\xff", [], 2, "not UTF-8 text")}


@confined
@pytest.mark.parametrize("name", COMMANDS)
def test_command_line(name, tmp_path):
    file, content, more, code, words = COMMANDS[name]
    if file:
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = subprocess.run([sys.executable, os.path.join(ROOT, "render.py"), file or "missing.py",
                           "--timeout", "60", "--out", "x.png", *more], cwd=tmp_path, text=True,
                          capture_output=True)
    assert done.returncode == code and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "x.png").exists() == (code == 0)
    if "--scene" in more:
        assert json.loads((tmp_path / "a.json").read_text())["task"] == "chart"
