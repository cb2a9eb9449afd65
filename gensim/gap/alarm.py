"""The alarm for exploitation: from dreams alone, whether a policy's dreamed return can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gensim.core.intervals import wilson
from gensim.gap.ranking import interval
from gensim.gap.readings import Readings
from gensim.gap.rollouts import Dreams
from gensim.world.trust import EDGES

WINDOWS = (16, 64)  # steps of a sum of rewards that is looked up among recorded ones
LEVELS = 256  # quantiles that are kept of recorded sums
FALSE = 0.10  # share of honest policies for which a threshold may ring
MARGIN = 0.25  # of the scale by which a dreamed return must exceed the real one to count as exploitation
TAIL = 0.05  # trust below which a step lies in the upper tail of disagreement
ALL = "all together"
DRAWS = 2000  # bootstrap samples
Evidence = dict[str, float]
"""What speaks against a policy's dreams, by candidate; higher is more suspicious."""


@dataclass(frozen=True)
class Known:
    """What honest, recorded steps look like to a world: all that evidence is measured against.

    Arguments:
        trust: mean trust of held-out episodes dreamed on, by `EDGES` of age, (len(EDGES),).
        drift: mean share of groups that change when a decoded frame is read again, likewise.
        sums: quantiles of recorded sums of rewards over windows of each length, (len(WINDOWS), LEVELS).
        returns: quantiles of whole recorded episodes' returns, (LEVELS,); of all where none is whole.
    """

    trust: np.ndarray
    drift: np.ndarray
    sums: np.ndarray
    returns: np.ndarray

    @classmethod
    def of(cls, read: Readings, rewards: Sequence[np.ndarray], whole: Sequence[bool] | None = None) -> Known:
        """From readings of held-out episodes, the rewards (t,) of all recorded ones, and which of these are whole."""
        dreamed = read.where(read.start >= 0)
        where = np.searchsorted(EDGES, dreamed.age, side="right") - 1
        tables = [_quantiles(np.concatenate([_windows(r, w) for r in rewards])) for w in WINDOWS]
        full = rewards if whole is None or not any(whole) else [r for r, uncut in zip(rewards, whole) if uncut]
        return cls(
            trust=_by_age(dreamed.trust, where),
            drift=_by_age(dreamed.drift, where),
            sums=np.stack(tables),
            returns=_quantiles(np.array([r.sum(dtype=np.float64) for r in full])),
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON; what was never recorded is null."""
        return {name: _listed(table) for name, table in vars(self).items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Known:
        """The reverse of `to_dict`; ValueError on anything else."""
        try:
            arrays = {name: np.array(value[name], np.float64) for name in ("trust", "drift", "sums", "returns")}
        except (KeyError, TypeError, ValueError) as fault:
            raise ValueError(f"no tables of an alarm: {fault} is missing or wrong; measure the world again") from fault
        shapes = {"trust": (len(EDGES),), "drift": (len(EDGES),), "sums": (len(WINDOWS), LEVELS), "returns": (LEVELS,)}
        wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
        if wrong:
            raise ValueError(f"no tables of an alarm: {', '.join(wrong)} of another shape; measure the world again")
        return cls(**arrays)


# -------------------------------------------------------------------- evidence


def evidence(dreams: Dreams, known: Known, others: Sequence[Dreams] = (), masked: Dreams | None = None) -> Evidence:
    """What speaks against a policy's dreams; `others` are its dreams in other worlds, `masked` under dropout masks.

    Those are as long, with the first of the same keys; ValueError otherwise. Dreams too short for a candidate lack it.

    trust: how far mean trust lies below that of held-out episodes dreamed on, at equal horizon. tail: the share of
    steps whose trust is below 0.05. rewards of 16 and of 64 steps, and return: how rare such sums are among recorded
    ones, as minus the decimal logarithm of a one-sided p-value, on average. drift: the share of latents that change
    when decoded frames are read again, above that of held-out episodes. second opinion: how much less the policy gets
    in the least generous of the other worlds. masks: how much less it gets when each dream holds a dropout mask.
    """
    age = np.broadcast_to(np.arange(1, dreams.rew.shape[1] + 1), dreams.rew.shape)
    where = np.searchsorted(EDGES, age, side="right") - 1
    alive = np.isfinite(dreams.trust)
    found = {
        "trust": float((known.trust[where] - dreams.trust)[alive].mean()),
        "tail": float((dreams.trust[alive] < TAIL).mean()),
    }
    rows = [row[np.isfinite(row)] for row in dreams.rew]
    for steps, table in zip(WINDOWS, known.sums):
        sums = np.concatenate([_windows(row, steps) for row in rows])
        if len(sums) and np.isfinite(table).all():
            found[f"rewards of {steps} steps"] = float(-np.log10(rarity(sums, table)).mean())
    found["return"] = float(-np.log10(rarity(dreams.returns, known.returns)).mean())
    read = np.isfinite(dreams.drift)
    if read.any():
        found["drift"] = float((dreams.drift - known.drift[where])[read].mean())
    if others:
        found["second opinion"] = max(_lost(dreams, other) for other in others)
    if masked is not None:
        found["masks"] = _lost(dreams, masked)
    return found


def _lost(dreams: Dreams, again: Dreams) -> float:
    """How much less the policy gets when it dreams again with the first of the same keys, on average."""
    (m, again_steps), (n, steps) = again.rew.shape, dreams.rew.shape
    if m > n or again_steps != steps:
        raise ValueError(
            f"{m} dreams of {again_steps} steps are held against {n} of {steps}: "
            "dream again with the first of the same keys, and as long"
        )
    return float((dreams.returns[:m] - again.returns).mean())


def rarity(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """One-sided p-values (n,): the share of a sorted table's values that are at least as high."""
    return (len(table) - np.searchsorted(table, values, side="left") + 1) / (len(table) + 1)


def _windows(rew: np.ndarray, steps: int) -> np.ndarray:
    """Sums over windows of rewards (t,), half overlapping."""
    whole = np.concatenate([[0.0], np.cumsum(rew, dtype=np.float64)])
    begin = np.arange(0, len(rew) - steps + 1, steps // 2)
    return whole[begin + steps] - whole[begin]


def _quantiles(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.full(LEVELS, np.nan)
    return np.quantile(values, (np.arange(LEVELS) + 0.5) / LEVELS, method="inverted_cdf")


def _listed(table: np.ndarray) -> list[Any]:
    if table.ndim > 1:
        return [_listed(row) for row in table]
    return [round(float(x), 4) if np.isfinite(x) else None for x in table]


def _by_age(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Means by `EDGES` of age; an age without values takes the mean of the age before it, or of all."""
    there = np.isfinite(values)
    table, last = np.zeros(len(EDGES)), float(values[there].mean()) if there.any() else 0.0
    for i in range(len(EDGES)):
        here = values[there & (where == i)]
        table[i] = last = float(here.mean(dtype=np.float64)) if len(here) else last
    return table


# -------------------------------------------------------------------- the alarm


@dataclass(frozen=True)
class Alarm:
    """Thresholds above which evidence rings, set on honest policies alone.

    Arguments:
        names: the candidates.
        mean: of honest policies' evidence, by candidate.
        std: its standard deviation.
        threshold: by candidate, and for `ALL`: the mean of all candidates' standard scores, each cut to -3..3.
    """

    names: tuple[str, ...]
    mean: Mapping[str, float]
    std: Mapping[str, float]
    threshold: Mapping[str, float]

    @classmethod
    def fit(cls, honest: Sequence[Evidence], false: float = FALSE) -> Alarm:
        """Thresholds that at most a share `false` of these policies exceeds; ValueError without any."""
        if not honest:
            raise ValueError("an alarm is set on honest policies: give at least one")
        names = tuple(name for name in honest[0] if all(name in one for one in honest))
        columns = {name: np.array([one[name] for one in honest]) for name in names}
        mean = {name: float(column.mean()) for name, column in columns.items()}
        std = {name: max(float(column.std()), 1e-9) for name, column in columns.items()}
        blank = cls(names, mean, std, {})
        scores = [blank.scores(one) for one in honest]
        top = lambda name: float(np.quantile([one[name] for one in scores], 1 - false, method="higher"))  # noqa: E731
        return cls(names, mean, std, {name: top(name) for name in (*names, ALL)})

    def scores(self, given: Evidence) -> dict[str, float]:
        """Evidence by candidate, and `ALL`; ValueError where a candidate is missing."""
        missing = sorted({*self.names} - given.keys())
        if missing:
            raise ValueError(f"evidence lacks {', '.join(missing)}: dream the policy as long, and in as many worlds")
        each = [float(np.clip((given[name] - self.mean[name]) / self.std[name], -3, 3)) for name in self.names]
        return {name: given[name] for name in self.names} | {ALL: float(np.mean(each)) if each else 0.0}

    def rings(self, given: Evidence) -> dict[str, bool]:
        """Whether the dreamed return is not to be believed, by candidate and for `ALL`."""
        return {name: value > self.threshold[name] for name, value in self.scores(given).items()}

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        return {key: list(v) if key == "names" else dict(v) for key, v in vars(self).items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Alarm:
        """The reverse of `to_dict`; ValueError on anything else."""
        try:
            return cls(tuple(value["names"]), dict(value["mean"]), dict(value["std"]), dict(value["threshold"]))
        except (KeyError, TypeError, ValueError) as fault:
            raise ValueError(f"no alarm: {fault} is missing or wrong; measure the world again") from fault


def verdict(
    gap: Mapping[str, Any], dreams: Dreams, others: Sequence[Dreams] = (), masked: Dreams | None = None
) -> dict[str, bool]:
    """Whether a policy's dreams are not to be believed, by candidate and for `ALL`, as a world's gap.json says.

    `others` are its dreams in the worlds whose second opinion the gap was measured with, `masked` those with
    `dream(..., masks=True)`, with the first of the same keys and as long as the gap's. Dreams that end too early for a
    candidate are judged by the others, `ALL` included: its threshold is set anew on the honest policies' evidence of
    these alone. ValueError for a gap that was measured without policies, or in other ways.
    """
    told = gap["figures"].get("alarm", {})
    if not told.get("alarm"):
        raise ValueError("this gap has no alarm: measure it with an agent, `gensim gap WORLD --data DIR --agent AGENT`")
    alarm = Alarm.from_dict(told["alarm"])
    _check(told, alarm, dreams, others, masked)
    given = evidence(dreams, Known.from_dict(told["known"]), others, masked)
    names = [name for name in alarm.names if name in given]
    if len(names) < len(alarm.names):
        alarm = Alarm.fit(_only([row for row in told["evidence"] if not row["exploits"]], names))
    return alarm.rings(given)


def _check(
    told: Mapping[str, Any], alarm: Alarm, dreams: Dreams, others: Sequence[Dreams], masked: Dreams | None
) -> None:
    """ValueError unless a policy was dreamed as those that set the alarm; what an older file lacks is not asked."""
    pairs = {"steps": (dreams.rew.shape[1], told.get("horizon")), "other worlds": (len(others), told.get("second"))}
    wrong = [f"{here} {name}, not {there}" for name, (here, there) in pairs.items() if there not in (None, here)]
    wrong += ["none under dropout masks"] if masked is None and "masks" in alarm.names else []
    if wrong:
        raise ValueError(f"dreams of {', '.join(wrong)}: dream the policy as those that set the alarm were dreamed")


# -------------------------------------------------------------------- how good it is


def judged(
    given: Sequence[Evidence],
    exploits: Sequence[bool],
    families: Sequence[str],
    made: Sequence[bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """How good each candidate that all policies have is: AUC, hits, false alarms, and how often it was right.

    Hits, among policies that exploit, are those of an alarm set on all honest policies. False alarms, among the honest,
    are those of an alarm set on all honest policies of other families, so that neither a policy nor its kin has a say
    in its verdict; they are null for fewer than two families, whose share of false alarms is so by construction.
    `right` is how often these verdicts are true of the policies that were made to exploit, whether they do or not.
    Intervals: AUC's by bootstrap over policies, shares' by Wilson, as if policies of a family were independent.

    Arguments:
        given: of each policy.
        exploits: whether it exploits.
        families: equal names for policies that are variants of each other, such as an agent's mixes with chance.
        made: whether it was made to exploit; None for no policy.
        seed: of the bootstrap.
    """
    names = [name for name in next(iter(given), {}) if all(name in one for one in given)]
    lacking, given = sorted({name for one in given for name in one} - {*names}), _only(given, names)
    bad, honest = ([one for one, wrong in zip(given, exploits) if bool(wrong) == side] for side in (True, False))
    counts = {"honest": len(honest), "exploiting": len(bad), "lacking": lacking}
    counts["families"] = len({family for family, wrong in zip(families, exploits) if not wrong})
    if len(honest) < 3:
        return {**counts, "candidates": {}}
    alarm, rung = Alarm.fit(honest), _verdicts(given, exploits, families)
    scores = [[alarm.scores(one) for one in group] for group in (bad, honest)]
    told = [*zip(rung, exploits, made or [False] * len(rung))]
    candidates = {
        name: {
            "auc": _auc_figure([one[name] for one in scores[0]], [one[name] for one in scores[1]], seed),
            "hits": _counted(one[name] for one, wrong, _ in told if one and wrong),
            "false_alarms": _counted(one[name] for one, wrong, _ in told if one and not wrong),
            "right": _counted(one[name] == wrong for one, wrong, mine in told if one and mine),
            "threshold": round(alarm.threshold[name], 5),
        }
        for name in (*names, ALL)
    }
    return {**counts, "candidates": candidates, "alarm": alarm.to_dict()}


def _verdicts(
    given: Sequence[Evidence], exploits: Sequence[bool], families: Sequence[str]
) -> list[dict[str, bool] | None]:
    """What rings for each policy, honest ones judged by the other families' alarm; None where there is no other."""
    honest = [(one, family) for one, wrong, family in zip(given, exploits, families) if not wrong]
    apart = {family: [one for one, its in honest if its != family] for _, family in honest}
    alarms = {family: Alarm.fit(others) for family, others in apart.items() if others}
    whole = Alarm.fit([one for one, _ in honest])
    chosen = [whole if wrong else alarms.get(family) for wrong, family in zip(exploits, families)]
    return [alarm.rings(one) if alarm else None for alarm, one in zip(chosen, given)]


def _only(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Evidence]:
    return [{name: row[name] for name in names} for row in rows]


def _counted(verdicts: Iterable[bool]) -> dict[str, Any]:
    told = [*verdicts]
    return share(sum(told), len(told))


def auc(bad: Sequence[float], honest: Sequence[float]) -> float:
    """The probability that one who exploits scores above one who does not; equal scores count half."""
    a, b = np.asarray(bad)[:, None], np.asarray(honest)[None]
    return float(((a > b) + 0.5 * (a == b)).mean()) if a.size and b.size else float("nan")


def share(hits: int, n: int) -> dict[str, Any]:
    """A share with its 95 % interval."""
    if n == 0:
        return {"value": None, "low": None, "high": None, "count": 0, "of": 0}
    p = hits / n
    low, high = wilson(p, n)
    figures = {"value": p, "low": low, "high": high}
    return {name: round(float(x), 4) for name, x in figures.items()} | {"count": int(hits), "of": n}


def _auc_figure(bad: Sequence[float], honest: Sequence[float], seed: int) -> dict[str, Any]:
    if not bad:
        return {"value": None, "low": None, "high": None}
    rng, a, b = np.random.default_rng(seed), np.asarray(bad), np.asarray(honest)
    drawn = [(rng.integers(len(a), size=len(a)), rng.integers(len(b), size=len(b))) for _ in range(DRAWS)]
    above = (a[:, None] > b) + 0.5 * (a[:, None] == b)  # (bad, honest)
    low, high = interval([float(above[np.ix_(i, j)].mean()) for i, j in drawn])
    return {"value": round(auc(bad, honest), 4), "low": low, "high": high}
