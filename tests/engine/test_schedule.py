"""Rates against PyTorch's own schedulers; runs in minutes against simulated clocks."""

from itertools import pairwise

import pytest
import torch
from torch.optim import lr_scheduler

from tests.engine.toy import recipe
from visus.core.errors import UsageError
from visus.core.recipe import ScheduleSettings
from visus.engine.schedule import SEGMENTS, Minutes, Steps, check, shape


def rates(scheduler, n):
    """Return what a PyTorch scheduler says of a rate of 1."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made, told = scheduler(optimiser), []
    for _ in range(n):
        told.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        made.step()
    return told


def ours(n, **settings):
    horizon = Steps(recipe(steps=n, **{f"schedule.{k}": v for k, v in settings.items()}), n, n)
    return [horizon.rate(step) for step in range(n)]


def test_cosine_is_that_of_pytorch():
    expected = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 50, eta_min=0.1), 50)
    assert ours(50, name="cosine", warmup=0.0, final=0.1) == pytest.approx(expected, abs=1e-12)


def test_one_cycle_is_that_of_pytorch_but_for_its_last_step():
    def cycle(optimiser):
        return lr_scheduler.OneCycleLR(
            optimiser,
            1.0,
            total_steps=101,
            pct_start=31 / 101,
            div_factor=25,
            final_div_factor=0.4,
            cycle_momentum=False,
        )

    expected = rates(cycle, 100)  # peak at step 30 of 0..100
    assert ours(100, name="one_cycle", start=0.04, final=0.1) == pytest.approx(expected, abs=1e-12)


def test_warm_up_is_a_straight_line():
    expected = rates(lambda o: lr_scheduler.LambdaLR(o, lambda s: 0.1 + 0.9 * (s + 1) / 11 if s < 10 else 1.0), 100)
    assert ours(100, name="constant", warmup=0.1, start=0.1) == pytest.approx(expected, abs=1e-12)


def test_after_the_warm_up_the_shape_begins_at_its_top():
    told = ours(100, name="cosine", warmup=0.1, start=0.0)
    assert max(told) == told[10] == 1.0
    assert told[:11] == sorted(told[:11])


def test_steps_fall_at_their_milestones():
    expected = rates(lambda o: lr_scheduler.MultiStepLR(o, [50, 75], gamma=0.1), 100)
    told = ours(100, name="step", warmup=0.0, milestones=(0.5, 0.75), factor=0.1)
    assert told == pytest.approx(expected, rel=1e-12)


def test_milestones_are_fractions_of_what_follows_the_warm_up():
    told = ours(100, name="step", warmup=0.2, milestones=(0.5, 0.75), factor=0.1)
    assert told[20:] == pytest.approx([1.0] * 40 + [0.1] * 20 + [0.01] * 20, rel=1e-12)


def test_linear_is_a_straight_line_to_its_end():
    expected = rates(lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=40), 40)
    assert ours(40, name="linear", warmup=0.0, final=0.2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "linear"])
def test_every_shape_ends_at_its_final_share(name):
    settings = recipe(**{"schedule.name": name, "schedule.final": 0.05}).schedule
    assert shape(settings, 1.0) == pytest.approx(0.05)


def test_a_model_is_judged_each_epoch_and_at_the_end():
    horizon = Steps(recipe(evaluate_every=1.0), 25, 10)
    assert [step for step in range(26) if horizon.evaluates(step)] == [10, 20, 25]


def judgings(total, epoch, judged, batch=10):
    horizon = Steps(recipe(batch=batch), total, epoch, judged)
    return [step for step in range(1, total + 1) if horizon.evaluates(step)]


def test_a_model_is_judged_ten_times_in_a_long_run_and_at_most_once_an_epoch():
    assert judgings(1000, 20, 20) == list(range(100, 1001, 100))
    assert judgings(20, 5, 5) == [5, 10, 15, 20]
    assert judgings(30, 900, 1000) == [30]


@pytest.mark.parametrize("judged", [10, 1000, 10_000])
def test_judging_takes_a_tenth_of_the_time_at_most_but_for_the_last(judged):
    often = len(judgings(1000, 10, judged)) - 1
    assert often * judged / 3 <= 0.1 * 1000 * 10


SECONDS = 600.0


def simulate(
    seconds_of_step, *, seconds=SECONDS, start=0, elapsed=0.0, decisions=(), until=10**9, cost=0.0, **schedule
):
    """Run a horizon against a clock; return (steps, seconds, decisions, rates)."""
    written = list(decisions)
    horizon = Minutes(
        recipe(minutes=10, steps=None, **{f"schedule.{k}": v for k, v in schedule.items()}),
        seconds,
        5,
        lambda k, s, v: written.append((k, s, v)),
        list(decisions),
        cost=cost,
    )
    step, told = 0, []
    if start:  # a resume: the log is cut, the decisions are all there
        step = start
    while step < until:
        if not horizon.ended(step):
            horizon.decide(step, elapsed)
        if horizon.ended(step):
            break
        told.append(horizon.rate(step))
        elapsed += seconds_of_step(step, elapsed)
        step += 1
    return step, elapsed, written, told


CLOCKS = {
    "fast": lambda step, at: 0.06,
    "slow": lambda step, at: 3.0,
    "speeding up": lambda step, at: 0.5 - 0.3 * min(1, at / SECONDS),
    "slowing down by 30 %": lambda step, at: 0.2 * (1 + 0.3 * min(1, at / SECONDS)),
    "slowing down at once by 30 %": lambda step, at: 0.2 if at < 0.7 * SECONDS else 0.26,
    "slow at first": lambda step, at: 20.0 if step == 0 else 0.1,
    "a stall in the constant part": lambda step, at: 60.0 if step == 700 else 0.2,
    "a stall in the decay": lambda step, at: 60.0 if step == 2300 else 0.2,
    "noisy": lambda step, at: 0.1 + 0.2 * (step * 7919 % 97) / 97,
}


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_run_in_minutes_ends_within_5_percent_of_its_budget(clock):
    assert simulate(clock)[1] == pytest.approx(SECONDS, rel=0.05)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_another_clock_that_replays_the_decisions_does_the_same_steps(clock):
    steps, _, written, told = simulate(clock)
    again = simulate(lambda step, at: 7.0, decisions=written)
    assert (again[0], again[2], again[3]) == (steps, written, told)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.8, 0.97])
def test_a_resume_anywhere_goes_on_with_the_same_rates(share):
    clock = CLOCKS["noisy"]
    steps, _, written, told = simulate(clock)
    at = int(steps * share)
    known = [d for d in written if d[1] <= at]
    _, elapsed, _, first = simulate(clock, decisions=known, until=at)
    assert first == told[:at]
    end, elapsed, _, rest = simulate(clock, start=at, elapsed=elapsed, decisions=known)
    assert elapsed == pytest.approx(SECONDS, rel=0.05)
    assert rest[0] == pytest.approx(told[at], abs=1e-12)
    assert all(a >= b for a, b in pairwise(rest[1:]))
    assert end > at


def test_the_rate_of_a_run_in_minutes_never_jumps_by_more_than_a_segments_share():
    told = simulate(CLOCKS["noisy"])[3][5:]  # after the warm-up
    assert max(abs(a - b) for a, b in pairwise(told)) < 1 / SEGMENTS
    assert told[-1] < 0.02


def test_milestones_of_a_run_in_minutes_are_fractions_of_its_decay():
    told = simulate(CLOCKS["fast"], name="step", decay=0.4, milestones=(0.5,), factor=0.125)[3]
    assert told.index(0.125) / len(told) == pytest.approx(0.6 + 0.5 * 0.4, abs=0.01)


def test_one_cycle_in_minutes_is_cosine():
    assert simulate(CLOCKS["fast"], name="one_cycle")[3] == simulate(CLOCKS["fast"], name="cosine")[3]


def test_costly_validations_wait_for_the_end():
    def judgings_decided(cost):
        return sum(values.get("judge", False) for _, _, values in simulate(CLOCKS["fast"], cost=cost)[2])

    assert judgings_decided(cost=0.1 * SECONDS) == 0
    assert judgings_decided(cost=1.0) == 3


def test_a_run_in_minutes_is_judged_as_often_as_asked_for():
    horizon = Minutes(recipe(minutes=10, steps=None, evaluate_every=2), SECONDS, 5, lambda *decision: None, epoch=10)
    judged = []
    for step in range(59):
        horizon.decide(step, 10.0 * step)
        judged += [step] if horizon.evaluates(step) else []
    assert judged == [20, 40]


def test_a_warm_up_made_for_a_long_run_is_cut_to_its_share_of_a_short_one():
    def rates_with(warm, written=()):
        decisions = list(written)
        horizon = Minutes(recipe(minutes=10, steps=None, **{"schedule.warmup": 0.2}), SECONDS, warm,
                          lambda *decision: decisions.append(decision), decisions[:])  # fmt: skip
        told = []
        for step in range(30):
            horizon.decide(step, 10.0 * step)
            told.append(horizon.rate(step))
        return told, decisions

    told, decisions = rates_with(warm=500)
    assert told[:2] == [1 / 501, 2 / 501]  # how long the run is does not show before
    assert told[2:13] == pytest.approx([(step + 1) / 13 for step in range(2, 12)] + [1.0])  # 0.2 of 60 steps
    assert rates_with(500, decisions) == (told, decisions)
    assert rates_with(warm=5)[0][5] == 1.0


def test_a_budget_of_a_few_steps_still_decays_and_is_kept():
    steps, elapsed, _, told = simulate(lambda step, at: 100.0)
    assert (steps, elapsed) == (6, 600.0)
    assert told[-1] < 0.5


@pytest.mark.parametrize("seconds_of_step", [55.0, 59.0, 130.0, 250.0, 301.0, 330.0, 599.0, 10_000.0])
def test_steps_that_do_not_fit_are_not_made_but_for_the_first(seconds_of_step):
    steps, elapsed, written, _ = simulate(lambda step, at: seconds_of_step)
    assert max(1, SECONDS // seconds_of_step) <= steps <= max(1, SECONDS / seconds_of_step + 0.1)
    assert elapsed <= max(1.1 * SECONDS, seconds_of_step)
    assert len([kind for kind, *_ in written if kind == "segment"]) == SEGMENTS


@pytest.mark.parametrize("first", [100.0, 250.0, 310.0])
def test_a_slow_first_step_does_not_end_a_run_whose_others_are_fast(first):
    steps, elapsed, _, _ = simulate(lambda step, at: first if step == 0 else 0.5)
    assert elapsed == pytest.approx(SECONDS, rel=0.02)
    assert steps == pytest.approx(2 * (SECONDS - first), rel=0.05)


def test_a_long_constant_part_does_not_outlast_the_budget():
    horizon = Minutes(recipe(minutes=10, steps=None, **{"schedule.decay": 0.1}), SECONDS, 5, lambda *decision: None)
    step = 0
    while True:
        horizon.decide(step, 250.0 * step)
        if horizon.ended(step):
            break
        step += 1
    assert step == 2


def fits(seconds_of_step, elapsed=0.0):
    """Return at which step a horizon tells how many steps it will have, and how many those are."""
    horizon = Minutes(recipe(minutes=10, steps=None), SECONDS, 5, lambda kind, step, values: None)
    for step in range(20):
        told = horizon.decide(step, elapsed)
        if told is not None or horizon.ended(step):
            return step, told
        elapsed += seconds_of_step(step)
    return None


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (lambda step: 100.0, (2, 6)),
        (lambda step: 50.0, (2, 12)),
        (lambda step: 60.0 if step == 0 else 1.0, (2, 541)),  # the first step is no measure
        (lambda step: 601.0, (1, 1)),
    ],
)
def test_how_many_steps_a_budget_holds_is_told_by_the_second(clock, expected):
    assert fits(clock) == expected


def test_a_budget_that_is_gone_before_the_first_step_is_told_at_once():
    assert fits(lambda step: 1.0, elapsed=SECONDS + 1) == (0, 1)


def test_decisions_of_a_run_that_went_back_are_taken_in_the_order_of_their_steps():
    marks = [("mark", 80, {"share": 0.25, "judge": True}), ("mark", 61, {"share": 0.5, "judge": False})]
    horizon = Minutes(recipe(minutes=10, steps=None), SECONDS, 5, lambda *decision: None, marks)
    for step in range(62):
        horizon.decide(step, 0.0)
    assert horizon.progress(61) == 0.5
    assert not horizon.evaluates(61)


@pytest.mark.parametrize(
    ("name", "key", "timed"),
    [("one_cycle", "warmup", False), ("cosine", "milestones", False), ("constant", "final", False),
     ("cosine", "decay", False), ("linear", "factor", True)],
)  # fmt: skip
def test_a_setting_that_a_schedule_does_not_read_is_refused_where_it_was_asked_for(name, key, timed):
    with pytest.raises(UsageError) as told:
        check(ScheduleSettings(name=name), [key], timed)
    assert told.value.code == "USE-039" and key in told.value.what


@pytest.mark.parametrize(("name", "key"), [("one_cycle", "warmup"), ("cosine", "decay"), ("step", "milestones")])
def test_a_budget_in_minutes_gives_every_schedule_a_warm_up_and_a_decay(name, key):
    check(ScheduleSettings(name=name), [key], timed=True)
