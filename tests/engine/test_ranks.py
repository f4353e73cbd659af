"""Two processes under torchrun do what one does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

RANKS = Path(__file__).with_name("ranks.py")


def run(folder: Path, ranks: int, trouble: str = "none") -> None:
    folder.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [*(torchrun if ranks > 1 else [sys.executable]), str(RANKS), str(folder), trouble]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "alone"
    run(folder, 1)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "pair"
    run(folder, 2)
    return folder


def test_two_ranks_with_unequal_shares_give_the_gradient_of_one_process(alone, pair):
    one = load_file(alone / "gradient-0.safetensors")["gradient"]
    for rank in (0, 1):
        two = load_file(pair / f"gradient-{rank}.safetensors")["gradient"]
        assert torch.linalg.vector_norm(two - one) <= 1e-5 * torch.linalg.vector_norm(one)


def test_both_ranks_end_with_the_same_weights(pair):
    first, second = (load_file(pair / f"weights-{rank}.safetensors")["weights"] for rank in (0, 1))
    assert torch.equal(first, second)


def test_validation_counts_every_sample_once(alone, pair):
    def judged(folder):
        rows = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
        return [row["validation"] for row in rows if "validation" in row]

    assert judged(pair) == judged(alone)


def test_one_rank_out_of_memory_splits_on_both_and_nobody_waits(tmp_path):
    run(tmp_path / "hungry", 2, "hungry")
    first, second = (load_file(tmp_path / f"hungry/weights-{rank}.safetensors")["weights"] for rank in (0, 1))
    assert torch.equal(first, second)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "hungry/run/decisions.jsonl").read_text().splitlines()]
    assert kinds.count("micro") == 2


def test_a_sample_sick_on_one_rank_is_quarantined_on_both(tmp_path):
    run(tmp_path / "sick", 2, "sick")
    first, second = (load_file(tmp_path / f"sick/weights-{rank}.safetensors")["weights"] for rank in (0, 1))
    assert torch.equal(first, second)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "sick/run/decisions.jsonl").read_text().splitlines()]
    assert "quarantined" in kinds
