"""Memory that runs out anywhere in a step ends in the same step, done in smaller parts."""

import pytest
import torch

from tests.engine.test_loop import decisions, losses
from tests.engine.toy import Points, Toy, network, recipe, train
from visus.core.errors import ResourceError
from visus.core.task import Term
from visus.engine.state import Generations

SCARCE = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"
AT = 3


def scarce():
    return RuntimeError(SCARCE)


class FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise scarce()


class Allocator(Toy):
    """Refuses the ``k``-th demand of step AT: each part's forward pass is one, and its backward pass the next."""

    def __init__(self, k):
        self.k, self.asked = k, 0

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        if step != AT:
            return found
        self.asked += 1
        if self.asked == self.k:
            raise scarce()
        self.asked += 1
        if self.asked == self.k:
            return {name: Term(FailsBackward.apply(term.sum), term.unit) for name, term in found.items()}
        return found


@pytest.mark.parametrize("k", range(1, 9))
def test_a_step_retried_after_any_failure_is_that_step_at_that_size(tmp_path, k):
    task = Allocator(k)  # 16 rows in parts of 4: eight demands
    first = train(tmp_path / "scarce", recipe(micro=4, steps=AT + 1), task=task)
    assert [d["micro"] for d in decisions(tmp_path / "scarce")] == [2]
    plenty = tmp_path / "plenty"
    plenty.mkdir()
    (plenty / "decisions.jsonl").write_bytes((tmp_path / "scarce/decisions.jsonl").read_bytes())
    second = train(plenty, recipe(micro=4, steps=AT + 1))
    assert torch.equal(first.state.flat.weights, second.state.flat.weights)
    assert losses(tmp_path / "scarce") == losses(plenty)


class Once(Toy):
    """Memory runs out once, in the forward pass, after dropout and normalisation have done their work."""

    failed = False

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        if not self.failed:
            self.failed = True
            raise scarce()
        return found


def test_masks_and_statistics_of_a_retry_are_those_of_a_step_that_was_not_retried(tmp_path):
    first = train(tmp_path / "a", recipe(steps=1), model=network(norm=True), task=Once())
    second = train(tmp_path / "b", recipe(steps=1, micro=8), model=network(norm=True))
    assert torch.equal(first.state.flat.weights, second.state.flat.weights)
    assert all(torch.equal(a, b) for a, b in zip(first.state.buffers, second.state.buffers, strict=True))
    assert torch.equal(first.state.counters[0], second.state.counters[0])


def fail_in_optimiser(run, times):
    move, left = run.state.optimisers["model"].step, [times]

    def step(*args):
        move(*args)  # the weights have moved already: only the disk knows what they were
        if run.state.progress.step == AT and left[0]:
            left[0] -= 1
            raise scarce()

    run.state.optimisers["model"].step = step


def test_memory_that_runs_out_in_the_optimiser_goes_back_to_the_disk_and_on(tmp_path):
    whole = train(tmp_path / "whole")
    healed = train(tmp_path / "healed", change=lambda run: fail_in_optimiser(run, 2))
    assert [d["kind"] for d in decisions(tmp_path / "healed")] == ["reloaded", "reloaded"]
    expected = whole.state.tensors()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in healed.state.tensors().items())
    assert losses(tmp_path / "whole") == losses(tmp_path / "healed")


def test_memory_that_always_runs_out_in_the_optimiser_ends_with_exit_4(tmp_path):
    with pytest.raises(ResourceError) as error:
        train(tmp_path, change=lambda run: fail_in_optimiser(run, -1))
    assert error.value.exit == 4
    assert Generations(tmp_path).steps()[0] == AT


def test_memory_that_runs_out_in_the_optimiser_now_and_then_is_no_endless_trouble(tmp_path):
    def now_and_then(run):
        move, failed = run.state.optimisers["model"].step, set()

        def step(*args):
            move(*args)
            if run.state.progress.step % 2 and run.state.progress.step not in failed:
                failed.add(run.state.progress.step)
                raise scarce()

        run.state.optimisers["model"].step = step

    assert train(tmp_path, recipe(steps=14), change=now_and_then).state.progress.finished
    assert len(decisions(tmp_path)) == 7


