import math
import typing

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from visus.core.errors import UsageError
from visus.core.recipe import (
    SECTIONS,
    Choice,
    DataSettings,
    Draft,
    Recipe,
    explained,
    keys,
    parse_option,
    parse_set,
    read_settings,
)

OTHER = {
    "task": "regress", "seed": 7, "minutes": 2.5, "epochs": 3.0, "steps": 100, "batch": 8, "micro": 4, "ema": 0.99,
    "ema_every": 5, "evaluate_every": 0.5, "patience": 3, "score": "f1_macro", "precision": "bfloat16",
    "memory_format": "channels_last", "threads": 2, "device": "cuda", "deterministic": False, "save_every": 5.0,
    "log_every": 10, "flips": True, "resamples": 200, "tensorboard": True,
    "input.size": [32, 48], "input.channels": 1, "input.fit": "pad", "input.margin": 0.875, "input.mean": [0.1],
    "input.std": [0.3], "input.interpolation": "bicubic",
    "model.name": "cnn", "model.weights": "default", "model.options": {"widths": [8, 16], "norm": "batch", "drop": 0.1},
    "model.freeze": ["backbone"], "model.unfreeze": 0.25, "model.layer_decay": 0.75,
    "loss.name": "focal", "loss.smoothing": 0.1, "loss.class_weights": "balanced", "loss.gamma": 1.5,
    "loss.alpha": 0.25, "loss.delta": 2.0,
    "optim.name": "sgd", "optim.lr": "auto", "optim.momentum": 0.5, "optim.betas": [0.8, 0.95], "optim.eps": 1e-6,
    "optim.weight_decay": 0.0, "optim.clip": 0.0,
    "schedule.name": "step", "schedule.warmup": 0.1, "schedule.start": 0.01, "schedule.final": 0.001,
    "schedule.milestones": [0.3], "schedule.factor": 0.2, "schedule.decay": 0.3,
    "augment.crop": [0.08, 1.0], "augment.ratio": [0.5, 2.0], "augment.rare": 0.5, "augment.majority": 0.75,
    "augment.pad": 4, "augment.flip": 0.5,
    "augment.flip_vertical": 0.25, "augment.rotate": 0.3, "augment.shear": 0.2, "augment.perspective": 0.1,
    "augment.scale": [0.9, 1.1], "augment.brightness": 0.4, "augment.contrast": 0.4, "augment.saturation": 0.4,
    "augment.hue": 0.1, "augment.policy": "randaugment", "augment.operations": 3, "augment.magnitude": 5.0,
    "augment.erase": 0.25, "augment.erase_area": [0.1, 0.2], "augment.mixup": 0.2, "augment.cutmix": 1.0,
    "augment.mix": 0.5, "augment.mosaic": 0.5, "augment.mosaic_epochs": 8.0, "augment.copy_paste": 0.25,
    "augment.visible": 0.2, "detect.box_loss": "ciou", "detect.box_gain": 1.5, "detect.places": 9, "detect.alpha": 0.5,
    "detect.beta": 4.0, "detect.candidates": 500, "detect.least": 0.05, "detect.suppression": "soft_nms",
    "detect.overlap": 0.5, "detect.most": 50, "input.tiles": 700, "input.seam": 0.3, "detect.drawn": 64,
    "segment.region_loss": "dice", "segment.region_gain": 0.5, "segment.palette": ["#000000", "#ff00aa"],
    "segment.scales": [0.5, 1.0],
    "generate.conditional": "no", "generate.rival_steps": 2, "generate.r1": 0.5, "generate.r2": 0.5,
    "generate.every": 16,
    "generate.penalty": 10.0, "generate.path_length": 2.0, "generate.path_every": 8, "generate.mixing": 0.9,
    "generate.augment": "ada", "generate.p": 0.1, "generate.target": 0.5, "generate.ramp": 1000,
    "generate.extractor": "imagenet", "generate.shown": 4,
    "stylize.style": "painting.jpg", "stylize.sha256": 64 * "b", "stylize.features": "random",
    "stylize.features_sha256": 64 * "c", "stylize.content_gain": 0.5, "stylize.smooth_gain": 0.1, "stylize.shown": 2,
    "distill.teacher": "teacher.safetensors", "distill.sha256": 64 * "a", "distill.temperature": 2.0,
    "distill.share": 0.9,
    "data.format": "folder", "data.validation": 0.2, "data.test": 0.1, "data.cache": "off", "data.workers": 2,
    "data.stored": 256, "data.max_bad": 0.0, "data.max_pixels": 1000, "data.accept": ["nc"],
    "data.trace": False, "data.leaks": False,
    "target.column": "labels", "target.counts": [3, 4], "target.mean": [0.5], "target.std": [2.0],
}  # fmt: skip
"""For every setting a value that is not its default, as YAML gives it back."""


