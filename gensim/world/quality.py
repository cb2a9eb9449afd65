"""How good a dream looks: PSNR and SSIM by horizon on held-out segments, beside two baselines; and how it judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gensim.core.seeds import fold
from gensim.world.heldout import Heldout
from gensim.world.labelling import Labels, far_error, mean_iou, per_frame, voted
from gensim.world.pool import Pool
from gensim.world.state import State
from gensim.world.world import World

HORIZONS = (1, 2, 5, 10, 30, 45)
CONTEXT = 5  # real frames that a dream is told before it goes on alone
PSNR_MOST = 60.0  # dB, what equal frames count as where means are taken
DRAWS = 1000  # bootstrap samples
Figure = dict[str, list[float]]
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


# -------------------------------------------------------------------- frame against frame


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio (n,) in dB of uint8 frames (n, h, w, 3); infinite where they are equal."""
    _check_pair(a, b)
    error = ((a.astype(np.float32) - b) ** 2).mean((1, 2, 3), dtype=np.float64)  # (n,)
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(255.0**2 / error)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean structural similarity (n,) in -1..1 of uint8 frames (n, h, w, 3), a channel at a time.

    A Gaussian window of 11 pixels, sigma 1.5, and only where it fits into the frame.

    Reference: Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al., 2004),
    doi:10.1109/TIP.2003.819861.
    """
    _check_pair(a, b)
    parts = [_ssim(a[i : i + 128], b[i : i + 128]) for i in range(0, len(a), 128)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, y = (np.moveaxis(frames, -1, 1).astype(np.float64) for frames in (a, b))  # (n, 3, h, w)
    down, across = _window(a.shape[1]), _window(a.shape[2]).T

    def blur(image: np.ndarray) -> np.ndarray:
        return down @ image @ across  # (n, 3, h - 10, w - 10)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean((1, 2, 3))


def _window(side: int, size: int = 11, sigma: float = 1.5) -> np.ndarray:
    """The matrix (side - size + 1, side) that takes a Gaussian mean around each inner pixel of a line."""
    if side < size:
        raise ValueError(f"SSIM needs frames of at least {size} pixels each way, not {side}")
    weights = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    band = np.zeros((side - size + 1, side))
    for i in range(len(band)):
        band[i, i : i + size] = weights / weights.sum()
    return band


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"give two uint8 (n, h, w, 3) of one shape, not {a.dtype} {a.shape}, {b.dtype} {b.shape}")


# -------------------------------------------------------------------- what comes after a context


@dataclass(frozen=True)
class Futures:
    """What followed n contexts really, and what m rivals say, after each of q horizons.

    Arguments:
        horizons: steps after the context's last frame.
        context: the contexts' last frames, uint8 (n, h, w, 3).
        sides: frames uint8 (n, m, q, h, w, 3), m samples, of "real" and of its rivals: "dream", "mean dream" (of the
            samples), "repeated" and, with a pool, "nearest" and "mean nearest" (of as many).
        tracks: one sample of each at every step from the context's last frame on, (n, 1 + steps, h, w, 3).
        rew: the rewards of all steps up to the last horizon: recorded float32 (n, steps).
        dreamed: those that were dreamed, float32 (n, m, steps).
        alive: bool (n, m, q), whether the dream had not ended of itself; it is dreamed on all the same.
        group: int64 (n,), equal for contexts of one episode.
        labels: of the sides' frames, where world and segments have any.
        classes: how many classes there are.
        octaves: how often the greatest distance is twice the least.
    """

    horizons: tuple[int, ...]
    context: np.ndarray
    sides: dict[str, np.ndarray]
    tracks: dict[str, np.ndarray]
    rew: np.ndarray
    dreamed: np.ndarray
    alive: np.ndarray
    group: np.ndarray
    labels: dict[str, Labels] = field(default_factory=dict)
    classes: int = 0
    octaves: float = 0.0

    @property
    def real(self) -> np.ndarray:
        """What was recorded, uint8 (n, 1, q, h, w, 3)."""
        return self.sides["real"]

    @property
    def single(self) -> dict[str, np.ndarray]:
        """The sides that are frames of their own, not means of several: what readings of frames can be made of."""
        return {name: frames for name, frames in self.sides.items() if not name.startswith("mean ")}

    @property
    def rivals(self) -> dict[str, np.ndarray]:
        """What is compared with it, by name."""
        return {name: frames for name, frames in self.sides.items() if name != "real"}


def futures(
    world: World,
    heldout: Heldout,
    pool: Pool | None = None,
    horizons: Sequence[int] = HORIZONS,
    samples: int = 4,
    seed: int = 0,
) -> Futures:
    """Dreams on from each segment's first frames under the recorded actions, at temperature 1.

    Horizons beyond a segment's end are left out; ValueError when none is left. With a pool, the data's own
    nearest moment is played on as a baseline.
    """
    steps = heldout.length - CONTEXT
    horizons = tuple(h for h in horizons if 1 <= h <= steps)
    if not horizons:
        raise ValueError(f"segments of {heldout.length} frames have no horizon: give {CONTEXT + 1} or more")
    context, last = heldout.frames[:, CONTEXT - 1], CONTEXT - 1 + max(horizons)
    frames, track, rew, alive, labels = _dream(world, heldout, horizons, samples, seed)
    tracks = {"real": heldout.frames[:, CONTEXT - 1 : last + 1], "dream": track}
    tracks["repeated"] = np.repeat(context[:, None], 1 + max(horizons), 1)
    sides = {"dream": frames, "mean dream": averaged(frames)}
    told = {} if labels is None or not heldout.layers else {"dream": labels} | _recorded(heldout, horizons)
    if pool is not None:
        where = pool.found(context, heldout.inputs[:, CONTEXT - 1 : last], samples)  # (n, k, 2)
        tracks["nearest"] = pool.play(where[:, :1], range(1 + max(horizons)))[:, 0]
        sides["mean nearest"] = averaged(pool.play(where, horizons))
        if told:
            near = pool.labelled(where, horizons)
            told |= {"nearest": near.some(slice(0, 1)), "mean nearest": voted(near, len(world.config.labels))}
    if told:
        told["mean dream"] = voted(told["dream"], len(world.config.labels))
    return Futures(
        horizons=horizons,
        context=context,
        sides={name: shown[:, None, horizons] for name, shown in tracks.items()} | sides,
        tracks=tracks,
        rew=heldout.rew[:, CONTEXT - 1 : last],
        dreamed=rew,
        alive=alive,
        group=np.unique(heldout.episode, return_inverse=True)[1],
        labels=told,
        classes=len(world.config.labels),
        octaves=_octaves(heldout.meta),
    )


def _octaves(meta: Mapping[str, Any]) -> float:
    about = meta.get("depth")
    return float(np.log2(about["far"] / about["near"])) if about else 0.0


def averaged(frames: np.ndarray) -> np.ndarray:
    """The mean frame (n, 1, q, h, w, 3) uint8 of some (n, m, q, h, w, 3)."""
    return (frames.mean(1, keepdims=True, dtype=np.float32) + 0.5).astype(np.uint8)


def _recorded(heldout: Heldout, horizons: Sequence[int]) -> dict[str, Labels]:
    """Labels (n, 1, q, h, w) of the recorded frames and of the contexts' last ones."""
    at = {"real": [CONTEXT - 1 + h for h in horizons], "repeated": [CONTEXT - 1] * len(horizons)}
    classes, far = heldout.layer("classes"), heldout.layer("depth")
    return {name: Labels(classes[:, None, index], far[:, None, index]) for name, index in at.items()}


