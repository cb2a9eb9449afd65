"""How often a model misses what is there, with intervals: in corner cases, by what they are, and in the population."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gensim.core.intervals import wilson
from gensim.core.progress import bar
from gensim.stress.models import KINDS, Model, checked
from gensim.stress.scenes import Scene, Thing

Z = 1.959964  # of a two-sided interval of 95 %
FEW, HEAVY = 50.0, 0.2  # effective crowds under which, and largest weight's share over which, nothing is believed
BATCH = 64  # frames that a model is shown at once
EDGES, DISTANCES = (10.0, 20.0), ("under 10 m", "10 to 20 m", "over 20 m")
WORST = 12  # scenes that are shown


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval, of `many` things, of which `missed` were."""

    value: float
    low: float
    high: float
    many: int
    missed: int


@dataclass(frozen=True)
class Population:
    """The miss rate under the reference law, with its 95 % interval.

    effective: how many equally probable crowds the scenes are worth; largest: share 0..1 of the largest weight; doubts:
    why it is not to be believed, empty where nothing speaks against it.
    """

    value: float
    low: float
    high: float
    effective: float
    largest: float
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What a model does in scenes.

    missed: of all things, in the scenes as they were drawn; by: the same by what things and scenes are; alarms: false
    ones a frame, by weather, with intervals; population: under the reference law; worst: the scenes with most misses,
    with what was found in them.
    """

    scenes: int
    missed: Rate
    population: Population
    by: Mapping[str, Mapping[str, Rate]]
    alarms: Mapping[str, Rate]
    worst: list[Judged] = field(repr=False)


@dataclass(frozen=True)
class Judged:
    """A scene with what is counted of it, and what came of it.

    missed (k,): which of its things were; false, true: boxes (m, 6) that stand for nothing, and for something.
    """

    scene: Scene
    missed: np.ndarray
    false: np.ndarray
    true: np.ndarray


def judge(
    model: Model,
    some: Iterable[Scene],
    least_iou: float = 0.5,
    least_score: float = 0.5,
    group: int = 8,
    kinds: tuple[str, ...] = ("person",),
    count: int | None = None,
    quiet: bool = True,
) -> Report:
    """Shows a model scenes and counts.

    Arguments:
        some: scenes in order; `group` of them that follow each other share a crowd and count as dependent.
        least_iou: overlap of a box with a thing of its kind from which on it stands for it.
        least_score: boxes below are left out.
        kinds: what is counted; boxes of other kinds are left out.
        count: of scenes, for the progress bar.

    Raises:
        ValueError: if nothing of these kinds is in any scene, or the model fails.
    """
    wrong = [name for name in kinds if name not in KINDS]
    if wrong or not kinds or not 0 < least_iou <= 1 or group < 1:
        raise ValueError(
            f"kinds={kinds}, least_iou={least_iou}, group={group}: give kinds of {', '.join(KINDS)}, "
            "0 < least_iou <= 1, and group of 1 or more"
        )
    judged: list[Judged] = []
    batch: list[Scene] = []
    with bar(count, "scenes", quiet, unit="scene") as shown:
        for one in some:
            batch.append(one)
            if len(batch) == BATCH:
                judged += _judged(model, batch, least_iou, least_score, kinds)
                shown.update(len(batch))
                batch = []
        judged += _judged(model, batch, least_iou, least_score, kinds) if batch else []
    return _report(judged, group, kinds)


def matched(things: list[Thing], boxes: np.ndarray, least_iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Which things (k,) are missed, and which boxes (m, 6) stand for one (m,): the surest box takes first."""
    missed, stands = np.ones(len(things), bool), np.zeros(len(boxes), bool)
    if not len(things):
        return missed, stands
    known = np.array([one.box for one in things], float)
    kind = np.array([KINDS.index(one.kind) for one in things])
    for i in np.argsort(-boxes[:, 4], kind="stable"):
        overlap = np.where(missed & (kind == boxes[i, 5]), iou(boxes[i, :4], known), -1.0)
        best = int(overlap.argmax())
        if overlap[best] >= least_iou:
            missed[best], stands[i] = False, True
    return missed, stands


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlap 0..1 of a box (4,) with others (n, 4), over what they cover together."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    area = lambda some: np.prod(np.maximum(some[..., 2:] - some[..., :2], 0), axis=-1)  # noqa: E731
    return both / np.maximum(area(box) + area(others) - both, 1e-12)


def rate(missed: np.ndarray, many: np.ndarray) -> Rate:
    """A share of crowds' counts (c,), and its interval (Wilson), of as many independent things as they are worth.

    Things of one crowd are alike. By how much, their own variance says (Kish, 1965); where none or all are missed, a
    crowd counts as one thing.
    """
    total, p = float(many.sum()), float(missed.sum() / many.sum())
    crowds = int((many > 0).sum())
    if 0 < p < 1 and crowds > 1:
        spread = float(((missed - p * many) ** 2).sum()) / total**2 * crowds / (crowds - 1)
        worth = total / max(spread / (p * (1 - p) / total), 1.0)
    else:
        worth = float(crowds)
    low, high = wilson(p, worth)
    return Rate(p, low, high, int(total), int(missed.sum()))


