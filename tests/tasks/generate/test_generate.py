"""The task of two players: which one pays what when, and that nothing of it depends on how a batch is split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from visus.core.errors import DataError, UsageError
from visus.core.recipe import Choice, Draft, Facts
from visus.core.task import Batch
from visus.tasks import TASKS
from visus.tasks.generate.task import made_of

CLASSES = ("ant", "bee", "wasp")
B = 7
LABELS = torch.tensor([0, 1, 2, -1, 0, 2, 1])


def task_for(column: str = "label", **settings: object):
    """Return the task for a tiny network whose pictures do not see each other."""
    wanted = {"task": "generate", "target.column": column, "input.size": 16, "input.channels": 1, "model.name": "dcgan",
              "loss.name": "non_saturating", "resamples": 10, "batch": B, "generate.shown": 2,
              "model.options": {"width": 4, "latent": 5, "generator_normalisation": "pixel",
                                "discriminator_normalisation": "none"}, **settings}  # fmt: skip
    recipe = Draft(Choice(key, value, "the test") for key, value in wanted.items()).finish()
    return TASKS["generate"](recipe, CLASSES)


def batch(labels: torch.Tensor = LABELS) -> Batch:
    images = torch.rand(B, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    frames = torch.eye(3, dtype=torch.float64).repeat(B, 1, 1)
    ids = tuple(f"{i}.png" for i in range(B))
    return Batch((images,), {"label": labels}, ids, torch.arange(B), frames, seed=11, start=0, whole=B)


def gradients(task, model, parts, player, step=0):
    """Return the gradient of a player's losses over parts, and its terms."""
    model.zero_grad()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(task.players[player]))
    terms: dict[str, float] = {}
    for part in parts:
        found = task.losses(model, part, player, step)
        sum(term.sum for term in found.values() if not term.told).backward()
        terms = {name: terms.get(name, 0.0) + term.sum.item() for name, term in found.items()}
    own = [p for name, p in model.named_parameters() if name.startswith(task.players[player])]
    return torch.cat([p.grad.flatten() for p in own]), terms


ALL = {"generate.r1": 0.3, "generate.r2": 0.2, "generate.penalty": 2.0, "generate.path_length": 1.5}


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wasserstein", "relativistic"])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_parts_of_unequal_size_give_the_gradient_of_the_whole(loss, player):
    task = task_for(**{"loss.name": loss}, **ALL)
    model, whole = task.model().double(), batch()
    parts = [whole.rows(0, 1), whole.rows(1, 5), whole.rows(5, 7)]
    ours, terms = gradients(task, model, [whole], player)
    split, split_terms = gradients(task, task.model().double(), parts, player)
    assert torch.linalg.vector_norm(ours - split) <= 1e-12 * torch.linalg.vector_norm(ours)
    assert split_terms == pytest.approx(terms, rel=1e-12)


def test_a_picture_of_an_unknown_class_pulls_at_nothing():
    task = task_for(**ALL)
    model, whole = task.model().double(), batch()
    other = replace(whole, inputs=(whole.inputs[0].clone(),))
    other.inputs[0][3] = -1.0  # of which the class is not known
    for player in task.players:
        one, two = (gradients(task, model, [each], player)[0] for each in (whole, other))
        assert torch.equal(one, two)
    assert int(task.counts(whole)["image"]) == B - 1


def test_only_the_player_whose_turn_it_is_is_moved():
    task = task_for(**ALL)
    model = task.model().double()
    for player, other in (("discriminator", "generator."), ("generator", "discriminator.")):
        gradients(task, model, [batch()], player)
        assert all(p.grad is None or not p.grad.any() for n, p in model.named_parameters() if n.startswith(other))


def test_slopes_are_looked_at_now_and_then_with_as_much_more_weight():
    task = task_for(**{"generate.r1": 0.3, "generate.every": 4})
    model = task.model().double()
    always = task_for(**{"generate.r1": 0.3})
    looked = [("r1" in gradients(task, model, [batch()], "discriminator", step)[1]) for step in range(6)]
    assert looked == [True, False, False, False, True, False]
    lazily, plainly = (gradients(each, model, [batch()], "discriminator")[1]["r1"] for each in (task, always))
    assert lazily == pytest.approx(4 * plainly)


def test_r1_is_half_the_squared_slope_at_real_pictures():
    task, whole = task_for(**{"generate.r1": 0.3}), batch()
    model = task.model().double()
    images = whole.inputs[0].clone().requires_grad_()
    logits = model.discriminator(images, LABELS.clamp(min=0))
    (slopes,) = torch.autograd.grad(logits.sum(), images)
    expected = 0.3 / 2 * slopes.square().sum((1, 2, 3))[LABELS >= 0].sum()
    assert gradients(task, model, [whole], "discriminator")[1]["r1"] == pytest.approx(expected.item())


def test_the_generator_rests_while_its_rival_learns():
    task = task_for(**{"generate.rival_steps": 3})
    model = task.model().double()
    resting = [not task.losses(model, batch(), "generator", step) for step in range(6)]
    assert resting == [True, True, False, True, True, False]
    assert all(task.losses(model, batch(), "discriminator", step) for step in range(6))


