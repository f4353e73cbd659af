"""A step number gives a batch: the same one whoever asks, from however many workers, whatever dies meanwhile."""

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.plain import Brighten, collate, in_folder, odd_sizes, of_array, of_files, same

from visus.core.errors import DataError, UsageError
from visus.core.files import alive
from visus.core.seeds import Draws, permutation
from visus.core.task import Batch, Condemned
from visus.data.cache import Plan, build
from visus.data.dataset import Dataset, FileImages, Images, Strings
from visus.data.feed import Feed
from visus.data.workers import Processes

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks")


def feed(dataset, *, batch=8, partners=0, **options):
    chosen = {"seed": 3, "train": True, "channels": 3} | options
    indices = chosen.pop("indices", np.arange(len(dataset)))
    transform = chosen.pop("transform", Brighten(partners))
    return Feed(dataset, indices, transform, collate, batch=batch, **chosen)


def joined(batches):
    """Return the rows of several batches as one."""
    first = batches[0]
    rows = [torch.cat([b.inputs[0] for b in batches])]
    targets = {name: torch.cat([b.targets[name] for b in batches]) for name in first.targets}
    ids = tuple(name for b in batches for name in b.ids)
    indices, frames = torch.cat([b.indices for b in batches]), torch.cat([b.frames for b in batches])
    return Batch(tuple(rows), targets, ids, indices, frames, first.seed, first.start, first.whole, first.bad)


@dataclass(frozen=True)
class Faulty:
    """Images of which some cannot be read."""

    images: Images
    broken: frozenset[int]

    def read(self, i):
        if i in self.broken:
            raise DataError("DATA-014", f"{i}: the file ends early")
        return self.images.read(i)


def faulty(dataset: Dataset, *broken: int) -> Dataset:
    return dataset.with_(images=Faulty(dataset.images, frozenset(broken)))


# which samples


def test_every_epoch_shows_every_sample_once_in_its_own_order():
    with feed(of_array(20), batch=6) as batches:
        seen = torch.cat([batches.batch(step).indices for step in range(10)]).numpy()  # 60 positions: three epochs
    epochs = seen.reshape(3, 20)
    assert (np.sort(epochs, 1) == np.arange(20)).all()
    assert (epochs == [permutation(3, epoch, 20) for epoch in range(3)]).all()


def test_a_batch_larger_than_the_data_set_reaches_through_several_epochs():
    with feed(of_array(3), batch=8) as batches:
        assert len(batches.batch(0)) == 8
        assert np.bincount(batches.batch(0).indices.numpy()).max() == 3


def test_a_step_has_the_same_bits_in_whatever_order_steps_are_asked_for():
    with feed(of_array(), partners=1) as one, feed(of_array(), partners=1) as other:
        forward = [one.batch(step) for step in range(6)]
        backward = [other.batch(step) for step in reversed(range(6))][::-1]
    assert all(map(same, forward, backward))


def test_augmentation_differs_between_epochs_and_is_that_of_seed_epoch_and_sample():
    data = of_array(4)
    with feed(data, batch=4) as batches:
        for epoch in range(2):
            got = batches.batch(epoch)
            chance = Draws(3, np.full(4, epoch), got.indices.numpy()).uniform("brightness")
            pixels = torch.from_numpy(data.images.array[got.indices.numpy()]).permute(0, 3, 1, 2).float() / 255
            assert torch.equal(got.inputs[0], pixels + torch.from_numpy(chance).float()[:, :, None, None])


def test_judging_goes_in_order_with_the_draws_of_epoch_0():
    with feed(of_array(5), batch=5, train=False) as batches:
        assert batches.batch(0).indices.tolist() == [0, 1, 2, 3, 4]
        assert torch.equal(batches.batch(0).inputs[0], batches.batch(7).inputs[0])


