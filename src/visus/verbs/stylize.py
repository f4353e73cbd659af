"""``visus stylize``: pictures in the style of a painting."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.core.figures import Table
from visus.core.files import write_picture
from visus.verbs.styles import SMALLEST, read, remark

if TYPE_CHECKING:
    from torch import Tensor

    from visus.models.perceptual import Features, Named
    from visus.verbs.assembly import Tell
    from visus.verbs.load import Model
    from visus.verbs.painting import Painted

LARGEST, LARGEST_OF_MODEL = 4096, 16_384
JUDGED = 1024
"""Pixels a side of what is judged of a picture that a model painted, at the scale at which it did."""
SIZE, SIZE_OF_MODEL = 512, 1024
"""Of the longer side, where nobody says; what a network paints in tiles may be larger."""
_OTHERS = (".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
_SAME = 1e-6  # distance of styles, which is about one, that is rounding
_SHAPE = 0.02  # how far a mask's ratio of sides may be from the picture's


@dataclass(frozen=True)
class Stylized:
    """One picture in another style.

    Attributes:
        file: the content; ``drawn``: where the picture was written.
        size: (height, width) of what was written.
        before, after: distance of the style from the painting's, of the content and of the picture; see ``style``.
        similarity: correlation of its features with the content's: 1 where the same things are at the same places.
        seconds: it took, reading and writing aside.
    """

    file: str
    drawn: str
    size: tuple[int, int]
    before: float
    after: float
    similarity: float
    seconds: float

    @property
    def fall(self) -> float:
        """How many times nearer the style is than it was."""
        return self.before / max(self.after, 1e-12)

    @property
    def change(self) -> str:
        """How much nearer or farther the style is, in words."""
        if self.after > self.before:
            times = self.after / self.before if self.before > _SAME else 0.0
            return f"{times:.1f} times farther" if times else "farther: it was the painting's own"
        return f"{self.fall:.1f} times nearer"


@dataclass(frozen=True)
class Stylizations:
    """Pictures in another style, and by which features that was measured.

    Attributes:
        style: the painting; ``features``: by which style was told.
        pictures: in the order of the files.
        problems: (what was named, reason): what could not be read, or was too small among others.
        notes: what was passed over or chosen, a sentence each.
        model: what painted them; empty where they were optimised.
    """

    style: str
    features: Named
    pictures: tuple[Stylized, ...]
    problems: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    model: str = ""

    def json(self) -> dict[str, Any]:
        """Return plain values with the fields' names."""
        rows = [
            {"file": one.file, "drawn": one.drawn, "size": list(one.size), "style_before": one.before,
             "style_after": one.after, "fall": one.fall, "content_similarity": one.similarity, "seconds": one.seconds}
            for one in self.pictures
        ]  # fmt: skip
        features = {"name": self.features.name, "licence": self.features.licence, "sha256": self.features.sha256}
        problems = [{"file": file, "why": why} for file, why in self.problems]
        return {"style": self.style, "model": self.model, "features": features, "pictures": rows, "problems": problems,
                "notes": list(self.notes)}  # fmt: skip

    def table(self) -> Table:
        """Return a line a picture."""
        columns = ("picture", "size", "style before", "after", "style is", "content similarity", "seconds")
        rows = [
            (one.drawn, f"{one.size[1]} x {one.size[0]}", round(one.before, 4), round(one.after, 4),
             one.change, round(one.similarity, 3), round(one.seconds, 1))
            for one in self.pictures
        ]  # fmt: skip
        return Table("", columns, rows)


