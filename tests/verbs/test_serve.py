"""What ``visus.serve`` refuses before it serves, and how it names models and finds its token."""

from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path

import pytest
from typer.main import get_command

import visus
from visus.cli.app import app
from visus.core.errors import DataError, UsageError
from visus.verbs.serve import is_loopback, names_of, token_of

pytest.importorskip("fastapi")


def test_two_models_of_one_name_are_refused(run):
    with pytest.raises(UsageError) as caught:
        visus.serve([run.best, run.folder], port=0)
    assert caught.value.code == "SERVE-021" and caught.value.fix.startswith("give one another name")


@pytest.mark.parametrize(("host", "port"), [("203.0.113.1", 0), ("127.0.0.1", 99_999), ("no.such.invalid", 0)])
def test_an_address_that_cannot_be_had_is_refused(run, host, port, monkeypatch):
    def nowhere(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    if "invalid" in host:
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(UsageError) as caught:
        visus.serve(run.best, host=host, port=port)
    assert caught.value.code == "SERVE-020"


def test_a_port_that_is_taken_is_refused(run):
    with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(UsageError) as caught:
        visus.serve(run.best, port=held.getsockname()[1])
    assert caught.value.code == "SERVE-020"


def test_a_model_that_is_not_there_is_refused():
    with pytest.raises(DataError) as caught:
        visus.serve("nowhere.safetensors", port=0)
    assert caught.value.code == "MODEL-001"


def test_models_are_called_like_their_run_or_their_file_or_as_asked(tmp_path):
    (tmp_path / "mine").mkdir()
    found = names_of([tmp_path / "mine", tmp_path / "run" / "best.safetensors", tmp_path / "a.onnx", "x=b.safetensors"])
    assert list(found) == ["mine", "run", "a", "x"] and found["x"] == Path("b.safetensors")


def test_a_token_is_that_given_or_of_the_file_or_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("VISUS_TOKEN", "there")
    (tmp_path / "token").write_text(" file\n")
    assert [token_of("given", tmp_path / "token"), token_of(None, tmp_path / "token"), token_of(None, None)] == [
        "given", "file", "there",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_a_file_without_a_token_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(DataError) as caught:
        token_of(None, tmp_path / "token")
    assert caught.value.code == "SERVE-023"


def test_loopback_is_known_by_its_numbers_not_its_looks():
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.evil.example", ""]))


EXAMPLES = Path(__file__).parents[2] / "examples" / "serve"


def commands():
    """Return the words after ``visus serve`` that the container and the unit run or advise."""
    image = (EXAMPLES / "Containerfile").read_text()
    parts = [json.loads(re.search(rf"^{name} (\[.*\])$", image, re.MULTILINE)[1]) for name in ("ENTRYPOINT", "CMD")]
    unit = (EXAMPLES / "visus.service").read_text()
    begun = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1])
    advised = re.search(r"(--host \S+ --token-file \S+),", unit)[1].split()
    return {"container": [*parts[0], *parts[1]], "unit": begun, "advice": [*begun[:3], *advised]}


@pytest.mark.parametrize("which", ["container", "unit", "advice"])
def test_the_examples_begin_the_server_by_words_that_it_knows(which):
    program, verb, *words = commands()[which]
    assert (Path(program).name, verb) == ("visus", "serve")
    serve = get_command(app).commands["serve"]
    known = serve.make_context("serve", words).params
    assert [Path(model).name for model in known["models"]] == ["best.safetensors"]
    assert known["host"] == ("127.0.0.1" if which == "unit" else "0.0.0.0")
