"""Freed memory is used again."""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import resource, threading
    from visus.core.memory import keep_freed_memory

    assert keep_freed_memory()

    def work():
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            bytearray(80_000_000)[:: 4096]  # touches every page
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_a_large_array_made_again_and_again_in_a_thread_costs_its_pages_once():
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, check=True)
    first, *later = map(int, ran.stdout.split())
    assert first > 10_000 and max(later) < 500
