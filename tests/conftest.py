"""What holds for every test: one thread, no network, no leftovers of chance, and real data where it is at hand."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch is first imported
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line has it: tests run beside each other
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["VISUS_CACHE"] = tempfile.mkdtemp(prefix="visus-cache-")
sys.path.insert(0, str(Path(__file__).with_name("children")))  # what lies there holds in every Python a test starts
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (sys.path[0], os.environ.get("PYTHONPATH"))))

import offline  # noqa: F401  # no socket leaves this machine
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")

collect_ignore = ["children"]


def pytest_unconfigure() -> None:
    """Remove the caches the tests made."""
    shutil.rmtree(os.environ["VISUS_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> Iterator[None]:
    """Start every test at one thread and from one state of torch's generator, whatever ran before it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.default_generator.manual_seed(0)
    yield


@pytest.fixture(autouse=True)
def _device_at_hand(request: pytest.FixtureRequest) -> None:
    """Skip what is marked ``device`` where there is none."""
    if request.node.get_closest_marker("device") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device on this machine")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data sets, or skip."""
    folder = os.environ.get("VISUS_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no real data: VISUS_TEST_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def bad_inputs(real_data: Path) -> Path:
    """Return the folder of odd and broken files that lies beside the real data, or skip."""
    folder = real_data.parent / "bad_inputs"
    if not folder.is_dir():
        pytest.skip("no broken files beside VISUS_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a real browser, or skip."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