def stylize(
    content: str | Path | Sequence[str | Path],
    style: str | Path | None = None,
    *,
    model: str | Path | Model | None = None,
    out: str | Path | None = None,
    size: int | None = None,
    style_size: int | None = None,
    steps: int | None = None,
    strength: float = 1.0,
    colours: Literal["style", "content"] = "style",
    mask: str | Path | None = None,
    start: Literal["content", "noise"] | None = None,
    tiles: int | None = None,
    features: str = "auto",
    weights: str | Path = "default",
    accept: Sequence[str] = (),
    seed: int = 0,
    watch: Tell | None = None,
) -> Stylizations:
    """Paint pictures in the style of another one, by optimisation or by a trained network.

    Args:
        content: files, folders and globs.
        style: the painting; none for a model that learned the style of one.
        model: a model file or run folder of the task ``stylize``, which paints in one pass; by default the picture is
            optimised.
        out: a ``.png`` file, which is replaced, or a folder where there are several pictures; ``NAME-STYLE.png`` here
            by default.  Nothing but a file that is named is written over.
        size: of the longer side at which it is painted, 512 by default and 1024 with a model; smaller pictures keep
            theirs.
        style_size: of the painting's longer side, by which strokes become larger or smaller; ``size`` by default, and
            that at which a model learned; refused for a model of one style, whose strokes are as it learned them.
        steps: of the optimiser, at half the size and again at the whole; 50 by default.
        strength: from 0, the content as it was, to 1.
        colours: whose they are.
        mask: a picture that is white where the style shall be, of the content's shape.
        start: what the optimiser paints over; the content by default.
        tiles: side of the tiles in which networks look at a picture, in pixels; 0 looks at the whole.  By default it is
            whole up to 2048 x 2048, and where features cannot be told tile by tile.
        features: by which style is told: a network whose weights are at hand, or ``random``; see
            ``models/perceptual.py``.
        weights: of that network: ``default`` or a file.
        accept: licences of weights accepted beyond the permissive ones.
        seed: of noise and random features.
        watch: told what happens.

    Raises:
        UsageError: STYLE-001 a number out of its range, STYLE-002 a picture that is too small or too narrow, STYLE-003
            a mask of another shape or without a white pixel, STYLE-004 a place to write to where something is already
            or that is named as another kind of picture than ``.png``, or one file for several, STYLE-006 a model that
            does not paint, STYLE-007 a painting that is missing or not wanted, STYLE-008 a choice that the model does
            not have, STYLE-010 features that cannot tell style, STYLE-011 tiles, and features that look at a picture as
            a whole; unknown networks or weights.
        DataError: the painting or the mask cannot be read, or there is not one picture to paint.
    """
    from visus.engine.device import short_of_memory
    from visus.models.perceptual import RANDOM
    from visus.verbs.painting import in_light
    from visus.verbs.predict import gather, make_folder
    from visus.verbs.runs import silent

    tell = watch or silent
    _check_numbers(size=size, style_size=style_size, steps=steps, strength=strength, colours=colours, start=start,
                   tiles=tiles, network=model is not None)  # fmt: skip
    painter = None if model is None else _painter(model, style, steps=steps, start=start, style_size=style_size)
    size = size or (SIZE if painter is None else SIZE_OF_MODEL)
    named = [content] if isinstance(content, str | Path) else content
    files, missing, notes = gather(named, "nothing was painted", "visus stylize PHOTO... PAINTING")
    name = str(style) if style is not None else painter.style if painter is not None else ""
    places = _places(files, Path(name), Path(out) if out is not None else None)
    _check_places(
        places, Path(out) if out is not None else None, [*files, *(each for each in (style, mask) if each is not None)]
    )
    if style is not None:
        painting = read(Path(style))
        longest = style_size or (size if painter is None else painter.longest(painting))
        painting = _fitted(painting, longest, f"the painting {style}")
    elif painter is not None:
        painting = painter.painting
    else:
        raise UsageError("STYLE-007", "no painting is named", done="nothing was painted",
                         fix="visus stylize PHOTO PAINTING, or --model FILE of a network that learned one")  # fmt: skip
    covered = read(Path(mask)) if mask is not None else None
    seen = _features(features, str(weights), seed, accept)
    if painter is None and tiles:
        _ = seen.reach  # or else they are refused here
    if seen.named.name == RANDOM:
        notes.append("features are random filters, which nobody trained: styles are told less well than by a network")
    if said := remark(painting, name):
        notes.append(said)
    tell({"note": f"features: {seen.named.name} ({seen.named.licence}, {seen.named.sha256[:12]})"})
    for folder in dict.fromkeys(place.parent for place in places):
        make_folder(folder, "nothing was painted")
    done, bad, fix = list[Stylized](), list(missing), ""
    for file, place in zip(files, places, strict=True):
        try:
            original = read(Path(file))
            picture = _fitted(original, size, file)
        except (DataError, UsageError) as error:
            if len(files) == 1 and isinstance(error, UsageError):
                raise
            bad.append((file, error.what.removeprefix(f"{file}: ")))
            fix = fix or error.fix
            continue
        where = _mask_of(covered, original, picture, str(mask)) if covered is not None else None
        began = time.perf_counter()

        def told(count: int, of: int, name: str = file) -> None:
            tell({"painting": name, "done": count, "of": of})

        with short_of_memory("this picture was not written", "a smaller --size or --tiles"):
            if painter is not None:
                painted, side = painter.paint(picture, painting, seen, strength, where, tiles, told), 0
            else:
                side = _side_of_tiles(picture, seen, notes) if tiles is None else tiles
                painted = _optimised(picture, painting, seen, steps, strength, start, where, side, seed, told)
            if colours == "content":
                part = _middle(picture) if painter is not None else ...
                painted = in_light(painted.picture, picture, painting, seen, where, side, part)
        result = painted.picture
        seconds = time.perf_counter() - began
        write_picture(place, _bytes(result))
        shape = (int(result.shape[2]), int(result.shape[3]))
        done.append(Stylized(file, str(place), shape, painted.before, painted.after, painted.similarity, seconds))
        tell({"note": f"{place}: the style is {done[-1].change}, in {seconds:.3g} s"})
    if not done:
        name, why = bad[0]
        raise DataError("STYLE-005", f"{name}: {why}", where=f"and {len(bad) - 1:,} more" if len(bad) > 1 else "",
                        done="nothing was painted", fix=fix or "visus stylize PHOTO PAINTING")  # fmt: skip
    by = str(painter.model.path) if painter is not None else ""
    return Stylizations(name, seen.named, tuple(done), tuple(bad), tuple(notes), by)