def test_indices_choose_the_records_and_ids_and_columns_follow():
    with feed(of_array(), indices=np.array([7, 30, 41]), batch=3, train=False) as batches:
        got = batches.batch(0)
    assert got.ids == ("7", "30", "41") and got.indices.tolist() == [7, 30, 41]
    assert got.targets["label"].tolist() == [2, 0, 1]
    assert got.targets["numbers"].tolist() == [[14, 15], [60, 61], [82, 83]]


def test_a_feed_without_samples_says_so():
    with (
        feed(of_array(), indices=np.array([], dtype=np.int64)) as batches,
        pytest.raises(UsageError, match="no samples"),
    ):
        batches.batch(0)


# ranks


@pytest.mark.parametrize("world", [2, 3, 8, 11])
@pytest.mark.parametrize("partners", [0, 2])
def test_the_ranks_together_read_what_one_process_reads(world, partners):
    data = of_array()
    with feed(data, partners=partners) as alone:
        whole = alone.batch(4)
    parts = []
    for rank in range(world):
        with feed(data, partners=partners, rank=rank, world=world) as batches:
            parts.append(batches.batch(4))
            assert parts[-1].start == sum(map(len, parts[:-1])) and parts[-1].whole == 8
    assert same(joined(parts), whole)


def test_a_rank_without_rows_has_a_batch_of_the_usual_shapes():
    with feed(of_array(), batch=2, partners=1, rank=0, world=3) as batches:
        empty = batches.batch(0)
    assert len(empty) == 0 and empty.whole == 2
    assert empty.inputs[0].shape == (0, 3, 8, 8) and empty.inputs[0].dtype == torch.float32
    assert empty.targets["label"].shape == (0,) and empty.frames.shape == (0, 3, 3)


# partners


def test_a_partner_is_another_row_of_the_step_with_its_own_draws():
    data = of_array(40)
    with feed(data, batch=8, partners=2) as mixed, feed(data, batch=8) as plain:
        for step in range(5):
            got, rows = mixed.batch(step), plain.batch(step)
            at = {int(i): row for row, i in enumerate(rows.indices)}
            expected = rows.inputs[0].clone()
            for j in range(2):
                mates = [at[int(i)] for i in got.targets[f"partner_{j}"]]
                assert all(mate != row for row, mate in enumerate(mates))
                expected = expected + 0.1 * rows.inputs[0][mates]
            assert torch.equal(got.inputs[0], expected)


def test_partners_are_drawn_evenly():
    with feed(of_array(4), batch=4, partners=1, train=False) as batches:
        pairs = np.zeros((4, 4), dtype=int)
        for step in range(600):
            got = batches.batch(step)
            np.add.at(pairs, (got.indices.numpy(), got.targets["partner_0"].numpy()), 1)
    assert (np.diag(pairs) == 0).all()
    assert (abs(pairs[~np.eye(4, dtype=bool)] - 200) < 5 * np.sqrt(600 * 2 / 9)).all()  # five standard deviations


def test_the_only_row_of_a_step_is_its_own_partner():
    with feed(of_array(), batch=1, partners=1) as batches:
        got = batches.batch(0)
    assert torch.equal(got.targets["partner_0"], got.indices)


# samples that are left out or cannot be read


def test_a_quarantined_sample_is_left_out_and_the_other_rows_keep_their_bits():
    with feed(of_array()) as batches:
        whole = batches.batch(2)
        gone = int(whole.indices[3])
        rest = batches.batch(2, without=frozenset({gone, 10_000}))
    assert rest.indices.tolist() == [i for i in whole.indices.tolist() if i != gone]
    assert torch.equal(rest.inputs[0], torch.cat([whole.inputs[0][:3], whole.inputs[0][4:]]))
    assert rest.bad == () and rest.whole == 8


