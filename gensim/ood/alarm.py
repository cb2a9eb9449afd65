"""Alarms: from scores to p-values, to evidence over time, to one false alarm in so many frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from gensim.ood.combine import Tail, tail_of, to_tensors
from gensim.ood.evidence import KINDS, Evidence, Kind, forgetting, log_bet

REST = 50  # frames after an alarm in which none is raised: one odd stretch is one alarm
LEVELS = 96  # thresholds at which false alarms are counted
LEAST = 8  # episodes of a calibration
FEWEST = 100  # frames between false alarms that can be asked for
NEEDED = 3  # times as many calibration frames as lie between two false alarms
ENOUGH = 12  # alarms at a threshold from which it is read; rarer ones are extrapolated
AIM = 0.75  # of the asked rate
SURE = 0.75  # share of bootstrap samples in which the rate stays below the aim
DRAWS = 200  # bootstrap samples
KEPT = 4096  # scores that are kept of the upper end and of the rest


@dataclass(frozen=True)
class Reference:
    """Scores of usual frames, which never change: what p-values are ranks among.

    Arguments:
        table: some of them, rising (m,).
        above: how many of all are at least as high as each, and how many are higher, int64 (2, m).
        total: how many there are.
    """

    table: np.ndarray
    above: np.ndarray
    total: int

    @classmethod
    def of(cls, scores: np.ndarray) -> Reference:
        """From scores (n,); the highest are all kept, the others thinned."""
        x = np.sort(scores)
        low = max(len(x) - KEPT, 0)
        at = np.unique(np.concatenate([np.linspace(0, max(low - 1, 0), KEPT).astype(int), np.arange(low, len(x))]))
        values = np.unique(x[at])
        above = np.stack([len(x) - np.searchsorted(x, values, side=side) for side in ("left", "right")])
        return cls(values, above.astype(np.int64), len(x))

    def count(self, scores: np.ndarray) -> np.ndarray:
        """How many of all are at least as high as each of scores (n,), or a few more where they were thinned."""
        at = np.searchsorted(self.table, scores, side="right") - 1  # the highest that is kept and no higher
        low = np.maximum(at, 0)
        return np.where(at < 0, self.total, self.above[(scores > self.table[low]).astype(int), low])

    def p(self, scores: np.ndarray) -> np.ndarray:
        """p-values (n,) in (0, 1]: the share of usual frames, this one counted, that are at least as unusual.

        Conformal p-values (Vovk et al., 2005, doi:10.1007/b106715) would be uniform if all frames were exchangeable.
        Episodes are and frames are not: small p-values of new episodes are somewhat more frequent than they say, the
        more so the fewer episodes there are. n frames say no more than log(n + 1) nats.
        """
        return (self.count(scores) + 1.0) / (self.total + 1.0)


@dataclass(frozen=True)
class Calibration:
    """What false alarms cost: counted over whole usual episodes, as they come, with all their memory.

    Arguments:
        reference: scores of all their frames.
        memory: frames that tell as much as an independent one; bets are raised to one over this.
        kind: how evidence is summed.
        fast, slow: a frame's score and the evidence so far, each as nats of rarity.
        levels: thresholds of the larger of both (LEVELS,).
        counts: alarms of each episode at each threshold (e, LEVELS).
        frames: of each episode (e,).
    """

    reference: Reference
    memory: float
    kind: Kind
    fast: Tail
    slow: Tail
    levels: np.ndarray
    counts: np.ndarray
    frames: np.ndarray

    @classmethod
    def of(cls, episodes: Sequence[np.ndarray], kind: Kind = "shiryaev-roberts") -> Calibration:
        """From the scores (t,) of whole usual episodes that nothing else was fitted on; ValueError for too few."""
        check_count(len(episodes))
        if not all(len(one) and np.isfinite(one).all() for one in episodes):
            raise ValueError("an episode has no scores, or some that are not finite: check its frames and actions")
        reference = Reference.of(np.concatenate(episodes))
        bets = [log_bet(p) for p in _left_out(episodes)]
        memory = forgetting(bets)
        bets = [bet / memory for bet in bets]
        won = np.concatenate([_won(bet, kind) for bet in bets])
        fast, slow = Tail.fit(np.concatenate(episodes)), Tail.fit(won)
        blank = cls(
            reference, memory, kind, fast, slow, np.zeros(0), np.zeros((0, 0)), np.array([len(b) for b in bets])
        )
        highest = max(float(fast(np.concatenate(episodes)).max()), float(slow(won).max()), 4.0)
        made = replace(blank, levels=np.linspace(1.0, highest + 1.0, LEVELS))
        return replace(made, counts=_simulated(made, episodes, bets))

    def threshold(self, every: int) -> float:
        """The nats of rarity at which alarms are raised for one false alarm in `every` frames.

        It aims at 0.75 of the rate, so that in three of four bootstrap samples of episodes no more are raised; where
        fewer than 12 alarms would be, the rate is taken to fall exponentially from there on. ValueError for fewer
        calibration frames than three times `every`.
        """
        self._check(every)
        rng = np.random.Generator(np.random.Philox(key=[every, 2**60]))
        e = len(self.frames)
        weights = rng.multinomial(e, np.full(e, 1 / e), size=DRAWS).astype(np.float64)  # (DRAWS, e)
        counts, frames = weights @ self.counts, weights @ self.frames
        found = [_crossing(self.levels, c, AIM * n / every) for c, n in zip(counts, frames)]
        return float(np.quantile(found, SURE))

    @property
    def rarest(self) -> int:
        """The most frames between false alarms that can be asked for."""
        return int(self.frames.sum()) // NEEDED

    def _check(self, every: int) -> None:
        if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or every < FEWEST:
            raise ValueError(f"false_alarm_every={every}: give a whole number of frames from {FEWEST} up")
        there = int(self.frames.sum())
        if there < NEEDED * every:
            most = there // NEEDED
            instead = f"ask for one in {most:,} at most, or " if most >= FEWEST else ""
            raise ValueError(
                f"false_alarm_every={every:,}: the calibration holds {there:,} frames of {len(self.frames)} episodes, "
                f"too few for that; {instead}calibrate on {NEEDED * every:,} usual frames or more with "
                "detector.recalibrated(episodes)"
            )

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        plain = {name: torch.from_numpy(np.asarray(getattr(self, name))) for name in ("levels", "counts", "frames")}
        plain["counts"] = plain["counts"].to(torch.int32)
        plain |= {"table": torch.from_numpy(self.reference.table), "above": torch.from_numpy(self.reference.above)}
        plain |= {"total": torch.tensor(self.reference.total), "memory": torch.tensor(self.memory, dtype=torch.float64)}
        plain |= {"kind": torch.tensor(KINDS.index(self.kind))}
        named = {f"calibration.{name}": value for name, value in plain.items()}
        return named | to_tensors(self.fast, "calibration.fast") | to_tensors(self.slow, "calibration.slow")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Calibration:
        """The reverse of `tensors`; KeyError when something is missing."""
        get = {name.removeprefix("calibration."): t for name, t in tensors.items() if name.startswith("calibration.")}
        levels, counts, frames, kind_at = (get[name].numpy() for name in ("levels", "counts", "frames", "kind"))
        table, above = get["table"].numpy(), get["above"].numpy()
        sound = [
            counts.shape == (len(frames), len(levels)) and above.shape == (2, len(table)),
            (frames > 0).all() and (counts >= 0).all() and (counts <= frames[:, None]).all(),
            (np.diff(levels) > 0).all() and (np.diff(table) > 0).all() and (np.diff(above) <= 0).all(),
            int(frames.sum()) == int(get["total"]) and 0 <= int(kind_at) < len(KINDS) and float(get["memory"]) >= 1,
        ]
        if not all(sound):
            raise ValueError("its calibration is none that was ever counted")
        reference = Reference(table, above, int(get["total"]))
        tails = (tail_of(tensors, "calibration.fast"), tail_of(tensors, "calibration.slow"))
        return cls(
            reference, float(get["memory"]), KINDS[int(kind_at)], *tails, levels, counts.astype(np.int64), frames
        )


@dataclass(frozen=True)
class Verdict:
    """What is said of one frame of each of n rows.

    Arguments:
        score: float64 (n,), nats; higher is more unusual.
        p: float64 (n,) in (0, 1], the share of usual frames at least as unusual.
        e: float64 (n,) >= 0, what a bettor of 1 against "as usual" has now since the episode began; see `forgetting`.
        alarm: bool (n,), an alarm is raised with this frame.
        sudden: bool (n,), the frame alone raised it, not what piled up.
    """

    score: np.ndarray
    p: np.ndarray
    e: np.ndarray
    alarm: np.ndarray
    sudden: np.ndarray


class Alarm:
    """Raises alarms in n streams: at a frame unusual enough, or when evidence has piled up; both share the budget.

    A reset of the environment and an alarm both begin the evidence anew. For `REST` frames after an alarm none is
    raised and no evidence is summed, so that one odd stretch is one alarm; these frames count as frames.

    Arguments:
        calibration: what false alarms cost.
        every: one false alarm in so many frames, on average.
        rows: n.
        threshold: what `Calibration.threshold` gives for `every`, where it is known already.
    """

    def __init__(self, calibration: Calibration, every: int, rows: int = 1, threshold: float | None = None) -> None:
        self.calibration, self.every = calibration, every
        self.threshold = calibration.threshold(every) if threshold is None else threshold
        self._sum, self._wager = Evidence((rows,), calibration.kind), Evidence((rows,), "martingale")
        self._rest = np.zeros(rows, np.int64)

    def step(self, score: np.ndarray, first: np.ndarray) -> Verdict:
        """The verdict on scores (n,) of the next frames, of which `first` (n,) bool begin an episode."""
        c = self.calibration
        self._sum.reset(first)
        self._wager.reset(first)
        self._rest = np.where(first, 0, self._rest)
        p = c.reference.p(score)
        bet = log_bet(p) / c.memory
        wager = self._wager.step(bet)
        alarm, sudden, self._rest = _raised(c, self._sum, self._rest, c.fast(score), bet, self.threshold)
        return Verdict(score, p, np.exp(np.minimum(wager, 700.0)), alarm, sudden)

    def over(self, scores: np.ndarray, first: np.ndarray | None = None) -> Verdict:
        """The verdicts on scores (t,) in order, of which `first` (t,) bool begin an episode; all are one by default."""
        alarm = self.like(1)
        first = np.arange(len(scores)) == 0 if first is None else first
        steps = [alarm.step(scores[t : t + 1], first[t : t + 1]) for t in range(len(scores))]
        return Verdict(*(np.concatenate([getattr(one, item.name) for one in steps]) for item in fields(Verdict)))

    def like(self, rows: int) -> Alarm:
        """The same alarm over other rows, which begin."""
        return Alarm(self.calibration, self.every, rows, self.threshold)

    def put(self, rows: np.ndarray, other: Alarm) -> None:
        """Takes over another's rows, one for each of `rows` (m,) int."""
        self._rest[rows] = other._rest
        for mine, its in ((self._sum, other._sum), (self._wager, other._wager)):
            mine.sum[rows], mine.steps[rows] = its.sum, its.steps


