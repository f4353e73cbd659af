"""What a reader should know before believing a run: few, honest, each derived from the story's own numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from visus.core.figures import Matrix
from visus.core.scores import is_share
from visus.report import history
from visus.report.generated import copying, mode_collapse, rival_overfits
from visus.report.matrix import confused, is_confusion
from visus.report.story import Finding, Level, Story
from visus.report.words import (
    duration,
    few,
    interval_of,
    label,
    leaking,
    listed,
    percent,
    plural,
    spoken,
    value_of,
)

WIDE = 0.04
"""Width of a 95 % interval of a share beyond which two good models can hardly be told apart."""

FEW = 10
"""Training pictures of a class below which its result is luck."""

UNHEALED = ("undefined_score", "few_steps", "splitting_is_inexact")
"""Events of which nothing is healed: the page's table tells them, and ``small_validation`` the first."""

_LEVELS: tuple[Level, ...] = ("problem", "caution", "note", "good")


def findings(story: Story) -> tuple[Finding, ...]:
    """Return everything worth saying about a run, the gravest first."""
    rules: tuple[Callable[[Story], Finding | None], ...] = (
        unfinished,
        unmeasured,
        no_better_than_guessing,
        mode_collapse,
        copying,
        rival_overfits,
        missing_in_training,
        missing_in_judging,
        rare_classes,
        wide_interval,
        few_judged,
        given_away,
        not_held_out,
        never_answered,
        overfitting,
        bad_files,
        uneven_classes,
        small_validation,
        one_confusion,
        overconfident,
        still_rising,
        waiting,
        healed,
        held_out,
    )
    found = [finding for rule in rules if (finding := rule(story))]
    return tuple(sorted(found, key=lambda finding: _LEVELS.index(finding.level)))


def guess(story: Story) -> tuple[str, float] | None:
    """Return the commonest class of the judged part and its share: the accuracy of always answering it.

    None where the counts are unknown, or a picture may show several classes at once; of one picture it is always right.
    """
    counts = _counts(story, story.split)
    total = sum(counts.values())
    if total < 2 or _items(story, story.split) != total:
        return None
    name = max(counts, key=lambda key: counts[key])
    return name, counts[name] / total


def stage_seconds(seconds: Mapping[str, float], stage: str) -> float:
    """Return the time of a stage: its own entry, or the sum of its parts where it has none."""
    if stage in seconds:
        return float(seconds[stage])
    return float(sum(value for name, value in seconds.items() if name.startswith(f"{stage}/")))


def waited(seconds: Mapping[str, float]) -> tuple[float, float]:
    """Return the time training waited for data, and the time of training with it, in seconds.

    Waiting may stand beside training, or be a part of it: "training/waiting for data".
    """
    beside = float(seconds.get("waiting for data", 0.0))
    return beside + float(seconds.get("training/waiting for data", 0.0)), beside + stage_seconds(seconds, "training")


def unfinished(story: Story) -> Finding | None:
    """The run was interrupted or gave up."""
    return Finding("problem", f"This run is not complete: {story.unfinished}") if story.unfinished else None


def unmeasured(story: Story) -> Finding | None:
    """There is no headline score: nobody measured, or what was judged does not define it."""
    if story.unfinished or story.headline is not None:
        return None
    if story.scores and story.score:
        n = max(score.n for score in story.scores.values())
        text = f"The {label(story.score)} is not defined by the {plural(n, 'item')} of the {spoken(story.split)} part"
        return Finding("problem", f"{text}: how good this model is, nobody knows.", _more_of(story, story.split))
    text = "Nothing was measured: how good this model is, nobody knows."
    return Finding("problem", text, "visus evaluate RUN/best.safetensors DATA")


def no_better_than_guessing(story: Story) -> Finding | None:
    """The interval of the accuracy reaches down to that of always answering the commonest class."""
    known = guess(story)
    if known is None or story.score != "accuracy" or story.headline is None or story.headline.low > known[1]:
        return None
    text = (
        f"Always answering {_quoted(known[0])} would be right in {percent(known[1], 1)}; this model's interval,"
        f" {interval_of(story.headline, share=True)}, does not lie above that."
    )
    return Finding("problem", text, "check the labels, or train longer (--minutes)")


