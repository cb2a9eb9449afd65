"""Is a dream of the street right? Labels and boxes of what is decoded, whether steering turns it, and it in weather."""

from __future__ import annotations

from typing import Any

import numpy as np

from gensim.core.seeds import fold
from gensim.envs.driving.readings import turned
from gensim.envs.driving.source.labels import GROUPS, VEHICLE, grouped
from gensim.envs.driving.weather import Weather, apply
from gensim.world import World
from gensim.world.card import cell, table, table_by_horizon
from gensim.world.heldout import Heldout
from gensim.world.labelling import boxes, confusion, instance_boxes, iou, matched, mean_iou
from gensim.world.quality import CONTEXT, Figure, Futures, compare, figure, filtered, mean_figure, psnr, ssim

EVERY = 5  # of the frames that labels are compared on
HIGH, LOW = 8, 3  # pixels of a box that counts, and of one that it may be matched with
MOVING = 3.0  # m/s above which a start counts as moving
STEERS, PEDAL, HELD = {"left": -0.5, "right": 0.5}, 0.2, 10  # of a try of the wheel, and its steps
SEEN = 512  # frames that the reading of turns is held against what the simulator says
WEATHERS = {
    "clear": {},
    "fog": {"fog": 0.7},
    "rain": {"rain": 0.9},
    "night": {"night": 1.0},
    "low sun": {"sun": 0.9},
    "night and rain": {"night": 0.9, "rain": 0.7},
}
LIMITS = (
    "Its pictures are of one renderer and one figure of a person, and its weather is a filter of ours over picture, "
    "labels and distances, dreamed and recorded ones alike: what is said of weather says nothing of real weather.",
    "Boxes are drawn around what hangs together in a class without a jump in distance: two cars bumper to bumper are "
    "one.",
)


# -------------------------------------------------------------------- what `gensim gap` calls


def measure(world: World, heldout: Heldout, told: Futures, simulated: int, seed: int = 0) -> dict[str, Any]:
    """All figures of this module; nothing is replayed."""
    figures: dict[str, Any] = {
        "labels": labels(world, heldout, seed),
        "steering": steering(world, heldout, seed=seed),
        "weather": weathers(told, seed),
    }
    return figures | {"summary": summary(figures)}


# -------------------------------------------------------------------- labels


def labels(world: World, heldout: Heldout, seed: int = 0) -> dict[str, Any]:
    """Labels of recorded frames that were encoded and decoded, against the recorded ones.

    The intersection over union of each of `GROUPS` and their mean; of vehicles' boxes of `HIGH` pixels and more, the
    share that was found by a box of an intersection over union of 0.5, and the share of said ones that are there.
    """
    times = np.arange(0, heldout.length, EVERY)
    frames = heldout.frames[:, times]
    real, instances = (heldout.layer(name)[:, times] for name in ("classes", "instances"))
    said, far = _again(world, frames.reshape(-1, *frames.shape[2:]), seed)
    group = np.repeat(np.unique(heldout.episode, return_inverse=True)[1], len(times))
    flat, numbers = real.reshape(said.shape), instances.reshape(said.shape)
    counts = confusion(grouped(flat), grouped(said), len(GROUPS))
    found = np.array([_boxes(*one) for one in zip(flat, numbers, said, far)], float)  # (n, 4)
    each = figure(counts, iou, group, seed)
    return {
        "frames": len(said),
        "miou": figure(counts, mean_iou, group, seed),
        "iou": {name: {key: each[key][i] for key in each} for i, name in enumerate(GROUPS)},
        "boxes": int(found[:, 1].sum()),
        "recall": figure(found, lambda p: p[..., 0] / p[..., 1], group, seed),
        "precision": figure(found, lambda p: p[..., 2] / p[..., 3], group, seed),
    }


