"""Is a CarRacing dream alive? What PSNR and SSIM cannot say: road under the car, speed, and whether steering turns.

All is read from frames alone (`readings`); `instruments` says how well each reading agrees with what the
simulator knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gensim.envs.carracing import SPEC
from gensim.envs.carracing.readings import motion, road_under_car, speed, turning
from gensim.envs.carracing.replay import Truth, replay, simulator
from gensim.envs.real import RealEnv
from gensim.world import World
from gensim.world.agreement import KINDS, agreement, each
from gensim.world.card import cell, table_by_horizon
from gensim.world.heldout import Heldout
from gensim.world.quality import CONTEXT, Figure, Futures, filtered, mean_figure

MOVING = 15.0  # m/s above which a start counts as moving
PEDAL = 0.1  # held while steering is tried
STEERS = {"left": -1.0, "right": 1.0}
STEPS = (5, 10, 20)
WINDOW = 5  # steps over which motion is measured: a picture that trembles by a pixel is off by 19 m/s in one
LANDED = 50  # simulator frames after which the camera has come down on the car
LIMITS = (
    "The score's digits and whatever else is finer than a pixel are not kept.",
    "The road ahead is drawn as it comes into view: a dream has no map, and a lap need not close.",
)


# -------------------------------------------------------------------- what `gensim gap` calls


def measure(world: World, heldout: Heldout, told: Futures, simulated: int, seed: int = 0) -> dict[str, Any]:
    """All figures of this module; `simulated` starts and segments are replayed in the simulator."""
    figures = by_horizon(told, seed)
    figures["steering"] = steering(world, heldout, simulated, seed=seed)
    figures["instruments"] = instruments(heldout, simulated, seed)
    return figures | {"summary": summary(figures)}


# -------------------------------------------------------------------- by horizon


def by_horizon(told: Futures, seed: int = 0) -> dict[str, Any]:
    """Road under the car, speed and turn, dreamed and by the baselines, against what was recorded.

    Speed is read from its bar and, like the rate of turn, from how the ground moved in the last `WINDOW` steps.
    """
    group = told.group
    road = {name: each(road_under_car, frames) for name, frames in told.single.items()}  # (n, m, q) bool
    pace = {name: each(speed, frames) for name, frames in told.single.items()}  # (n, m, q) m/s
    return {
        "horizons": list(told.horizons),
        "road": {
            "on_road": mean_figure(road["real"].astype(float), group, seed),
            "rivals": {name: agreement(road[name], road["real"], group, seed) for name in road if name != "real"},
        },
        "speed": _errors(pace, group, seed),
        **{name: _errors(moves, group, seed) for name, moves in _moves(told).items()},
    }


def _moves(told: Futures) -> dict[str, dict[str, np.ndarray]]:
    """Speed of the "ground" in m/s and rate of "turn" in rad/s by side, (n, m, q); "kept" is what was seen last."""
    last, q = told.context[:, None, None], len(told.horizons)  # (n, 1, 1, h, w, 3)
    ground, turns = {"kept": each(speed, last).repeat(q, 2)}, {"kept": each(turning, last).repeat(q, 2)}
    ends = np.array(told.horizons)
    begins = np.maximum(ends - WINDOW, 0)
    for name in told.tracks.keys() - {"repeated"}:
        path = _path(told.tracks[name], told.horizons)  # (n, 1 + steps, 3)
        rate = (path[:, ends] - path[:, begins]) * SPEC.fps / (ends - begins)[:, None]  # (n, q, 3)
        turns[name], ground[name] = rate[:, None, :, 0], np.hypot(rate[:, None, :, 1], rate[:, None, :, 2])
    return {"ground": ground, "turn": turns}


def _path(track: np.ndarray, horizons: Sequence[int]) -> np.ndarray:
    """Turn and way since the start (n, 1 + steps, 3), summed over those steps alone that lie before a horizon."""
    needed = sorted({t for h in horizons for t in range(max(h - WINDOW, 0), h)})
    moved = np.zeros((len(track), track.shape[1], 3))
    for t in needed:
        moved[:, t + 1] = motion(track[:, t], track[:, t + 1])
    return moved.cumsum(1)


def _errors(read: dict[str, np.ndarray], group: np.ndarray, seed: int) -> dict[str, Any]:
    """The real mean size of readings (n, m, q), and by rival the mean error against the real ones."""
    rivals = [name for name in ("dream", "repeated", "kept", "nearest") if name in read]
    return {
        "real": mean_figure(abs(read["real"]), group, seed),
        "rivals": {name: mean_figure(abs(read[name] - read["real"]), group, seed) for name in rivals},
    }


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
        "same": _sides(same, group[chosen], seed),
    }


def _sides(angles: dict[str, np.ndarray], group: np.ndarray, seed: int) -> dict[str, Any]:
    """Figures of the angles (n, m, q) that were turned under left and under right."""
    left, right = angles["left"], angles["right"]
    parts = {"left": left > 0, "right": right < 0, "apart": left > right, "spread": left - right}
    return {name: mean_figure(part.astype(float), group, seed) for name, part in parts.items()}


def _steered(world: World, heldout: Heldout, steer: float, steps: Sequence[int], samples: int, seed: int) -> np.ndarray:
    """Angles (n, samples, q) in rad, left positive, that dreams under a held wheel have turned after `steps`."""
    state = filtered(world, heldout, seed=seed).branch(samples)
    act = np.tile(np.array([steer, PEDAL], np.float32), (len(state), 1))
    frames = [world.decode(state)]
    for _ in range(max(steps)):
        state, _ = world.imagine(state, act)
        frames.append(world.decode(state))
    return _turned(frames, steps).reshape(len(heldout), samples, len(steps))


def _turned(frames: Sequence[np.ndarray], steps: Sequence[int]) -> np.ndarray:
    """How far views (n, h, w, 3) have turned after each of `steps`, (n, q)."""
    each = np.stack([motion(a, b)[:, 0] for a, b in zip(frames, frames[1:])], 1)
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


# -------------------------------------------------------------------- how good the readings are


def instruments(heldout: Heldout, segments: int = 6, seed: int = 0) -> dict[str, Any] | None:
    """How well the readings agree with what the simulator knows, on replayed segments; None for logs.

    The first second, under the zooming camera, is left out.
    """
    landed = -(-LANDED // int(heldout.meta["skip"]))  # steps
    known = np.flatnonzero((heldout.seed >= 0) & (heldout.start + heldout.length > landed + 1))
    chosen = known[np.linspace(0, len(known) - 1, min(segments, len(known))).round().astype(int)]
    if not len(chosen):
        return None
    parts: dict[str, list[np.ndarray]] = {}
    with simulator(heldout) as env:
        for i in chosen:
            early = max(0, landed - CONTEXT + 1 - int(heldout.start[i]))
            frames, truths = _watched(env, heldout, i)
            for name, values in _misread(frames[early:], truths[early:]).items():
                parts.setdefault(name, []).append(values)
    found = {name: np.concatenate(values) for name, values in parts.items()}
    group = np.repeat(np.arange(len(chosen)), [len(values) for values in parts["road"]])
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
    """Per frame (t - 1,): was the road right, and by how much speed and rate of turn are off, by bars and by view."""
    heading, rate, pace, wheels = (np.array([getattr(t, name) for t in truths]) for name in Truth.__annotations__)
    turned, *way = motion(frames[:-1], frames[1:]).T
    return {
        "road": (road_under_car(frames) == (wheels >= 2))[1:].astype(float),
        "on_road": (wheels >= 2)[1:].astype(float),
        "speed": abs(speed(frames) - pace)[1:],
        "ground": abs(SPEC.fps * np.hypot(*way) - (pace[:-1] + pace[1:]) / 2),
        "turn": SPEC.fps * abs(turned - np.diff(heading)),
        "turning": abs(turning(frames) - rate)[1:],
        "turn_size": abs(rate)[1:],
    }


# -------------------------------------------------------------------- in words


def summary(alive: dict[str, Any]) -> str:
    """The figures in a few words."""
    return f"road under the car right {100 * alive['road']['rivals']['dream']['accuracy']['value'][-1]:.0f} %"


def describe(alive: dict[str, Any], fps: float) -> str:
    """The figures as a section of a card, in Markdown."""
    horizons, road = alive["horizons"], alive["road"]
    share = ", ".join(f"{100 * value:.0f} %" for value in road["on_road"]["value"])
    text = (
        "## Alive\n\nRead from frames alone, alike in the dream and in what was recorded, so that blur wins nothing. "
        "Always naming the commoner answer has balanced accuracy 0.5 and kappa 0; the car is really on the road in "
        f"{share} of the segments at these horizons."
    )
    tables = [
        table_by_horizon(f"Road under the car: {label}", _kind(road["rivals"], kind), horizons, fps, 2)
        for kind, label in KINDS.items()
    ]
    sizes = {name: _span(alive[name]["real"]) for name in ("ground", "turn")}
    more = (
        f"Speed is painted on a bar, and it shows in how the ground moves over {WINDOW / fps:.2g} s, as the turn does "
        "(one dream of each segment); where grass does not hold still from frame to frame, the ground says little. The "
        f"car really makes {sizes['ground']} m/s and turns by {sizes['turn']} rad/s; `kept` is what the bars of "
        "the last frame seen say, held."
    )
    labels = {
        "speed": "Speed on its bar: mean error (m/s)",
        "ground": "Speed of the ground: mean error (m/s)",
        "turn": "Turn of the view: mean error (rad/s)",
    }
    tables += [more, *(table_by_horizon(labels[x], alive[x]["rivals"], horizons, fps, 2) for x in labels)]
    return "\n\n".join([text, *tables, *_steering_text(alive["steering"], fps), *_trusted(alive["instruments"])])


def _span(real: Figure) -> str:
    """The least and the most of a mean by horizon."""
    return f"{min(real['value']):.1f} to {max(real['value']):.1f}"


def _kind(rivals: dict[str, Any], kind: str) -> dict[str, Figure]:
    return {name: figures[kind] for name, figures in rivals.items()}


def _steering_text(tried: dict[str, Any] | None, fps: float) -> list[str]:
    if tried is None:
        return ["No segment was fast enough to try the steering."]
    rows = {f"dream, all {tried['starts']} starts": tried["dream"]}
    if "real" in tried:
        rows |= {f"dream, {tried['simulated']} of them": tried["same"]}
        rows |= {f"simulator, the same {tried['simulated']}": tried["real"]}
    text = (
        f"**Does steering turn?** From {tried['starts']} starts above {tried['moving']:.0f} m/s the same state is "
        "driven on with full left and with full right, and how far the view has turned is measured."
    )
    labels = {
        "left": "Share that turn left under full left",
        "right": "Share that turn right under full right",
        "apart": "Share that turn further left under left",
        "spread": "Angle between left and right (rad)",
    }
    return [text, *(table_by_horizon(labels[x], _kind(rows, x), tried["steps"], fps, 2) for x in labels)]


def _trusted(checked: dict[str, Any] | None) -> list[str]:
    if checked is None:
        return []
    digits = {"road": 3, "speed": 2, "ground": 2, "turn": 3, "turning": 3, "turn_size": 2}
    shown = {name: cell(checked[name], n) for name, n in digits.items()}
    return [
        f"**How good these readings are**: on {checked['frames']} frames of the simulator, replayed from seeds and "
        f"actions, the road reading agrees with the wheels' own contacts in a share of {shown['road']}; on average "
        f"the bar's speed is off by {shown['speed']} m/s and the ground's by {shown['ground']} m/s, the turn of the "
        f"view by {shown['turn']} rad/s and the painted one by {shown['turning']} rad/s, where the car turns by "
        f"{shown['turn_size']} rad/s."
    ]
