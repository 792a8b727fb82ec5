"""A function in a child process: answers, errors, death, and too much CPU time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from curate.errors import RunError
from curate.process import Child, ChildDied, ChildTimeout


def obedient() -> object:
    """Does what the payload says."""

    def function(payload: bytes) -> bytes:
        match payload:
            case b"die":
                os.kill(os.getpid(), signal.SIGKILL)
            case b"exit":
                os._exit(3)
            case b"spin":
                while True:
                    pass
            case b"print":
                print("a library that prints")
            case b"raise":
                raise ValueError("the payload said so")
            case b"eat":
                return bytes(8 * 2**30)
        return payload.upper()

    return function


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child(obedient, max_memory_bytes=4 * 2**30)  # type: ignore[arg-type]
    yield made
    made.close()


def test_a_child_answers_in_order_and_survives_prints_and_errors(child: Child) -> None:
    assert child.call(b"one") == b"ONE"
    assert child.call(b"print") == b"PRINT"
    with pytest.raises(ValueError, match="the payload said so"):
        child.call(b"raise")
    big = bytes(20_000_000)
    assert child.call(big) == big


def test_a_child_that_dies_is_reported_and_replaced(child: Child) -> None:
    with pytest.raises(ChildDied, match="signal 9"):
        child.call(b"die")
    with pytest.raises(ChildDied, match="exit code 3"):
        child.call(b"exit")
    assert child.call(b"again") == b"AGAIN"


def test_a_child_that_uses_up_its_time_is_killed(child: Child) -> None:
    started = time.monotonic()
    with pytest.raises(ChildTimeout):
        child.call(b"spin", max_cpu_s=0.5)
    assert time.monotonic() - started < 20
    assert child.call(b"again", max_cpu_s=0.5) == b"AGAIN"


def test_memory_beyond_the_limit_is_an_error_of_the_call(child: Child) -> None:
    with pytest.raises(MemoryError):
        child.call(b"eat")
    assert child.call(b"again") == b"AGAIN"


def unloadable() -> object:
    raise ImportError("a model that is not there")


def test_a_child_that_cannot_load_is_no_death_of_a_document() -> None:
    with pytest.raises(RunError, match="ended while it loaded"):
        Child(unloadable).call(b"anything")  # type: ignore[arg-type]