def test_a_quarantined_sample_is_nobodys_partner():
    with feed(of_array(), partners=2) as batches:
        gone = int(batches.batch(0).indices[0])
        rest = batches.batch(0, without=frozenset({gone}))
    assert all(gone not in rest.targets[f"partner_{j}"] for j in range(2))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read_is_left_out_and_reported_and_the_others_keep_their_bits(workers):
    data = of_array()
    with feed(data) as batches:
        whole = batches.batch(1)
    broken = int(whole.indices[5])
    with feed(faulty(data, broken), workers=workers) as batches:
        for _ in range(2):
            rest = batches.batch(1)
            assert rest.bad == ((str(broken), f"{broken}: the file ends early"),)
            assert torch.equal(rest.inputs[0], torch.cat([whole.inputs[0][:5], whole.inputs[0][6:]]))
            batches.batch(0)


@pytest.mark.parametrize("world", [1, 2])
def test_a_picture_that_cannot_be_read_is_nobodys_partner_and_only_those_it_was_get_another(world):
    data = of_array()
    with feed(data, partners=1) as batches:
        whole = batches.batch(0)
    broken = int(whole.targets["partner_0"][0])
    parts = []
    for rank in range(world):
        with feed(faulty(data, broken), partners=1, rank=rank, world=world) as batches:
            parts.append(batches.batch(0))
    rest = joined(parts)
    assert broken not in rest.targets["partner_0"] and broken not in rest.indices
    assert sum((part.bad for part in parts), ()) == ((str(broken), f"{broken}: the file ends early"),)
    before = dict(
        zip(whole.indices.tolist(), zip(whole.targets["partner_0"].tolist(), whole.inputs[0], strict=True), strict=True)
    )
    for i, mate, image in zip(rest.indices.tolist(), rest.targets["partner_0"].tolist(), rest.inputs[0], strict=True):
        mate_before, image_before = before[i]
        assert mate_before == broken or (mate == mate_before and torch.equal(image, image_before))


def test_a_step_of_which_nothing_can_be_read_is_an_empty_batch_that_names_them_all():
    data = of_array(9)
    with feed(faulty(data, *range(8)), batch=3, train=False) as batches:
        got = batches.batch(0)
    assert len(got) == 0 and [name for name, _ in got.bad] == ["0", "1", "2"]
    assert got.inputs[0].shape == (0, 3, 8, 8)


def test_a_data_set_of_which_nothing_can_be_read_is_an_error():
    with feed(faulty(of_array(4), 0, 1, 2, 3)) as batches, pytest.raises(DataError, match="not one picture"):
        batches.batch(0)


# sweeps


@pytest.mark.parametrize("world", [1, 3, 9])
def test_a_sweep_shows_every_record_once_in_order_and_unpadded_over_all_ranks(world):
    shares = []
    for rank in range(world):
        with feed(of_array(), indices=np.arange(3, 10), batch=2, train=False, rank=rank, world=world) as batches:
            shares.append(list(batches.sweep()))
    parts = [part for share in shares for part in share]
    assert torch.cat([part.indices for part in parts]).tolist() == list(range(3, 10))
    assert [part.start for part in parts] == np.cumsum([0, *map(len, parts)])[:-1].tolist()
    assert world < 9 or shares[0] == []


def test_a_sweep_left_half_way_and_steps_between_do_not_disturb_each_other():
    with feed(of_array(), partners=1) as batches, feed(of_array(), partners=1) as fresh:
        for part in batches.sweep():
            assert same(batches.batch(1), fresh.batch(1))
            if part.start >= 16:
                break
        assert all(map(same, batches.sweep(), fresh.sweep()))


# pixels and frames


def test_frames_lead_from_stored_pixels_to_original_ones(tmp_path):
    data = of_files(tmp_path, [np.zeros((40, 20), np.uint8), np.zeros((30, 45), np.uint8), np.zeros((9, 10), np.uint8)])
    with feed(data, batch=3, train=False, stored=10, transform=Brighten(size=8)) as batches:
        frames = batches.batch(0).frames
    corners = [torch.tensor([w, h, 1.0], dtype=torch.float64) for h, w in ((20, 10), (10, 15), (9, 10))]
    home = [(frame @ corner)[:2].tolist() for frame, corner in zip(frames, corners, strict=True)]
    assert home == [[20, 40], [45, 30], [10, 9]]


