#!/usr/bin/env python
"""Two ways to a street in weather, side by side.

"filter": the world learns clear weather; weather is applied to its dreamed frames by their dreamed labels and
distances. "condition": the world learns frames in weather, of each recorded episode under a weather of its own, and is
told the strengths as conditions. Both are fitted for as many steps, dream on from the same held-out moments, and are
held against the recorded frames in the same weather. What chance draws in a weather (streaks, grain, the sun's place)
is the recording's own in "filter" and another one in "filter, other chances"; the world that learned weather sees the
recording's in the five frames before it dreams. Those five frames are clear for the world that filters, which has no
other way to look: it is never shown weather.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json
from gensim.core.frames import encode
from gensim.core.progress import bar
from gensim.core.seeds import fold
from gensim.envs.driving.weather import Weather, apply
from gensim.episodes import Dataset, read_episode
from gensim.episodes.sample import is_heldout
from gensim.episodes.store import Episode, write_episode
from gensim.world import World
from gensim.world.config import FitConfig
from gensim.world.fit import fit
from gensim.world.heldout import Heldout
from gensim.world.quality import CONTEXT, compare, filtered, mean_figure, psnr, ssim

AT = (1, 10, 30)
NAMES = tuple(Weather.__annotations__)
NET: dict[str, Any] = {"groups": 768, "hidden": 9216, "cells": True, "stages": 4, "head": 64, "widths": (24, 48)}
RUN: dict[str, Any] = {"batch": 4, "length": 24, "lr": 2e-3, "decay": 0.5, "labels": 0.2, "rep": 0.0, "unimix": 1e-3}
RUN |= {"look_part": (5, 7), "look_frames": 8, "look_lr": 3e-3, "settle": 500, "noise": 0.02}
RUN |= {"mark": (("vehicle", 10.0), ("person", 3.0)), "stay": 0.3}


@dataclass(frozen=True)
class Ways:
    """On what, and for how long."""

    data: Path = Path("runs/driving/data")
    """Recorded episodes, in clear weather."""
    work: Path = Path("runs/driving/ways")
    """Folder of the episodes in weather and of both worlds."""
    steps: int = 1500
    """Optimiser steps of each fit; four in five of them look alone."""
    holdout: float = 0.1
    """Share of the episodes that neither sees."""
    segments: int = 100
    """Held-out segments that are dreamed on."""
    out: Path = Path("results/weather-ways.json")
    """Where the result goes."""


def main(config: Ways) -> None:
    """Makes what is not there, measures and writes."""
    weathered(config)
    folders = {"filter": config.data, "condition": config.work / "data"}
    worlds = {name: _fitted(config, name, data) for name, data in folders.items()}
    told = {name: measured(config, name, world) for name, world in worlds.items()}
    told["filter, other chances"] = measured(config, "filter", worlds["filter"], own=False)
    settings = {key: str(value) for key, value in asdict(config).items()}
    write_json(config.out, {**circumstances(), "settings": settings, "steps": list(AT), **told})
    for name, one in told.items():
        print(name, *(f"{kind} {one[kind]['value']}" for kind in ("psnr", "ssim")))


def weathered(config: Ways) -> None:
    """Writes every episode under a weather of its own, and the strengths beside its other conditions."""
    data, folder = Dataset(config.data), config.work / "data"
    spec = {key: value for key, value in data.spec.items() if key != "format"}
    strengths = {name: [0.0, 1.0] for name in NAMES}
    made = Dataset.create(folder, {**spec, "conditions": {**spec["conditions"], **strengths}})
    for header in bar(data.episodes, "weather", unit="episode"):
        if not (folder / header.path.name).is_file():
            write_episode(folder, _under(read_episode(header.path), made.spec), header.path.stem.removeprefix("ep-"))
    made.write_meter()


def asked(seed: int) -> np.ndarray:
    """The weather of an episode, strengths (4,): a fifth are clear, most have one, some two."""
    rng = np.random.default_rng([seed, 71])
    strengths = np.zeros(len(NAMES), np.float32)
    count = int(rng.choice(3, p=(0.2, 0.6, 0.2)))
    strengths[rng.permutation(len(NAMES))[:count]] = rng.uniform(0.3, 1.0, count)
    return strengths


def _under(tape: Episode, spec: dict[str, Any]) -> Episode:
    strengths, n = asked(int(tape.meta["seed"])), len(tape) + 1
    classes, depth = (np.stack([tape.layers[name].at(t) for t in range(n)]) for name in ("classes", "depth"))
    far = depth / np.float32(tape.meta["depth"]["steps"])
    weather, keys = Weather.rows_of(np.tile(strengths, (n, 1))), np.full(n, tape.meta["seed"], np.uint64)
    turned = np.cumsum(tape.tracks["numbers"][:, -1])
    blobs = [encode(one) for one in apply(weather, tape.frames(), classes, far, keys, np.arange(n), turned)]
    png = np.frombuffer(b"".join(blobs), np.uint8)
    meta = {**tape.meta, "conditions": spec["conditions"], **dict(zip(NAMES, map(float, strengths)))}
    return replace(tape, png=png, offsets=np.cumsum([0, *map(len, blobs)], dtype=np.int64), meta=meta)


def _fitted(config: Ways, name: str, data: Path) -> World:
    out = config.work / name
    steps = {"steps": config.steps, "look": config.steps * 4 // 5}
    fit(FitConfig(data=data, out=out, holdout=config.holdout, **steps, **RUN, **NET))
    return World.load(out)


def measured(config: Ways, name: str, world: World, own: bool = True) -> dict[str, Any]:
    """PSNR and SSIM after each of `AT` steps against the recorded frames in each held-out episode's weather.

    All of them, and by weather: segments that have any of it. own: whether filters draw what the recordings drew.
    """
    wet = _segments(config, config.work / "data")
    seen = wet if name == "condition" else _segments(config, config.data)
    state, shown = filtered(world, seen), []
    for t in range(1, max(AT) + 1):
        state, _ = world.imagine(state, seen.inputs[:, CONTEXT - 2 + t])
        if t in AT:
            labelled = world.labelled(state)
            shown.append(labelled[0] if name == "condition" else _through(config, wet, labelled, t, own))
    dreamed = np.stack(shown, 1)[:, None]
    real = wet.frames[:, None, [CONTEXT - 1 + t for t in AT]]
    group = np.unique(wet.episode, return_inverse=True)[1]
    found: dict[str, Any] = {}
    some = {"all": np.ones(len(wet), bool), "clear": ~wet.told(NAMES).any(1)}
    some |= {weather: wet.told((weather,))[:, 0] > 0 for weather in NAMES}
    for kind, measure in {"psnr": psnr, "ssim": ssim}.items():
        values = compare(measure, dreamed, real)
        found[kind] = mean_figure(values, group)
        found[f"{kind} by weather"] = {key: mean_figure(values[at], group[at]) for key, at in some.items() if at.any()}
    return found


def _through(config: Ways, wet: Heldout, labelled: tuple[np.ndarray, ...], t: int, own: bool) -> np.ndarray:
    """Dreamed frames under the weather of the segments' episodes, by the recordings' chances or others."""
    frames, classes, far = labelled
    keys, at = wet.seed.astype(np.uint64), wet.start + CONTEXT - 1 + t
    tapes = [read_episode(config.data / name) for name in wet.episode]
    turned = np.array([tape.tracks["numbers"][: i + 1, -1].sum() for tape, i in zip(tapes, at.tolist())])
    keys = keys if own else fold(keys, np.arange(len(wet)))
    return apply(Weather.rows_of(wet.told(NAMES)), frames, classes, far, keys, at, turned)


def _segments(config: Ways, folder: Path) -> Heldout:
    apart = [header for header in Dataset(folder).episodes if is_heldout(header, config.holdout)]
    return Heldout.gather(apart, config.segments, CONTEXT + max(AT), 0)


if __name__ == "__main__":
    tell(["scripts/weather_ways", *sys.argv[1:]])
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Ways, description=__doc__))