def check_count(episodes: int, because: str = "") -> None:
    """ValueError unless there are episodes enough to calibrate on."""
    if episodes < LEAST:
        given = "no episode" if not episodes else f"{episodes} episodes"
        raise ValueError(
            f"{given} to calibrate on: give {LEAST} whole usual episodes or more that nothing was fitted on"
            + (f" ({because})" if because else "")
        )


def _raised(
    c: Calibration, total: Evidence, rest: np.ndarray, fast: np.ndarray, bet: np.ndarray, threshold: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows raise an alarm, which of these at once, and the frames for which each rests from here on."""
    awake = rest <= 0
    slow = c.slow(total.step(bet))
    sudden = awake & (fast >= threshold)
    alarm = sudden | (awake & (slow >= threshold))
    total.reset(alarm | ~awake)
    return alarm, sudden, np.where(alarm, REST, np.maximum(rest - 1, 0))


def _left_out(episodes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """p-values of each episode's frames among all other episodes'."""
    everything = np.sort(np.concatenate(episodes))
    total, found = len(everything), []
    for one in episodes:
        own = np.sort(one)
        above = total - np.searchsorted(everything, one, side="left")
        above = above - (len(own) - np.searchsorted(own, one, side="left"))
        found.append((above + 1.0) / (total - len(own) + 1.0))
    return found


def _won(bets: np.ndarray, kind: Kind) -> np.ndarray:
    """Evidence (t,) along one episode without alarms."""
    total = Evidence((), kind)
    return np.array([float(total.step(bet)) for bet in bets])


def _simulated(c: Calibration, episodes: Sequence[np.ndarray], bets: Sequence[np.ndarray]) -> np.ndarray:
    """Alarms (e, LEVELS) in each episode at each threshold, int64."""
    order = np.argsort([-len(one) for one in episodes], kind="stable")
    lengths = np.array([len(episodes[i]) for i in order])
    fast, counts = [c.fast(one) for one in episodes], np.zeros((len(order), len(c.levels)), np.int64)
    total, rest = Evidence(counts.shape, c.kind), np.zeros(counts.shape, np.int64)
    for t in range(int(lengths[0])):
        live = int(np.searchsorted(-lengths, -t, side="left"))  # the longer ones come first
        total.sum, total.steps, rest = total.sum[:live], total.steps[:live], rest[:live]
        rarity, bet = (np.array([part[i][t] for i in order[:live]])[:, None] for part in (fast, bets))
        alarm, _, rest = _raised(c, total, rest, rarity, bet, c.levels)
        counts[:live] += alarm
    return counts[np.argsort(order, kind="stable")]


def _crossing(levels: np.ndarray, counts: np.ndarray, wanted: float) -> float:
    """The threshold at which counts (LEVELS,) of alarms fall to a wanted number; extrapolated where they are few."""
    counts = np.maximum.accumulate(counts[::-1])[::-1]  # a higher threshold may put an alarm off into more of them
    read = np.log(np.maximum(counts, 0.5))
    most = min(8.0 * ENOUGH, counts[0] / 3)  # above, alarms are as dense as their rests allow
    begin = min(float(ENOUGH), most / 2)
    at = float(np.interp(-np.log(max(wanted, begin)), -read, levels))
    if wanted >= begin:
        return at
    part = np.flatnonzero((counts >= begin) & (counts <= most))
    if len(part) < 3:
        part = np.argsort(np.abs(levels - at), kind="stable")[:5]
    slope = -float(np.polyfit(levels[part], read[part], 1)[0])
    return at + float(np.log(begin / wanted)) / max(slope, 0.1)