def filtered(world: World, heldout: Heldout, frames: int = CONTEXT, seed: int = 0) -> State:
    """The states (n,) after each segment's first frames, the world having seen nothing before them."""
    acts, shown = heldout.inputs, heldout.frames
    keys = fold(np.full(len(heldout), seed, np.uint64), np.arange(len(heldout)))
    state = world.first(shown[:, 0], keys, cond=heldout.told(world.config.conditions))
    opens = (heldout.start == 0).astype(np.int64)
    state.h = world.net.dynamics.initial.detach()[opens].float().clone()  # mid-episode it is another memory
    for t in range(1, frames):
        state, _ = world.observe(state, acts[:, t - 1], shown[:, t])
    return state


def _dream(
    world: World, heldout: Heldout, horizons: Sequence[int], samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Labels | None]:
    """Frames (n, samples, q, h, w, 3), one sample's track (n, 1 + steps, h, w, 3), rewards (n, samples, steps).

    And whether a dream was still alive, bool (n, samples, q), and the frames' labels where the world has any.
    """
    acts, n = np.repeat(heldout.inputs, samples, 0), len(heldout)
    state = filtered(world, heldout, seed=seed).branch(samples)
    one = np.arange(n) * samples
    frames, track, rewards, alive = [], [world.decode(state.rows(one))], [], [np.ones(len(state), bool)]
    labels: list[tuple[np.ndarray, np.ndarray]] = []
    for t in range(1, max(horizons) + 1):
        state, step = world.imagine(state, acts[:, CONTEXT - 2 + t])
        rewards.append(step.rew)
        alive.append(alive[-1] & ~step.term)
        if t not in horizons:
            track.append(world.decode(state.rows(one)))
            continue
        if world.config.labels:
            shown, *told = world.labelled(state)
            labels.append((told[0], told[1]))
        else:
            shown = world.decode(state)
        track.append(shown[one])
        frames.append(shown)
    shape = world.config.shape
    stack = np.stack(frames, 1).reshape(n, samples, -1, *shape, 3)  # (n, samples, q, h, w, 3)
    living = np.stack([alive[t] for t in horizons], 1).reshape(n, samples, -1)
    told = [np.stack(part, 1).reshape(n, samples, -1, *shape) for part in zip(*labels)]
    return (
        stack,
        np.stack(track, 1),
        np.stack(rewards, 1).reshape(n, samples, -1),
        living,
        Labels(*told) if told else None,
    )


