"""The sandbox: what a program may not do, what it may, and what is left of it."""
import json
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conftest import ROOT
from data.renderers import draw, pool, sandbox, system_calls
from data.verdict import InputError
from render import RenderError, render_many

PLOT = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(4, 3))\n"
LINE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
SMALL_SVG = '<svg viewBox="0 0 64 64"><rect width="64" height="9" fill="red"/></svg>'
confined = pytest.mark.skipif(sandbox.missing_layer() is not None,
                              reason="this system lacks a layer of the sandbox")

# ---- Programs that must not work, or must not do harm: (task, code, kind or "ok", in the message)

PAIR = "import fcntl, os, socket, struct\na, b = socket.socketpair()\n"
CALL = ("import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(name, *args):\n"
        " if getattr(libc, name)(*args) < 0:\n"
        "  raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n")
# What these would do if let through is harmless: empty lengths, flags that change nothing.
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
    "attributes of a file": "import fcntl, struct\n"
                            "fcntl.ioctl(open('a', 'w'), 0x40086602, struct.pack('l', 0))",
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
    "domain name": CALL + "call('setdomainname', None, -1)",
    "host name": CALL + "call('sethostname', None, -1)",
    "kernel log": CALL + "call('klogctl', 10, None, 0)", "swap": CALL + "call('swapoff', b'')",
    "sync": CALL + "call('syscall', {'x86_64': 162}.get(os.uname().machine, 81))",
    "broken memory": CALL + "call('madvise', None, 0, 100)",
    "locked memory": CALL + "call('mlock', None, 0)",
    "its own priority": "import os; os.nice(1)", "a clone without CLONE_THREAD": CALL +
    "call('syscall', {'x86_64': 56}.get(os.uname().machine, 220), 0x800, None, None, None, None)"}

HOSTILE = {name: ("chart", code, "forbidden", "PermissionError")
           for name, code in KERNEL.items()} | {
    "fsopen": ("chart", CALL + "call('syscall', 430, b'', -1)", "runtime", "not implemented"),
    "fsmount": ("chart", CALL + "call('syscall', 432, -1, 0, 0)", "runtime", "not implemented"),
    "io_uring": ("chart", CALL + "call('syscall', 425, 0, None)", "runtime", "not implemented"),
    "200 threads": ("chart", "import threading, time\nthreading.stack_size(65536)\n"
                    "for _ in range(200):\n threading.Thread(target=time.sleep, "
                    "args=[20], daemon=True).start()\ntime.sleep(20)", "too_large", "64 threads"),
    "many files": ("chart", "import time\nfor i in range(62_000): open(f'{i}', 'w').close()\n"
                   "time.sleep(20)", "too_large", "500 files"),
    "many folders": ("chart", "import os, time\nfor i in range(5_000): os.mkdir('a'); "
                     "os.chdir('a')\ntime.sleep(20)", "too_large", "500 files"),
    "much disk": ("chart", "import time\nfor i in range(50): open(f'{i}', 'wb')"
                  ".write(bytes(8 << 20))\ntime.sleep(20)", "too_large", "64 MiB"),
    "much disk, unlinked": ("chart", "import os, time\nheld = []\nfor i in range(50):\n"
                            " held.append(open('a', 'wb'))\n held[i].write(bytes(8 << 20)); "
                            "os.unlink('a')\ntime.sleep(20)", "too_large", "64 MiB"),
    "much disk, mapped": ("chart", "import mmap, os, time\nheld = []\nfor i in range(50):\n"
                          " with open('a', 'wb+') as file:\n  file.write(bytes(8 << 20))\n"
                          "  file.flush()\n  held.append(mmap.mmap(file.fileno(), 4096))\n"
                          "  os.unlink('a')\ntime.sleep(20)", "too_large", "64 MiB"),
    "shutil.copy": ("chart", LINE + "import shutil\nplt.savefig('a.png')\n"
                    "shutil.copy2('a.png', 'b.png')", "ok", ""),
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
    "fork, then draw": ("chart", "import os\ntry: os.fork()\nexcept OSError: pass\n" + LINE,
                        "ok", ""),
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
    "chmod": ("chart", "import os; os.chmod('{secret}', 0)", "blank", "no figure"),
    "chown": ("chart", "import os; os.chown('{secret}', 1, 1)", "forbidden", ""),
    "utime": ("chart", "import os; os.utime('{secret}', (0, 0))", "blank", "no figure"),
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
    "own scratch": ("chart", LINE + "import os; os.makedirs('out/a'); "
                    "open('out/b', 'w').write('c')", "ok", ""),
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
    "forged height of 0": ("chart", "import os, struct\nj = b'{}'\nfor f in range(3, 9):\n try: "
                           "os.write(f, struct.pack('=III', 2, 9, 0) + j)\n except OSError: pass\n"
                           "os._exit(0)", "runtime", "without giving a picture"),
    "forged aspect": ("chart", "import os, struct\nj = b'{}'\nfor f in range(3, 9):\n try: "
                      "os.write(f, struct.pack('=III', 2, 96, 0) + j)\n except OSError: pass\n"
                      "os._exit(0)", "runtime", "without giving a picture"),
    "flat figure of 1 px": ("chart", "import matplotlib.pyplot as plt\n"
                            "plt.figure(figsize=(9, 0.05))\nplt.plot([1])",
                            "too_large", "150 times"),
    "half a character in a message": ("chart", "raise ValueError('a\\ud800b')",
                                      "runtime", "ValueError: a"),
    "half a character in a label": ("chart", LINE + "plt.plot([2, 1], label='a\\ud800')", "ok", ""),
    "svg: flat": ("svg", '<svg width="900" height="5"><rect width="9" height="9"/></svg>',
                  "too_large", "900 x 5 px; one side may be at most 150 times"),
    "svg: flat when drawn small": ("svg", '<svg viewBox="0 0 149.9 1">'
                                   '<rect width="9" height="1"/></svg>', "ok", ""),
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
                              '<svg viewBox="0 0 9 9"><rect width="4" height="4"/></svg>',
                              "ok", ""),
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
    # Else they would run.
    assert sandbox.missing_layer() is None and not os.environ.get(sandbox.UNSAFE)
    folder = tmp_path_factory.mktemp("dataset")
    secret = folder / "secret.png"
    draw("chart", LINE, 64)[0].save(secret)
    before = secret.read_bytes(), secret.stat()[:1], secret.stat().st_mtime_ns, os.listdir(folder)
    results = {}
    for late, seconds in ((True, 1.5), (False, 60)):
        names = [name for name, row in HOSTILE.items() if (row[2] == "timeout") == late]
        jobs = [(HOSTILE[name][0], HOSTILE[name][1]) for name in names]
        jobs = [(task, code if isinstance(code, bytes) else
                 code.replace("{secret}", str(secret)).replace("{folder}", str(folder)))
                for task, code in jobs]
        results |= zip(names, render_many(jobs, size=96, timeout=seconds))
    assert before == (secret.read_bytes(), secret.stat()[:1], secret.stat().st_mtime_ns,
                      os.listdir(folder))
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
    keep = (LINE + "import os\nos.mkdir('keep', 0o300)\nopen('keep/a', 'w').close()\n"
            "os.mkdir('keep/b', 0)\n")
    empty = LINE + "import os\nassert os.listdir('.') == [] and not os.path.exists('keep/a')"
    results = render_many([("chart", keep), ("chart", empty)] * 2, size=64, timeout=60, workers=1)
    # Who is not root cannot read the folder: the worker may end the program.
    for result in results[::2]:
        assert not isinstance(result, RenderError) or result.kind == "too_large", result
    assert not any(isinstance(result, RenderError) for result in results[1::2]), results
    left = [name for _, folders, files in os.walk(pool.the_pool().folder)
            for name in folders + files]
    assert not [name for name in left if name.startswith(("scratch_", "keep"))]


