"""Two processes under torchrun do what one does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.engine import ranks
from visus.engine.state import Generations


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "alone"
    for trouble in ("none", "small"):
        ranks.exercise(folder / trouble, trouble, 0, 1)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "pair"
    folder.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(Path(ranks.__file__)), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def decided(folder):
    path = folder / "run/decisions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def judged(folder):
    rows = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    return [row["validation"] for row in rows if "validation" in row]


def ends(folder):
    return [load_file(folder / f"weights-{rank}.safetensors") for rank in (0, 1)]


def test_two_ranks_with_unequal_shares_give_the_gradient_of_one_process(alone, pair):
    one = load_file(alone / "none/gradient-0.safetensors")["gradient"]
    for rank in (0, 1):
        two = load_file(pair / f"none/gradient-{rank}.safetensors")["gradient"]
        assert torch.linalg.vector_norm(two - one) <= 1e-5 * torch.linalg.vector_norm(one)


@pytest.mark.parametrize("trouble", ranks.TROUBLES)
def test_both_ranks_end_with_the_same_network(pair, trouble):
    first, second = ends(pair / trouble)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_validation_counts_every_sample_once(alone, pair):
    assert judged(pair / "none") == judged(alone / "none")


def test_one_rank_out_of_memory_splits_on_both_and_nobody_waits(pair):
    assert [d["kind"] for d in decided(pair / "hungry")].count("micro") == 2


def test_a_sample_sick_on_one_rank_is_quarantined_on_both_by_its_name(pair):
    quarantined = [d["id"] for d in decided(pair / "sick") if d["kind"] == "quarantined"]
    assert quarantined == ["point 3"]
    step = Generations(pair / "sick/run").steps()[0]
    kept = json.loads((pair / f"sick/run/state/{step:010d}.json").read_text())["progress"]
    assert kept["quarantined"] == {"3": "point 3"}


def test_the_cause_is_that_of_the_rank_that_has_it(pair):
    skipped = [d for d in decided(pair / "sick") if d["kind"] == "skipped"]
    assert {(d["cause"], d["term"], *d["ids"]) for d in skipped} == {("loss", "sick", "point 3")}
    assert all((pair / "sick/run" / d["bundle"] / "cause.json").exists() for d in skipped)


def test_a_batch_smaller_than_the_ranks_is_trained_all_the_same(alone, pair):
    one = load_file(alone / "small/weights-0.safetensors")["weights"]
    assert torch.allclose(ends(pair / "small")[0]["weights"], one, atol=1e-5)


def test_a_picture_that_another_rank_could_not_read_is_written_down_once(pair):
    assert [d["id"] for d in decided(pair / "unreadable")] == ["point 63"]


def test_rows_of_all_ranks_are_gathered_in_order_also_of_a_rank_without_any(pair):
    for rank in (0, 1):
        told = load_file(pair / f"gathered-{rank}.safetensors")
        assert told["rows0"].shape == (0, 3)
        assert told["rows1"].tolist() == [[0.0, 1.0, 2.0]]
        assert (told["seen0"].tolist(), told["seen1"].tolist()) == ([True], [True, True])


def test_ranks_hear_each_other_and_agree(pair):
    for rank in (0, 1):
        assert (pair / f"texts-{rank}.txt").read_text() == "rank 0|rank 1|from 0"
