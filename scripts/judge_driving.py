#!/usr/bin/env python
"""Judges a driving world on episodes that its fit did not see.

A segmenter learns from recorded frames and their labels, a classifier of weather from recorded frames under weather,
and both then look at dreamed frames: does the segmenter see what the dream says is there, does the classifier see the
weather that was asked for? A dream that leaves out what is hard to see is agreed with easily: the shares of pixels of
each class stand beside, dreamed and recorded, and what the segmenter sees in dreams against what was recorded.

The weather is a filter of ours, over recorded and dreamed frames alike, so that much of it is seen whatever lies below:
how much says the classifier on grey frames under the same weather.

Steering: from the same moment, with equal chances, the wheel is held to the left and to the right.

Crashes: from every fifth moment of held-out episodes the world dreams ten steps on under the recorded actions, eight
times; the probability that it crashes on the way, or crashes in one way, is their mean, and ranks moments that were
followed by such a crash within these steps before others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json
from gensim.core.progress import bar
from gensim.envs.driving.alive import MOVING, WEATHERS, steering
from gensim.envs.driving.judges import Classifier, Segmenter, learn, said
from gensim.envs.driving.source.labels import GROUPS, grouped
from gensim.envs.driving.weather import Weather, apply
from gensim.episodes import Dataset, Episode, read_episode
from gensim.episodes.sample import is_heldout
from gensim.ood.auroc import won_between
from gensim.world import State, World
from gensim.world.furnish import action_rows, follow
from gensim.world.heldout import Heldout
from gensim.world.labelling import confusion, iou, mean_iou
from gensim.world.quality import CONTEXT, figure, filtered

AT = (5, 10, 20, 30)  # steps of a dream whose frames are judged
CRASHES = ("vehicle", "object", "person", "off_road")
AHEAD, EVERY, DREAMS = 10, 5, 8  # steps dreamed on towards a crash, and between their beginnings; dreams of each
PAIRS = 200  # moments from which the wheel is tried
ASKED = {name: asked for name, asked in WEATHERS.items() if len(asked) < 2}  # what the classifier tells apart


@dataclass(frozen=True)
class Judge:
    """What to judge, on what."""

    world: Path = Path("envs/driving")
    """World folder."""
    data: Path = Path("runs/driving/data")
    """Data set that it was fitted to."""
    holdout: float = 0.1
    """Share of the episodes that the fit was told to hold out."""
    segments: int = 200
    """Held-out segments that are dreamed on."""
    steps: int = 900
    """Optimiser steps of each judging network."""
    frames: int = 6000
    """Recorded frames that they learn from."""
    out: Path = Path("results/driving.json")
    """Where the result goes."""


def main(config: Judge) -> None:
    """Learns, judges and writes."""
    world, data = World.load(config.world), Dataset(config.data)
    apart = [header for header in data.episodes if is_heldout(header, config.holdout)]
    known = Recorded([header for header in data.episodes if not is_heldout(header, config.holdout)], config.frames)
    heldout = Heldout.gather(apart, config.segments, CONTEXT + max(AT), 0)
    group = np.unique(heldout.episode, return_inverse=True)[1]
    dreamed = dreams(world, heldout)
    told: dict[str, Any] = {
        **circumstances(),
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()},
        "world": world.hash,
        "heldout_episodes": len(apart),
        "segments": {"n": len(heldout), "of_episodes": int(group.max()) + 1},
        "segmenter": segmented(known, heldout, dreamed, group, config.steps),
        "weather": weathered(known, heldout, dreamed, group, config.steps),
        "steering": steering(world, driven(apart)),
        "crashes": crashes(world, [read_episode(header.path) for header in apart]),
    }
    write_json(config.out, told)
    agree, seen = told["segmenter"]["dreamed"]["miou"]["value"], told["weather"]["dreamed"]["all"]["value"]
    area = told["crashes"]["all"]["value"]
    print(f"segmenter agrees {agree}, weather recognised {seen}, crashes foretold: area {area}")


class Recorded:
    """Some recorded frames with labels, spread evenly over episodes."""

    def __init__(self, headers: Sequence[Any], n: int) -> None:
        each = -(-n // len(headers))
        parts: list[tuple[np.ndarray, ...]] = []
        for header in bar(headers, "frames", unit="episode"):
            tape = read_episode(header.path)
            at = np.unique(np.linspace(0, len(tape), each).round().astype(int)).tolist()
            depth = np.float32(tape.meta["depth"]["steps"])
            layers = [np.stack([tape.layers[name].at(t) for t in at]) for name in ("classes", "depth")]
            parts.append((np.stack([tape.frame(t) for t in at]), layers[0], layers[1] / depth))
        self.frames, self.classes, self.far = (np.concatenate(part) for part in zip(*parts))

    def some(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """n by chance: frames, classes and distances."""
        at = rng.integers(len(self.frames), size=n)
        return self.frames[at], self.classes[at], self.far[at]


def dreams(world: World, heldout: Heldout) -> dict[str, np.ndarray]:
    """Frames (n, q, h, w, 3), classes and distances (n, q, h, w) of dreams under the recorded actions."""
    state, shown = filtered(world, heldout), []
    for t in range(1, max(AT) + 1):
        state, _ = world.imagine(state, heldout.inputs[:, CONTEXT - 2 + t])
        shown += [world.labelled(state)] if t in AT else []
    return {name: np.stack(part, 1) for name, part in zip(("frames", "classes", "far"), zip(*shown))}


def real(heldout: Heldout) -> dict[str, np.ndarray]:
    """The same of what was recorded."""
    at = [CONTEXT - 1 + t for t in AT]
    layers = {"classes": heldout.layer("classes")[:, at], "far": heldout.layer("depth")[:, at]}
    return {"frames": heldout.frames[:, at], **layers}


# -------------------------------------------------------------------- what is where


def segmented(
    known: Recorded, heldout: Heldout, dreamed: dict[str, np.ndarray], group: np.ndarray, steps: int
) -> dict[str, Any]:
    """How the segmenter agrees with labels: of recorded frames, of dreamed ones, and of dreamed with recorded ones."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        frames, classes, _ = known.some(rng, 16)
        return frames, grouped(classes)

    net = learn(Segmenter, draw, steps, "segmenter")
    seen = {"recorded": real(heldout), "dreamed": dreamed}
    told = {name: grouped(_flat(one["classes"])) for name, one in seen.items()}
    there = {name: said(net, _flat(one["frames"])) for name, one in seen.items()}
    found = {name: _agreement(there[name], told[name], group) for name in seen}
    found["dreamed, against recorded"] = _agreement(there["dreamed"], told["recorded"], group)
    found["shares"] = {name: _shares(one) for name, one in told.items()}
    return found