# -------------------------------------------------------------------- figures with intervals


def figure(
    parts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], group: np.ndarray, seed: int = 0
) -> Figure:
    """A statistic of summed parts (n, ..., k) -> (...) with its 95 % interval, by horizon.

    The bootstrap draws whole groups (episodes), for segments of one are alike. What does not exist is null: a
    share of nothing, the interval of one group.
    """
    labels = np.unique(group, return_inverse=True)[1]
    count = labels.max() + 1
    sums = np.zeros((count, *parts.shape[1:]))
    np.add.at(sums, labels, parts)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = statistic(np.tensordot(weights.astype(float), sums, 1))  # (draws, ...)
        value = statistic(sums.sum(0))
    shown = np.where(np.isfinite(drawn), drawn, np.nan)
    enough = (np.isfinite(shown).mean(0) > 0.5) & (count > 1)
    low, high = np.nanquantile(np.where(enough, shown, 0.0), [0.025, 0.975], axis=0)
    whole = {"value": value, "low": np.where(enough, low, np.nan), "high": np.where(enough, high, np.nan)}
    return {name: _plain(numbers) for name, numbers in whole.items()}


def mean_figure(values: np.ndarray, group: np.ndarray, seed: int = 0) -> Figure:
    """The mean over rows and samples of values (n, m, q), which may hold NaN, by horizon, with its interval."""
    there = np.isfinite(values)
    parts = np.stack([np.where(there, values, 0.0).sum(1), there.sum(1)], -1)  # (n, q, 2)
    return figure(parts, lambda p: p[..., 0] / p[..., 1], group, seed)


def _plain(numbers: np.ndarray) -> Any:
    """Numbers as JSON: four digits, null where there is none."""
    if np.ndim(numbers):
        return [_plain(number) for number in numbers]
    return round(float(numbers), 4) if np.isfinite(numbers) else None