def test_every_setting_is_tried_here():
    assert set(OTHER) == set(keys())
    assert not [key for key, value in Recipe().flat().items() if value == OTHER[key]]


@pytest.mark.parametrize("key", OTHER)
def test_every_setting_can_be_set_on_the_command_line(key):
    said = yaml.safe_dump(OTHER[key], default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    recipe = Draft([parse_set(f"{key}={said}")]).finish()
    assert recipe.flat()[key] == OTHER[key]
    assert f"--set {key}={said}".startswith(recipe.origins[key].removesuffix("..."))


@pytest.mark.parametrize("key", OTHER)
def test_every_setting_is_documented(key):
    section, _, name = key.rpartition(".")
    words = (SECTIONS[section] if section else Recipe).__doc__
    assert name in words


@pytest.mark.parametrize("key", OTHER)
def test_every_setting_refuses_a_value_of_another_kind(key):
    with pytest.raises(UsageError, match=key.replace(".", r"\.")) as refused:
        Draft([Choice(key, {"no": {"such": ["thing"]}}, "--set here")])
    assert (refused.value.code, refused.value.where) == ("USE-003", "--set here")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("optim.lrr", "optim.lr"), ("lr", "optim.lr"), ("bacth", "batch"), ("augment.mix_up", "augment.mixup"),
     ("optimizer.lr", "optim.lr"), ("mean", "input.mean"), ("Batch", "batch"), ("model.nane", "model.name")],
)  # fmt: skip
def test_an_unknown_setting_is_answered_with_the_nearest_one(typed, meant):
    with pytest.raises(UsageError) as refused:
        parse_set(f"{typed}=1")
    assert (refused.value.code, refused.value.fix) == ("USE-001", f"did you mean {meant!r}?")


@pytest.mark.parametrize(
    "said",
    ["optim.lr=0", "optim.lr=-1", "optim.lr=fast", "optim.lr=.nan", "optim.lr=.inf", "batch=0", "batch=1.5", "batch=",
     "seed=-1", "augment.crop=[0.5]", "augment.crop=[0.9, 0.1]", "augment.crop=[0.0, 1.0]", "augment.scale=[1.1, 0.9]",
     "augment.erase_area=[0.1, 1.5]", "input.size=0", "input.size=32x", "input.size=32x0", "input.size=3x3x3",
     "input.std=[0]", "precision=float16", "data.cache=of", "ema=1", "optim.betas=[0.9, 1.0]", "flips=perhaps",
     "schedule.milestones=[0.5, 2]", "model.options=3", "model.options.widths={a: 1}", "minutes=0", "threads=two"],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_with_the_place_it_came_from(said):
    with pytest.raises(UsageError) as refused:
        Draft([parse_set(said)])
    assert refused.value.where == f"--set {said}"
    assert len(str(refused.value).splitlines()) <= 5


@pytest.mark.parametrize(
    "said", ["optim.lr=true", "batch=true", "epochs=false", "augment.crop=[true, true]", "optim.betas=[0.9, false]"]
)
def test_a_switch_is_no_number(said):
    with pytest.raises(UsageError, match="true and false are no numbers"):
        Draft([parse_set(said)])


@pytest.mark.parametrize("said", ["seed=4294967296", "data.workers=257", "size=16385", "threads=1025"])
def test_a_number_beyond_any_use_is_refused(said):
    with pytest.raises(UsageError) as refused:
        Draft([parse_set(said)])
    assert refused.value.code == "USE-003"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("optim.lr=-3", "optim.lr = -3: it takes a number above 0, or auto"),
        ("optim.lr=fast", "optim.lr = fast: it takes a number above 0, or auto"),
        ("epochs=abc", "epochs = abc: it takes a number above 0, or null (not set)"),
        ("size=40by24", "input.size = 40by24: it takes one side, or HEIGHTxWIDTH, in pixels from 1 to 16,384"),
        ("ema=1", "ema = 1: it takes a number from 0 to below 1"),
        ("data.cache=of", "data.cache = of: it takes auto, off, memory or disk"),
        ("augment.crop=2", "augment.crop = 2: it takes two numbers above 0 up to 1"),
        ("flips=perhaps", "flips = perhaps: it takes true or false"),
        ("batch=1.5", "batch = 1.5: it takes a whole number above 0"),
    ],
)
def test_a_refused_value_is_answered_with_what_the_setting_takes(said, told):
    with pytest.raises(UsageError) as refused:
        Draft([parse_set(said)])
    assert refused.value.what.startswith(told)