def _shares(told: np.ndarray) -> dict[str, float]:
    """The share of pixels of each of `GROUPS`."""
    count = np.bincount(told.ravel(), minlength=len(GROUPS))
    return {name: round(float(n / count.sum()), 5) for name, n in zip(GROUPS, count)}


def _agreement(seen: np.ndarray, told: np.ndarray, group: np.ndarray) -> dict[str, Any]:
    k = len(GROUPS)
    counts = confusion(told, seen, k).reshape(len(group), len(AT), k, k)
    each = figure(counts.sum(1), iou, group)
    return {
        "miou": figure(counts.sum(1), mean_iou, group),
        "by_step": {"steps": list(AT), **figure(counts, mean_iou, group)},
        "iou": {name: {key: each[key][i] for key in each} for i, name in enumerate(GROUPS)},
    }


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, *x.shape[2:])


# -------------------------------------------------------------------- weather


def weathered(
    known: Recorded, heldout: Heldout, dreamed: dict[str, np.ndarray], group: np.ndarray, steps: int
) -> dict[str, Any]:
    """The share of frames whose weather the classifier names, recorded, dreamed and grey, all and by weather."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        frames, classes, far = known.some(rng, 32)
        kind = rng.integers(len(ASKED), size=len(frames))
        strength = rng.uniform(0.6, 1.0, len(frames))
        return _under(kind, strength, frames, classes, far, rng.integers(2**60, size=len(frames))), kind

    net = learn(lambda: Classifier(len(ASKED)), draw, steps, "weather")
    found: dict[str, Any] = {"asked": ASKED}
    grey = {**dreamed, "frames": np.full_like(dreamed["frames"], 128)}
    for name, one in (("recorded", real(heldout)), ("dreamed", dreamed), ("grey", grey)):
        flat = {key: _flat(value) for key, value in one.items()}
        right = []
        for kind, asked in enumerate(ASKED.values()):
            strength = np.full(len(flat["frames"]), max(asked.values(), default=0.0))
            kinds, keys = np.full(len(strength), kind), np.arange(len(strength)) + 7
            shown = _under(kinds, strength, flat["frames"], flat["classes"], flat["far"], keys)
            right.append((said(net, shown) == kind).reshape(len(group), len(AT)).mean(1))
        parts = np.stack(right, 1)  # (n, kinds)
        each = figure(np.stack([parts, np.ones_like(parts)], -1), _share, group)
        rows = {kind: {key: each[key][i] for key in each} for i, kind in enumerate(ASKED)}
        found[name] = {"all": figure(np.stack([parts.mean(1), np.ones(len(parts))], -1), _share, group), **rows}
    return found


def _share(parts: np.ndarray) -> np.ndarray:
    return parts[..., 0] / parts[..., 1]


def _under(
    kind: np.ndarray, strength: np.ndarray, frames: np.ndarray, classes: np.ndarray, far: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Frames under the weather of each row's kind."""
    weather = {name: np.zeros(len(kind), np.float32) for name in Weather.__annotations__}
    for i, asked in enumerate(ASKED.values()):
        for name in asked:
            weather[name][kind == i] = strength[kind == i]
    steps = (keys % 100).astype(np.int64)
    return apply(Weather(**weather), frames, classes, far, keys.astype(np.uint64), steps)