def test_path_lengths_are_looked_at_as_often_however_long_the_generator_rests():
    task = task_for(**{"generate.rival_steps": 2, "generate.path_length": 2.0, "generate.path_every": 3})
    model = task.model().double()
    found = [task.losses(model, batch(), "generator", step) for step in range(14)]
    assert ["path_length" in terms for terms in found if terms] == [True, False, False, True, False, False, True]


def test_paths_are_measured_of_every_second_picture_with_twice_the_weight():
    task, whole = task_for(**{"generate.path_length": 2.0}), batch(torch.zeros(B, dtype=torch.int64))
    model = task.model().double()
    task.losses(model, whole, "generator", 0)
    assert int(model.feedback._measured) == 4, "of seven pictures, the first and every second one"
    model.feedback.settle(1)
    pulls = task.losses(model, whole, "generator", 4)["path_length"].sum
    few = [task.losses(model, whole.rows(row, row + 1), "generator", 4) for row in range(B)]
    assert ["path_length" in terms for terms in few] == [True, False] * 3 + [True]
    assert sum(terms["path_length"].sum for terms in few if "path_length" in terms).item() == pytest.approx(
        pulls.item()
    )


def test_new_pictures_are_judged_as_changed_as_those_that_were_learned_from():
    changed, plain = task_for(**{"generate.augment": "ada", "generate.p": 1.0}), task_for()
    model = changed.model().double().eval()
    one, two = (task.raw(model, batch()) for task in (changed, plain))
    for name in ("real_logits", "fake_logits"):
        assert not torch.isclose(one[name], two[name]).any()
    model.feedback.p.zero_()
    assert torch.equal(changed.raw(model, batch())["real_logits"], two["real_logits"])
    assert torch.equal(one["real"], two["real"]) and torch.equal(one["images"], two["images"])


def test_every_picture_has_a_latent_of_its_own_for_each_player_and_step():
    task = task_for()
    model = task.model().double()
    seen: list[torch.Tensor] = []
    model.generator.register_forward_hook(lambda module, given, made: None)
    styles = model.generator.styles
    model.generator.styles = lambda latents, labels, truncation=1.0: (seen.append(latents), styles(latents, labels))[1]
    for seed in (11, 12):
        for player in task.players:
            task.losses(model, replace(batch(), seed=seed), player, 0)
    latents = torch.cat(seen)
    assert len(latents.unique(dim=0)) == 4 * B


@pytest.mark.parametrize("loss", ["relativistic", "wasserstein"])
def test_ada_and_a_loss_of_differences_contradict_each_other(loss):
    """Logits that are all larger by one cost the same: their signs mean nothing."""
    with pytest.raises(UsageError, match="signs of logits") as caught:
        task_for(**{"generate.augment": "ada", "loss.name": loss}).model()
    assert "generate.target=0" in caught.value.fix


@pytest.mark.parametrize("loss", ["non_saturating", "hinge"])
def test_ada_reads_signs_of_logits_that_have_a_zero(loss):
    assert task_for(**{"generate.augment": "ada", "loss.name": loss}).model().feedback.p == 0


def test_what_cannot_judge_these_pictures_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(DataError, match="no such model file"):
        task_for(**{"generate.extractor": str(tmp_path / "nowhere.safetensors")}).model()
    with pytest.raises(UsageError, match="reads 3 channels"):
        task_for(**{"generate.extractor": "imagenet", "input.channels": 5}).model()


def test_without_classes_every_picture_counts():
    task = task_for("")
    model = task.model().double()
    assert model.generator.classes is None and model.discriminator.classes is None
    assert int(task.counts(batch())["image"]) == B
    assert set(task.losses(model, batch(), "generator", 0)) == {"non_saturating"}


def test_what_is_made_beside_a_picture_is_of_its_class():
    task = task_for()
    raw = task.raw(task.model().double().eval(), batch())
    assert raw["asked"][LABELS >= 0].tolist() == LABELS[LABELS >= 0].tolist()
    assert 0 <= int(raw["asked"][3]) < len(CLASSES)
    assert [made.label for made in task.decode(raw)][:3] == ["ant", "bee", "wasp"]


def test_a_picture_depends_on_its_number_and_not_on_how_many_are_made():
    task = task_for()
    model = task.model()
    few = [p for part in made_of(model, 5, torch.zeros(3).long()) for p in part]
    many = [p for part in made_of(model, 5, torch.zeros(40).long()) for p in part]
    assert len(few) == 3 and len(many) == 40
    assert all(np.array_equal(*pair) for pair in zip(few, many, strict=False))
    assert not np.array_equal(many[0], many[1])
    others = [p for part in made_of(model, 6, torch.zeros(3).long()) for p in part]
    assert not np.array_equal(few[0], others[0])


def test_the_sheet_has_a_row_a_class_and_stays_the_same():
    task = task_for()
    model = task.model().train()
    sheet = task.shown(model)
    assert sheet.shape == (3 * 18 - 2, 2 * 18 - 2, 3) and sheet.dtype == np.uint8
    assert np.array_equal(sheet, task.shown(model)) and model.training