WORKING = {     # what the sandbox must leave alone
    "linear algebra": "import numpy as np\na = np.random.rand(300, 300)\n"
                      "assert np.allclose(np.linalg.inv(a) @ a, np.eye(300), atol=1e-3)",
    "threads of BLAS": "import numpy as np, threading\nones = np.ones((300, 300))\n"
                       "ts = [threading.Thread(target=ones.dot, args=[ones]) for _ in range(16)]\n"
                       "[t.start() for t in ts]; [t.join() for t in ts]",
    "scipy": "import scipy.integrate, scipy.interpolate, scipy.ndimage, scipy.optimize, "
             "scipy.signal, scipy.stats\n"
             "assert abs(scipy.optimize.minimize(lambda x: (x - 1) ** 2, 0.0).x[0] - 1) < 1e-3\n"
             "scipy.stats.gaussian_kde([1, 2, 4])(3)",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor\n"
                   "with ThreadPoolExecutor(16) as pool: "
                   "assert sum(pool.map(abs, range(100))) == 4950",
    "asyncio": "import asyncio\nasync def one():\n await asyncio.sleep(0.01)\n return 1\n"
               "assert asyncio.run(one()) == 1",
    "files": "import os, pathlib, shutil, tempfile\n"
             "pathlib.Path('a').write_text('x'); shutil.copyfile('a', 'b')\n"
             "os.rename('b', 'c'); os.mkdir('d'); os.rmdir('d'); "
             "assert sorted(os.listdir()) == ['a', 'c']\n"
             "with open('a', 'w') as f: f.write('y'); f.flush(); os.fsync(f.fileno())",
    "arrays on disk": "import numpy as np\n"
                      "m = np.memmap('m', 'f8', 'w+', shape=9); m[:] = 1; m.flush()\n"
                      "assert np.memmap('m', 'f8', 'r').sum() == 9",
    "timer": "import signal, time\nsignal.signal(signal.SIGALRM, lambda *a: None)\n"
             "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)",
    "selectors": "import selectors, socket\n"
                 "a, b = socket.socketpair(); s = selectors.DefaultSelector()\n"
                 "s.register(a, selectors.EVENT_READ); b.sendall(b'x'); "
                 "assert s.select(); a.recv(1)",
    "time zones, limits, database":
        "import zoneinfo, resource, sqlite3, os\nzoneinfo.ZoneInfo('Europe/Berlin')\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256 and not os.isatty(0)\n"
        "sqlite3.connect(':memory:')"}