def test_pictures_of_differing_sizes_and_channels_come_as_the_channels_asked_for(tmp_path):
    data = of_files(tmp_path, odd_sizes(12))
    with feed(data, batch=12, train=False, channels=1) as batches:
        assert batches.batch(0).inputs[0].shape == (12, 1, 8, 8)


# threads and processes


@pytest.mark.parametrize("partners", [0, 1])
def test_no_workers_and_two_workers_give_the_same_bits(tmp_path, partners):
    data = of_files(tmp_path, odd_sizes(30))
    with feed(data, partners=partners) as none, feed(data, partners=partners, workers=2) as two:
        for step in [0, 1, 2, 7, 8, 3]:
            assert same(none.batch(step), two.batch(step))
        assert all(map(same, none.sweep(), two.sweep()))


def test_bits_do_not_depend_on_the_callers_threads_and_the_caller_keeps_them():
    torch.set_num_threads(2)
    with feed(of_array(), transform=Threaded()) as batches:
        assert batches.batch(0).targets["threads"].tolist() == [1] * 8
        assert torch.get_num_threads() == 2
        seen = []
        new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        new.start()
        new.join()
        assert seen == [2]
    with feed(of_array(), transform=Threaded(), workers=1) as batches:
        assert batches.batch(0).targets["threads"].tolist() == [1] * 8


class Threaded(Brighten):
    """Says with how many threads it was run."""

    def __call__(self, samples, draws, partners=()):
        ready = super().__call__(samples, draws, partners)
        ready.columns["threads"] = torch.full((len(samples),), torch.get_num_threads())
        return ready


class Raising(Brighten):
    def __call__(self, samples, draws, partners=()):
        raise UsageError("AUG-999", "this cannot be mixed", fix="do not")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_transform_reaches_the_caller_whole(workers):
    with feed(of_array(), transform=Raising(), workers=workers) as batches, pytest.raises(UsageError) as caught:
        batches.batch(0)
    assert (caught.value.code, caught.value.fix) == ("AUG-999", "do not")
    assert not workers or "in a worker process" in "".join(caught.value.__notes__)


def test_a_batch_stays_as_it_is_while_later_ones_are_made():
    with feed(of_array(), workers=1) as batches, feed(of_array()) as fresh:
        kept = [batches.batch(step) for step in range(12)]
        assert all(same(kept[step], fresh.batch(step)) for step in range(12))


def test_waiting_is_the_time_spent_inside_batch():
    with feed(of_array()) as batches:
        began = time.perf_counter()
        batches.batch(0)
        first = batches.waiting
        assert 0 < first <= time.perf_counter() - began
        list(batches.sweep())
        assert batches.waiting == first


# what can happen to a worker


@dataclass(frozen=True)
class Deadly:
    """Images of which one ends or stops the process that reads it: the first ``times`` times."""

    images: Images
    culprit: int
    tally: Path
    times: int
    signal: int

    def read(self, i):
        if i == self.culprit and (died := len(list(self.tally.iterdir()))) < self.times:
            (self.tally / str(died)).touch()
            faulthandler.disable()  # its page of traceback is pytest's, not the worker's
            os.kill(os.getpid(), self.signal)
            time.sleep(1)
        return self.images.read(i)


@posix
@pytest.mark.parametrize(
    ("how", "told"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (signal.SIGSTOP, "no sign of life"), (40, "signal 40")],
)
def test_a_worker_that_is_killed_crashes_or_hangs_is_replaced_and_nothing_changes(tmp_path, how, told):
    data = of_array()
    with feed(data) as fresh:
        expected = [fresh.batch(step) for step in range(4)]
    deadly = data.with_(images=Deadly(data.images, int(expected[1].indices[4]), tmp_path, 1, how))
    with feed(deadly, workers=2) as batches:
        batches._pool.deadline = 1.0
        assert all(same(batches.batch(step), expected[step]) for step in range(4))
        (event,) = batches.events
        assert "step 1 is computed again" in event and f"while reading {expected[1].ids[4]}" in event
        assert told in event


