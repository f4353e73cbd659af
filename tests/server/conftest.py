"""Small trained models, and a real server process that serves them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.verbs.examples import train, train_detector, write_boxes, write_splits
from tests.verbs.segmenting import train as train_segmenter
from tests.verbs.segmenting import write_scenes

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")


@dataclass
class Server:
    """A server process.

    Attributes:
        process: it.
        url: where it listens, without a slash at the end.
        lines: what it has printed so far.
    """

    process: subprocess.Popen[str]
    url: str = ""
    token: str = ""
    lines: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Read what it prints until it says where it listens, and go on reading in a thread."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if found := re.match(r"page +(http://\S+?)/(?:#token=(\S+))?$", line):
                self.url, self.token = found[1], found[2] or ""
                break
        else:
            raise AssertionError("\n".join([*self.lines, self.process.stderr.read()]))
        threading.Thread(target=self._read, daemon=True).start()

    def client(self, **options) -> httpx.Client:
        """Return a client of its own connections."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def stop(self) -> int:
        """End it as a service manager does; return its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip())


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Return a folder with pictures of three digits."""
    return write_splits(tmp_path_factory.mktemp("data") / "photos", train=60, val=20, test=30)


@pytest.fixture(scope="session")
def classifier(photos, tmp_path_factory) -> Path:
    """Return the model file of a classifier of the photos."""
    return train(photos, tmp_path_factory.mktemp("runs") / "digits").best


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> Path:
    """Return a folder of pictures with squares on them."""
    return write_boxes(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="session")
def detector(squares, tmp_path_factory) -> Path:
    """Return the model file of a detector of the squares."""
    return train_detector(squares, tmp_path_factory.mktemp("runs") / "squares", steps=60).best


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """Return a folder of pictures with masks."""
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes", train=12, val=4, test=4)


@pytest.fixture(scope="session")
def segmenter(scenes, tmp_path_factory) -> Path:
    """Return the model file of a segmenter of the scenes."""
    return train_segmenter(scenes, tmp_path_factory.mktemp("runs") / "scenes").best


@pytest.fixture(scope="session")
def starting() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server on a free port; all of them end with the tests."""
    servers: list[Server] = []

    def start(*words, **options) -> Server:
        command = [sys.executable, "-m", "visus", "serve", *map(str, words), "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        servers.append(Server(process))
        servers[-1].listen()
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="session")
def server(classifier, detector, segmenter, starting) -> Server:
    """Return a server of all three models."""
    return starting(classifier, detector, segmenter)


@pytest.fixture
def client(server) -> Iterator[httpx.Client]:
    """Return a client of the server of all three models."""
    with server.client() as client:
        yield client
