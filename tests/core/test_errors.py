import pickle

import pytest

from visus.core import errors
from visus.core.errors import DataError, Interrupted, VisusError, did_you_mean, first_line, nearest

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VisusError)]


def test_an_error_says_what_where_what_was_done_and_what_to_do():
    error = DataError(
        "DATA-014", "a.jpg: the file ends early", where="image 42", looked="a.jpg", done="skipped", fix="take it out"
    )
    assert str(error).splitlines() == [
        "error[DATA-014]: a.jpg: the file ends early",
        "  where: image 42",
        "  looked for: a.jpg",
        "  done:  skipped",
        "  fix:   take it out",
    ]


def test_an_error_shows_no_line_for_what_it_does_not_say():
    assert str(DataError("DATA-001", "there is nothing here", fix="look elsewhere")).count("\n") == 1


def test_an_error_has_at_most_five_lines_whatever_the_texts_hold():
    text = "first\nsecond\r\nthird\u2028fourth"
    assert len(str(VisusError("USE-001", text, where=text, looked=text, done=text, fix=text)).splitlines()) == 5


def test_a_file_name_cannot_send_control_characters_to_the_terminal():
    shown = str(DataError("DATA-001", "\x1b]0;owned\x07.jpg: broken"))
    assert shown == "error[DATA-001]: \\x1b]0;owned\\x07.jpg: broken"


@pytest.mark.parametrize(("error", "line"), [
    (ValueError("\x1b[1;96mThis is step\x1b[0m 3\nof many"), "This is step 3"), (ValueError("\n\n  why\n"), "why"),
    (MemoryError(), "MemoryError"), (ValueError("\x1b[0m"), "ValueError"),
])  # fmt: skip
def test_of_a_foreign_error_the_first_line_that_says_anything_is_told_without_colours(error, line):
    assert first_line(error) == line


def test_a_file_name_in_broken_utf_8_can_be_printed():
    assert "caf\\xe9.jpg" in str(DataError("DATA-001", "caf\udce9.jpg: broken")).encode("utf-8").decode()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Interrupted])
def test_an_error_comes_home_from_a_worker_with_every_field(kind):
    error = kind("X-001", "what", where="where", looked="looked", done="done", fix="fix")
    home = pickle.loads(pickle.dumps(error))
    assert (type(home), str(home), home.exit, vars(home)) == (kind, str(error), error.exit, vars(error))


@pytest.mark.parametrize(("signal", "exit_code"), [(2, 130), (15, 143)])
def test_an_interruption_ends_with_128_plus_its_signal_and_survives_pickling(signal, exit_code):
    error = Interrupted(signal, "stopped", done="state saved")
    assert (error.exit, pickle.loads(pickle.dumps(error)).exit) == (exit_code, exit_code)


def test_every_kind_of_error_has_the_documented_exit_code():
    documented = {
        "VisusError": 2, "MissedError": 1, "UsageError": 2, "DataError": 2, "BadDataLimit": 3, "ResourceError": 4,
        "LockedError": 5, "IntegrityError": 6, "DivergedError": 7,
    }  # fmt: skip
    assert {kind.__name__: kind.exit for kind in KINDS if kind is not Interrupted} == documented


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("adamm", "adamw"), ("ADAMW", "adamw"), ("momentun", "momentum"), ("resnet-18", "resnet18"), ("xyzzy", "")],
)
def test_the_nearest_name_is_found_or_none_is(typed, meant):
    assert nearest(typed, ["adamw", "sgd", "momentum", "resnet18"]) == meant


def test_a_hopeless_name_is_answered_with_the_short_list():
    assert did_you_mean("xyzzy", ["b", "a"]) == "one of: a, b"


def test_a_long_list_is_cut():
    assert did_you_mean("xyzzy", [f"name{i:02}" for i in range(40)]).endswith("name11 ...")


def test_no_names_give_no_advice():
    assert did_you_mean("anything", []) == ""