@posix
def test_a_picture_that_ends_every_process_that_reads_it_is_left_out_as_bad(tmp_path):
    data = of_array()
    with feed(data) as fresh:
        whole = fresh.batch(0)
    culprit = int(whole.indices[2])
    with feed(data.with_(images=Deadly(data.images, culprit, tmp_path, 99, signal.SIGSEGV)), workers=1) as batches:
        rest = batches.batch(0)
        assert rest.bad == ((str(culprit), "every process that read it was ended by signal 11 (SIGSEGV)"),)
        assert len(batches.events) == 3
    assert torch.equal(rest.inputs[0], torch.cat([whole.inputs[0][:2], whole.inputs[0][3:]]))


@posix
def test_workers_killed_at_random_moments_change_nothing():
    random = np.random.default_rng(5)
    with feed(of_array(), partners=1) as fresh, feed(of_array(), partners=1, workers=2) as batches:
        assert isinstance(batches._pool, Processes)
        for step in range(40):
            if step % 4 == 1:
                time.sleep(random.uniform(0, 0.01))
                os.kill(batches._pool._workers[random.integers(2)].process.pid, signal.SIGKILL)
            assert same(batches.batch(step), fresh.batch(step))
        assert batches.events


def shared_memory():
    with contextlib.suppress(FileNotFoundError):
        return set(os.listdir("/dev/shm"))
    return set()


@posix
@pytest.mark.parametrize("how", ["close", "forget"])
def test_no_process_and_no_shared_memory_is_left(how):
    before = shared_memory()
    batches = feed(of_array(), workers=2)
    processes = [worker.process.pid for worker in batches._pool._workers]
    kept = batches.batch(0)
    if how == "close":
        batches.close()
        batches.close()
    del batches
    gc.collect()
    assert not any(alive(process) for process in processes)
    assert len(kept) == 8 and shared_memory() <= before


def hold_a_feed(pipe):
    batches = feed(of_array(), workers=2)
    batches.batch(0)
    pipe.send([worker.process.pid for worker in batches._pool._workers])
    time.sleep(60)