# -------------------------------------------------------------------- steering


def driven(headers: Sequence[Any]) -> Heldout:
    """`PAIRS` segments that begin while the car moves."""
    many = Heldout.gather(headers, 2 * PAIRS, CONTEXT + AHEAD + 1, 1)
    speed = many.numbers[:, CONTEXT - 1, many.meta["numbers"].index("speed")]
    return many.rows(np.flatnonzero(speed > MOVING)[:PAIRS])


# -------------------------------------------------------------------- crashes


def crashes(world: World, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Areas under ROC curves of crashes foretold a second ahead, of all kinds and of each, with episodes as units."""
    crashed, which, ahead = foretold(world, list(episodes))
    ends = np.array([episode.meta["end"] if episode.term[-1] else "" for episode in episodes])
    found: dict[str, Any] = {"ahead_steps": AHEAD, "every": EVERY, "dreams": DREAMS}
    units = range(len(episodes))
    for i, (name, kinds) in enumerate({"all": CRASHES, **{kind: (kind,) for kind in CRASHES}}.items()):
        near = ahead & np.isin(ends, kinds)[which]
        calm, hit = ([crashed[i][some & (which == unit)] for unit in units] for some in (~near, near))
        about = {"episodes": sum(map(bool, map(len, hit))), "moments": sum(map(len, hit))}
        found[name] = area(calm, hit) | about | {"others": sum(map(len, calm))}
    return found


def area(calm: Sequence[np.ndarray], hit: Sequence[np.ndarray], draws: int = 1000) -> dict[str, Any]:
    """The share of couples of a moment of `hit` (t,) and one of `calm` (t,) that are ranked rightly, ties half.

    Both are of the same episodes, which the bootstrap of its 95 % interval draws whole; null where a side is empty.
    """
    if not any(map(len, calm)) or not any(map(len, hit)):
        return {"value": None, "ci95": None}
    e = len(calm)
    a, b = ([i for i in range(e) if len(side[i])] for side in (calm, hit))
    won = np.zeros((e, e))
    won[np.ix_(a, b)] = won_between([calm[i] for i in a], [hit[i] for i in b])
    n, m = (np.array([len(one) for one in side], np.float64) for side in (calm, hit))
    rng = np.random.Generator(np.random.Philox(key=[0, 2**56]))
    weights = np.concatenate([np.ones((1, e)), rng.multinomial(e, np.full(e, 1 / e), draws)])
    couples = (weights @ n) * (weights @ m)
    shares = ((weights @ won) * weights).sum(1)[couples > 0] / couples[couples > 0]
    return {"value": float(shares[0]), "ci95": [float(x) for x in np.quantile(shares[1:], [0.025, 0.975])]}


def foretold(world: World, episodes: list[Episode]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every `EVERY`-th moment the probabilities (1 + kinds, m) of a crash, and of each kind, within `AHEAD` steps.

    And which episode (m,) each moment is of, and whether that one ended by then, bool (m,).
    """
    lengths = np.array([len(episode) for episode in episodes])
    states = follow(world, episodes)
    at = [(t, i) for t in range(0, int(lengths.max()), EVERY) for i in np.flatnonzero(lengths > t)]
    starts, which = np.array(at).T  # (m,)
    rows = State.cat([states[t][0].rows(which[starts == t]) for t in np.unique(starts)]).branch(DREAMS)
    starts, which = starts.repeat(DREAMS), which.repeat(DREAMS)  # (m DREAMS,)
    acts = [action_rows(world, episode) for episode in episodes]
    alive, crashed = np.ones(len(starts)), np.zeros((len(CRASHES), len(starts)))
    crashing = [world.config.kinds.index(kind) for kind in CRASHES]
    for k in bar(range(AHEAD), "crashes"):
        live = starts + k < lengths[which]
        now = np.minimum(starts + k, lengths[which] - 1)
        rows, step = world.imagine(rows, np.stack([acts[i][t] for i, t in zip(which, now)]))
        share = world.tell(rows)[1][:, crashing].T  # (kinds, m)
        crashed += np.where(live, alive * step.term_prob * share, 0.0)
        alive = np.where(live, alive * (1 - step.term_prob), alive)
    over = np.array([bool(episode.term[-1]) for episode in episodes])[which] & (starts + AHEAD >= lengths[which])
    mean = np.concatenate([crashed.sum(0)[None], crashed]).reshape(1 + len(CRASHES), -1, DREAMS).mean(-1)
    return mean, which[::DREAMS], over[::DREAMS]


if __name__ == "__main__":
    tell(["scripts/judge_driving", *sys.argv[1:]])
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Judge, description=__doc__))
