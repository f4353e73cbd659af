"""What a server carries: goodput and latency beside offline prediction, overload, exactness, and models loaded anew.

    python benchmarks/serving.py load      # 64 clients, then three times what they got: goodput, latencies, refused
    python benchmarks/serving.py exact     # 50,000 requests, each with its known answer: wrong and lost ones
    python benchmarks/serving.py reload    # 100 models loaded anew under load: failed requests
    python benchmarks/serving.py schema    # 10,000 requests made of the OpenAPI page, with every check of schemathesis

Offline prediction and the server answer the same files with the same model on the same cores, in turns, in one run; the
clients are one process beside the server, on the same cores too, that sends prepared bytes and compares the answers
with those of ``visus predict``.  A request counts for goodput when it is answered 200 with the right answer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

VISUS = [sys.executable, "-m", "visus"]
CLOSE = 1e-3  # what the size of a batch may change in a score


def write_pictures(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Write JPEG files of smooth colours, such as photographs have, in two folders of classes."""
    draw = np.random.Generator(np.random.Philox(0))
    files = []
    for i in range(count):
        coarse = draw.integers(0, 256, (size[0] // 25, size[1] // 25, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        grain = draw.integers(-12, 13, (*size, 3))
        pixels = np.clip(np.asarray(picture).astype(np.int64) + grain, 0, 255).astype(np.uint8)
        files.append(folder / "ab"[i % 2] / f"{i:04d}.jpg")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(files[-1], quality=85)
    return files


def trained(folder: Path, data: Path, **settings: object) -> Path:
    """Return a model file that two steps have trained: what it knows makes no difference to what it costs."""
    import visus

    if (folder / "best.safetensors").is_file():
        return folder / "best.safetensors"
    plain = {"batch": 8, "data.leaks": False, "resamples": 30, "evaluate_every": 1000, "precision": "float32"}
    return visus.train(data, out=folder, steps=2, set={**plain, **settings}).best


def resnet18(folder: Path, pictures: int) -> tuple[Path, list[Path]]:
    """Return a ResNet-18 that reads 224 x 224 pixels, and JPEG files of 500 x 375."""
    folder = folder / "resnet18"
    files = write_pictures(folder / "photos", pictures, (375, 500))
    settings = {"model.name": "resnet18", "model.weights": "none", "input.size": 224}
    return trained(folder / "run", folder / "photos", **settings), files


def tiny(folder: Path, pictures: int) -> tuple[Path, list[Path]]:
    """Return a network of two thin layers, so that the server itself is what costs, and small JPEG files."""
    folder = folder / "tiny"
    files = write_pictures(folder / "photos", pictures, (75, 100))
    settings = {"model.name": "cnn", "model.weights": "none", "input.size": 32, "model.options.widths": [8, 16]}
    return trained(folder / "run", folder / "photos", **settings), files


OFFLINE = """
import json, sys, time, visus
model, files = visus.load(sys.argv[1]), json.loads(sys.stdin.read())
visus.predict(model, files[:32])
began = time.perf_counter()
said = visus.predict(model, files)
print(json.dumps([time.perf_counter() - began, [one.json() for _, one in said]]))
"""


def offline(model: Path, files: list[Path]) -> tuple[float, list[dict[str, object]]]:
    """Return pictures a second of ``visus.predict`` on files, after a batch that is not counted, and its answers."""
    names = [str(file) for file in files]
    done = subprocess.run([sys.executable, "-c", OFFLINE, str(model)], input=json.dumps(names), capture_output=True,
                          text=True, check=True)  # fmt: skip
    seconds, said = json.loads(done.stdout.splitlines()[-1])
    return len(names) / seconds, said


class Server:
    """A server process on a free port."""

    def __init__(self, *words: object) -> None:
        command = [*VISUS, "serve", *map(str, words), "--port", "0", "--watch", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "")
        self.port = next(int(found[1]) for line in lines if (found := re.match(r"page .*:(\d+)/", line)))

    def reloads(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health") as answer:
            (state,) = json.load(answer)["models"].values()
            assert not state["problem"], state
            return int(state["reloads"])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0


def clients(port: int, files: list[Path], known: list[dict[str, object]], **how: object) -> subprocess.Popen[str]:
    """Start a process that sends the files again and again, and prints what came of it as JSON."""
    job = {"port": port, "files": [str(file) for file in files], "known": known, **how}
    process = subprocess.Popen([sys.executable, __file__, "client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    return process


def came_of(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout is not None
    said: dict[str, float] = json.loads(process.stdout.read())
    assert process.wait() == 0
    return said


class Connection:
    """A client's connection: one request under way at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got, self.which, self.since, self.asks = bytearray(), -1, 0.0, False

    def send(self, which: int, request: bytes) -> None:
        self.which, self.since, self.asks = which, time.perf_counter(), True
        self.got.clear()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Return status and body once they are there."""
        part = self.socket.recv(1 << 16)
        if not part:
            raise ConnectionError
        self.got += part
        head, blank, body = self.got.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head) if blank else None
        if length is None or len(body) < int(length[1]):
            return None
        return int(head[9:12]), bytes(body)


def client() -> None:
    """Send until the number of requests, or the seconds, are over: from so many connections, or at a rate."""
    job = json.loads(sys.stdin.read())
    requests = []
    for file in job["files"]:
        data = Path(file).read_bytes()
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        requests.append(head.encode() + data)
    known = [(one["label"], one["score"]) for one in job["known"]]
    count, seconds, rate = job.get("requests", 1 << 62), job.get("seconds", 1e9), job.get("rate", 0.0)
    selector, idle = selectors.DefaultSelector(), []
    for _ in range(job["clients"]):
        idle.append(Connection(job["port"]))
        selector.register(idle[-1].socket, selectors.EVENT_READ, idle[-1])
    sent = wrong = lost = refused = right = unsent = 0
    latencies: list[float] = []
    began = time.perf_counter()
    while True:
        now = time.perf_counter() - began
        open_ = now < seconds and sent + unsent < count
        due = int(now * rate) + 1 - sent - unsent if rate else len(idle)
        while open_ and due > 0 and sent + unsent < count:
            if not idle:
                unsent, due = unsent + due, 0  # every connection waits: a real client would have given up, too
                break
            connection = idle.pop()
            connection.send(sent % len(requests), requests[sent % len(requests)])
            sent, due = sent + 1, due - 1
        if not open_ and len(idle) == job["clients"]:
            break
        for key, _ in selector.select(max(0.0, (sent + unsent) / rate - now) if rate and open_ else 1.0):
            connection = key.data
            try:
                answer = connection.receive()
            except ConnectionError:
                if connection.asks:
                    lost += 1
                else:  # the server closes those that have not asked anything for long
                    idle.remove(connection)
                selector.unregister(connection.socket)
                fresh = Connection(job["port"])
                selector.register(fresh.socket, selectors.EVENT_READ, fresh)
                idle.append(fresh)
                continue
            if answer is None:
                continue
            idle.append(connection)
            connection.asks = False
            status, body = answer
            if status == 200:
                (said,) = json.loads(body)["predictions"]
                label, score = known[connection.which]
                good = said["label"] == label and abs(said["score"] - score) < CLOSE
                right, wrong = right + good, wrong + (not good)
                latencies.append(time.perf_counter() - connection.since)
            elif status == 429:
                refused += 1
            else:
                lost += 1
    took = time.perf_counter() - began
    latencies.sort()
    at = lambda share: 1000 * latencies[int(share * (len(latencies) - 1))] if latencies else 0.0  # noqa: E731
    print(json.dumps({"sent": sent, "right": right, "wrong": wrong, "lost": lost, "refused": refused, "unsent": unsent,
                      "seconds": took, "goodput": right / min(took, seconds), "p50": at(0.5), "p99": at(0.99),
                      "cpu": time.process_time()}))  # fmt: skip


def told(said: dict[str, float]) -> str:
    return (
        f"{said['goodput']:.1f}/s, p50 {said['p50']:.0f} ms, p99 {said['p99']:.0f} ms, {said['refused']:.0f} refused, "
        f"{said['wrong'] + said['lost']:.0f} wrong or lost (the clients took {said['cpu']:.2f} s of a core)"
    )


def load(given: argparse.Namespace, folder: Path) -> bool:
    """Compare 64 clients with offline prediction, then offer three times what was carried."""
    model, files = resnet18(folder, given.pictures)
    rates, shares, carried, over = [], [], [], []
    for turn in range(given.rounds):
        rate, known = offline(model, files)
        with Server(model) as server:
            came_of(clients(server.port, files, known, clients=64, seconds=2))  # not counted
            calm = came_of(clients(server.port, files, known, clients=64, seconds=given.seconds))
            flood = came_of(clients(server.port, files, known, clients=512, seconds=given.seconds,
                                    rate=3 * calm["goodput"]))  # fmt: skip
        rates.append(rate)
        carried.append(calm["goodput"])
        shares.append(calm["goodput"] / rate)
        over.append(flood["goodput"] / calm["goodput"])
        print(f"round {turn + 1}: offline {rate:.1f} pictures/s")
        print(f"  64 clients: {told(calm)} = {shares[-1]:.2f}x")
        print(f"  3x offered: {told(flood)} = {over[-1]:.2f} of that, {flood['unsent']:.0f} not sent", flush=True)
    share, kept = statistics.median(shares), statistics.median(over)
    print(f"goodput / offline {share:.2f} (promised: 0.8), under 3x load / peak {kept:.2f} (promised: 0.9), "
          f"medians of {given.rounds}")  # fmt: skip
    return share >= 0.8 and kept >= 0.9


def exact(given: argparse.Namespace, folder: Path) -> bool:
    """Send many requests of which each has a known answer."""
    model, files = tiny(folder, given.pictures)
    _, known = offline(model, files)
    with Server(model) as server:
        said = came_of(clients(server.port, files, known, clients=64, requests=given.requests))
    print(f"{said['sent']:,} requests in {said['seconds']:.0f} s ({said['goodput']:.0f}/s, p50 {said['p50']:.0f} ms, "
          f"p99 {said['p99']:.0f} ms): {said['right']:,} right, {said['wrong']} wrong, {said['lost']} lost, "
          f"{said['refused']} refused")  # fmt: skip
    return said["right"] == said["sent"] == given.requests


def reload(given: argparse.Namespace, folder: Path) -> bool:
    """Load the model anew again and again while requests come."""
    model, files = tiny(folder, given.pictures)
    _, known = offline(model, files)
    began = time.perf_counter()
    with Server(model) as server:
        process = clients(server.port, files, known, clients=16, seconds=given.seconds)
        for wanted in range(1, given.reloads + 1):
            server.process.send_signal(signal.SIGHUP)
            while server.reloads() < wanted:
                time.sleep(0.01)
            if process.poll() is not None:
                break
        done, took = server.reloads(), time.perf_counter() - began
        under_load = process.poll() is None
        said = came_of(process)
    late = "" if under_load else ", some after the load had ended"
    print(f"{done} models loaded anew in {took:.0f} s{late}, under {said['sent']:,} requests: {said['wrong']} wrong, "
          f"{said['lost']} lost, {said['refused']} refused")  # fmt: skip
    return done == given.reloads and under_load and said["right"] == said["sent"]


def schema(given: argparse.Namespace) -> bool:
    """Send requests made of what the server says of itself, right ones and wrong ones, and check every answer."""
    test = Path(__file__).parents[1] / "tests" / "server" / "test_schema.py"
    words = [sys.executable, "-m", "pytest", "-q", "-s", "-n0", "-p", "no:randomly", str(test)]
    cases = min(given.requests, 10_000)
    return subprocess.run(words, env={**os.environ, "VISUS_SCHEMA_CASES": str(cases)}, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["prepare", "load", "exact", "reload", "schema", "client"])
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where models and pictures lie, made by `prepare`")
    given = parser.parse_args()
    if given.part == "client":
        client()
        return
    if given.part == "schema":
        sys.exit(0 if schema(given) else 1)
    with tempfile.TemporaryDirectory() as passing:
        folder = given.folder or Path(passing)
        if given.part == "prepare":
            resnet18(folder, given.pictures)
            tiny(folder, given.pictures)
            return
        well = {"load": load, "exact": exact, "reload": reload}[given.part](given, folder)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
