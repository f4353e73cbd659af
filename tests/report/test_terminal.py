"""Five lines and plain tables, in which nothing from outside is read as markup."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from visus.core.figures import Table
from visus.core.scores import Score
from visus.models.trunks import extended
from visus.report.cards import model_card, scores_of
from visus.report.story import Story
from visus.report.terminal import card_table, figure_table, listing, score_table, summary


def _printed(what: object) -> str:
    file = io.StringIO()
    Console(file=file, width=100, force_terminal=False).print(what)
    return file.getvalue()


def test_a_run_ends_with_five_lines(digits):
    lines = summary(digits).splitlines()
    assert [line.split()[0] for line in lines] == ["accuracy", "worst", "speed", "measured", "report"]


def test_the_first_line_is_the_score_with_its_interval(digits):
    first = summary(replace(digits, scores={"accuracy": Score(0.9137, 0.9081, 0.9192, 10_000)})).splitlines()[0]
    assert first.split(None, 1)[1] == "91.4\u202f%, 95 % interval 90.8 to 91.9\u202f%, n = 10,000"


def test_what_made_the_features_stands_once_in_a_table_of_scores_and_on_a_card(digits):
    names = ["fid (noise)", "recall (noise)", "class_accuracy"]
    scores = {name: Score(0.5, 0.4, 0.6, 1000) for name in names}
    printed = _printed(score_table(scores))
    assert printed.count("noise") == 1 and "FID" in printed
    card = digits.card.model_copy(update={"scores": {name: score.json() for name, score in scores.items()}})
    rows = dict(dict(model_card(card))["How good it is"])
    assert rows["features"] == "those of noise" and {"FID", "recall", "class accuracy"} <= rows.keys()


def test_a_score_of_features_names_what_made_them_after_its_value(digits):
    name = "coverage (random convolutions, seed 0)"
    told = summary(replace(digits, score=name, scores={name: Score(0.5, 0.4, 0.6, 1000)})).splitlines()
    assert told[0] == "coverage  0.50, 95 % interval 0.40 to 0.60, n = 1,000, by random convolutions, seed 0"
    assert max(map(len, told)) < 100


def test_the_worst_classes_of_pixels_are_those_of_the_lowest_iou():
    low, high = Score(0.2, 0.1, 0.3, 9), Score(0.9, 0.8, 1.0, 9)
    table = Table("Classes", ("class", "IoU", "contour F"), [("road", low, high), ("sky", high, low)])
    assert "IoU: road 0.20, sky 0.90" in summary(Story("t", figures=[table]))


def test_the_worst_classes_are_those_of_the_lowest_f1():
    f1 = {"a": Score(0.9, 0.8, 1.0, 9), "b": Score(0.2, 0.1, 0.3, 9), "c": Score(0.5, 0.4, 0.6, 9)}
    f1["d"] = Score(float("nan"), float("nan"), float("nan"), 0)
    rows = [(name, None, score) for name, score in f1.items()]
    told = summary(Story("t", figures=[Table("Classes", ("class", "recall", "F1"), rows)]))
    assert "F1: b 0.20, c 0.50, a 0.90" in told


def test_of_one_class_none_is_the_worst_and_no_other_table_is_told_in_its_place():
    f1 = Score(0.2, 0.1, 0.3, 9)
    figures = [Table("Classes", ("class", "F1"), [("a", f1)]), Table("Kinds", ("kind", "cost"), [("x", f1), ("y", f1)])]
    assert "worst" not in summary(Story("t", figures=figures))


def test_the_speed_is_images_per_second_of_the_middle_step(digits):
    assert "3,200 images/s" in summary(digits)  # 32 images in each logged 0.01 s


def test_a_story_of_nothing_is_told_in_a_line():
    assert summary(Story("t")) == "score  nothing was measured"


def test_a_score_that_what_was_judged_does_not_define_is_said_to_be_that():
    told = summary(Story("t", score="r2", scores={"mae": Score(0.5, 0.5, 0.5, 1)}))
    assert told.splitlines()[0].endswith("not defined by what was judged")


@pytest.mark.parametrize("name", ["[bold red]cat[/]", "[/]", "\x1b[2J", "caf\udce9"])
def test_names_are_neither_markup_nor_commands_to_the_terminal(name):
    printed = _printed(listing(("class", "n"), [(name, "3")], name))
    assert "\x1b" not in printed and printed.encode("utf-8")
    assert name.replace("\x1b", "\\x1b").replace("\udce9", "\\xe9") in printed


def test_a_table_says_how_many_rows_it_does_not_show():
    table = Table("Classes", ("class", "F1"), [(f"c{i}", Score(0.5, 0.4, 0.6, 9)) for i in range(50)])
    assert "and 30 more rows" in _printed(figure_table(table))


def test_scores_are_shown_with_interval_and_n(digits):
    printed = _printed(score_table({"log_loss": Score(0.3, 0.28, 0.32, 1234)}))
    assert "log loss" in printed and "0.280 to 0.320" in printed and "1,234" in printed


def test_a_card_is_shown_section_by_section(digits):
    printed = _printed(card_table(digits.card))
    assert all(title in printed for title, _ in model_card(digits.card))


def test_a_card_gives_back_the_scores_it_carries(digits):
    assert scores_of(digits.card) == {"accuracy": digits.scores["accuracy"]}


def test_a_card_says_what_it_is_what_it_reads_and_what_to_mind(digits):
    sections = {title: dict(rows) for title, rows in model_card(digits.card)}
    assert sections["What it is"]["classes"].startswith("10: zero, one")
    assert sections["What it reads"]["pictures"] == "8 × 8 pixels, grey"
    assert "1.1" in sections["What to keep in mind"]["certainty"]
    assert sections["Licences"] == {"data": "CC BY 4.0"}


def test_a_card_of_a_segmenter_says_to_which_size_its_network_fills_pictures_up(digits):
    def reads(task, *size):
        input = digits.card.input.model_copy(update={"size": size})
        return dict(dict(model_card(digits.card.model_copy(update={"task": task, "input": input})))["What it reads"])

    for task in ("segment", "segment_multilabel"):
        assert reads(task, 360, 480)["filled up"] == "to 480 × 384 inside the network, and cut again"
    assert extended((360, 480)) == (384, 480)
    assert "filled up" not in reads("segment", 352, 480) and "filled up" not in reads("classify", 360, 480)


def test_a_card_without_scores_says_that_nothing_was_measured(digits):
    sections = dict(model_card(digits.card.model_copy(update={"scores": {}})))
    assert "How good it is" not in sections
    assert "nothing was measured" in dict(sections["What to keep in mind"])["reach"]
