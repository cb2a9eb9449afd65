"""Is a CarRacing dream alive? What PSNR and SSIM cannot say: road under the car, speed, and whether steering turns.

All is read from frames alone, alike in dreams and in the simulator, so that blur wins nothing; `instruments`
says how well each reading agrees with what the simulator knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from gensim.envs.real import RealEnv, make_real
from gensim.world import World
from gensim.world.heldout import Heldout
from gensim.world.quality import CONTEXT, Futures, figure, filtered, mean_figure

SIZE = 64  # pixels of the frames that these readings are made for
CAR = (48, 32)  # row and column of the car
BAR = 56  # the row where the indicators begin
MOVING = 15.0  # m/s above which a start counts as moving
PEDAL = 0.1  # held while steering is tried
STEERS = {"left": -1.0, "right": 1.0}
STEPS = (5, 10, 20)


# -------------------------------------------------------------------- readings


def road_share(frames: np.ndarray) -> np.ndarray:
    """How much of the ground around the car is road, (n,) in 0..1, of uint8 frames (n, 64, 64, 3)."""
    _check(frames)
    row, column = CAR
    ground = frames[:, row - 4 : row + 5, column - 3 : column + 3].astype(np.float32)  # (n, 9, 6, 3)
    red, green, blue = np.moveaxis(ground, -1, 0)
    seen = (red - green < 30) & (ground.max(-1) > 70)  # neither the car's body nor its wheels
    road = np.clip(1 - (green - (red + blue) / 2) / 100, 0, 1)
    return (road * seen).sum((1, 2)) / np.maximum(seen.sum((1, 2)), 1)


def road_under_car(frames: np.ndarray) -> np.ndarray:
    """Whether the car stands on the road, bool (n,): at least half of the ground around it is road."""
    return road_share(frames) > 0.5


def speed(frames: np.ndarray) -> np.ndarray:
    """Speed (n,) in m/s, from the white bar at the bottom left of frames (n, 64, 64, 3)."""
    _check(frames)
    white = frames[:, BAR:, 8:10].min(-1).astype(np.float32)  # (n, 8, 2)
    return np.where(white < 12, 0, white).sum((1, 2)) / 255 * SPEED_SCALE


def turning(frames: np.ndarray) -> np.ndarray:
    """Rate of turn (n,) in rad/s, left positive, from the red bar at the bottom right of frames (n, 64, 64, 3)."""
    _check(frames)
    bar = frames[:, BAR : BAR + 6].astype(np.float32)
    red = bar[..., 0] - bar[..., 1:].max(-1)  # (n, 6, 64)
    red = np.where(red < 24, 0, red).sum(1) / 255  # (n, 64)
    return (red[:, 38:48].sum(1) - red[:, 48:].sum(1)) * TURN_SCALE


def turn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Turn of the car (n,) in rad, left positive, by which the view rotated between frames (n, 64, 64, 3).

    The rotation and shift that align the two views best (enhanced correlation); NaN where none is found.

    Reference: Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization (Evangelidis and
    Psarakis, 2008), doi:10.1109/TPAMI.2008.113.
    """
    _check(before)
    _check(after)
    return np.array([_turn(_view(a), _view(b)) for a, b in zip(before, after)])


def _view(frame: np.ndarray) -> np.ndarray:
    """What is above the indicators, grey and as wide as it really is: float32 (56, 80)."""
    grey = frame[:BAR, :, 1].astype(np.float32) - 0.5 * frame[:BAR, :, 0]
    return cv2.GaussianBlur(cv2.resize(grey, (80, BAR)), (5, 5), 0)


