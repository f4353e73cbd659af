"""What made the features of scores is said once."""

from __future__ import annotations

from visus.report.makers import bare, makers
from visus.report.words import label


def test_what_made_the_features_of_all_scores_is_said_once():
    names = ["fid (noise (2))", "class_coverage (noise (2))", "class_accuracy"]
    assert makers(names) == "noise (2)"
    assert [bare(name, "noise (2)") for name in names] == ["fid", "class_coverage", "class_accuracy"]
    assert bare(label(names[1]), "noise (2)") == "coverage within classes"
    assert makers([*names, "fid (another)"]) == "" and bare(names[0], "") == names[0]


def test_what_stands_in_brackets_after_the_name_of_a_class_made_no_features():
    assert makers(["iou/road (wet)", "accuracy"]) == ""
