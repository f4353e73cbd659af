"""How a report writes numbers, durations and names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.scores import Score
from visus.report.words import (
    decimals,
    duration,
    few,
    interval_of,
    is_share,
    label,
    listed,
    meaning,
    number,
    overall,
    percent,
    plain,
    plural,
    shared_decimals,
    value_of,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"), (1234567, "1,234,567"), (-3, "−3"), (0.0, "0"), (0.5, "0.5"), (0.123456, "0.1235"), (12.0, "12"),
        (1234.56, "1,235"), (0.0005, "0.0005"), (3.2e-7, "3.2e−7"), (2.5e9, "2.5e9"), (NAN, "–"),
        (INF, "∞"), (-INF, "−∞"),
        (None, "–"), (True, "True"), ("a", "a"), (np.int64(4), "4"), (np.float32(0.5), "0.5"),
    ],
)  # fmt: skip
def test_a_number_is_written_for_people(value, written):
    assert number(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0124, "12 ms"), (0.25, "0.2 s"), (9.96, "10 s"), (59.6, "1 min"), (151, "2 min 31 s"), (180, "3 min"),
        (3600, "1 h"), (3785, "1 h 3 min"), (NAN, "–"),
    ],
)  # fmt: skip
def test_a_duration_is_written_as_people_say_it(seconds, written):
    assert duration(seconds) == written


def test_a_narrow_interval_earns_decimals_and_a_wide_one_does_not():
    assert [decimals(Score(0.5, 0.5 - w, 0.5 + w, 10)) for w in (0.2, 0.05, 0.005, 0.0005, 0.00005)] == [2, 2, 3, 4, 4]


def test_a_share_is_written_in_percent_and_other_scores_are_not():
    score = Score(0.91374, 0.9081, 0.9192, 10_000)
    assert value_of(score, share=True) == "91.4\u202f%"
    assert interval_of(score, share=True) == "90.8 to 91.9\u202f%"
    assert value_of(score) == "0.914"


def test_an_unmeasured_interval_is_empty():
    assert interval_of(Score(0.5, NAN, NAN, 3)) == ""


def test_one_item_has_an_interval_only_where_it_was_not_resampled():
    assert interval_of(Score(0.5, 0.5, 0.5, 1)) == "" and str(Score(0.5, 0.5, 0.5, 1)) == "0.5000 (n = 1)"
    assert interval_of(Score(1.0, 0.025, 1.0, 1)) and interval_of(Score(0.5, 0.5, 0.5, 2))


def test_a_column_has_the_decimals_of_its_least_certain_score():
    assert shared_decimals([Score(0.5, 0.4, 0.6, 9), Score(0.5, 0.499, 0.501, 9), Score(1, 1, 1, 9)]) == 2


def test_a_small_share_is_not_rounded_to_nothing():
    assert percent(0.0001) == "<\u202f1\u202f%"
    assert percent(0.0) == "0\u202f%"


def test_many_names_are_cut_with_their_number():
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c", "d"]) == "a, b, c and d"
    assert listed(list("abcdef")) == "a, b, c and 3 more"
    assert listed([]) == ""


def test_nouns_are_put_in_the_plural():
    assert [plural(1, "class"), plural(2, "class"), plural(2, "item"), plural(2, "category")] == [
        "1 class", "2 classes", "2 items", "2 categories",
    ]  # fmt: skip


def test_bytes_that_are_no_utf8_and_characters_nobody_sees_are_escaped():
    assert plain("caf\udce9 \x1b[2J \u202etxt.exe") == "caf\\xe9 \\x1b[2J \\u202etxt.exe"


def test_letters_of_any_script_stay_as_they_are():
    assert plain("ähre 猫 🐈 שלום\n") == "ähre 猫 🐈 שלום\n"


@given(st.text(st.characters(codec=None)))
def test_plain_text_can_always_be_written(text):
    assert plain(text).encode("utf-8").decode() == plain(plain(text))


def test_known_scores_have_a_name_and_a_meaning_and_unknown_ones_their_own_name():
    assert label("top5_accuracy") == "top-5 accuracy" and "5 most probable" in meaning("top5_accuracy")
    assert label("f1_macro") == "F1, mean of classes" and meaning("f1_macro")
    assert label("my_own_score") == "my own score" and meaning("my_own_score") == ""


def test_only_shares_of_items_are_read_in_percent():
    assert is_share("accuracy") and is_share("top5_accuracy")
    assert not is_share("f1_macro") and not is_share("log_loss")


def test_a_half_is_rounded_alike_in_percent_and_in_decimals():
    score = Score(0.6955, 0.6751, 0.7156, 2000)
    assert value_of(score, share=True).startswith("69.6") and value_of(score) == "0.696"


def test_few_pictures_are_warned_of_with_an_interval_that_holds_for_them():
    told = few({"accuracy": Score(1.0, 1.0, 1.0, 2)}, "test")
    assert few({"accuracy": Score(1.0, 1.0, 1.0, 2)}, "all").startswith("2 pictures in all: too few")
    assert told == (
        "2 pictures in the test part: too few to judge a model by; the accuracy may be anything from"
        " 34 to 100\u202f%"  # Wilson: 2 / (2 + 1.96**2) = 0.342
    )
    assert few({"mae": Score(1.0, 0.5, 2.0, 29)}, "val").endswith("the intervals are too narrow")
    assert few({"mae": Score(1.0, 1.0, 1.0, 1)}, "val").endswith("too few to judge a model by, and for an interval")
    assert few({"accuracy": Score(1.0, 1.0, 1.0, 30)}, "test") == few({}, "test") == ""


def test_a_score_of_one_class_is_called_by_both_names():
    assert label("iou/road") == "IoU, road"
    assert label("mae/width/height") == "mean absolute error, width/height"
    assert meaning("iou/road") == meaning("iou") != ""


def test_scores_of_single_classes_are_left_to_the_table_of_classes_unless_there_are_no_others():
    score = Score(0.5, 0.4, 0.6, 9)
    assert list(overall({"miou": score, "iou/road": score, "dice/road": score})) == ["miou"]
    assert list(overall({"iou/road": score})) == ["iou/road"]


def test_a_score_of_generated_pictures_keeps_the_name_of_what_made_the_features():
    assert label("fid (random convolutions, seed 0)") == "FID (random convolutions, seed 0)"
    assert "smaller is better" in meaning("fid (random convolutions, seed 0)")
    assert meaning("recall (x)") != meaning("recall")
    assert label("recall (x)") == "recall (x)"
