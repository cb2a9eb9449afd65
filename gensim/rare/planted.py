"""Failures planted in a dream world, of known probability: what a search for different failures is tried on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gensim.rare.choices import Choices

GRID = 0.01  # of readings, in standard deviations
PARTS = 4  # readings, each of latents of its own
HALF = 0.3  # of a mode's side
PASTS = 256  # over which probabilities are averaged


@dataclass(frozen=True)
class Planted:
    """Modes in what a dream's last latents read as.

    A reading is a sum of values, one for each of its latents: they are shared out among the readings, so that these are
    independent given the past. A mode is a box in the space of readings, and an episode fails if it ends in one.

    Arguments:
        values: int (groups, classes), in grid steps.
        modes: middles (k, parts) of boxes, in standard deviations.
        p: their probabilities (k,): exact given a past, averaged over PASTS of them.
    """

    choices: Choices
    values: np.ndarray
    modes: np.ndarray
    p: np.ndarray

    def look(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Severities (n,) and readings (n, parts) of choices (n, dims)."""
        readings = self.readings(x)
        return self._off(readings).min(1), readings

    def readings(self, x: np.ndarray) -> np.ndarray:
        """What the last latents of episodes read as (n, parts), in standard deviations."""
        z = self.choices.ends(x).rollout.state.z.numpy()
        told = self.values[np.arange(z.shape[1]), z]  # (n, groups)
        return told.reshape(len(z), PARTS, -1).sum(-1) * GRID

    def hit(self, readings: np.ndarray) -> np.ndarray:
        """Which modes (k,) any of the readings (n, parts) fell into."""
        return np.asarray((self._off(readings) <= 0).any(0))

    def _off(self, readings: np.ndarray) -> np.ndarray:
        return np.abs(readings[:, None] - self.modes).max(-1) - HALF


def planted(choices: Choices, modes: int = 64, seed: int = 0, most: float = 1e-3, least: float = 1e-7) -> Planted:
    """So many modes whose probabilities go from the most to the least, in equal ratios, or a little less.

    Raises:
        ValueError: if that many do not fit, or the latents cannot be shared out.
    """
    rng = np.random.default_rng(seed)
    law = _law(choices, rng)  # (pasts, groups, classes)
    if law.shape[1] % PARTS or modes < 1 or not 0 < least <= most < 1:
        given = f"modes={modes}, {least} to {most}, {law.shape[1]} latents"
        raise ValueError(f"{given}: give 1 mode or more, probabilities, and latents in {PARTS} equal parts")
    values = _values(law, rng)
    laws = [list(_readings(law[:, part], values[part])) for part in np.arange(law.shape[1]).reshape(PARTS, -1)]
    middles: list[np.ndarray] = []
    found = []
    for want in np.geomspace(most, least, modes):
        middle, p = next(_placed(laws, want, middles, rng))
        middles.append(middle)
        found.append(p)
    return Planted(choices, values, np.stack(middles), np.array(found))


def _law(choices: Choices, rng: np.random.Generator) -> np.ndarray:
    """The law (pasts, groups, classes) of the last latents, after pasts of the reference law."""
    dreams = choices.dreams
    now = dreams.begin(np.full(PASTS, choices.key, np.uint64))
    for _ in range(choices.steps - 1):
        now = dreams.advance(dreams.branch(now, rng.integers(1 << 63, size=PASTS, dtype=np.uint64)))
    return dreams.law(now)


def _values(law: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values int (groups, classes), such that each reading has mean 0 and variance 1, about."""
    groups, classes = law.shape[1:]
    mean, values = law.mean(0), rng.standard_normal((groups, classes))
    values -= (mean * values).sum(1, keepdims=True)
    spread = np.sqrt((mean * values**2).sum(1).reshape(PARTS, -1).sum(1))  # (parts,)
    return np.round(values / np.repeat(spread, groups // PARTS)[:, None] / GRID).astype(int)


def _readings(law: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Of each past, the lowest reading in grid steps, and the cumulative probabilities from there on."""
    for one in law:  # (latents, classes)
        mass, low = np.ones(1), 0
        for p, value in zip(one, values):
            mass = np.convolve(mass, np.bincount(value - value.min(), weights=p))
            low += int(value.min())
        yield low, np.concatenate([[0.0], mass.cumsum()])


def _placed(
    laws: list[list[tuple[int, np.ndarray]]], want: float, taken: list[np.ndarray], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, float]]:
    """Boxes of a probability at or a little under what is wanted, that touch none which is there."""
    for _ in range(2000):
        way = rng.standard_normal(PARTS)
        way /= np.linalg.norm(way)
        far = np.arange(0, 8, 0.05)
        p = np.array([_box(laws, way * one) for one in far])
        under = np.flatnonzero((p < want) & (p > want / 2))
        if len(under) and all(np.abs(way * far[under[0]] - one).max() > 2 * HALF for one in taken):
            yield way * far[under[0]], float(p[under[0]])
    raise ValueError(f"no place of probability {want:.1e} is left: give fewer modes, or a narrower range")


def _box(laws: list[list[tuple[int, np.ndarray]]], middle: np.ndarray) -> float:
    """The probability of a box about a middle (parts,)."""
    inside = np.ones(len(laws[0]))
    for part, one in zip(laws, middle):
        low, high = int(np.ceil((one - HALF) / GRID - 1e-9)), int(np.floor((one + HALF) / GRID + 1e-9)) + 1
        for i, (least, mass) in enumerate(part):
            a, b = (min(max(end - least, 0), len(mass) - 1) for end in (low, high))
            inside[i] *= mass[b] - mass[a]
    return float(inside.mean())