def test_what_was_decided_before_going_back_to_the_disk_is_written_down_once(tmp_path):
    class SickTwice(Toy):
        def losses(self, model, batch, player, step):
            found = super().losses(model, batch, player, step)
            return {n: Term(t.sum * float("nan"), t.unit) for n, t in found.items()} if step in (0, 2) else found

    run = train(tmp_path, recipe(save_every=1000.0), task=SickTwice(), change=lambda run: fail_in_optimiser(run, 2))
    assert run.state.progress.finished
    assert [(d["kind"], d["step"]) for d in decisions(tmp_path)] == [
        ("skipped", 0), ("skipped", 2), ("reloaded", AT), ("reloaded", AT),
    ]  # fmt: skip


class Judging(Toy):
    """An evaluation in which no more than ``rows`` fit."""

    def __init__(self, rows, error=None):
        self.rows, self.error, self.seen = rows, error or scarce(), []

    def raw(self, model, batch):
        if len(batch) > self.rows:
            raise self.error
        self.seen.append(len(batch))
        return super().raw(model, batch)


def test_an_evaluation_looks_at_fewer_at_once_and_finds_the_same(tmp_path):
    whole, halved = train(tmp_path / "whole"), Judging(5)
    run = train(tmp_path / "halved", task=halved)
    assert max(halved.seen) == 4
    assert run.state.progress.best == whole.state.progress.best


def test_an_evaluation_begins_with_what_training_can_hold(tmp_path):
    task = Judging(16)
    train(tmp_path, recipe(micro=4), task=task)
    assert max(task.seen) == 4


def test_a_picture_that_cannot_be_judged_alone_ends_with_exit_4(tmp_path):
    with pytest.raises(ResourceError) as error:
        train(tmp_path, task=Judging(0))
    assert error.value.exit == 4
    assert Generations(tmp_path).steps()


def test_memory_that_runs_out_elsewhere_keeps_the_state_and_resumes_smaller(tmp_path):
    with pytest.raises(ResourceError) as error:
        train(tmp_path, task=Judging(8, MemoryError()))
    assert error.value.exit == 4
    assert "8 samples" in str(error.value)
    assert train(tmp_path, task=Judging(8, MemoryError())).state.progress.finished


def test_an_error_of_python_that_says_nothing_keeps_the_state_and_resumes_smaller(tmp_path):
    class Mute(Toy):
        def losses(self, model, batch, player, step):
            if len(batch) > 8:
                raise MemoryError
            return super().losses(model, batch, player, step)

    with pytest.raises(ResourceError) as error:
        train(tmp_path, task=Mute())
    assert error.value.exit == 4 and error.value.where == "MemoryError"
    assert train(tmp_path, task=Mute()).state.progress.finished


class Grouped(Toy):
    """A statistic over groups of four; no more than ``rows`` rows fit."""

    group = 4

    def __init__(self, rows):
        self.rows = rows

    def losses(self, model, batch, player, step):
        assert len(batch) % self.group == 0
        if len(batch) > self.rows:
            raise scarce()
        return super().losses(model, batch, player, step)


def test_parts_are_whole_groups(tmp_path):
    run = train(tmp_path, recipe(batch=24, steps=2), task=Grouped(7), feed=Points(n=48, batch=24))
    assert [d["micro"] for d in decisions(tmp_path)] == [12, 4]
    assert run.micro(0) == 4


def test_a_group_that_does_not_fit_is_not_torn(tmp_path):
    with pytest.raises(ResourceError) as error:
        train(tmp_path, task=Grouped(3))
    assert "4 samples" in str(error.value)


def test_a_wish_smaller_than_a_group_is_a_group(tmp_path):
    assert train(tmp_path, recipe(micro=6, steps=1), task=Grouped(4)).micro(0) == 4


def test_a_loss_over_the_whole_batch_is_never_split(tmp_path):
    class Whole(Grouped):
        group = 0

        def losses(self, model, batch, player, step):
            if len(batch) != 16 or self.rows < 16:
                raise scarce()
            return Toy.losses(self, model, batch, player, step)

    assert train(tmp_path / "fits", recipe(micro=4, steps=2), task=Whole(16)).state.progress.finished
    with pytest.raises(ResourceError) as error:
        train(tmp_path / "does_not", recipe(steps=2), task=Whole(1))
    assert "16 samples" in str(error.value)


def test_other_faults_are_not_taken_for_want_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match="a fault of ours"):
        train(tmp_path, task=Judging(0, RuntimeError("a fault of ours")))