@pytest.mark.parametrize(
    ("typed", "fix"),
    [("augment.foo", "visus list settings augment shows what there is"),
     ("augment.foo.bar", "visus list settings augment shows what there is"),
     ("zebra", "visus list settings shows what there is")],
)  # fmt: skip
def test_an_unknown_setting_that_is_like_none_is_not_guessed_at(typed, fix):
    with pytest.raises(UsageError) as refused:
        parse_set(f"{typed}=1")
    assert refused.value.fix == fix


def test_every_setting_says_what_it_means_and_takes():
    for one in explained():
        assert one.meaning and one.takes and "Annotated" not in one.takes, one


@pytest.mark.parametrize(("place", "told"), [("nosuch.yaml", "there is no such file"), (".", "is a folder")])
def test_a_recipe_file_that_is_none_is_said_so(tmp_path, place, told):
    with pytest.raises(UsageError, match=told) as refused:
        read_settings(tmp_path / place)
    assert refused.value.fix


@pytest.mark.parametrize(
    "said",
    ["batch", "", "=3", "batch=[1", "batch={", "batch=" + "[" * 20_000, "batch=" + "9" * 10_000,
     "batch=!!python/name:os.x", "batch=!!python/object/apply:os.system ['true']", "batch=*a", "batch=\0"],
)  # fmt: skip
def test_text_that_is_no_setting_is_refused_in_few_words(said):
    with pytest.raises(UsageError) as refused:
        Draft([parse_set(said)])
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("said", "key", "value"),
    [
        ("data.cache=off", "data.cache", "off"),  # not False, as YAML 1.1 has it
        ("optim.lr=3e-4", "optim.lr", 3e-4),  # not a string
        ("model.options.rate=1e-3", "model.options", {"rate": 0.001}),
        ("model.options.answer=no", "model.options", {"answer": "no"}),
        ("model.options.start=1:30", "model.options", {"start": "1:30"}),  # not 90
        ("model.options.day=2026-11-22", "model.options", {"day": "2026-11-22"}),
        ("model.options.on=true", "model.options", {"on": True}),
        ("model.options.off=null", "model.options", {"off": None}),
        ("model.options.text='3'", "model.options", {"text": "3"}),
        ("input.size=32", "input.size", [32, 32]),
        ("input.size=32x48", "input.size", [32, 48]),
        ("input.size='32'", "input.size", [32, 32]),  # as an option of the command line comes
        ("size=64", "input.size", [64, 64]),
        ("input=64", "input.size", [64, 64]),
        ("loss=focal", "loss.name", "focal"),
        ("optim={name: sgd}", "optim.name", "sgd"),
        ("loss.class_weights=[1, 2.5]", "loss.class_weights", [1.0, 2.5]),
        ("data.max_pixels=1_000_000", "data.max_pixels", 1_000_000),
        ("minutes=null", "minutes", None),
    ],
)
def test_a_value_means_what_a_person_means_by_it(said, key, value):
    assert Draft([parse_set(said)]).finish().flat()[key] == value