def uneven_classes(story: Story) -> Finding | None:
    """Half of the judged pictures or more are of one class."""
    known = guess(story)
    if known is None or known[1] < 0.6 or story.score != "accuracy" or story.headline is None:
        return None
    text = (
        f"The classes are uneven: always answering {_quoted(known[0])} would already be right in"
        f" {percent(known[1], 1)}. Look at F1 beside the accuracy."
    )
    return Finding("note", text, "--set score=f1_macro chooses the weights by F1")


def missing_in_training(story: Story) -> Finding | None:
    """A class has no picture to learn from."""
    missing = _missing(story, "train")
    if not missing:
        return None
    has = "has" if len(missing) == 1 else "have"
    return Finding("problem", f"{_names(missing)} {has} no training picture and cannot be learned.", "add pictures")


def missing_in_judging(story: Story) -> Finding | None:
    """A class that is trained has no picture in validation or test."""
    parts = {split: _missing(story, split) for split in ("val", "test")}
    told = [f"{_names(names)} in the {spoken(split)} part" for split, names in parts.items() if names]
    if not told:
        return None
    text = f"Some classes cannot be judged: there is no picture of {', nor of '.join(told)}."
    return Finding(
        "caution", text, "add pictures, or give the training folder alone: visus then carves each part evenly"
    )


def rare_classes(story: Story) -> Finding | None:
    """Some classes have very few training pictures."""
    rare = sorted((n, name) for name, n in _counts(story, "train").items() if 0 < n < FEW)
    if not rare:
        return None
    told = listed([f"{_quoted(name)} {n}" for n, name in rare])
    has = "has" if len(rare) == 1 else "have"
    text = f"{plural(len(rare), 'class')} {has} fewer than {FEW} training pictures: {told}. Their results are luck."
    policies = {"detect": "", "generate": "generate.augment=ada"}  # what is shown to a generator is what it makes
    policy = policies.get(story.task, "augment.policy=trivialaugment")
    return Finding("caution", text, "collect more" + f"; --set {policy} makes the most of what is there" * bool(policy))


def wide_interval(story: Story) -> Finding | None:
    """The test part is too small for the headline score to say much."""
    score = story.headline
    if score is None or not is_share(story.score) or not score.high - score.low > WIDE or few(story.scores, ""):
        return None  # or ``few_judged`` has said more
    points = 100 * (score.high - score.low)
    needed = round(score.n * (points / 2) ** 2 / 100) * 100
    text = (
        f"The {spoken(story.split)} part has {plural(score.n, 'item')}, so the 95 % interval of the"
        f" {label(story.score)} is {points:.0f} points wide ({interval_of(score, share=True)});"
        f" for 2 points about {needed:,} are needed."
    )
    fix = "compare models on the same items, not by two such intervals: visus compare A B DATA"
    return Finding("caution" if points > 10 else "note", text, fix)


def few_judged(story: Story) -> Finding | None:
    """So few items were judged that not even the intervals are to be trusted."""
    items = story.headline.n if story.headline is not None else 0  # what is measured of others is no score of the part
    told = few({name: score for name, score in story.scores.items() if score.n <= items}, story.split)
    return Finding("caution", f"{told}.", _more_of(story, story.split)) if told else None


def given_away(story: Story) -> Finding | None:
    """Other parts hold what was judged, or were not looked at for it."""
    told = leaking(story.without_leaks, story.split) if story.without_leaks is not None else ""
    if story.without_leaks is None or not told:
        return None
    text = f"{told[0].upper()}{told[1:]}."
    if story.without_leaks.unknown:
        return Finding("note", text)
    evidence = f" Guessed: {story.without_leaks.guess}." if story.without_leaks.guess else ""
    return Finding("caution", text + evidence, "visus split DATA --out DIR keeps together what belongs together")


