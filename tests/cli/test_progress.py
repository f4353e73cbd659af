"""What is seen while a command works: lines that fit, nothing that is not asked for, and the truth about time."""

from __future__ import annotations

import io
import logging
import re

import pytest
from rich.console import Console

from visus.cli.progress import EVERY, Progress, bar
from visus.verbs.train import plan

ROW = {"step": 1234, "epoch": 12.3, "loss": 0.123456, "lr": 0.001, "seconds": 10.0, "waiting": 0.5, "progress": 0.4,
       "memory": 1_500_000_000}  # fmt: skip


def on_terminal(width, rows):
    """Return the lines that a terminal of a width was sent, the live ones among them, without what moves the cursor."""
    sent = io.StringIO()
    console = Console(file=sent, force_terminal=True, width=width, color_system=None, highlight=False)
    with Progress(console=console) as progress:
        for row in rows:
            progress(row)
        progress.live.refresh()
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", sent.getvalue()).replace("\r", "\n").splitlines()


def test_the_last_step_of_a_run_shows_the_epochs_that_were_asked_for(recipe):
    ten = recipe.model_copy(update={"minutes": None, "epochs": 10.0})
    last = {"step": 56, "epoch": 10.07, "validation": {"accuracy": 0.5}}
    (line,) = [line for line in on_terminal(100, [{"recipe": ten, "folder": "run"}, last]) if "validation:" in line]
    assert line.split("  ")[1] == "epoch 10.0 of 10"


@pytest.fixture(scope="module")
def recipe():
    return plan("digits", minutes=5)


def test_a_validation_without_a_score_says_so():
    (line,) = [
        line for line in on_terminal(100, [{"step": 5, "epoch": 1.0, "validation": {}}]) if "validation:" in line
    ]
    assert line.strip().endswith("nothing was measured")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_running_step_is_wider_than_the_terminal(recipe, width):
    rows = [{"recipe": recipe, "folder": "runs/x"}, ROW, {**ROW, "step": 1300, "seconds": 11.0}]
    lines = on_terminal(width, rows)
    assert max(map(len, lines)) <= width
    assert any("step 1,300" in line and "4:49 left" in line for line in lines)


def test_the_most_important_parts_of_a_step_are_the_last_to_go(recipe):
    rows = [{"recipe": recipe, "folder": "runs/x"}, ROW, {**ROW, "step": 1300, "seconds": 11.0}]
    wide, narrow = ("\n".join(on_terminal(width, rows)) for width in (140, 60))
    assert "images/s" in wide and "1.5 GB" in wide and "waiting 5%" in wide
    assert "1.5 GB" not in narrow and "loss 0.1235" in narrow


def test_every_choice_stands_on_one_line_with_its_reason(recipe):
    lines = [line for line in on_terminal(80, [{"recipe": recipe, "folder": "runs/x"}]) if line.startswith("  ")]
    chosen = [key for key, why in recipe.origins.items() if why != "default"]
    assert [line.split()[0] for line in lines] == chosen
    assert lines[chosen.index("minutes")].endswith("--minutes 5") and lines[chosen.index("batch")].split()[1] == "64"


def test_where_there_is_no_terminal_lines_are_whole_and_rare(recipe, capsys):
    with Progress() as progress:
        progress({"recipe": recipe, "folder": "runs/x"})
        for step in range(100):
            progress({**ROW, "step": step})
    lines = capsys.readouterr().err.splitlines()
    assert sum("loss 0.1235" in line for line in lines) == 1 and EVERY == 10
    assert any(recipe.origins["augment.flip"] in line for line in lines)


def test_quiet_is_silent(recipe, capsys):
    with Progress(quiet=True) as progress:
        for row in ({"recipe": recipe, "folder": "x"}, ROW, {"note": "hello"}, {"event": "skipped", "step": 1}):
            progress(row)
    assert capsys.readouterr() == ("", "")


def test_what_was_healed_is_said_with_the_samples_it_concerns(capsys):
    with Progress() as progress:
        progress({"event": "unreadable", "step": 7, "id": "a/b.png", "why": "the file ends early"})
        progress({"event": "skipped", "step": 8, "ids": ["c", "d"], "why": "first not finite: loss"})
        progress({"event": "rolled_back", "step": 9, "why": "the same"})
        progress({"event": "segment", "step": 9, "steps": 100})
    assert capsys.readouterr().err.splitlines() == [
        "step 7: unreadable (a/b.png): the file ends early",
        "step 8: skipped (c, d): first not finite: loss",
        "step 9: rolled back: the same",
    ]


def test_of_several_processes_only_the_leading_one_talks(recipe, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with Progress() as progress:
        progress({"note": "hello"})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("share", "shown"), [(0, "────────── 0%"), (0.45, "━━━━────── 45%"), (1.2, "━━━━━━━━━━ 100%")])
def test_a_bar_is_as_long_as_what_is_done(share, shown):
    assert bar(share) == shown


def test_the_time_left_does_not_count_what_came_before_the_first_step(recipe):
    """Half of the steps in ten seconds, after a minute of getting ready: ten seconds are left, not seventy."""
    steps = recipe.model_copy(update={"minutes": None, "steps": 100})
    first, half = {**ROW, "seconds": 60.0, "progress": 0.0}, {**ROW, "step": 1284, "seconds": 70.0, "progress": 0.5}
    lines = on_terminal(120, [{"recipe": steps, "folder": "runs/x"}, first, half])
    assert any("0:10 left" in line for line in lines)


def test_what_visus_logs_is_told_once_and_not_at_all_when_quiet(capsys):
    log = logging.getLogger("visus.models")
    for quiet in (False, True):
        with Progress(quiet=quiet):
            log.warning("the head %s starts fresh", "fc")
            log.warning("the head %s starts fresh", "fc")
        assert capsys.readouterr().err.count("the head fc starts fresh") == int(not quiet)
