"""Freed memory is used again."""

import multiprocessing
import resource
import sys
import threading

import pytest
import torch

from visus.core.memory import keep_freed_memory


def faults_of_a_thread(pipe):
    keep_freed_memory()
    counted = []

    def work():
        for _ in range(6):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(20_000_000).add_(1)  # 80 MB: 20,000 pages
            counted.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    pipe.send(counted)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_a_large_tensor_made_again_and_again_in_a_thread_costs_its_pages_once():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=faults_of_a_thread, args=(theirs,))
    process.start()
    counted = ours.recv()
    process.join()
    assert counted[0] > 10_000 and max(counted[2:]) < 500
