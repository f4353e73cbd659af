import pytest

from visus.core.recipe import Facts
from visus.tasks._choices import affordable_size, whole_pictures
from visus.tasks.classify import Classify


def facts(size=(300, 400), train=2000, **changes):
    sizes = changes.pop("sizes", (size,) * 20)
    names = changes.pop("classes", ("ant", "bee"))
    return Facts(
        changes.pop("annotation", "label"), names, (1000, 1000), train, sizes, changes.pop("channels", 3), **changes
    )


def chosen(given):
    """Return what is chosen first for each key, as a draft takes it."""
    found = {}
    for choice in whole_pictures(given):
        found.setdefault(choice.key, choice.value)
    return found


def test_photographs_are_learned_from_pretrained_features():
    found = chosen(facts())
    assert (found["model.name"], found["model.weights"]) == ("efficientnet_lite0", "default")
    assert found["input.mean"] == [0.5, 0.5, 0.5]


def test_small_pictures_are_learned_from_scratch_at_their_own_size():
    found = chosen(facts((28, 28), 60_000, channels=1))
    assert found["model.name"] == "resnet_small"
    assert found["input.size"] == [28, 28]
    assert found["input.channels"] == 1
    assert "model.weights" not in found


def test_small_pictures_of_several_sizes_get_one_close_to_the_median():
    assert chosen(facts(sizes=((30, 40), (34, 60), (38, 38))))["input.size"] == [32, 32]


def test_grey_photographs_keep_one_channel():
    found = chosen(facts(channels=1))
    assert found["input.channels"] == 1
    assert found["input.mean"] == [0.5]


def test_a_named_network_without_weights_starts_from_scratch():
    found = chosen(facts(wanted={"model.name": "cnn"}))
    assert "model.weights" not in found
    assert found["input.size"][0] > 64


def test_a_named_network_of_small_pictures_keeps_their_size_and_gets_no_option_of_another():
    found = chosen(facts((60, 60), wanted={"model.name": "cnn"}))
    assert found["input.size"] == [60, 60]
    assert not any(key.startswith("model.options") for key in found)


def test_wanted_weights_bring_their_own_statistics():
    found = chosen(facts((32, 32), wanted={"model.name": "efficientnet_lite0", "model.weights": "default"}))
    assert found["input.mean"] == [0.5, 0.5, 0.5]
    assert found["input.size"] == [96, 96]


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (("ant", "bee"), 0.5),
        (tuple("0123456789"), 0.0),
        (("zero", "one", "two"), 0.0),
        (("A", "B", "C"), 0.0),
        (("turn left", "turn right"), 0.0),
        (("arrow_left", "arrow_up"), 0.0),
        (("copyright", "cleft"), 0.5),
        (("T-shirt/top", "Trouser", "Bag"), 0.5),
    ],
)
def test_letters_digits_and_sides_are_not_mirrored(names, flip):
    assert chosen(facts(classes=names))["augment.flip"] == flip


def test_a_budget_shrinks_the_pictures_until_each_is_seen_four_times():
    sides = [affordable_size(facts(train=n, minutes=2.0), (224, 224))[0] for n in (50, 500, 1000, 5000)]
    assert sides[0] == 224
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] == 96


def test_a_graphics_card_reads_the_size_of_the_weights():
    assert affordable_size(facts(device="cuda", minutes=1.0), (224, 224))[0] == 224


def test_a_run_without_a_budget_gets_a_number_of_epochs_and_one_with_a_budget_none():
    for size in ((28, 28), (300, 400)):
        assert "epochs" in chosen(facts(size))
        assert "epochs" not in chosen(facts(size, minutes=5.0))


def test_several_classes_a_picture_choose_the_loss_for_them():
    found = {choice.key: choice.value for choice in Classify.defaults(facts(annotation="labels"))}
    assert found["loss.name"] == "binary_cross_entropy"
    assert found["target.column"] == "labels"
    assert "loss.smoothing" not in found


def test_balanced_weights_bring_the_counts_into_the_recipe():
    found = {choice.key: choice.value for choice in Classify.defaults(facts(wanted={"loss.class_weights": "balanced"}))}
    assert found["target.counts"] == [1000, 1000]


@pytest.mark.parametrize(("size", "usual"), [((28, 28), 0.1), ((300, 400), 0.01)])
def test_an_optimiser_of_the_users_gets_its_own_usual_rate_and_nothing_that_was_found_for_another(size, usual):
    found = chosen(facts(size, wanted={"optim.name": "sgd"}))
    assert found["optim.lr"] == pytest.approx(usual)
    assert not {"optim.weight_decay", "optim.clip", "optim.momentum", "optim.name"} & found.keys()


def test_an_optimiser_nobody_knows_a_rate_for_starts_cautiously_and_is_told_how_to_find_one():
    why = {c.key: c.why for c in whole_pictures(facts((28, 28), wanted={"optim.name": "lamb"}))}
    assert "--lr auto" in why["optim.lr"]
