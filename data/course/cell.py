"""The cell: a process that holds the libraries and forks those in which students' code runs.

It is started from a hand-out (see `grade.py`), so that neither it nor its forks hold an answer. A
fork closes the sandbox's doors, those of rendered programs, before it reads the first line of a
student's. It can read the folder handed in besides Python, and write a scratch folder. It gets the
questions of one exercise and gives values; what they are worth is found elsewhere.
"""
import contextlib
import functools
import gc
import json
import math
import os
import resource
import socket
import struct
import sys
import tempfile

import data.course.rewards  # noqa: F401  with this, the libraries are there to inherit
import data.experiments.siblings  # noqa: F401
from data.course import calls
from data.renderers.sandbox import FILE_BYTES, MEMORY, missing_layer, remove_folder, seccomp
from data.renderers.worker import end, fork, receive, wait

PROJECT = ("data", "render", "visual_erm", "train_sft", "train_rl", "refine")


def serve(channel: socket.socket, folder: str) -> None:
    """Serve jobs until the parent is gone: [folder handed in, seconds], and a descriptor.

    On the descriptor come the questions and go the answers; how the process ended is told on the
    channel.
    """
    tempfile.tempdir = folder
    policy = calls.small_policy("data/tiny/base")
    for name in [name for name in sys.modules if name.split(".")[0] in PROJECT]:
        del sys.modules[name]  # a student's come in their place
    filter_ = None if missing_layer() else seccomp()
    gc.freeze()
    channel.sendall(b"r")
    parent_is_there = True
    while parent_is_there:
        message, job, _, _ = socket.recv_fds(channel, 8192, 1)
        if not job:
            break
        handed_in, timeout = json.loads(message)
        scratch = tempfile.mkdtemp(prefix="scratch_")
        child = fork(functools.partial(_answer, handed_in, timeout, policy), scratch, filter_,
                     (handed_in,))
        with contextlib.suppress(OSError):  # it is dead already
            socket.send_fds(child[1], [b"j"], job)
        os.close(job[0])
        ready, too_much = wait(child, channel, scratch, timeout)
        status = end(child, child[1] not in ready)
        remove_folder(scratch)
        parent_is_there = channel not in ready
        channel.sendall((too_much or status).encode().ljust(16))
    remove_folder(folder)


def _answer(handed_in, timeout, policy, link, shut):
    """Lock the doors, then answer the questions one by one."""
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 256,
              resource.RLIMIT_FSIZE: FILE_BYTES, resource.RLIMIT_CPU: math.ceil(timeout) + 1}
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")  # torch's libraries
        limits[resource.RLIMIT_AS] = mapped + MEMORY
    shut(limits)
    _, job, _, _ = socket.recv_fds(link, 1, 1)
    sys.path.insert(0, handed_in)
    with socket.socket(fileno=job[0]) as answer_to:
        questions = receive(answer_to, *struct.unpack("=I", receive(answer_to, 4)))
        for call, cases in json.loads(questions):
            try:
                answer = {"value": calls.pack(calls.CALLS[call](calls.unpack(cases), policy))}
                packed = json.dumps(answer).encode()
            except BaseException as error:  # SystemExit, too
                why = f"{type(error).__name__}: {error}"
                packed = json.dumps({"error": why[:300]}).encode()
            answer_to.sendall(struct.pack("=I", len(packed)) + packed)