def divided(pictures: Sequence[str], model: str | Path | None) -> tuple[list[str], str | None]:
    """Return which of the pictures that were named are content, and which is the painting: the last one.

    A model that learned the style of one painting takes none.
    """
    if model is not None:
        from visus.core.modelfile import read_card
        from visus.models.stylizers import STYLIZERS

        place = Path(model) / "best.safetensors" if Path(model).is_dir() else Path(model)
        name = read_card(place).architecture.name
        if name in STYLIZERS and not STYLIZERS[name].any_style:
            return list(pictures), None
    return (list(pictures[:-1]), pictures[-1]) if len(pictures) > 1 else (list(pictures), None)


@dataclass(frozen=True)
class _Painter:
    """A network that paints in one pass."""

    model: Model
    any_style: bool

    @property
    def style(self) -> str:
        """What its own style is called."""
        return self.model.recipe.stylize.style or self.model.path.stem

    @property
    def painting(self) -> Tensor:
        """(1, 3, H, W) in [0, 1], what its own style is."""
        pixels: Any = self.model.network.painting
        found: Tensor = pixels[None].float().cpu() / 255
        return found

    def longest(self, painting: Tensor) -> int:
        """Return the longer side at which a painting's shorter one is as long as those that were learned from."""
        short, long = sorted(painting.shape[2:])
        return math.ceil(min(self.model.recipe.input.size) * long / short)

    def paint(
        self, picture: Tensor, painting: Tensor, seen: Features, strength: float, mask: Tensor | None,
        tiles: int | None, watch: Callable[[int, int], None],
    ) -> Painted:  # fmt: skip
        """Return the picture in its style, and what features say of it: of a large one, of its middle."""
        import torch

        from visus.verbs.one_pass import painted
        from visus.verbs.painting import judged

        given = painting if self.any_style else None
        made = painted(self.model, picture, given, strength=strength, tile=tiles, watch=watch)
        made = made if mask is None else torch.lerp(picture, made, mask)
        middle = _middle(made)
        found = judged(made[middle], picture[middle], painting, seen, None if mask is None else mask[middle])
        return replace(found, picture=made)


