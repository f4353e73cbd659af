"""The server as a process: stopped, reloaded, overloaded, attacked; what was accepted is answered."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest


def picture(photos: Path, name: str = "six") -> bytes:
    return min((photos / "test" / name).iterdir()).read_bytes()


def until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def descendants(process: int) -> list[int]:
    """Return the processes below one, from the outside in."""
    lists = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    children = [int(text) for texts in lists for text in texts]
    return children + [each for child in children for each in descendants(child)]


def readers(server) -> list[int]:
    """Return the processes that read pictures: the children of the one that starts them."""
    below = descendants(server.process.pid)
    return [each for starter in below for each in descendants(starter)]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in Linux's /proc")


@pytest.fixture(scope="module")
def narrow(starting, classifier):
    """Return a server that takes on little and waits for nobody."""
    return starting(classifier, "--queue", "4", "--max-bytes", "4000", "--header-seconds", "0.5",
                    "--body-seconds", "1", "--picture-seconds", "2", "--readers", "1")  # fmt: skip


@needs_proc
def test_what_was_accepted_before_a_stop_is_answered_and_no_process_stays(starting, classifier, photos):
    server = starting(classifier)
    below, body = descendants(server.process.pid), picture(photos)
    with concurrent.futures.ThreadPoolExecutor(24) as pool, server.client() as client:
        asked = [pool.submit(client.post, "/predict", content=body) for _ in range(24)]
        until(lambda: any(one.done() for one in asked))
        server.process.terminate()
        said = [one.exception() or one.result().status_code for one in asked]
    assert server.process.wait(60) == 0
    # Never accepted: refused by the system, or reset, as it was still in the queue when the server stopped listening.
    answered, refused = said.count(200), sum(isinstance(one, httpx.ConnectError | httpx.ReadError) for one in said)
    assert answered and answered + refused == 24, said
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in below))


@needs_proc
def test_a_reader_that_is_killed_is_replaced_and_no_request_fails(narrow, photos):
    with narrow.client() as client:
        for each in readers(narrow):
            os.kill(each, signal.SIGKILL)
            assert client.post("/predict", content=picture(photos)).status_code == 200
        assert "visus_readers_lost_total 0" not in client.get("/metrics").text


@needs_proc
def test_a_reader_that_hangs_is_replaced_and_its_picture_refused(narrow, photos):
    with narrow.client() as client:
        (reader,) = readers(narrow)
        os.kill(reader, signal.SIGSTOP)
        answer = client.post("/predict", content=picture(photos))
        assert answer.status_code == 422 and answer.json()["problems"][0]["why"] == "reading it took longer than 2 s"
        assert client.post("/predict", content=picture(photos)).status_code == 200


def test_beyond_its_queue_it_refuses_and_says_when_to_come_again(narrow, photos):
    files = [("files", ("a.png", picture(photos)))] * 5
    with narrow.client() as client:
        answer = client.post("/predict", files=files)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "SERVE-002")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.post("/predict", files=files[:4]).status_code == 200


def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not(narrow):
    with narrow.client() as client:
        stated = client.post("/predict", content=b"x" * 4001)
    with narrow.client() as client:
        streamed = client.post("/predict", content=iter([b"x" * 2400] * 2))
    for answer in (stated, streamed):
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "SERVE-003")


def test_a_client_that_never_ends_its_head_or_its_body_is_left(narrow):
    port = int(narrow.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\n")
        assert slow.recv(100) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_new_file_is_served_once_it_has_answered_a_broken_one_never_and_every_request_is_answered(
    starting, classifier, detector, photos, tmp_path
):
    file, body = Path(shutil.copy(classifier, tmp_path / "model.safetensors")), picture(photos)
    server = starting(file, "--watch", "0.1")
    with concurrent.futures.ThreadPoolExecutor(4) as pool, server.client() as client:

        def state():
            return client.get("/health").json()["models"]["model"]

        file.write_bytes(classifier.read_bytes()[:-100])
        until(lambda: state()["problem"])
        assert state()["reloads"] == 0 and "MODEL-004" in state()["problem"]
        assert client.post("/predict", content=body).json()["predictions"][0]["label"] == "six"
        file.write_bytes(classifier.read_bytes())
        until(lambda: state()["reloads"] == 1)
        asked = []
        for wanted in (2, 3, 4):
            server.process.send_signal(signal.SIGHUP)
            while state()["reloads"] < wanted:
                asked += [pool.submit(client.post, "/predict", content=body) for _ in range(4)]
                time.sleep(0.02)
        assert {one.result().json()["predictions"][0]["label"] for one in asked} == {"six"}
        Path(shutil.copy(detector, tmp_path / "new")).replace(file)
        until(lambda: state()["reloads"] == 5)
        assert "boxes" in client.post("/predict", content=body).json()["predictions"][0]
    assert any("the old one serves on" in line for line in server.lines)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0


def test_any_other_address_than_loopback_needs_a_token_which_is_made_and_shown(starting, classifier, photos):
    server = starting(classifier, "--host", "0.0.0.0")
    port = server.url.rpartition(":")[2]
    assert len(server.token) >= 32
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        assert client.get("/").status_code == client.get("/health").status_code == 200
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {server.token}"}):
            answer = client.post("/predict", content=picture(photos), headers=given)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        right = {"authorization": f"bearer {server.token}"}
        assert client.post("/predict", content=picture(photos), headers=right).status_code == 200
        assert client.get("/metrics").status_code == 401