@posix
def test_workers_end_when_their_parent_is_killed():
    ours, theirs = multiprocessing.Pipe()
    parent = multiprocessing.get_context("fork").Process(target=hold_a_feed, args=(theirs,))
    parent.start()
    workers = ours.recv()
    parent.kill()
    parent.join()
    until = time.monotonic() + 20
    while any(map(running, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(map(running, workers))


def running(process):
    """Tell whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return alive(process) and not Path("/proc").is_dir()


def test_what_a_worker_needs_travels_small_and_gives_the_same_bits(tmp_path):
    data = of_files(tmp_path, odd_sizes(8))
    names = Strings([f"class_{i % 10}/{i:06d}.png" for i in range(10_000)])
    many = data.with_(ids=names, images=FileImages(tmp_path, names), columns={"label": np.zeros(10_000, np.int64)})
    with feed(many) as batches:
        assert len(ForkingPickler.dumps(batches._pool._work)) < 600_000  # names, labels and indices
    with feed(data) as batches:
        copy = pickle.loads(ForkingPickler.dumps(batches._pool._work))
        assert same(copy(batches._plan.step(2), lambda _: None), batches.batch(2))


SCRIPT = """
    import multiprocessing, sys
    from tests.data.plain import of_array, Brighten, collate, same
    from visus.data.feed import Feed
    import numpy as np

    def feed(workers):
        settings = dict(batch=8, seed=3, train=True, channels=3, workers=workers)
        return Feed(of_array(), np.arange(50), Brighten(1), collate, **settings)

    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[1])
        with feed(0) as none, feed(1) as one:
            print(all(same(none.batch(step), one.batch(step)) for step in range(5)))
"""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_every_start_method_gives_the_same_bits(tmp_path, method):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    ran = subprocess.run([sys.executable, tmp_path / "script.py", method], capture_output=True, text=True, check=False,
                         env={**os.environ, "PYTHONPATH": path}, timeout=300)  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("True\n", "")


STOPPED = """
    import signal, time
    from visus.data import workers

    def stop(number, frame):
        raise SystemExit(7)

    signal.signal(signal.SIGALRM, stop)
    workers._compute_alone = lambda: time.sleep(1)  # threads that take their time, as on a busy machine
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    workers.Threads(lambda job, beat: job, 2)
"""


@posix
def test_a_process_that_is_stopped_while_its_threads_start_ends():
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(STOPPED)], check=False, timeout=60)
    assert ran.returncode == 7


@posix
@pytest.mark.slow
def test_a_hundred_workers_killed_crashed_or_stopped_at_random_moments_change_nothing():
    random = np.random.default_rng(7)
    with feed(of_array(), partners=1) as fresh, feed(of_array(), partners=1, workers=2) as batches:
        batches._pool.deadline = 0.3
        for step in range(1000):
            time.sleep(random.uniform(0, 0.01))
            victim = batches._pool._workers[random.integers(2)].process.pid
            os.kill(victim, [signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP][step % 3])
            assert same(batches.batch(step), fresh.batch(step))
            if len(batches.events) >= 100:
                break
        assert len(batches.events) >= 100


def test_odd_and_broken_files_are_shown_or_named_alike_with_and_without_a_cache(bad_inputs, monkeypatch, tmp_path):
    monkeypatch.setenv("VISUS_CACHE", str(tmp_path))
    files = sorted(
        path for path in (bad_inputs / "images").iterdir() if path.is_file() and path.stat().st_size < 200_000
    )
    data = in_folder(bad_inputs / "images", [path.name for path in files])
    made, _ = build(Plan("disk", 0, "", 8, 3), data, np.arange(len(data)))
    seen = []
    for cache in (None, made):
        with feed(data, transform=Fitting(), train=False, stored=8, cache=cache) as batches:
            parts = list(batches.sweep())
        seen.append(([name for part in parts for name in part.ids], dict(pair for part in parts for pair in part.bad)))
    assert seen[0] == seen[1] and len(seen[0][0]) > 20 and len(seen[0][1]) > 20
    assert sorted(seen[0][0] + list(seen[0][1])) == sorted(data.ids)


class Fitting(Brighten):
    """Takes pictures of any size and depth."""

    def _one(self, samples, draws):
        return torch.stack([image.float().mean((1, 2)) for image in samples.images])


@posix
def test_another_feed_that_is_told_who_is_condemned_shows_the_same_and_loses_no_process(tmp_path):
    data = of_array()
    with feed(data) as fresh:
        culprit = int(fresh.batch(3).indices[2])
        earlier = [step for step in range(3, 20) if culprit in fresh.batch(step).indices.tolist()][1]
    deadly = data.with_(images=Deadly(data.images, culprit, tmp_path, 3, signal.SIGKILL))
    with feed(deadly, workers=1) as first:
        first.batch(3)
        condemned, shown = dict(first.condemned), [first.batch(step) for step in range(20)]
    with feed(data, workers=1) as other:
        other.condemned.update(condemned)
        assert all(same(other.batch(step), shown[step]) for step in range(20))
        assert other.events == []
    assert condemned[culprit].since == 3
    assert culprit not in shown[earlier].indices.tolist()


def test_steps_before_a_picture_was_condemned_show_it_and_sweeps_do_not():
    data = of_array()
    with feed(data) as fresh, feed(data) as told:
        culprit = int(fresh.batch(0).indices[0])
        told.condemned[culprit] = Condemned(1, str(culprit), "gone")
        assert same(told.batch(0), fresh.batch(0))
        assert all(culprit not in told.batch(step).indices.tolist() for step in range(1, 12))
        swept = [i for batch in told.sweep() for i in batch.indices.tolist()]
        assert sorted([*swept, culprit]) == [i for batch in fresh.sweep() for i in batch.indices.tolist()]
