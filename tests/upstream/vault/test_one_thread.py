"""Calls in a thread of their own, one after the other, which the end of a process does not wait for."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from meshca.upstream.vault.one_thread import OneThread

HANGS = """
import threading
from meshca.upstream.vault.one_thread import OneThread
begun = threading.Event()
def hang():
    begun.set()
    threading.Event().wait()
thread = OneThread("x")
thread.submit(hang)
begun.wait()
thread.shutdown()
"""


def test_in_order() -> None:
    """Calls are made one after the other, by the same thread, and give what they give."""
    thread = OneThread("calls")
    found = [thread.submit(threading.current_thread) for _ in range(3)]
    assert {one.result().name for one in found} == {"calls"}
    failed = thread.submit(int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result()
    assert thread.submit(int, "7", base=8).result() == 7
    thread.shutdown()
    found[0].result().join()


def test_cancelled() -> None:
    """A call that was given up before its turn is not made."""
    thread, go, made = OneThread("calls"), threading.Event(), list[int]()
    thread.submit(go.wait)
    given_up = thread.submit(made.append, 1)
    assert given_up.cancel()
    go.set()
    thread.submit(made.append, 2).result()
    assert made == [2]
    thread.shutdown()


def test_end_of_the_process() -> None:
    """A process ends although a call hangs; the limit only ends a test that would not."""
    subprocess.run([sys.executable, "-c", HANGS], check=True, timeout=60)