def by_horizon(told: Futures, seed: int = 0, measures: Mapping[str, Measure] | None = None) -> dict[str, Any]:
    """{"horizons": [...], "psnr": {rival: figure}, "ssim": {rival: figure}}: means over samples and segments.

    `measures` are others to take besides, by name: of uint8 frames (n, h, w, 3) against the real ones. Where there are
    labels, "miou" is the mean over classes of intersection over union, and "far" the mean error of distances as a
    factor's logarithm to base 2: 1 says that they are twice or half of what they should be.
    """
    result: dict[str, Any] = {"horizons": list(told.horizons), "contexts": len(told.real), "context_frames": CONTEXT}
    for name, measure in {"psnr": psnr, "ssim": ssim, **(measures or {})}.items():
        result[name] = {
            rival: mean_figure(compare(measure, frames, told.real), told.group, seed)
            for rival, frames in told.rivals.items()
        }
    if told.labels:
        result |= by_labels(told, seed)
    return result


def by_labels(told: Futures, seed: int = 0) -> dict[str, Any]:
    """The part of `by_horizon` that labels have: {"miou": {rival: figure}, "far": {rival: figure}}."""
    real, k = told.labels["real"], told.classes
    found: dict[str, Any] = {"miou": {}, "far": {}}
    for rival, said in told.labels.items():
        if rival != "real":
            counts = per_frame(real, said, k).sum(1)  # (n, q, k, k)
            found["miou"][rival] = figure(counts, mean_iou, told.group, seed)
            found["far"][rival] = mean_figure(told.octaves * far_error(real.far, said.far), told.group, seed)
    return found


def compare(measure: Measure, frames: np.ndarray, real: np.ndarray) -> np.ndarray:
    """A measure (n, m, q) of frames (n, m, q, h, w, 3) against the real ones (n, 1, q, h, w, 3)."""
    real = np.broadcast_to(real, frames.shape)
    flat = measure(frames.reshape(-1, *frames.shape[3:]), real.reshape(-1, *frames.shape[3:]))
    return np.minimum(flat, PSNR_MOST).reshape(frames.shape[:3])


# -------------------------------------------------------------------- judgements


def rewards(told: Futures, seed: int = 0) -> dict[str, Any]:
    """The rewards summed up to the last horizon: recorded, dreamed, and how the two go together."""
    real, dreamed = told.rew.sum(1, dtype=np.float64), told.dreamed.sum(2, dtype=np.float64).mean(1)  # (n,)
    moments = np.stack([np.ones_like(real), real, dreamed, real**2, dreamed**2, real * dreamed], -1)
    return {
        "steps": told.rew.shape[1],
        "recorded": figure(moments, lambda p: p[..., 1] / p[..., 0], told.group, seed),
        "dreamed": figure(moments, lambda p: p[..., 2] / p[..., 0], told.group, seed),
        "correlation": figure(moments, _correlation, told.group, seed),
    }


def _correlation(p: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = (p[..., i] for i in range(6))
    return (n * xy - x * y) / np.sqrt((n * xx - x**2) * (n * yy - y**2))


def ends(world: World, heldout: Heldout, threshold: float = 0.5, seed: int = 0) -> dict[str, Any]:
    """Whether a world that follows real frames sees terminations when they come, and only then."""
    state, odds = filtered(world, heldout, 1, seed), []
    for t in range(heldout.length - 1):
        state, step = world.observe(replace(state), heldout.inputs[:, t], heldout.frames[:, t + 1])
        odds.append(step.term_prob)
    said, term = np.stack(odds, 1) > threshold, heldout.term  # (n, steps)
    group = np.unique(heldout.episode, return_inverse=True)[1]
    counts = np.stack([said & ~term, ~term], -1).sum(1).astype(float)  # (n, 2)
    return {
        "terminations": int(term.sum()),
        "steps": int(term.size),
        "hits": int((said & term).sum()),
        "false_alarms": figure(counts, lambda p: p[..., 0] / p[..., 1], group, seed),
    }
