"""Feeds damaged pictures and annotations to the doors for as long as one likes, and keeps what they should not bear.

``python -m tests.fuzz.doors --minutes 60`` damages valid files in their bytes and in their structure (chunks of a PNG
and headers of a tar with checksums that hold, values of JSON, fields of lines), and reads each in a child process with
limits.  A finding is any end but an answer that holds together or an error of ours: a traceback, a crash, a hang, too
much memory.  It is kept in a folder with its reason; ``--replay FOLDER`` reads it again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.examples import EXAMPLES
from tests.data.soundness import REFUSALS, check_refusal, check_sound
from visus.core.recipe import DataSettings
from visus.data.decode import decode, peek
from visus.data.formats import FORMATS

SECONDS, BYTES = 2.0, 512 << 20
"""Of processor time and of memory, the most that one file may take."""

HANGS = 30.0
"""Seconds after which a child that has not answered is taken for one that never will, however busy the machine is."""

EACH = 400
"""Cases that one child is given."""

Door = Callable[[str, Path, Sequence[str], str], str]
"""Reads what lies in a folder, as ``answer`` does."""

PICTURES = "pictures"
TARGETS = (PICTURES, *(name for name in EXAMPLES if name not in {"digits", "torchvision", "folder", "clips"}))
"""The door for images, and every format that has more to read than names."""


def write_seeds(target: str, root: Path) -> list[str]:
    """Write valid files of a target into a folder; return those that may be damaged, relative to it."""
    if target != PICTURES:
        EXAMPLES[target](root)
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        said = [path for path in files if path.suffix not in {".png", ".jpg"} or target in {"masks", "class_masks"}]
        return [path.relative_to(root).as_posix() for path in said]
    rough = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    colour = Image.fromarray(rough)
    exif = Image.Exif()
    exif[274] = 6
    ways: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.png": (colour, {}), "exif.png": (colour, {"exif": exif}), "palette.png": (colour.quantize(16), {}),
        "deep.png": (Image.fromarray(rough[:, :, 0].astype(np.uint16) * 200), {}),
        "alpha.png": (colour.convert("LA"), {}),
        "baseline.jpg": (colour, {"exif": exif}), "progressive.jpg": (colour, {"progressive": True}),
        "cmyk.jpg": (colour.convert("CMYK"), {}), "grey.jpg": (colour.convert("L"), {}),
        "lossy.webp": (colour, {"exif": exif}), "lossless.webp": (colour.convert("RGBA"), {"lossless": True}),
        "plain.bmp": (colour, {}), "palette.bmp": (colour.quantize(16), {}), "plain.gif": (colour, {}),
        "frames.gif": (colour, {"save_all": True, "append_images": [colour.rotate(90)]}),
        "plain.tiff": (colour, {}), "packed.tiff": (colour, {"compression": "tiff_lzw"}),
        "floats.tiff": (Image.fromarray(rough[:, :, 0].astype(np.float32) / 255), {}),
        "plain.ppm": (colour, {}), "grey.pgm": (colour.convert("L"), {}), "lossy.avif": (colour, {}),
    }  # fmt: skip
    for name, (image, options) in ways.items():
        image.save(root / name, **options)
    return list(ways)


def damaged(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Return bytes after one to four random edits, each of a kind that fits them or of any."""
    for _ in range(int(random.integers(1, 5))):
        fitting = [edit for begins, edit in _STRUCTURES if begins(data)]
        edits = [*fitting * 3, *_EDITS] if fitting else _EDITS
        data = edits[int(random.integers(len(edits)))](data, others, random)[: 1 << 22]
    return data


def answer(target: str, root: Path, files: Sequence[str], changed: str) -> str:
    """Read what lies in a folder; return ``accepted`` or ``refused``.

    Raises:
        Exception: whatever a door lets out that is no refusal, and an ``AssertionError`` where it took what it should
            not have taken.
    """
    if target != PICTURES:
        try:
            dataset = FORMATS[target].read(root, DataSettings(max_bad=1.0))
        except REFUSALS as error:
            check_refusal(error, str(root), *(Path(file).name for file in files))
            return "refused"
        check_sound(dataset)
        return "accepted"
    path = root / changed
    try:
        found = decode(path)
    except REFUSALS as error:
        check_refusal(error, path.name)
        return "refused"
    assert found.pixels.dtype in (np.uint8, np.uint16, np.float32) and found.pixels.shape[:2] == found.size
    assert found.pixels.ndim == 2 or found.pixels.shape[2] == 3
    assert np.isfinite(found.pixels).all()
    header = peek(path)
    assert (header.height, header.width) == found.size and header.format == found.format, (header, found.size)
    return "accepted"


