"""Sampling: windows of recorded frames for training, a pure function of (data, seed, step)."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Any, Literal

import numpy as np

from gensim.core.frames import shape_of
from gensim.episodes.actions import ActionSpec
from gensim.episodes.store import Dataset, Episode, Header, read_episode, read_or_warn

START_SHARE = 0.15  # the least share of windows that begin with an episode's first frame


@dataclass(frozen=True)
class Batch:
    """b windows of t frames; act, rew and term at i are those that arrive with frame i.

    Arguments:
        frames: uint8 (b, t, h, w, 3), black where not valid.
        act: float32 (b, t, k): act[:, i] leads from frame i - 1 to frame i; zeros at an episode's first
            frame; choices are one-hot.
        rew: float32 (b, t), 0 at an episode's first frame.
        term: bool (b, t), the step that led to frame i ended the episode.
        first: bool (b, t), frame i is an episode's first.
        valid: bool (b, t), false after the end of the episode.
        tally: float32 (b, t, 2), the sum of rewards and the steps of the episode before the step that led to frame i.
        episode: int64 (b,), the index in `Sampler.episodes` that each window was cut from.
        start: int64 (b,), the index in its episode of each window's frame 0.
        more: where the data have labels or conditions, by name: some int64 (b, d), frames to decode; their classes
            uint8 (b, d, h, w) and depth float32 (b, d, h, w) in 0..1; cond float32 (b, c) in 0..1; numbers float32
            (b, t, r); kind int64 (b, t), what ended the episode with the step that led to frame i, -1 elsewhere.
    """

    frames: np.ndarray
    act: np.ndarray
    rew: np.ndarray
    term: np.ndarray
    first: np.ndarray
    valid: np.ndarray
    tally: np.ndarray
    episode: np.ndarray
    start: np.ndarray
    more: dict[str, np.ndarray] = field(default_factory=dict)


class Sampler:
    """Draws windows from a data set held in memory as PNG; step after step, or any step at once.

    Windows are drawn uniformly from all that touch an episode. One that would begin before it begins with it, one that
    would end after it is cut short there: so an episode's end comes up at every place of a window alike. Were windows
    moved back to lie inside, it would come at their last place alone, and who learns from them would take the number
    of steps seen for the cause. Besides, at least 15 % of the windows begin with an episode's first frame.

    Arguments:
        dataset: the episodes; unreadable ones are skipped with a warning each.
        length: frames t in a window.
        batch: windows b in a batch.
        seed: with the step, the key of all draws.
        holdout: the share of episodes kept for validation, chosen by a hash of each file's name.
        part: draw from "train" or from "heldout"; `heldout` lists the latter's headers either way.
        threads: frames are decoded on so many threads.
        mirror: what each action becomes in a mirror, as `ActionSpec.mirror` takes it: half of the windows are given
            mirrored. None for none.
        decoded: so many frames of each window have labels, where the data have any.
        opening: the least share of windows that begin with an episode's first frame.
    """

    laws: list[np.ndarray] | None = None
    """Once given, log-laws (T + 1, groups, classes) of every episode's frames: windows then hold these, as "log_q" in
    `more`, and neither frames nor labels."""

    def __init__(
        self,
        dataset: Dataset,
        length: int,
        batch: int,
        seed: int,
        holdout: float = 0.05,
        part: Literal["train", "heldout"] = "train",
        threads: int = 2,
        mirror: Sequence[int] | None = None,
        decoded: int = 6,
        opening: float = START_SHARE,
    ) -> None:
        if length < 1 or batch < 1 or threads < 1 or not 0.0 <= holdout < 1.0:
            raise ValueError("length, batch and threads are at least 1, and 0 <= holdout < 1")
        self.shape, self.action = shape_of(dataset.spec), dataset.action
        self.length, self.rows, self.seed, self.mirror = length, batch, int(seed), mirror
        if mirror is not None:
            self.action.check_mirror(mirror)
        self.extras, self.opening = Extras(dataset.spec, min(decoded, length)), opening
        if mirror is not None and dataset.spec.get("numbers"):
            raise ValueError("mirror: nothing says which of this data set's numbers change their sign; fit without")
        aside = [is_heldout(header, holdout) for header in dataset.episodes]
        self.heldout = tuple(header for header, out in zip(dataset.episodes, aside) if out)
        wanted = [header for header, out in zip(dataset.episodes, aside) if out == (part == "heldout")]
        loaded = [(header, read_or_warn(self._read, header.path)) for header in wanted]
        self.episodes = tuple(header for header, episode in loaded if episode is not None)
        self._tapes = [episode for _, episode in loaded if episode is not None]
        if not self._tapes:
            raise ValueError(f"{dataset.folder} has no {part} episode: record more, or change holdout")
        self._lengths = np.array([len(tape) + 1 for tape in self._tapes])  # frames of each episode
        self._ends = np.cumsum(self._lengths + length - 1)  # windows that touch it or one before it
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    @property
    def frames(self) -> int:
        """The number of frames that windows are drawn from."""
        return int(self._lengths.sum())

    @property
    def limits(self) -> np.ndarray:
        """The least and the greatest sum of rewards and number of steps before any step, float32 (2, 2)."""
        sums = [np.cumsum(np.concatenate([[0.0], tape.rew[:-1]])) for tape in self._tapes]
        returns = [min(s.min() for s in sums), max(s.max() for s in sums)]
        return np.array([returns, [0, self._lengths.max() - 2]], np.float32)

    def some(self, n: int) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) drawn from all, the same for equal data and seed."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, 2**62]))  # a step that no fit reaches
        place = rng.integers(self.frames, size=n)
        ends = np.cumsum(self._lengths)
        episode = np.searchsorted(ends, place, side="right")
        at = place - ends[episode] + self._lengths[episode]
        return np.stack([*self._pool.map(lambda e, i: self._tapes[e].frame(i), episode.tolist(), at.tolist())])

    def batch(self, step: int) -> Batch:
        """The batch of a step >= 0: the same for equal data, seed and step, whatever was drawn before."""
        episode, start, turned = self._draw(step)
        rows = list(self._pool.map(self.window, episode.tolist(), start.tolist(), turned.tolist()))
        names = [field.name for field in fields(Batch)][:-1]
        batch = Batch(**{name: np.stack([getattr(row, name) for row in rows]) for name in names})  # type: ignore[arg-type]
        if not self.extras and self.laws is None:
            return batch
        order = np.random.Generator(np.random.Philox(key=[self.seed, 2**61 + step])).random(batch.valid.shape)
        order = (order + ~batch.valid).argsort(1, kind="stable")  # frames that are not there come last
        told = list(self._pool.map(self._more, episode.tolist(), start.tolist(), order, turned.tolist()))
        return replace(batch, more={name: np.stack([one[name] for one in told]) for name in told[0]})

    def prefetch(self, start_step: int = 0) -> Generator[Batch, None, None]:
        """Batches from a step on, without end, each decoded in the background while the last is in use."""
        with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as ahead:
            coming = ahead.submit(self.batch, start_step)
            for step in count(start_step + 1):
                ready, coming = coming, ahead.submit(self.batch, step)
                yield ready.result()

    def window(self, episode: int, start: int, mirrored: bool = False) -> Batch:
        """One window, without the leading b: frame `start` of an episode and those after it."""
        tape = self._tapes[episode]
        try:
            shape = self.shape if self.laws is None else (0, 0)
            cut = _cut(tape, self.length, shape, self.action, episode, start)
        except ValueError as error:
            raise ValueError(f"{self.episodes[episode].path} cannot be used: {error}") from error
        if not mirrored or self.mirror is None:
            return cut
        return replace(cut, frames=cut.frames[:, :, ::-1], act=self.action.mirror(cut.act, self.mirror))

    def pictures(self, episode: int) -> np.ndarray:
        """All frames uint8 (T + 1, h, w, 3) of an episode."""
        tape = self._tapes[episode]
        return np.stack([*self._pool.map(tape.frame, range(len(tape) + 1))])

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations (r,) of the numbers that episodes tell."""
        numbers = np.concatenate([self.extras.numbers(tape) for tape in self._tapes])
        return numbers.mean(0), numbers.std(0) + 1e-3

    def _more(self, episode: int, start: int, order: np.ndarray, mirrored: bool) -> dict[str, np.ndarray]:
        if self.laws is not None:
            found = replace(self.extras, decoded=0).cut(self._tapes[episode], start, self.length, order)
            law = self.laws[episode][start : start + self.length]
            blank = np.zeros((self.length - len(law), *law.shape[1:]), law.dtype)
            return found | {"log_q": np.concatenate([law, blank])}
        found = self.extras.cut(self._tapes[episode], start, self.length, order)
        pictures = [name for name in ("classes", "depth") if mirrored and name in found]
        return found | {name: found[name][..., ::-1] for name in pictures}

    def _draw(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which episode each window comes from, where it starts, int64 (b,) each, and whether it is mirrored."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        ticket = rng.integers(self._ends[-1], size=self.rows)
        episode = np.searchsorted(self._ends, ticket, side="right")
        frames = self._lengths[episode]
        begin = ticket - self._ends[episode] + frames  # its window begins at 1 - length .. frames - 1
        start = np.where(rng.random(self.rows) < self.opening, 0, np.maximum(begin, 0))
        return episode, start, (rng.random(self.rows) < 0.5) & (self.mirror is not None)

    def _read(self, path: object) -> Episode:
        episode = read_episode(path)  # type: ignore[arg-type]
        shape, kind = episode.frame(0).shape, "discrete" if episode.act.ndim == 1 else "box"
        if shape != (*self.shape, 3) or kind != self.action.type:
            raise ValueError(f"{path} holds {kind} actions and frames {shape}, unlike its data set")
        return episode


@dataclass(frozen=True)
class Extras:
    """What a data set tells besides frames: labels of pixels, numbers, conditions, kinds of ends.

    Arguments:
        spec: the data set's; `labels` names classes, `depth` the steps of distances, `numbers` what a track of that
            name holds, `conditions` their least and greatest values, `kinds` the ends of episodes.
        decoded: frames of a window that have labels.
    """

    spec: Mapping[str, Any]
    decoded: int

    def __bool__(self) -> bool:
        return any(self.spec.get(name) for name in ("labels", "numbers", "conditions", "kinds"))

    def cut(self, tape: Episode, start: int, length: int, order: np.ndarray) -> dict[str, np.ndarray]:
        """The `more` of a window, of which the frames that come first in an order (t,) have labels."""
        some, n = order[: self.decoded], min(length, len(tape) + 1 - start)
        found: dict[str, np.ndarray] = {"cond": self.conditions(tape.meta)}
        if self.spec.get("labels") and self.decoded:
            at = [start + min(i, n - 1) for i in some.tolist()]
            found |= {"some": some, "classes": np.stack([tape.layers["classes"].at(i) for i in at])}
            depth = np.stack([tape.layers["depth"].at(i) for i in at])
            found["depth"] = depth.astype(np.float32) / np.float32(self.spec["depth"]["steps"])
        numbers = self.numbers(tape)[start : start + n]
        found["numbers"] = np.concatenate([numbers, np.zeros((length - n, numbers.shape[1]), np.float32)])
        found["kind"] = np.full(length, -1)
        if tape.term[-1] and start + n == len(tape) + 1 and self.spec.get("kinds"):
            found["kind"][n - 1] = self.spec["kinds"].index(tape.meta["end"])
        return found

    def numbers(self, tape: Episode) -> np.ndarray:
        """What an episode tells of every frame, float32 (T + 1, r)."""
        blank = np.zeros((len(tape) + 1, 0), np.float32)
        return tape.tracks["numbers"].astype(np.float32) if self.spec.get("numbers") else blank

    def conditions(self, meta: Mapping[str, Any]) -> np.ndarray:
        """An episode's conditions (c,) in 0..1."""
        limits = self.spec.get("conditions") or {}
        return np.array([(meta[name] - low) / (high - low) for name, (low, high) in limits.items()], np.float32)


def is_heldout(header: Header, share: float) -> bool:
    """Whether an episode is kept for validation: decided by its file's name alone."""
    digest = hashlib.sha256(header.path.name.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2.0**64


def _cut(tape: Episode, length: int, shape: tuple[int, int], action: ActionSpec, episode: int, start: int) -> Batch:
    n = min(length, len(tape) + 1 - start)
    frames = np.zeros((length, *shape, 3), np.uint8)
    for i in range(n if frames.size else 0):
        frames[i] = tape.frame(start + i)
    index = np.arange(start, start + length)
    first, valid = index == 0, np.arange(length) < n
    steps = np.clip(index - 1, 0, len(tape) - 1)  # the step that led to each frame
    led = valid & ~first
    sums = np.cumsum(np.concatenate([[0.0], tape.rew[:-1]]))  # before each step
    return Batch(
        frames=frames,
        act=action.encode(tape.act[steps]) * led[:, None],
        rew=tape.rew[steps] * led,
        term=tape.term[steps] & led,
        first=first,
        valid=valid,
        tally=np.stack([sums[steps], steps], -1).astype(np.float32),
        episode=np.int64(episode),  # type: ignore[arg-type]
        start=np.int64(start),  # type: ignore[arg-type]
    )