@confined
def test_the_sandbox_leaves_alone_what_programs_need():
    jobs = [("chart", code + "\n" + LINE) for code in WORKING.values()]
    results = render_many(jobs, size=64, timeout=60)
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
        expected = system_calls.ALLOW if number in allowed else refused
        assert filter_says(machine, number) == expected, number
    assert filter_says(machine, 0x40000000 + 1) == system_calls.EPERM
    numbers = {name: number for number, name in special.items()}
    for name, arguments, says in [
            ("clone", [0x3D0F00], "ALLOW"), ("clone", [0x1200011], "EPERM"),
            ("clone3", [1], "ENOSYS"),
            ("fcntl", [3, 1030], "ALLOW"), ("fcntl", [3, 4], "ALLOW"), ("fcntl", [3, 8], "EPERM"),
            ("fcntl", [3, 10], "EPERM"), ("fcntl", [3, 7], "EPERM"),
            ("ioctl", [3, 0x5401], "ALLOW"), ("ioctl", [3, 0x8901], "EPERM"),
            ("ioctl", [3, (1 << 32) + 0x5412], "EPERM"),
            ("socketpair", [1, 0x80001], "ALLOW"), ("socketpair", [1, 2], "EPERM"),
            ("socketpair", [1, 5], "EPERM"), ("socketpair", [2, 1], "EPERM"),
            ("sendto", [3, 99, 1, 0, 0, 0], "ALLOW"),
            ("sendto", [3, 99, 1, 0, 1 << 32, 9], "EPERM"),
            ("sendto", [3, 99, 1, 0, 1, 9], "EPERM"),
            ("prlimit64", [0, 9, 0, 99], "ALLOW"), ("prlimit64", [0, 9, 1 << 40, 0], "EPERM"),
            ("madvise", [0, 0, 8], "ALLOW"), ("madvise", [0, 0, 101], "EPERM"),
            ("fsync", [3], "DONE")]:
        answer = filter_says(machine, numbers[name], *arguments)
        assert answer == getattr(system_calls, says), (name, arguments)


@pytest.mark.parametrize("column, header", [(0, "x86_64-linux-gnu/asm/unistd_64.h"),
                                            (1, "asm-generic/unistd.h")])
def test_numbers_of_system_calls_are_the_kernel_s(column, header):
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip(f"{path} is missing")
    names = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    names["newfstatat"] = names.get("newfstatat") or names["fstatat"]
    special = {name: numbers for name, (numbers, _) in system_calls.BY_ARGUMENTS.items()}
    ours = system_calls.ALLOWED | special
    for name, numbers in ours.items():
        if name in names or numbers[column] is None:    # a header can be older than a call
            assert str(numbers[column]) == names.get(name, "None"), name


# ---- What is left

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


# ---- Packages outside the Python installation

@confined
@pytest.mark.parametrize("installed, expected", [(True, "ok"), (False, "No module named 'probe'")])
def test_programs_see_packages_of_pythonpath_and_no_other_folder_of_it(tmp_path, monkeypatch,
                                                                       installed, expected):
    (tmp_path / "probe.py").write_text("")
    if installed:
        (tmp_path / "probe-1.dist-info").mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    assert sandbox.package_folders() == [str(tmp_path)] * installed
    code = LINE + f"import probe\nopen({str(tmp_path / 'probe.py')!r}).close()\n"
    secret = LINE + f"open({str(ROOT / 'README.md')!r})"
    pool.close()
    try:
        drawn, refused = render_many([("chart", code), ("chart", secret)], workers=1)
        assert "ok" if expected == "ok" and drawn.scene else expected in str(drawn)
        assert "Permission denied" in str(refused)
    finally:
        pool.close()


@pytest.mark.parametrize("task, code, library", [
    ("svg", SMALL_SVG, "plutoprint"), ("chart", LINE, "cairocffi"), ("chart", LINE, "matplotlib")])
def test_a_broken_installation_is_no_programs_fault(tmp_path, monkeypatch, task, code, library):
    """It would be rewarded as one that does not render."""
    (tmp_path / f"{library}.py").write_text("raise OSError('no library called \"cairo-2\"')")
    (tmp_path / "x-1.dist-info").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool.close()
    try:
        with pytest.raises(InputError, match='here: OSError: no library called "cairo-2". Is'):
            render_many([(task, code)])
    finally:
        pool.close()