def small_validation(story: Story) -> Finding | None:
    """The best weights were chosen by few items, or by none, where these do not define the score."""
    n = _items(story, "val")
    judged = any("validation" in row for row in story.log)
    if n and judged and story.score and not len(history.validation(story.log, story.score)):
        text = f"The {plural(n, 'validation item')} {'does' if n == 1 else 'do'} not define the {label(story.score)}"
        return Finding("caution", f"{text}: the newest weights were kept, chosen by nothing.",
                       _more_of(story, "val"))  # fmt: skip
    if not 0 < n < 200 or not story.log:
        return None
    one = f"; one item is {percent(1 / n, 1)}" if is_share(story.score) and n > 1 else ""
    text = f"The best weights were chosen by {plural(n, 'validation item')}{one}: partly luck."
    return Finding("note", text, _more_of(story, "val"))


def not_held_out(story: Story) -> Finding | None:
    """The scores were measured where something was chosen or learned."""
    if not story.scores or story.split not in ("val", "train"):
        return None
    why = "where the best weights were chosen" if story.split == "val" else "which the model has learned from"
    text = f"The scores were measured on the {spoken(story.split)} part, {why}: they flatter."
    return Finding("caution", text, "--set data.test=0.2 carves a test part")


def bad_files(story: Story) -> Finding | None:
    """Some files could not be used."""
    bad = story.data.get("bad", ())
    if not bad:
        return None
    first, reason = bad[0]
    was = "was" if len(bad) == 1 else "were"
    example = f"{first}: {reason}" if len(bad) == 1 else f"such as {first}: {reason}"
    return Finding("caution", f"{plural(len(bad), 'file')} could not be used and {was} left out ({example}).",
                   "repair or remove what is listed under Data")  # fmt: skip


def healed(story: Story) -> Finding | None:
    """Training met something that it had to heal."""
    events = [event for event in story.events if event.get("kind") not in UNHEALED]
    if not events:
        return None
    kinds = Counter(str(event.get("kind", "event")).replace("_", " ") for event in events)
    told = listed([f"{kind} ({n} times)" if n > 1 else kind for kind, n in kinds.items()], 5)
    return Finding("note", f"Training healed {plural(len(events), 'fault')}: {told}; they stand under Healing.")


def overfitting(story: Story) -> Finding | None:
    """The validation loss rose while the training loss fell."""
    judged, trained = history.validation_loss(story.log), history.training(story.log, "loss")
    if len(judged) < 4 or min(judged.values) <= 0:
        return None
    lowest = min(range(len(judged)), key=lambda i: judged.values[i])
    rise = judged.values[-1] / judged.values[lowest] - 1
    after = [value for step, value in zip(trained.steps, trained.values, strict=True) if step >= judged.steps[lowest]]
    if lowest > len(judged) - 3 or rise < 0.1 or not _falls(after):
        return None
    text = (
        f"Overfitting: the validation loss was lowest at step {judged.steps[lowest]:,} and then rose by"
        f" {percent(rise)}, while the training loss went on falling."
    )
    return Finding(
        "caution", text, "--set augment.policy=trivialaugment, more data, or --set patience=5 to stop in time"
    )