def _again(world: World, frames: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes uint8 (n, h, w) and distances of frames (n, h, w, 3) that were encoded and decoded."""
    keys = fold(np.full(len(frames), seed, np.uint64), np.arange(len(frames)))
    parts = [
        world.labelled(world.first(frames[i : i + 256], keys[i : i + 256]))[1:] for i in range(0, len(frames), 256)
    ]
    classes, far = (np.concatenate(part) for part in zip(*parts))
    return classes, far


def _boxes(real: np.ndarray, instances: np.ndarray, said: np.ndarray, far: np.ndarray) -> tuple[int, int, int, int]:
    """Real boxes of vehicles that were found, real ones, said ones that are there, and said ones.

    Those of `HIGH` pixels count. What they are matched with may be lower, as in COCO's measures: one of 8 pixels is
    found by a box of 7 that lies right over it.
    """
    there, found = instance_boxes(instances, real == VEHICLE, LOW), boxes(said == VEHICLE, far, LOW)
    high = lambda some: [box for box in some if box[3] - box[1] >= HIGH]  # noqa: E731
    return matched(high(there), found), len(high(there)), matched(there, high(found)), len(high(found))


# -------------------------------------------------------------------- steering


def steering(world: World, heldout: Heldout, steps: int = HELD, seed: int = 0) -> dict[str, Any] | None:
    """The wheel held to the left and to the right from equal states, with equal chances, for `steps` steps.

    Shares of pairs in which the view turns further left under left, of dreams that turn to the side of the wheel, and
    the angle between the two in rad, all read off frames by `turned`. "reading" says how far that is from what the
    simulator says of recorded frames. None when no start moves.
    """
    about = heldout.meta["numbers"]
    moving = np.flatnonzero(heldout.numbers[:, CONTEXT - 1, about.index("speed")] > MOVING)
    if not len(moving):
        return None
    state = filtered(world, heldout.rows(moving), seed=seed)
    group = np.unique(heldout.episode[moving], return_inverse=True)[1]
    angles = {}
    for side, steer in STEERS.items():
        one, act = state.copy(), np.tile(np.array([steer, PEDAL], np.float32), (len(moving), 1))
        frames = [world.decode(one)]
        for _ in range(steps):
            one, _ = world.imagine(one, act)
            frames.append(world.decode(one))
        angles[side] = turned(np.stack(frames, 1))
    left, right = angles["left"], angles["right"]
    shares = {"apart": left > right, "left": left > 0, "right": right < 0, "spread": left - right}
    told = {name: _mean(part.astype(float), group, seed) for name, part in shares.items()}
    return {"pairs": len(moving), "steps": steps, "moving": MOVING, **told, "reading": _reading(heldout, about)}


def _reading(heldout: Heldout, about: list[str]) -> dict[str, Any]:
    """How the reading of turns goes together with the simulator's, over `HELD` recorded steps."""
    said = turned(heldout.frames[:, : HELD + 1])
    real = heldout.numbers[:, 1 : HELD + 1, about.index("turn")].sum(1)
    clear = np.abs(real) > 0.05
    return {
        "segments": len(said),
        "correlation": round(float(np.corrcoef(said, real)[0, 1]), 3) if min(said.std(), real.std()) > 0 else None,
        "error": round(float(np.abs(said - real).mean()), 4),
        "turning": int(clear.sum()),
        "side": round(float((np.sign(said) == np.sign(real))[clear].mean()), 3) if clear.any() else None,
    }


def _mean(values: np.ndarray, group: np.ndarray, seed: int) -> dict[str, Any]:
    one = mean_figure(values[:, None, None], group, seed)
    return {name: numbers[0] for name, numbers in one.items()}


# -------------------------------------------------------------------- weather


def weathers(told: Futures, seed: int = 0) -> dict[str, Any]:
    """PSNR and SSIM by horizon of dreamed against recorded frames, both in the same weather, and of the last one seen.

    The weather's own chances are those of the segment and the step, so that streaks and grain agree.
    """
    found: dict[str, Any] = {"horizons": list(told.horizons), "asked": WEATHERS}
    for name, asked in WEATHERS.items():
        shown = {side: _shown(told, side, asked) for side in ("real", "dream", "repeated")}
        found[name] = {
            kind: {
                side: mean_figure(compare(measured, shown[side], shown["real"]), told.group, seed)
                for side in ("dream", "repeated")
            }
            for kind, measured in (("psnr", psnr), ("ssim", ssim))
        }
    return found


def _shown(told: Futures, side: str, asked: dict[str, float]) -> np.ndarray:
    """Frames (n, 1, q, h, w, 3) of a side's first sample in a weather."""
    frames, labelled = told.sides[side][:, :1], told.labels[side].some(slice(0, 1))
    n, _, q = frames.shape[:3]
    flat = frames.reshape(-1, *frames.shape[3:])
    keys, steps = np.repeat(np.arange(n, dtype=np.uint64), q), np.tile(told.horizons, n)
    classes, far = (one.reshape(-1, *one.shape[3:]) for one in (labelled.classes, labelled.far))
    return apply(Weather.of(asked, len(flat)), flat, classes, far, keys, steps).reshape(frames.shape)


# -------------------------------------------------------------------- in words


def summary(alive: dict[str, Any]) -> str:
    """The figures in a few words."""
    told = alive["labels"]
    return (
        f"labels of decoded frames mIoU {told['miou']['value']:.2f}, vehicles' boxes found {_percent(told['recall'])}"
    )


def describe(alive: dict[str, Any], fps: float) -> str:
    """The figures as sections of a card, in Markdown."""
    told = alive["labels"]
    text = (
        f"## Labels\n\n{told['frames']:,} recorded frames that the fit did not see were encoded and decoded. Mean "
        f"intersection over union of their labels: {cell(told['miou'], 3)}. Of {told['boxes']:,} times that a "
        f"vehicle's visible part is at least {HIGH} pixels high, a share of {cell(told['recall'], 3)} has a box of its "
        f"own with an intersection over union of 0.5; of the boxes that were said, {cell(told['precision'], 3)} are "
        "there."
    )
    rows = [[name, cell(one, 3)] for name, one in told["iou"].items()]
    parts = [text, table(["class", "intersection over union"], rows), _steering(alive["steering"])]
    return "\n\n".join([*parts, *_weather(alive["weather"], fps)])


def _steering(tried: dict[str, Any] | None) -> str:
    if tried is None:
        return "No segment was fast enough to try the steering."
    reading = tried["reading"]
    return (
        f"## Steering\n\nFrom {tried['pairs']} starts above {tried['moving']:.0f} m/s the same state with the same "
        f"chances is driven on for {tried['steps']} steps with the wheel half to the left and half to the right. Read "
        f"off the frames, the view turns further to the left under left in a share of {cell(tried['apart'], 3)}; it "
        f"turns to the wheel's side in {cell(tried['left'], 3)} under left and {cell(tried['right'], 3)} under right; "
        f"between the two lie {cell(tried['spread'], 2)} rad. On {reading['segments']} recorded segments the reading "
        f"correlates by {reading['correlation']} with what the simulator says and is off by {reading['error']} rad."
    )


def _weather(found: dict[str, Any], fps: float) -> list[str]:
    text = (
        "## In weather\n\nDreamed and recorded frames under the same weather, which is a filter of ours over frame, "
        "labels and distances, dreamed ones for dreams; streaks, grain and the sun's place are the same in both, so "
        "that what differs is the scene. Beside them the last frame seen, repeated, in the same weather."
    )
    rows: dict[str, dict[str, Figure]] = {"psnr": {}, "ssim": {}}
    for name in WEATHERS:
        for kind in rows:
            rows[kind] |= {f"{name}, {side}": found[name][kind][side] for side in ("dream", "repeated")}
    named = (("psnr", "PSNR (dB)", 1), ("ssim", "SSIM", 3))
    return [text, *(table_by_horizon(label, rows[kind], found["horizons"], fps, n) for kind, label, n in named)]


def _percent(one: dict[str, Any]) -> str:
    return f"{100 * one['value']:.0f} %" if one["value"] is not None else "-"