def test_what_the_user_said_stands_against_what_a_task_chooses():
    draft = Draft([Choice("optim.lr", 0.1, "--set optim.lr=0.1")])
    draft.choose(Choice("optim.lr", 0.2, "few images"))
    draft.choose(Choice("optim.name", "sgd", "a small network"))
    recipe = draft.finish()
    assert (recipe.optim.lr, recipe.optim.name) == (0.1, "sgd")
    assert (recipe.origins["optim.lr"], recipe.origins["optim.name"]) == ("--set optim.lr=0.1", "a small network")


def test_a_choice_settles_the_word_by_which_the_user_leaves_it_to_the_task_and_no_other():
    for said, found in (("auto", 640), (320, 320)):
        draft = Draft([Choice("input.tiles", said, "--tiles")])
        draft.choose(Choice("input.tiles", 640, "small objects", settles="auto"))
        assert draft.finish().input.tiles == found
        assert ("small objects" in draft.finish().origins["input.tiles"]) == (said == "auto")


def test_a_word_of_the_user_stands_against_a_choice_that_does_not_settle_it():
    draft = Draft([Choice("optim.lr", "auto", "--lr")])
    draft.choose(Choice("optim.lr", 0.1, "habit"))
    assert draft.finish().optim.lr == "auto"


def test_the_first_choice_of_a_task_stands_against_its_later_ones():
    draft = Draft()
    draft.choose(Choice("batch", 32, "memory"))
    draft.choose(Choice("batch", 64, "habit"))
    assert draft.finish().batch == 32


def test_the_last_word_of_the_user_wins():
    recipe = Draft([Choice("batch", 1, "recipe.yaml"), Choice("batch", 2, "--set batch=2")]).finish()
    assert (recipe.batch, recipe.origins["batch"]) == (2, "--set batch=2")


def test_options_of_a_network_add_up():
    draft = Draft([parse_set("model.options.widths=[8]"), parse_set("model.options.kernel=5")])
    assert draft.finish().model.options == {"widths": [8], "kernel": 5}


def test_a_task_adds_options_to_those_of_the_user_one_by_one():
    draft = Draft([parse_set("model.options.widths=[8]")])
    draft.choose(Choice("model.options", {"widths": [64], "kernel": 5}, "small pictures"))
    recipe = draft.finish()
    assert recipe.model.options == {"widths": [8], "kernel": 5}
    assert recipe.origins["model.options"] == "--set model.options.widths=[8]; small pictures"


def test_an_option_has_any_name_and_a_value_in_yaml():
    assert parse_option("drop path = 1e-3") == ("drop path", 0.001)


def test_what_the_user_fixed_is_told_to_the_task():
    draft = Draft([parse_set("loss=focal"), parse_set("size=32")])
    draft.choose(Choice("batch", 8, "few images"))
    assert draft.wanted() == {"loss.name": "focal", "input.size": [32, 32]}


def test_every_setting_has_an_origin_and_the_recipe_shows_one_line_for_each():
    recipe = Draft([parse_set("batch=8")]).finish()
    assert set(recipe.origins) == set(keys())
    lines = recipe.show().splitlines()
    assert [line.split()[0] for line in lines] == keys()
    assert [line.split() for line in lines if line.startswith("batch ")] == [["batch", "8", "--set", "batch=8"]]


def test_a_recipe_cannot_be_changed():
    recipe = Recipe()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.batch = 3
    with pytest.raises(ValidationError, match="frozen"):
        recipe.optim.lr = 3.0


def test_a_recipe_with_every_setting_changed_reads_back_as_it_was():
    recipe = Draft([Choice(key, value, "here") for key, value in OTHER.items()]).finish()
    assert Recipe.read(recipe.write()) == recipe
    assert recipe.flat() == OTHER


