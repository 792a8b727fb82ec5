"""A function in a spawned process that may die, hang or eat memory without taking the caller with it.

The caller sends one payload at a time over a pipe and waits. A child that uses more CPU time than allowed is killed; its
successor is started on the next call. Children are fresh interpreters, never forks, and end when their pipe closes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any

from curate.errors import RunError

Function = Callable[[bytes], bytes]
_LENGTH = struct.Struct("<Q")
_POLL_S = 0.25
_OK, _RAISED = b"+", b"-"


class ChildDied(Exception):
    """The child process ended during a call; `signal` is what killed it, or minus its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"signal {-code}" if code < 0 else f"exit code {code}")


class ChildTimeout(Exception):
    """The call used up its CPU time and the child was killed."""


class Child:
    """Calls `factory(*args)(payload)` in a child process. `factory` must be importable, `args` picklable.

    An exception of the function is raised here again; the child goes on living.
    """

    def __init__(self, factory: Callable[..., Function], *args: Any, max_memory_bytes: int | None = None) -> None:
        self._start = pickle.dumps((factory, args, max_memory_bytes))
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, payload: bytes, max_cpu_s: float | None = None) -> bytes:
        """Raises ChildTimeout, ChildDied, or whatever the function raises."""
        process = self._started()
        deadline = None if max_cpu_s is None else _cpu_seconds(process.pid) + max_cpu_s
        try:
            _send(_pipe(process.stdin), payload)
            while not select.select([_pipe(process.stdout)], [], [], _POLL_S)[0]:
                if deadline is not None and _cpu_seconds(process.pid) > deadline:
                    self.close()
                    raise ChildTimeout
            answer = _receive(_pipe(process.stdout))
        except (BrokenPipeError, EOFError) as error:
            raise ChildDied(self._reap()) from error
        if answer[:1] == _RAISED:
            raise pickle.loads(answer[1:])
        return answer[1:]

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._reap()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._reap()
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "curate.process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            try:
                _send(_pipe(self._process.stdin), self._start)
                _receive(_pipe(self._process.stdout))
            except (BrokenPipeError, EOFError) as error:
                code = ChildDied(self._reap())
                raise RunError(f"a child process ended while it loaded ({code}). Its own message is above.") from error
        return self._process

    def _reap(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                _pipe(pipe).close()
        return process.wait()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _send(pipe: IO[bytes], payload: bytes) -> None:
    pipe.write(_LENGTH.pack(len(payload)))
    pipe.write(payload)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    (size,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return _exactly(pipe, size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 once it is gone."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def main() -> None:
    """The child's side: read the factory, then answer payloads until the pipe closes."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    try:
        factory, args, max_memory_bytes = pickle.loads(_receive(requests))
        if max_memory_bytes is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
        function = factory(*args)
        _send(answers, b"ready")
        while True:
            _send(answers, _answer(function, _receive(requests)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _answer(function: Function, payload: bytes) -> bytes:
    try:
        return _OK + function(payload)
    except Exception as error:
        try:
            return _RAISED + pickle.dumps(error)
        except Exception:  # an error that holds what cannot be pickled
            return _RAISED + pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