def _turn(before: np.ndarray, after: np.ndarray) -> float:
    warp, stop = np.eye(2, 3, dtype=np.float32), (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    mask = np.full(before.shape, 255, np.uint8)
    mask[CAR[0] - 5 : CAR[0] + 5, 34:46] = 0  # the car stands still in the view
    try:
        _, warp = cv2.findTransformECC(before, after, warp, cv2.MOTION_EUCLIDEAN, stop, mask, 1)
    except cv2.error:  # nothing to align by, such as grass alone
        return float("nan")
    return float(np.arctan2(warp[1, 0], warp[0, 0]))


def _check(frames: np.ndarray) -> None:
    if frames.dtype != np.uint8 or frames.shape[1:] != (SIZE, SIZE, 3):
        raise ValueError(f"give uint8 (n, {SIZE}, {SIZE}, 3) frames of CarRacing, not {frames.dtype} {frames.shape}")


# -------------------------------------------------------------------- by horizon


def by_horizon(told: Futures, seed: int = 0) -> dict[str, Any]:
    """Road under the car and speed, dreamed and by the baselines, against what was recorded."""
    horizons, group = list(told.horizons), told.group
    road = {name: _each(road_share, frames) > 0.5 for name, frames in told.sides.items()}  # (n, m, q) bool
    pace = {name: _each(speed, frames) for name, frames in told.sides.items()}  # (n, m, q) m/s
    return {
        "horizons": horizons,
        "road": {
            "on_road": mean_figure(road["real"].astype(float), group, seed),
            "rivals": {name: agreement(road[name], road["real"], group, seed) for name in told.rivals},
        },
        "speed": {
            "real": mean_figure(pace["real"], group, seed),
            "rivals": {name: mean_figure(abs(pace[name] - pace["real"]), group, seed) for name in told.rivals},
        },
    }


def agreement(said: np.ndarray, true: np.ndarray, group: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Accuracy, balanced accuracy and Cohen's kappa, by horizon, of answers (n, m, q) to truths (n, 1, q), bool."""
    kinds = (said & true, said & ~true, ~said & true, ~said & ~true)
    counts = np.stack(kinds, -1).sum(1).astype(float)  # (n, q, 4)
    statistics = {"accuracy": _accuracy, "balanced": _balanced, "kappa": _kappa}
    return {name: figure(counts, statistic, group, seed) for name, statistic in statistics.items()}


def _accuracy(counts: np.ndarray) -> np.ndarray:
    return (counts[..., 0] + counts[..., 3]) / counts.sum(-1)


def _balanced(counts: np.ndarray) -> np.ndarray:
    hit, false, missed, right = (counts[..., i] for i in range(4))
    return (hit / (hit + missed) + right / (right + false)) / 2


def _kappa(counts: np.ndarray) -> np.ndarray:
    hit, false, missed, right = (counts[..., i] / counts.sum(-1) for i in range(4))
    chance = (hit + false) * (hit + missed) + (right + false) * (right + missed)
    return (hit + right - chance) / (1 - chance)


def _each(reading: Any, frames: np.ndarray) -> np.ndarray:
    """A reading (n, m, q) of frames (n, m, q, h, w, 3)."""
    return reading(frames.reshape(-1, *frames.shape[3:])).reshape(frames.shape[:3])


# -------------------------------------------------------------------- steering


def steering(
    world: World,
    heldout: Heldout,
    simulated: int = 8,
    steps: Sequence[int] = STEPS,
    samples: int = 2,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Full left and full right dreamed on from equal moving starts, and from some in the simulator itself.

    For each number of steps: the shares of dreams whose view has rotated to the side of the wheel, the share in
    which left is left of right, and the angle between the two in rad. None when no start moves.
    """
    moving = np.flatnonzero(speed(heldout.frames[:, CONTEXT - 1]) > MOVING)
    if not len(moving):
        return None
    heldout = heldout.rows(moving)
    group = np.unique(heldout.episode, return_inverse=True)[1]
    dream = {side: _steered(world, heldout, steer, steps, samples, seed) for side, steer in STEERS.items()}
    result = {"steps": list(steps), "starts": len(heldout), "moving": MOVING, "dream": _sides(dream, group, seed)}
    known = np.flatnonzero(heldout.seed >= 0)
    chosen = known[np.linspace(0, len(known) - 1, min(simulated, len(known))).round().astype(int)]
    if not len(chosen):
        return result
    real = {side: _really(heldout, chosen, steer, steps) for side, steer in STEERS.items()}
    same = {side: angles[chosen] for side, angles in dream.items()}
    return result | {
        "simulated": len(chosen),
        "real": _sides(real, group[chosen], seed),
        "same": _sides(same, group[chosen], seed)["spread"],
    }


def _sides(angles: dict[str, np.ndarray], group: np.ndarray, seed: int) -> dict[str, Any]:
    """Figures of the angles (n, m, q) that were turned under left and under right."""
    left, right = angles["left"], angles["right"]
    parts = {"left": left > 0, "right": right < 0, "apart": left > right, "spread": left - right}
    return {name: mean_figure(part.astype(float), group, seed) for name, part in parts.items()}


def _steered(
    world: World, heldout: Heldout, steer: float, steps: Sequence[int], samples: int, seed: int
) -> np.ndarray:
    """Angles (n, samples, q) in rad, left positive, that dreams under a held wheel have turned after `steps`."""
    state = filtered(world, heldout, seed=seed).branch(samples)
    act = np.tile(np.array([steer, PEDAL], np.float32), (len(state), 1))
    frames = [world.decode(state)]
    for _ in range(max(steps)):
        state, _ = world.imagine(state, act)
        frames.append(world.decode(state))
    return _turned(frames, steps).reshape(len(heldout), samples, len(steps))


def _turned(frames: Sequence[np.ndarray], steps: Sequence[int]) -> np.ndarray:
    """How far views (n, h, w, 3) have turned after each of `steps`, (n, q); what cannot be aligned counts as 0."""
    each = np.stack([np.nan_to_num(turn(a, b)) for a, b in zip(frames, frames[1:])], 1)
    return each.cumsum(1)[:, [s - 1 for s in steps]]


def _really(heldout: Heldout, chosen: np.ndarray, steer: float, steps: Sequence[int]) -> np.ndarray:
    """The same angles (n, 1, q) in the simulator, read in the same way."""
    found = []
    with simulator(heldout) as env:
        for i in chosen:
            frames = [replay(env, heldout, i)]
            frames += [env.step(np.array([steer, PEDAL]))[0] for _ in range(max(steps))]
            found.append(_turned([frame[None] for frame in frames], steps))
    return np.stack(found)


# -------------------------------------------------------------------- the simulator, from where a segment is


@contextmanager
def simulator(heldout: Heldout) -> Iterator[RealEnv]:
    """The simulator that the segments were recorded in."""
    meta = heldout.meta
    env = make_real(meta["env_id"], meta["size"], meta["skip"], meta["env_kwargs"])
    try:
        yield env
    finally:
        env.close()


def replay(env: RealEnv, heldout: Heldout, i: int, shown: int = CONTEXT) -> np.ndarray:
    """Brings the simulator to frame `shown` - 1 of segment i and returns that frame; physics only until there.

    Raises ValueError when it is not the frame that was recorded.
    """
    acts = [*heldout.past[i, : heldout.start[i]], *heldout.act[i, : shown - 1]]
    frame, _ = env.reset(seed=int(heldout.seed[i]))
    with unseen(env):
        for act in acts[:-1]:
            env.step(act)
    if acts:
        frame, *_ = env.step(acts[-1])
    if (frame != heldout.frames[i, shown - 1]).any():
        raise ValueError(
            f"{heldout.episode[i]} does not replay: the simulator comes to another frame than was recorded; "
            "use the versions of Box2D, pygame and gymnasium that recorded it"
        )
    return frame


@contextmanager
def unseen(env: RealEnv) -> Iterator[None]:
    """Within the block CarRacing moves but does not draw, which is what takes its time."""
    inner: Any = env.env.unwrapped
    blank = np.zeros(inner.observation_space.shape, np.uint8)
    inner._render = lambda mode: blank
    try:
        yield
    finally:
        del inner._render


@dataclass(frozen=True)
class Truth:
    """What the simulator knows at a frame: heading in rad, its rate in rad/s, speed in m/s, wheels on the road."""

    heading: float
    rate: float
    speed: float
    wheels: int

    @classmethod
    def of(cls, env: RealEnv) -> Truth:
        """The truth of this moment."""
        car: Any = env.env.unwrapped.car  # type: ignore[attr-defined]
        wheels = sum(bool(wheel.tiles) for wheel in car.wheels)
        return cls(car.hull.angle, car.hull.angularVelocity, car.hull.linearVelocity.length, wheels)


def instruments(heldout: Heldout, segments: int = 6, seed: int = 0) -> dict[str, Any] | None:
    """How well the readings agree with what the simulator knows, on replayed segments; None for logs.

    The first second, under the zooming camera, is left out: a dream's road, speed and turn are not read there.
    """
    known = np.flatnonzero((heldout.seed >= 0) & (heldout.start >= 1))
    chosen = known[np.linspace(0, len(known) - 1, min(segments, len(known))).round().astype(int)]
    if not len(chosen):
        return None
    parts: dict[str, list[np.ndarray]] = {}
    with simulator(heldout) as env:
        for i in chosen:
            for name, values in _misread(*_watched(env, heldout, i)).items():
                parts.setdefault(name, []).append(values)
    found = {name: np.concatenate(values) for name, values in parts.items()}
    group = np.repeat(np.arange(len(chosen)), heldout.length - CONTEXT)
    result: dict[str, Any] = {name: _average(values, group, seed) for name, values in found.items()}
    return result | {"frames": len(group), "segments": len(chosen)}


def _average(values: np.ndarray, group: np.ndarray, seed: int) -> dict[str, Any]:
    one = mean_figure(values[:, None, None], group, seed)
    return {name: numbers[0] for name, numbers in one.items()}


def _watched(env: RealEnv, heldout: Heldout, i: int) -> tuple[np.ndarray, list[Truth]]:
    """The frames (t, h, w, 3) of segment i from its context on, and the truth at each."""
    frames, truths = [replay(env, heldout, i)], [Truth.of(env)]
    for act in heldout.act[i, CONTEXT - 1 :]:
        frame, *_ = env.step(act)
        frames.append(frame)
        truths.append(Truth.of(env))
    return np.stack(frames), truths


def _misread(frames: np.ndarray, truths: list[Truth]) -> dict[str, np.ndarray]:
    """Per frame (t - 1,): was the road right, and by how much speed, turn and rate of turn are off."""
    heading, rate, pace, wheels = (np.array([getattr(t, name) for t in truths]) for name in Truth.__annotations__)
    turned = np.diff(heading)
    return {
        "road": (road_under_car(frames) == (wheels >= 2))[1:].astype(float),
        "on_road": (wheels >= 2)[1:].astype(float),
        "speed": abs(speed(frames) - pace)[1:],
        "turn": abs(turn(frames[:-1], frames[1:]) - turned),
        "turn_size": abs(turned),
        "turning": abs(turning(frames) - rate)[1:],
    }