def population(missed: np.ndarray, many: np.ndarray, log_w: np.ndarray) -> Population:
    """The miss rate of weighted crowds: counts (c,) and log-weights (c,), by a ratio and its linearisation.

    Reference: Monte Carlo theory, methods and examples (Owen, 2013), chapter 9: self-normalised importance sampling.
    """
    w = np.exp(log_w - log_w.max())
    value = float((w * missed).sum() / (w * many).sum())
    error = np.sqrt(((w * (missed - value * many)) ** 2).sum()) / (w * many).sum()
    effective, largest = float(w.sum() ** 2 / (w**2).sum()), float(w.max() / w.sum())
    doubts = []
    if effective < FEW:
        doubts.append(f"only {effective:.0f} effective crowds")
    if largest > HEAVY:
        doubts.append(f"one crowd makes {largest:.0%} of it")
    low, high = max(value - Z * float(error), 0.0), min(value + Z * float(error), 1.0)
    if not 0 < value < 1:  # where all is alike, a spread of nothing is no certainty
        low, high = wilson(value, effective)
    return Population(value, low, high, effective, largest, tuple(doubts))


def _judged(
    model: Model, batch: list[Scene], least_iou: float, least_score: float, kinds: tuple[str, ...]
) -> list[Judged]:
    found, counted = [], [KINDS.index(kind) for kind in kinds]
    for scene, boxes in zip(batch, checked(model, np.stack([one.frame for one in batch]))):
        scene = replace(scene, things=tuple(thing for thing in scene.things if thing.kind in kinds))
        boxes = boxes[(boxes[:, 4] >= least_score) & np.isin(boxes[:, 5], counted)]
        missed, stands = matched(list(scene.things), boxes, least_iou)
        found.append(Judged(scene, missed, boxes[~stands], boxes[stands]))
    return found


def _report(judged: list[Judged], group: int, kinds: tuple[str, ...]) -> Report:
    rows: list[tuple[int, bool, dict[str, str]]] = []  # of each thing: its crowd, whether it was missed, what it is
    for i, one in enumerate(judged):
        for thing, missed in zip(one.scene.things, one.missed):
            rows.append((i // group, bool(missed), _about(thing, one.scene)))
    if not rows:
        raise ValueError(f"no {' or '.join(kinds)} is in any of {len(judged)} scenes: draw more, or others")
    crowds = -(-len(judged) // group)
    crowd, missed = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    log_w = np.array([judged[i * group].scene.log_p - judged[i * group].scene.log_q for i in range(crowds)])
    by: dict[str, dict[str, Rate]] = {}
    for name in sorted({name for *_, about in rows for name in about}):
        for value in sorted({about[name] for *_, about in rows if name in about}):
            own = np.array([about.get(name) == value for *_, about in rows])
            by.setdefault(name, {})[value] = rate(*_counts(crowd[own], missed[own], crowds))
    counts = _counts(crowd, missed, crowds)
    worst = sorted(judged, key=lambda one: (-one.missed.sum(), -len(one.false), one.scene.seed))[:WORST]
    return Report(len(judged), rate(*counts), population(*counts, log_w), by, _alarms(judged, group), worst)


def _counts(crowd: np.ndarray, missed: np.ndarray, crowds: int) -> tuple[np.ndarray, np.ndarray]:
    return np.bincount(crowd, missed, crowds), np.bincount(crowd, minlength=crowds).astype(float)


def _about(thing: Thing, scene: Scene) -> dict[str, str]:
    far = DISTANCES[int(np.searchsorted(EDGES, thing.distance, "right"))]
    hidden = "mostly seen" if thing.visible >= 0.5 else "mostly hidden"
    return {"kind": thing.kind, "weather": scene.weather, "distance": far, "occlusion": hidden, **thing.traits}


def _alarms(judged: list[Judged], group: int) -> dict[str, Rate]:
    """Share of frames with a false alarm, by weather."""
    found = {}
    for weather in sorted({one.scene.weather for one in judged}):
        own = [(i // group, len(one.false) > 0) for i, one in enumerate(judged) if one.scene.weather == weather]
        crowd, alarm = (np.array(part) for part in zip(*own))
        found[weather] = rate(*_counts(crowd, alarm, int(crowd.max()) + 1))
    return found


def told(report: Report) -> dict[str, Any]:
    """A report as JSON has it, without pictures."""
    rates = {name: {value: vars(one) for value, one in some.items()} for name, some in report.by.items()}
    alarms = {name: vars(one) for name, one in report.alarms.items()}
    worst = [
        {"scene": one.scene.seed, "weather": one.scene.weather, "missed": int(one.missed.sum())} for one in report.worst
    ]
    about = {"scenes": report.scenes, "missed": vars(report.missed), "population": vars(report.population)}
    return {**about, "by": rates, "frames with false alarms": alarms, "worst": worst}