# Edits of bytes: each takes them, other files of their kind, and a generator.

_WORDS = (
    b"", b"0", b"-1", b"1", b"1.5", b"nan", b"inf", b"1e999", b"9" * 40, b"4294967295", b"null", b"true", b"{}",
    b"[]", b'""', b'"\\ud800"', b"../../x", b"/etc/passwd", b"\0", b"\n", b"\r", b",", b";", b"\t", b"'", b'"', b"<",
    b"]]>", b"&x;", b"<!DOCTYPE a>", b"!!python/object:os.system", b"*a", b"&a", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\xed\xa0\x80", "\ufb01\u202e\u0663".encode(), b"=1+1", b"[" * 3000, b"<a>" * 3000,
)  # fmt: skip
_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)


def _place(data: bytes, random: np.random.Generator) -> int:
    """Return a place in a file, often near its beginning, where headers are."""
    most = len(data) if random.random() < 0.5 else min(len(data), 64)
    return int(random.integers(most + 1))


def _flip(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    held = bytearray(data or b"\0")
    held[_place(data, random) % len(held)] ^= 1 << int(random.integers(8))
    return bytes(held)


def _cut(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    return data[: _place(data, random)]


def _remove(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + int(random.integers(1, 40)) :]


def _repeat(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at : at + int(random.integers(1, 200))] * int(random.integers(2, 6)) + data[at:]


def _put(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    at = _place(data, random)
    return data[:at] + _WORDS[int(random.integers(len(_WORDS)))] + data[at + int(random.integers(4)) :]


def _number(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    size = int(random.choice([1, 2, 4, 8]))
    value = _NUMBERS[int(random.integers(len(_NUMBERS)))] % (1 << 8 * size)
    at = _place(data, random)
    return data[:at] + value.to_bytes(size, "little" if random.random() < 0.5 else "big") + data[at + size :]


def _splice(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    other = others[int(random.integers(len(others)))]
    return data[: _place(data, random)] + other[_place(other, random) :]


_EDITS = [_flip, _cut, _remove, _repeat, _put, _number, _splice]


# Edits of what the bytes mean.


def _json(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Replace, remove or repeat one value of a document."""
    try:
        held = json.loads(data)
    except (ValueError, RecursionError):
        return _put(data, others, random)
    parents = [held] if isinstance(held, dict | list) and held else []
    for parent in parents:  # grows as it goes
        inner = parent.values() if isinstance(parent, dict) else parent
        parents += [value for value in inner if isinstance(value, dict | list) and value]
    if not parents:
        return _put(data, others, random)
    parent = parents[int(random.integers(len(parents)))]
    keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    key = keys[int(random.integers(len(keys)))]
    odd: list[Any] = [None, True, -1, 0, 1.5, 1e300, 10**30, "", "\ud800", "../x", [], {}, [[1]], parent[key], held]
    kind = int(random.integers(3))
    if kind == 0:
        parent[key] = json.loads(json.dumps(odd[int(random.integers(len(odd)))]))
    elif kind == 1:
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, json.loads(json.dumps(parent[key])))
    else:
        parent[f"{key}2"] = parent[key]
    return json.dumps(held).encode()


def _lines(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Repeat, remove or move a line, or replace a word in it."""
    lines = data.split(b"\n")
    i, j = (int(random.integers(len(lines))) for _ in range(2))
    kind = int(random.integers(5))
    if kind == 0:
        lines.insert(j, lines[i])
    elif kind == 1:
        del lines[i]
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        words = re.split(rb"([\s,;|<>:]+)", lines[i])
        theirs = re.split(rb"([\s,;|<>:]+)", lines[j])
        pool = _WORDS if kind == 3 else theirs
        words[int(random.integers(len(words)))] = pool[int(random.integers(len(pool)))]
        lines[i] = b"".join(words)
    return b"\n".join(lines)


def _png(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage, repeat, remove or move a chunk, with a checksum that holds; of pixels, what is packed."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return _flip(data, others, random)
    i = int(random.integers(len(chunks)))
    kind, body = chunks[i]
    way = int(random.integers(5))
    if way == 0:
        chunks.insert(int(random.integers(len(chunks) + 1)), chunks[i])
    elif way == 1:
        del chunks[i]
    elif way == 2 and kind == b"IDAT":
        try:
            pixels = zlib.decompress(body)
        except zlib.error:
            pixels = body
        chunks[i] = (kind, zlib.compress(_EDITS[int(random.integers(len(_EDITS)))](pixels, others, random)))
    else:
        chunks[i] = (kind, _EDITS[int(random.integers(len(_EDITS)))](body, others, random))
    joined = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:8] + b"".join(joined)


def _tar(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage one block, and write checksums that hold into whatever looks like a header."""
    blocks = [bytearray(data[at : at + 512].ljust(512, b"\0")) for at in range(0, len(data), 512)]
    i = int(random.integers(len(blocks)))
    if (way := int(random.integers(4))) == 0:
        blocks.insert(int(random.integers(len(blocks) + 1)), blocks[i])
    elif way == 1:
        blocks[i][156] = random.choice(list(b"01234567LKxgSVX\0"))
    elif way == 2:
        size = int(_NUMBERS[int(random.integers(len(_NUMBERS)))]) * int(random.choice([-1, 1]))
        blocks[i][124:136] = (b"%011o\0" % size) if 0 <= size < 8**11 else (size % (1 << 96)).to_bytes(12, "big")
        blocks[i][124] |= 0 if 0 <= size < 8**11 else 0x80
    else:
        blocks[i] = bytearray(_EDITS[int(random.integers(len(_EDITS)))](bytes(blocks[i]), others, random)[:512])
        blocks[i] += bytes(512 - len(blocks[i]))
    for block in blocks:
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def _gzip(data: bytes, others: Sequence[bytes], random: np.random.Generator) -> bytes:
    try:
        held = gzip.decompress(data)
    except (OSError, EOFError, zlib.error, struct.error):
        return _flip(data, others, random)
    return gzip.compress(_EDITS[int(random.integers(len(_EDITS)))](held, others, random), 1)


_STRUCTURES: list[tuple[Callable[[bytes], bool], Callable[[bytes, Sequence[bytes], np.random.Generator], bytes]]] = [
    (lambda data: data[:1] in {b"{", b"["}, _json),
    (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", _png),
    (lambda data: data[257:262] == b"ustar", _tar),
    (lambda data: data[:2] == b"\x1f\x8b", _gzip),
    (lambda data: (b"\0" not in data[:512] and b"\n" in data[:4096]) or data[:1] == b"<", _lines),
]


# Children, which may die, and the parent, which notes of what.


@dataclass
class Tally:
    """What became of the cases so far."""

    answers: Counter[str] = field(default_factory=Counter)
    findings: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        told = ", ".join(f"{self.answers[word]:,} {word}" for word in ("accepted", "refused"))
        return f"{sum(self.answers.values()):,} cases: {told}; {len(self.findings)} findings"


def fuzz(
    targets: Sequence[str],
    seconds: float,
    seed: int,
    keep: Path,
    tell: Callable[[str], None] = print,
    door: Door | None = None,
    each: int = EACH,
) -> Tally:
    """Feed damaged files to doors for some seconds; return what became of them.

    Case ``n`` of a target is the same for the same seed, on any machine.

    Args:
        targets: of ``TARGETS``, in turn.
        seconds: to go on for.
        seed: of all that is random.
        keep: folder in which findings are kept, made when there is one.
        tell: given a line a minute.
        door: read through, in place of ``answer``; a function that a fresh process can import.
        each: cases that one child is given.
    """
    tally, began, told = Tally(), time.monotonic(), 0
    first = dict.fromkeys(targets, 0)
    while (now := time.monotonic() - began) < seconds:
        for target in targets:
            first[target] += run(target, range(first[target], first[target] + each), seed, keep, tally, door)
            if int((time.monotonic() - began) // 60) > told:
                told = int((time.monotonic() - began) // 60)
                tell(f"minute {told}: {tally}")
            if time.monotonic() - began >= seconds:
                break
    tell(f"done in {now / 60:.1f} minutes: {tally}")
    return tally


def run(
    target: str,
    numbers: range,
    seed: int,
    keep: Path,
    tally: Tally,
    door: Door | None = None,
    *,
    seconds: float = SECONDS,
    hangs: float = HANGS,
) -> int:
    """Run some cases of one target in a child; return how many were begun: fewer where the child did not live on."""
    context = multiprocessing.get_context("forkserver")  # what this process has in memory would count as the files'
    context.set_forkserver_preload(["tests.data.examples", "visus.data.decode", "visus.data.formats"])
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        ours, theirs = context.Pipe()
        child = context.Process(
            target=_child, args=(target, Path(folder), numbers, seed, theirs, door or answer, seconds)
        )
        child.start()
        theirs.close()
        begun = 0
        while begun < len(numbers):
            try:
                why = str(ours.recv()) if ours.poll(hangs) else f"no answer after {hangs:.0f} seconds"
            except EOFError:
                child.join()
                why = f"the process died: {_ended(child.exitcode)}"
            begun += 1
            if why in {"accepted", "refused"}:
                tally.answers[why] += 1
                continue
            tally.answers["found"] += 1
            tally.findings.append(_kept(keep, target, seed, numbers[begun - 1], Path(folder), why))
            if not why.startswith("Traceback"):
                break  # this child is dead, hangs, or holds more memory than the next case should start with
        child.kill()
        child.join()
        ours.close()
    return begun


def _ended(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"


def _child(target: str, folder: Path, numbers: range, seed: int, say: Connection, door: Door, seconds: float) -> None:
    """Damage and read one case after another in ``folder/case``, and say after each what became of it."""
    root = folder / "case"
    root.mkdir()
    files = write_seeds(target, root)
    whole = {file: (root / file).read_bytes() for file in files}
    _limit()
    for number in numbers:
        random = np.random.default_rng([seed, TARGETS.index(target), number])
        changed = files[int(random.integers(len(files)))]
        (root / changed).write_bytes(damaged(whole[changed], list(whole.values()), random))
        (folder / "changed").write_text(changed)
        say.send(_judged(door, target, root, files, changed, seconds))
        (root / changed).write_bytes(whole[changed])


def _judged(door: Door, target: str, root: Path, files: Sequence[str], changed: str, seconds: float) -> str:
    """Return ``accepted`` or ``refused``, or what is wrong with how a case was answered."""
    _forget_peak()
    before, began = _peak(), time.process_time()
    try:
        said = door(target, root, files, changed)
    except Exception:
        return traceback.format_exc()
    if (took := time.process_time() - began) > seconds:
        return f"it took {took:.1f} seconds"
    if (held := _peak() - before) > BYTES:
        return f"it took {held / (1 << 20):,.0f} MiB"
    return said


def _limit() -> None:
    """Let the child ask for no more memory than it has and the doors may take, twice."""
    import resource

    have = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (have + 2 * BYTES, have + 2 * BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the most memory that was resident since ``_forget_peak``, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _kept(keep: Path, target: str, seed: int, number: int, folder: Path, why: str) -> Path:
    """Copy a case to a folder of its own, with its reason, and return it."""
    kept = keep / f"{target}-{seed}-{number}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder / "case", kept / "case")
    changed = (folder / "changed").read_text()
    (kept / "finding.json").write_text(json.dumps({"target": target, "changed": changed, "why": why}, indent=2))
    return kept


def replay(kept: Path) -> str:
    """Read a finding again, in this process, so that a debugger can look on; return how it was answered."""
    told = json.loads((kept / "finding.json").read_text())
    files = [path.relative_to(kept / "case").as_posix() for path in (kept / "case").rglob("*") if path.is_file()]
    return answer(told["target"], kept / "case", files, told["changed"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz or replay as the command line says; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.doors", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS, action="append", help="a target; may be given several times")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for what is found")
    parser.add_argument("--replay", type=Path, help="a finding to read again")
    chosen = parser.parse_args(arguments)
    if chosen.replay:
        print(replay(chosen.replay))
        return 0
    tally = fuzz(
        chosen.only or TARGETS, 60 * chosen.minutes, chosen.seed, chosen.keep, lambda line: print(line, flush=True)
    )
    for finding in tally.findings[:20]:
        print(f"{finding}: {json.loads((finding / 'finding.json').read_text())['why'].strip().splitlines()[-1]}")
    return int(bool(tally.findings))


if __name__ == "__main__":
    sys.exit(main())