WORDS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "off",
        "no",
        "true",
        "null",
        "~",
        "",
        "1e-3",
        "3",
        "0x10",
        "1:30",
        "2026-11-22",
        "- a",
        "a: b",
        "#",
        "&a",
        "*a",
        "'",
        "\n",
    ]
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
)


@settings(max_examples=40)
@given(st.dictionaries(WORDS, PLAIN | st.lists(PLAIN, max_size=3), max_size=4), WORDS, WORDS)
def test_any_recipe_reads_back_as_it_was(options, name, reason):
    recipe = Draft([Choice("model.options", options, reason), Choice("model.name", name, reason)]).finish()
    again = Recipe.read(recipe.write())
    assert again == recipe
    assert [type(value) for value in again.model.options.values()] == [type(v) for v in recipe.model.options.values()]


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_an_error_of_ours(text):
    try:
        Recipe.read(text)
    except UsageError as refused:
        assert refused.code in {"USE-001", "USE-003"}


@given(st.sampled_from(keys()), st.text(max_size=30))
def test_any_value_is_taken_or_refused_by_an_error_of_ours(key, value):
    try:
        Draft([parse_set(f"{key}={value}")]).finish()
    except UsageError as refused:
        assert refused.code in {"USE-002", "USE-003"}


def test_a_broken_recipe_file_names_itself():
    for text in ("", "3", "[1]", "batch: [", "bach: 3", "optim: {lrr: 1}", "batch: no"):
        with pytest.raises(UsageError, match=r"RUN/recipe\.yaml"):
            Recipe.read(text, "RUN/recipe.yaml")


def test_a_file_of_settings_may_be_nested_or_dotted(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("optim:\n  lr: 3e-4\n  name: sgd\nloss: focal\ndata.cache: off\n", encoding="utf-8")
    recipe = Draft(read_settings(file)).finish()
    assert (recipe.optim.lr, recipe.optim.name, recipe.loss.name, recipe.data.cache) == (3e-4, "sgd", "focal", "off")
    assert recipe.origins["optim.lr"] == str(file)


def test_the_recipe_of_a_run_can_be_given_as_a_file_of_settings(tmp_path):
    recipe = Draft([Choice(key, value, "here") for key, value in OTHER.items()]).finish()
    (tmp_path / "recipe.yaml").write_text(recipe.write(), encoding="utf-8")
    assert Draft(read_settings(tmp_path / "recipe.yaml")).finish().flat() == recipe.flat()


@pytest.mark.parametrize("content", [b"", b"- a\n", b"batch: [", b"\xff\xfe\x00batch", b"batch: 2026-99-99: x", b"\0"])
def test_a_file_that_is_no_mapping_of_settings_is_refused_by_name(tmp_path, content):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        Draft(read_settings(file))


def test_a_missing_file_of_settings_is_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        read_settings(tmp_path / "nowhere.yaml")


def test_sections_are_the_groups_of_the_recipe():
    assert list(SECTIONS) == [
        "input",
        "model",
        "loss",
        "optim",
        "schedule",
        "augment",
        "data",
        "target",
        "detect",
        "segment",
        "generate",
        "stylize",
        "distill",
    ]


def test_every_setting_is_of_plain_values():
    """So that YAML and JSON hold a recipe without loss."""
    for key, value in Recipe().flat().items():
        assert isinstance(value, bool | int | float | str | list | dict | None), key
        assert not isinstance(value, float) or math.isfinite(value), key
    assert typing.get_type_hints(Recipe)


def test_a_share_of_bad_pictures_allows_one_at_least_and_none_allows_none():
    assert [DataSettings().most_bad(n) for n in (3, 100, 199, 200, 60_000)] == [1, 1, 1, 2, 600]
    assert [DataSettings(max_bad=share).most_bad(100) for share in (0, 0.07, 0.29, 1)] == [0, 7, 29, 100]
