"""No test leaves this machine, nor does any Python that a test starts."""

from __future__ import annotations

import multiprocessing
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest

OUTSIDE = ("192.0.2.1", 9)  # reserved for documentation: RFC 5737


def test_a_test_cannot_connect_to_another_machine():
    with pytest.raises(RuntimeError, match="the tests need no network"):
        socket.create_connection(OUTSIDE, timeout=1)


def test_a_python_that_a_test_starts_cannot_either():
    program = f"import socket; socket.create_connection({OUTSIDE}, timeout=1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and "the tests need no network" in done.stderr


def test_nor_can_a_spawned_process():
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool, pytest.raises(RuntimeError, match="the tests need no network"):
        pool.submit(socket.create_connection, OUTSIDE, 1).result()
