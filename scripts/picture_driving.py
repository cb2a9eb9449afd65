"""Draws a driving world's dream of one held-out scene beside what was recorded, in four weathers, with its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro

from gensim.core.frames import mosaic, write_png
from gensim.envs.driving.source.labels import COLOURS, PERSON, VEHICLE
from gensim.envs.driving.weather import Weather, apply
from gensim.world import World
from gensim.world.heldout import Heldout
from gensim.world.labelling import boxes, instance_boxes
from gensim.world.quality import CONTEXT, filtered

WEATHERS = {"clear": {}, "fog": {"fog": 0.6}, "rain": {"rain": 1.0}, "night": {"night": 1.0}}
TOP, LEFT = 22, 58  # pixels for names
FRAMED = {VEHICLE: (255, 220, 0), PERSON: (255, 60, 60)}
LEAST = 5  # pixels of a box that is drawn


@dataclass(frozen=True)
class Options:
    """Which scene."""

    world: Path = Path("envs/driving")
    """World folder, with its held-out frames."""
    segment: int = 0
    """Which of these."""
    steps: tuple[int, ...] = (1, 10, 20)
    """Steps of the dream that are shown, a tenth of a second each."""
    seed: int = 0
    """Of the dream."""
    scale: int = 2
    """Pixels of the picture for each of a frame."""
    out: Path = Path("docs/driving.png")
    """The PNG to write."""


@dataclass(frozen=True)
class Side:
    """Some moments: frames (q, h, w, 3), classes and distances (q, h, w), and boxes by class of each."""

    frames: np.ndarray
    classes: np.ndarray
    far: np.ndarray
    boxes: list[dict[int, list[tuple[int, int, int, int]]]]


def main(options: Options) -> None:
    """Dreams and draws."""
    world = World.load(options.world)
    kept = Heldout.load(options.world / "heldout.npz")
    if not 0 <= options.segment < len(kept):
        raise ValueError(f"segment={options.segment}: give one from 0 to {len(kept) - 1}")
    scene = kept.rows([options.segment])
    sides = {"real": recorded(scene, options), "dream": dreamed(world, scene, options)}
    rows = [row(sides, asked, options) for asked in WEATHERS.values()]
    masks = np.concatenate([np.stack([COLOURS[side.classes[i]] for side in sides.values()]) for i in _each(options)])
    cells = np.concatenate([*rows, large(masks, options.scale)])
    write_png(options.out, named(mosaic(cells, 2 * len(options.steps)), [*WEATHERS, "labels"], options))


def recorded(scene: Heldout, options: Options) -> Side:
    """What was recorded, with a box around each instance."""
    at = [CONTEXT - 1 + step for step in options.steps]
    classes, numbers, far = (scene.layer(name)[0, at] for name in ("classes", "instances", "depth"))
    found = [{kind: instance_boxes(one, seen == kind, LEAST) for kind in FRAMED} for one, seen in zip(numbers, classes)]
    return Side(scene.frames[0, at], classes, far, found)


def dreamed(world: World, scene: Heldout, options: Options) -> Side:
    """What is dreamed under the same actions, with boxes around what its own labels say."""
    state, shown = filtered(world, scene, seed=options.seed), []
    for t in range(1, max(options.steps) + 1):
        state, _ = world.imagine(state, scene.inputs[:, CONTEXT - 2 + t])
        shown += [world.labelled(state)] if t in options.steps else []
    frames, classes, far = (np.concatenate(part) for part in zip(*shown))
    found = [{kind: boxes(seen == kind, away, LEAST) for kind in FRAMED} for seen, away in zip(classes, far)]
    return Side(frames, classes, far, found)


def row(sides: dict[str, Side], asked: dict[str, float], options: Options) -> np.ndarray:
    """Cells (2 q, h, w, 3) of a weather: real and dream at each step, with boxes."""
    cells = []
    for i in _each(options):
        for side in sides.values():
            steps = np.array([options.steps[i]])
            one = (side.frames[i : i + 1], side.classes[i : i + 1], side.far[i : i + 1])
            shown = apply(Weather.of(asked, 1), *one, keys=np.array([11], np.uint64), steps=steps)
            cells.append(framed(large(shown, options.scale)[0], side.boxes[i], options.scale))
    return np.stack(cells)


def framed(picture: np.ndarray, found: dict[int, list[tuple[int, int, int, int]]], scale: int) -> np.ndarray:
    """The picture with boxes."""
    picture = picture.copy()
    for kind, colour in FRAMED.items():
        for a, b, c, d in found[kind]:
            cv2.rectangle(picture, (scale * a - 1, scale * b - 1), (scale * c, scale * d), colour, 1)
    return picture


def large(frames: np.ndarray, scale: int) -> np.ndarray:
    """Each pixel of frames (n, h, w, 3) as a square, with a white rim."""
    big = frames.repeat(scale, 1).repeat(scale, 2)
    return np.pad(big, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)


def named(sheet: np.ndarray, rows: list[str], options: Options) -> np.ndarray:
    """The sheet with names above and to the left."""
    canvas = np.full((TOP + len(sheet), LEFT + sheet.shape[1], 3), 255, np.uint8)
    canvas[TOP:, LEFT:] = sheet
    high, wide = len(sheet) // len(rows), sheet.shape[1] // (2 * len(options.steps))
    for i, name in enumerate(rows):
        _write(canvas, name, (4, TOP + i * high + high // 2))
    for i, step in enumerate(options.steps):
        for j, side in enumerate(("real", "dream")):
            _write(canvas, f"{side} +{step / 10:.1f} s", (LEFT + (2 * i + j) * wide + 4, 15))
    return canvas


def _write(canvas: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def _each(options: Options) -> range:
    return range(len(options.steps))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
