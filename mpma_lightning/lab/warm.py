"""A process that imports torch once and forks every command: one starts in a fraction of a second, not in ten.

A command runs as ``python -m mpma_lightning …`` does, in a process of its own, which has seeded nothing yet. A second
one between it and this process tells the worker its number and how it ended. A command that is killed ends alone.

:mod:`multiprocessing` has such a server too, but Dask's workers are daemons of it, which it lets start no process.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_LATER = ("omegaconf", "pyarrow.dataset", "torch.utils.tensorboard")
"""What most commands import when they need it."""


def serve(run: Callable[[], object]) -> None:
    """Fork a process for each pair of descriptors that comes through the socket on standard input, until it is closed.

    Args:
        run: does the command in ``sys.argv[1:]``; what it raises is the end of its process.

    The first descriptor is a socket: one line of JSON comes in (``words``, ``log``, ``environment``, ``folder``), the
    number of the process and, in the end, its exit status (a negative signal) go out, a line each. The second one stays
    open in the command. Where the worker is gone before the command has been forked, it is not.
    """
    ends = (signal.SIGINT, signal.SIGTERM)
    outer = {number: signal.signal(number, signal.SIG_IGN) for number in ends}
    outer[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes between
    with socket.socket(fileno=os.dup(0)) as control:
        _redirect(os.devnull, os.O_RDONLY, 0)
        while descriptors := socket.recv_fds(control, 1, 2)[1]:
            if os.fork() == 0:
                break
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            return
    signal.signal(signal.SIGCHLD, outer[signal.SIGCHLD])
    answers, held = descriptors
    with socket.socket(fileno=answers) as talk, talk.makefile("rw") as lines:
        request = json.loads(lines.readline())
        gone = select.poll()
        gone.register(talk, 0)  # no event but that the other side has closed
        if gone.poll(0):
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # one that comes before the command has its handlers waits
        if number := os.fork():
            try:
                os.close(held)
                print(number, file=lines, flush=True)
                print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), file=lines, flush=True)
            finally:  # also where the worker is gone
                os._exit(0)
    for number, handler in outer.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
    _become(request)
    run()


def _become(request: dict[str, Any]) -> None:
    """Take over environment, folder, output and arguments of a command."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    _redirect(request["log"], os.O_WRONLY | os.O_APPEND, 1, 2)
    sys.argv[1:] = request["words"]


def _redirect(path: str, flags: int, *targets: int) -> None:
    descriptor = os.open(path, flags)
    for target in targets:
        os.dup2(descriptor, target)
    os.close(descriptor)


def command() -> None:
    """What ``python -m mpma_lightning`` does; in a fresh interpreter where a fork is not safe: on macOS, and where a
    module that was imported has initialised CUDA, which no forked process can use.
    """
    from torch import cuda

    if sys.platform == "darwin" or cuda._is_in_bad_fork():
        fresh()
    runpy.run_module("mpma_lightning", run_name="__main__", alter_sys=True)


def fresh() -> None:
    """Become ``python -m mpma_lightning`` with the arguments of this process."""
    os.execv(sys.executable, [sys.executable, "-m", "mpma_lightning", *sys.argv[1:]])


def main() -> None:
    """Import what every command needs, then :func:`serve`."""
    from mpma_lightning.cli.training import CommandReader

    CommandReader("fit")
    for module in _LATER:
        import_module(module)
    serve(command)


if __name__ == "__main__":
    main()