def still_rising(story: Story) -> Finding | None:
    """The validation score was best at the very end, and by more than noise."""
    judged = history.validation(story.log, story.score)
    if len(judged) < 4 or story.unfinished:
        return None
    step, best = judged.best()
    gained = best - max(judged.values[: -max(1, len(judged) // 4)])
    if step != judged.steps[-1] or gained <= 0.005:
        return None
    by = f"{100 * gained:.1f} points" if is_share(story.score) else f"{gained:.3g}"
    text = f"The validation {label(story.score)} was still rising at the end: by {by} over the last quarter of the run."
    return Finding("note", text, _longer(story))


def one_confusion(story: Story) -> Finding | None:
    """A large part of all mistakes is one and the same."""
    for matrix in _confusions(story):
        wrong = int(matrix.values.sum() - matrix.values.trace())
        worst = confused(matrix, most=1)
        if len(matrix.rows) > 2 and wrong >= 20 and worst[0].count >= 0.15 * wrong:
            truth, said, nothing = worst[0].truth, worst[0].said, matrix.rows[-1] if matrix.background else None
            what, look = f"{_quoted(truth)} taken for {_quoted(said)}", "or are the two the same to the eye"
            if said == nothing:
                what, look = f"{_quoted(truth)} not found", "or are they smaller, hidden or rarer than others"
            elif truth == nothing:
                what, look = f"{_quoted(said)} found where none is stated", "or are some not stated"
            share, counted = percent(worst[0].count / wrong), f"{worst[0].count:,} of {wrong:,}"
            counted += f" {matrix.counted}s" * (matrix.counted != "item")
            text = f"{share} of all mistakes are one: {what} ({counted})."
            return Finding("note", text, f"look at them: are labels wrong, {look}?")
    return None


def never_answered(story: Story) -> Finding | None:
    """The model never gives a class that is there."""
    for matrix in _confusions(story):
        there, said = matrix.values.sum(1), matrix.values.sum(0)
        classes = matrix.rows[: len(matrix.rows) - matrix.background]
        silent = [name for i, name in enumerate(classes) if there[i] and not said[i]]
        if silent:
            weigh = "train longer" if matrix.background else "--set loss.class_weights=balanced"
            return Finding("caution", f"The model never answers {_names(silent)}, though it should have.",
                           f"{weigh}, or more pictures of it")  # fmt: skip
    return None


def overconfident(story: Story) -> Finding | None:
    """Probabilities are further from what happens than they should be."""
    error = story.scores.get("calibration_error")
    if error is None or not error.low > 0.03:
        return None
    text = f"Stated probability and observed share differ by {value_of(error, share=True)} on average."
    if story.card is None or "temperature" not in story.card.calibration:  # such a task fits none, or none was fitted
        return Finding("note", f"{text} Trust their order, not their size.")
    return Finding("note", text, f"a larger validation part fits the temperature better: {_more_of(story, 'val')}")


def waiting(story: Story) -> Finding | None:
    """Training stood still for want of data."""
    lost, whole = waited(story.seconds)
    if not lost > 0.15 * whole > 0 or lost < 1:
        return None
    text = f"Training waited for data in {percent(lost / whole)} of its time ({duration(lost)})."
    return Finding("note", text, "--cache disk, or --set data.workers=2")


def held_out(story: Story) -> Finding | None:
    """The test part is what it should be."""
    if story.headline is None or story.split != "test" or story.unfinished or not _items(story, "val"):
        return None
    if few(story.scores, ""):
        return None  # however rightly it was judged, it says next to nothing
    text = (
        f"Judged on {plural(story.headline.n, 'test item')}, read once, after every choice had been made by validation."
    )
    return Finding("good", text)


def _counts(story: Story, split: str) -> Mapping[str, int]:
    counts: Mapping[str, int] = story.data.get("counts", {}).get(split, {})
    return counts


def _items(story: Story, split: str) -> int:
    return int(story.data.get("items", {}).get(split, sum(_counts(story, split).values())))


def _missing(story: Story, split: str) -> list[str]:
    """Return classes without a picture in a split that is there and not empty as a whole."""
    counts = _counts(story, split)
    if not sum(counts.values()):
        return []
    return [name for name in {**_counts(story, "train"), **counts} if not counts.get(name)]


def _confusions(story: Story) -> list[Matrix]:
    return [figure for figure in story.figures if isinstance(figure, Matrix) and is_confusion(figure)]


def _falls(values: Sequence[float]) -> bool:
    """Tell whether the last quarter of a noisy series lies below its first."""
    quarter = max(1, len(values) // 4)
    return sum(values[-quarter:]) < sum(values[:quarter])


def _more_of(story: Story, split: str) -> str:
    """Return how a part that judges becomes larger: by another share, where visus carved it by less than a fifth."""
    key = {"val": "validation", "test": "test"}.get(split, "")
    carved = key and split in story.data.get("carved", ())
    if carved and (story.recipe is None or getattr(story.recipe.data, key) < 0.2):
        return f"--set data.{key}=0.2, or collect more"
    return "collect more, or divide the data anew: visus split DATA --out DIR"


def _longer(story: Story) -> str:
    recipe = story.recipe
    for option in ("minutes", "epochs", "steps"):
        length = getattr(recipe, option, None)
        if length is not None:
            return f"train longer: --{option} {2 * length:g}"
    return "train longer"


def _quoted(name: str) -> str:
    return f"“{name}”"


def _names(names: Sequence[str]) -> str:
    return listed([_quoted(name) for name in names])