def _middle(picture: Tensor) -> Any:
    """Return where in a large picture features look: JUDGED pixels a side at most."""
    top, left = (max(0, side - JUDGED) // 2 for side in picture.shape[2:])
    return (..., slice(top, top + JUDGED), slice(left, left + JUDGED))


def _painter(
    model: str | Path | Model, style: str | Path | None, *, steps: int | None, start: str | None, style_size: int | None
) -> _Painter:
    """Return what paints in one pass.

    Raises:
        UsageError: STYLE-006, STYLE-007, STYLE-008.
    """
    from visus.models.stylizers import STYLIZERS
    from visus.verbs.load import Model, load

    for name, given in (("steps", steps), ("start", start)):
        if given is not None:
            raise UsageError("STYLE-008", f"{name} is a choice of optimisation alone", done="nothing was painted",
                             fix="leave it out")  # fmt: skip
    loaded = model if isinstance(model, Model) else load(model)
    if loaded.task.name != "stylize":
        raise UsageError(
            "STYLE-006", f"{loaded.path}: it was trained to {loaded.task.name}, not to stylize",
            done="nothing was painted", fix="visus train PHOTOS --task stylize --set style=PAINTING makes one",
        )  # fmt: skip
    any_style = STYLIZERS[loaded.card.architecture.name].any_style
    if any_style != (style is not None):
        what = "paints in any style, and no painting is named" if any_style else "has a style of its own"
        fix = f"visus stylize PHOTO PAINTING --model {loaded.path}" if any_style else "leave the painting out"
        raise UsageError("STYLE-007", f"{loaded.path}: it {what}", done="nothing was painted", fix=fix)
    if style_size is not None and not any_style:
        raise UsageError("STYLE-008", "style_size is a choice of optimisation and of networks of any style",
                         done="nothing was painted", fix="leave it out")  # fmt: skip
    return _Painter(loaded, any_style)


def _optimised(
    picture: Tensor, painting: Tensor, seen: Features, steps: int | None, strength: float, start: str | None,
    mask: Tensor | None, tile: int, seed: int, watch: Callable[[int, int], None],
) -> Painted:  # fmt: skip
    from visus.verbs.painting import paint

    return paint(picture, painting, seen, steps=steps or 50, strength=strength, start=start or "content", mask=mask,
                 tile=tile, seed=seed, watch=watch)  # fmt: skip


def _side_of_tiles(picture: Tensor, seen: Features, notes: list[str]) -> int:
    """Return the side of the tiles in which features look at a picture, where nobody says; 0 for the whole at once."""
    from visus.verbs.windows import TILE, WHOLE

    if picture.shape[2] * picture.shape[3] <= WHOLE:
        return 0
    try:
        return TILE if seen.reach else 0
    except UsageError as error:
        if error.code != "STYLE-011":
            raise
        note = f"{error.what}; large pictures are painted whole, in much memory"
        notes.extend([note] if note not in notes else [])
        return 0


def _check_numbers(
    *, size: int | None, style_size: int | None, steps: int | None, strength: float, colours: str, start: str | None,
    tiles: int | None, network: bool,
) -> None:  # fmt: skip
    """Refuse what is out of its range.

    Raises:
        UsageError: STYLE-001.
    """
    largest = LARGEST_OF_MODEL if network else LARGEST
    wrong = {
        f"size {size}": (size is None or SMALLEST <= size <= largest, f"from {SMALLEST} to {largest:,}"),
        f"style_size {style_size}": (
            style_size is None or SMALLEST <= style_size <= LARGEST, f"from {SMALLEST} to {LARGEST:,}"
        ),
        f"steps {steps}": (steps is None or 1 <= steps <= 10_000, "from 1 to 10,000"),
        f"strength {strength}": (math.isfinite(strength) and 0 <= strength <= 1, "from 0 to 1"),
        f"colours {colours}": (colours in ("style", "content"), did_you_mean(colours, ("style", "content"))),
        f"start {start}": (start in (None, "content", "noise"), did_you_mean(str(start), ("content", "noise"))),
        f"tiles {tiles}": (not tiles or 64 <= tiles <= largest, f"from 64 to {largest:,}, or 0"),
    }  # fmt: skip
    for what, (right, fix) in wrong.items():
        if not right:
            raise UsageError("STYLE-001", f"{what}: cannot be", done="nothing was painted", fix=fix)


def _places(files: Sequence[str], style: Path, out: Path | None) -> list[Path]:
    """Return where each picture is written.

    Raises:
        UsageError: STYLE-004.
    """
    if out is not None and out.suffix.lower() in _OTHERS and not out.is_dir():
        raise UsageError("STYLE-004", f"{out}: pictures are written as .png", done="nothing was painted",
                         fix=f"--out {out.with_suffix('.png')}")  # fmt: skip
    if out is not None and out.suffix.lower() == ".png" and not out.is_dir():
        if len(files) > 1:
            raise UsageError("STYLE-004", f"{out}: one file cannot hold {len(files):,} pictures",
                             done="nothing was painted", fix="--out takes a folder, too")  # fmt: skip
        return [out]
    stems = [Path(file).stem for file in files]
    named = [stem if stems.count(stem) == 1 else f"{stem}-{i:05d}" for i, stem in enumerate(stems)]
    return [(out or Path()) / f"{stem[:100]}-{style.stem[:100]}.png" for stem in named]


def _features(name: str, weights: str, seed: int, accept: Sequence[str]) -> Features:
    """Return what style is told by.  Raises as ``visus.models.perceptual.features``, with what helps here."""
    from visus.models.perceptual import features

    try:
        return features(name, weights, seed=seed, accept=accept)
    except UsageError as error:
        here = {"MODEL-013": "put the file there, or name it: --weights FILE, or other features: --features random",
                "MODEL-014": "other --features, or if your use is allowed: --accept nc"}  # fmt: skip
        error.done, error.fix = "nothing was painted", here.get(error.code, error.fix)
        raise


def _check_places(places: Sequence[Path], out: Path | None, read: Sequence[str | Path]) -> None:
    """Refuse to write over what is read, and over any other file but the one that was named.

    Raises:
        UsageError: STYLE-004.
    """
    for place in places:
        if any(place.resolve() == Path(file).resolve() for file in read):
            raise UsageError("STYLE-004", f"{place}: it would be written over a picture that is read",
                             done="nothing was painted", fix="--out FILE.png")  # fmt: skip
    there = [place for place in places if place != out and os.path.lexists(place)]
    if there:
        more = f"and {len(there) - 1:,} more of the {len(places):,}" if len(there) > 1 else ""
        raise UsageError("STYLE-004", f"{there[0]}: is there already", where=more, done="nothing was painted",
                         fix="--out FOLDER, or --out FILE.png, which may be replaced")  # fmt: skip


def _fitted(picture: Tensor, size: int, name: str) -> Tensor:
    """Return a picture whose longer side is as long as asked, or as it was where it is shorter.

    Raises:
        UsageError: STYLE-002, a side is too short to see anything of a style on.
    """
    import torch.nn.functional as F

    height, width = picture.shape[2:]
    scale = min(1.0, size / max(height, width))
    fitted = (max(1, round(height * scale)), max(1, round(width * scale)))
    if min(fitted) < SMALLEST:
        at = f" once its longer side is {size:,}" if scale < 1 else ""
        raise UsageError(
            "STYLE-002", f"{name}: {fitted[1]:,} x {fitted[0]:,} pixels{at}: too small to tell a style on",
            done="nothing was painted",
            fix=f"{SMALLEST} pixels a side at least" + (", or a larger --size" * (scale < 1)),
        )  # fmt: skip
    if fitted == (height, width):
        return picture
    return F.interpolate(picture, fitted, mode="bicubic", antialias=True).clamp(0, 1)


def _mask_of(mask: Tensor, original: Tensor, picture: Tensor, name: str) -> Tensor:
    """Return (1, 1, H, W), how much of each pixel is painted.

    Raises:
        UsageError: STYLE-003.
    """
    import torch.nn.functional as F

    (height, width), (tall, wide) = mask.shape[2:], original.shape[2:]
    if abs(height * wide / (width * tall) - 1) > _SHAPE:
        raise UsageError(
            "STYLE-003", f"{name}: {width:,} x {height:,} pixels are another shape than the picture's",
            where=f"that is {wide:,} x {tall:,}", done="nothing was painted", fix="a mask drawn on the picture itself",
        )  # fmt: skip
    fitted = F.interpolate(mask.mean(1, keepdim=True), picture.shape[2:], mode="bilinear", antialias=True).clamp(0, 1)
    if not fitted.any():
        raise UsageError("STYLE-003", f"{name}: the mask is black, so nothing would be painted",
                         fix="white is where the style shall be")  # fmt: skip
    return fitted


def _bytes(picture: Tensor) -> Any:
    return (picture[0].cpu() * 255).round().byte().permute(1, 2, 0).numpy()
