"""Pictures that cannot be read: left out up to a share, beyond it an error."""

from __future__ import annotations

from tests.checks.examples import dataset, seen, subject

from visus.checks.broken import beyond_limit, look


def asked(count, broken, bad=(), **settings):
    found = seen(count, dict.fromkeys(range(broken), "the file ends early"))
    return subject(dataset(count=count, bad=tuple((name, "missing") for name in bad)), found, **settings)


def test_where_all_can_be_read_nothing_is_said():
    assert list(look(asked(100, 0))) == []


def test_a_few_are_skipped_and_each_is_named_with_the_reason_of_the_door():
    (finding,) = look(asked(300, 2))
    assert (finding.code, finding.level) == ("CHECK-001", "warning")
    assert [(item.file, item.status, item.why) for item in finding.items] == [
        ("0.png", "skipped", "the file ends early"), ("1.png", "skipped", "the file ends early")]  # fmt: skip


def test_more_than_training_leaves_out_are_an_error_with_the_share_that_would_allow_them():
    (finding,) = look(asked(300, 4))
    assert (finding.code, finding.level) == ("CHECK-002", "error") and "--set data.max_bad=0.02" in finding.fix
    assert {item.status for item in finding.items} == {"refused"}
    assert not beyond_limit(asked(300, 4, max_bad=0.02))


def test_what_is_too_large_is_to_be_made_smaller_and_not_copied_again():
    large = "14,000 x 12,000 pixels are more than the 100,000,000 that are decoded"
    (finding,) = look(subject(dataset(count=300), seen(300, {0: large})))
    assert finding.fix == "make what is too large smaller, or --set data.max_pixels=168000000"
    (finding,) = look(subject(dataset(count=300), seen(300, {0: large, 1: "the file is empty"})))
    assert finding.fix.startswith("copy or make them again, or remove them; make what is too large smaller, or --set")


def test_listed_pictures_that_are_missing_count_towards_the_limit():
    assert not beyond_limit(asked(300, 3)) and beyond_limit(asked(300, 3, bad=["gone.png"]))