@pytest.mark.parametrize(
    ("sizes", "device", "side"),
    [(((28, 28),) * 3, "cpu", 32), (((500, 400),) * 3, "cpu", 64), (((500, 400),) * 3, "cuda", 256), ((), "cpu", 64)],
)
def test_pictures_are_made_at_a_power_of_two(sizes, device, side):
    facts = Facts("", (), (), 100, sizes, 3, device=device)
    chosen = {choice.key: choice.value for choice in TASKS["generate"].defaults(facts)}
    assert chosen["input.size"] == [side, side] and "target.column" not in chosen


@pytest.mark.parametrize(("optimiser", "rate"), [("adam", 5e-4), ("sgd", 0.1)])
def test_the_rate_found_for_a_network_is_that_of_the_optimiser_it_was_found_with(optimiser, rate):
    draft = Draft([Choice("optim.name", optimiser, "the user")])
    for choice in TASKS["generate"].defaults(Facts("", (), (), 9, (), 3, wanted={"optim.name": optimiser})):
        draft.choose(choice)
    assert draft.finish().optim.lr == rate


@pytest.mark.parametrize("name", ["r3gan", "stylegan2"])
def test_on_a_processor_networks_are_far_smaller_than_in_their_papers(name):
    products = {}
    for device in ("cpu", "cuda"):
        draft = Draft([Choice("model.name", name, "the test"), Choice("task", "generate", "the test")])
        for choice in TASKS["generate"].defaults(
            Facts("", (), (), 9, ((32, 32),), 3, device=device, wanted=draft.wanted())
        ):
            draft.choose(choice)
        with torch.device("meta"):
            network = TASKS["generate"](draft.finish(), ()).model()
        products[device] = sum(p.numel() for p in network.parameters())
    assert 10 * products["cpu"] < products["cuda"]


def test_a_network_grows_with_the_size_that_is_asked_for_not_with_that_of_the_data():
    chosen = {}
    for side in (32, 64):
        wanted = {"model.name": "stylegan2", "input.size": (side, side)}
        for choice in TASKS["generate"].defaults(Facts("", (), (), 9, ((500, 400),), 3, wanted=wanted)):
            chosen.setdefault(side, {}).setdefault(choice.key, choice.value)
    assert [chosen[side]["model.options"]["width"] for side in (32, 64)] == [32, 16]


def test_classes_can_be_left_aside():
    facts = Facts("label", CLASSES, (), 100, ((28, 28),), 1)
    chosen = {choice.key: choice.value for choice in TASKS["generate"].defaults(facts)}
    aside = TASKS["generate"].defaults(replace(facts, wanted={"generate.conditional": "no"}))
    assert chosen["target.column"] == "label" and "target.column" not in {choice.key for choice in aside}


def test_classes_that_the_data_has_not_cannot_be_asked_for():
    with pytest.raises(UsageError, match="no class"):
        list(TASKS["generate"].defaults(Facts("", (), (), 9, (), 3, wanted={"generate.conditional": "yes"})))


@pytest.mark.parametrize("name", ["dcgan", "r3gan", "stylegan2"])
def test_ada_comes_with_a_loss_whose_logits_have_signs(name):
    draft = Draft(Choice(key, value, "the test") for key, value in
                  {"task": "generate", "model.name": name, "generate.augment": "ada"}.items())  # fmt: skip
    for choice in TASKS["generate"].defaults(Facts("", (), (), 9, ((16, 16),), 1, wanted=draft.wanted())):
        draft.choose(choice)
    assert draft.finish().loss.name == "non_saturating"


def test_diffaugment_changes_every_picture_unless_said_otherwise():
    wanted = {"generate.augment": "diffaugment"}
    chosen = {c.key: c.value for c in TASKS["generate"].defaults(Facts("", (), (), 9, (), 3, wanted=wanted))}
    assert chosen["generate.p"] == 1


def test_the_score_knows_classes_where_there_are_some():
    assert task_for().score == "class_coverage (random convolutions, seed 0)"
    assert task_for("").score == "coverage (random convolutions, seed 0)"
    with pytest.raises(UsageError, match="no score named"):
        task_for("", score="class_coverage")


def test_what_is_seen_in_real_pictures_is_extracted_once():
    task, looks = task_for(), []
    model, whole = task.model().double().eval(), batch()
    task._extractor.network.register_forward_hook(lambda module, given, said: looks.append(len(given[0])))
    first, again = (task.raw(model, whole) for _ in range(2))
    assert looks == [B, B, B], "generated pictures twice, real ones once"
    assert torch.equal(first["real"], again["real"])
    other = replace(whole, inputs=(whole.inputs[0].flip(3),))
    assert torch.equal(task.raw(model, other)["real"], task_for().raw(model, other)["real"])


def test_a_score_of_which_less_is_better_does_not_pick_weights():
    with pytest.raises(UsageError):
        task_for(score="fid")
    assert task_for(score="recall").score == "recall (random convolutions, seed 0)"
