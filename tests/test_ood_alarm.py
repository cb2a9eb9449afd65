"""Bets, evidence, p-values and alarms on streams whose law is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.ood.alarm import KEPT, REST, Alarm, Calibration, Reference
from gensim.ood.evidence import KINDS, Evidence, forgetting, log_bet

STEPS = 200


def streams(seed: int, episodes: int, steps: int = STEPS, memory: float = 0.9, spread: float = 0.3) -> np.ndarray:
    """Scores (episodes, steps) that resemble their neighbours, around a level of each episode's own."""
    rng = np.random.default_rng(seed)
    x, out = rng.normal(size=episodes), np.empty((episodes, steps))
    for t in range(steps):
        x = memory * x + np.sqrt(1 - memory**2) * rng.normal(size=episodes)
        out[:, t] = x
    return out + spread * rng.normal(size=(episodes, 1))


def count(calibration: Calibration, scores: np.ndarray, every: int) -> np.ndarray:
    """Alarms (episodes, steps) of streams side by side."""
    alarm = Alarm(calibration, every, len(scores))
    first = np.zeros(len(scores), bool)
    return np.stack([alarm.step(s, first | (t == 0)).alarm for t, s in enumerate(scores.T)], 1)


# ------------------------------------------------------------------ bets and evidence


def test_a_bet_is_fair() -> None:
    p = (np.arange(2_000_000) + 0.5) / 2_000_000
    assert 0.9 < np.exp(log_bet(p)).mean() <= 1.0  # the rest lies below the least p here
    assert (np.diff(log_bet(np.geomspace(1e-12, 1, 500))) < 1e-9).all()
    near = log_bet(np.array([1 - 1.01e-4, 1 - 0.99e-4, 1.0]))
    assert np.allclose(near, np.log(0.5), atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 200), max_size=30), st.sampled_from(KINDS), st.floats(1, 50))
def test_evidence_does_not_drift_upwards(past: list[int], kind: Any, memory: float) -> None:
    """The mean over all ranks that may come next, exactly: at most what is there, and what each kind may add."""
    n = 200
    now = Evidence((n,), kind)
    value = np.full(n, -np.inf if kind != "martingale" else 0.0)
    for rank in past:
        value = now.step(np.full(n, log_bet(np.array(rank / n)) / memory))
    after = np.exp(now.step(log_bet(np.arange(1, n + 1) / n) / memory)).mean()
    before = float(np.exp(value[0]))
    most = {"martingale": before, "cusum": max(before, 1.0), "shiryaev-roberts": before + 1.0}[kind]
    assert after <= most * (1 + 1e-9)


def test_bets_on_alike_neighbours_are_fair_once_they_forget() -> None:
    """Frames come in runs of 20 alike: bets to the power of 1/20 make an e-process of them, plain bets do not."""
    rng, rows, run = np.random.default_rng(0), 20_000, 20
    p = np.repeat(np.ceil(500 * rng.random((rows, 6))) / 500, run, axis=1)
    found = {}
    for memory in (1, run):
        wager = Evidence((rows,), "martingale")
        found[memory] = np.stack([np.exp(wager.step(log_bet(x) / memory)) for x in p.T])
    assert (found[run].mean(1) <= 1.03).all()
    assert found[1].mean(1).max() > 2


def test_memory_is_that_of_the_stream() -> None:
    for memory in (0.0, 0.5, 0.9):
        found = forgetting([*streams(1, 100, 1000, memory, 0.0)])
        assert 0.8 < found / ((1 + memory) / (1 - memory)) < 1.2
    assert forgetting([np.zeros(5)]) == 1.0


# ------------------------------------------------------------------ p-values


@pytest.mark.parametrize("seed", range(3))
def test_p_values_are_uniform_on_new_episodes(seed: int) -> None:
    reference = Reference.of(streams(seed, 400).ravel())
    p = reference.p(streams(100 + seed, 400).ravel())
    for level in (0.01, 0.05, 0.1, 0.5, 0.9):
        assert abs((p <= level).mean() - level) < 0.15 * level + 0.01
    assert p.min() >= 1 / (400 * STEPS + 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([10, 500, 3 * KEPT]))
def test_thinned_references_are_cautious(seed: int, n: int) -> None:
    """Exact among the highest, otherwise at most a little too high."""
    rng = np.random.default_rng(seed)
    scores, asked = rng.normal(size=n).round(2), np.concatenate([rng.normal(size=50) * 2, [-99.0, 99.0]])
    exact = ((scores[:, None] >= asked).sum(0) + 1) / (n + 1)
    p = Reference.of(scores).p(asked)
    assert (p >= exact - 1e-12).all() and (p - exact).max() < 0.01
    assert np.allclose(p[exact < 0.2], exact[exact < 0.2])


# ------------------------------------------------------------------ alarms


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every", [500, 2000])
def test_run_lengths_are_near_what_was_asked(kind: Any, every: int) -> None:
    """800,000 new frames that resemble their neighbours: at most 1.1 times as often, at least half as often."""
    rates = []
    for seed in range(3):
        calibration = Calibration.of([*streams(seed, 300)], kind)
        rates.append(every * count(calibration, streams(1000 + seed, 4000), every).mean())
    assert 0.5 < np.mean(rates) < 1.0 and max(rates) < 1.25, rates


def test_rare_alarms_are_extrapolated() -> None:
    """One in a third of the calibration's frames; the mean over calibrations is what was asked, or a little less."""
    every = 100 * STEPS // 3
    rates = []
    for seed in range(12):
        calibration = Calibration.of([*streams(seed, 100)])
        rates.append(every * count(calibration, streams(2000 + seed, 1500), every).mean())
    assert 0.2 < np.mean(rates) < 1.1, rates


def test_alarms_come_at_once_or_when_evidence_has_piled_up() -> None:
    calibration = Calibration.of([*streams(0, 300, memory=0.5, spread=0.0)])
    usual = streams(5, 200, memory=0.5, spread=0.0)
    sudden, slow = usual.copy(), usual.copy()
    sudden[:, 100:] += 8
    slow[:, 100:] += 1.5
    assert count(calibration, sudden, 2000)[:, 100].mean() > 0.95
    found = count(calibration, slow, 2000)
    assert found[:, 100:].any(1).mean() > 0.9 and found[:, :100].any(1).mean() < 0.2


def test_one_odd_stretch_is_one_alarm() -> None:
    calibration = Calibration.of([*streams(0, 100)])
    odd = np.full((1, 3 * REST), 50.0)
    at = np.flatnonzero(count(calibration, odd, 1000)[0])
    assert at[0] == 0 and (np.diff(at) == REST + 1).all()


def test_an_episode_begins_anew() -> None:
    """What was seen before a reset changes nothing after it."""
    calibration, new = Calibration.of([*streams(0, 100)]), streams(9, 1)[0]
    alarm, fresh = Alarm(calibration, 1000), Alarm(calibration, 1000)
    for s in [3.0, 9.0, 1.0]:
        alarm.step(np.array([s]), np.array([False]))
    for t, s in enumerate(new):
        mine, its = (a.step(np.array([s]), np.array([t == 0])) for a in (alarm, fresh))
        assert all((getattr(mine, name) == getattr(its, name)).all() for name in vars(mine))


def test_rows_do_not_feel_each_other() -> None:
    calibration, scores = Calibration.of([*streams(0, 100)]), streams(7, 9) * 2
    whole = count(calibration, scores, 300)
    alone = [count(calibration, row[None], 300)[0] for row in scores]
    assert whole.any() and (whole == np.stack(alone)).all()


def test_thresholds_rise_with_what_is_asked() -> None:
    calibration = Calibration.of([*streams(0, 200)])
    found = [calibration.threshold(every) for every in (100, 300, 1000, 3000, 10_000)]
    assert (np.diff(found) > 0).all() and found == [calibration.threshold(n) for n in (100, 300, 1000, 3000, 10_000)]
    again = Calibration.from_tensors(calibration.tensors())
    assert [again.threshold(n) for n in (100, 10_000)] == [found[0], found[-1]]


def test_what_cannot_be_had() -> None:
    calibration = Calibration.of([*streams(0, 20)])
    with pytest.raises(ValueError, match=r"holds 4,000 frames of 20 episodes, too few.* one in 1,333 .*recalibrated"):
        calibration.threshold(10_000)
    for every in (0, 99, 1000.5, True):
        with pytest.raises(ValueError, match="whole number of frames from 100 up"):
            calibration.threshold(every)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no episode to calibrate on"):
        Calibration.of([])
    with pytest.raises(ValueError, match="7 episodes to calibrate on: give 8"):
        Calibration.of([*streams(0, 7)])
    with pytest.raises(ValueError, match="not finite"):
        Calibration.of([*streams(0, 8), np.array([np.nan])])
    with pytest.raises(ValueError, match="shiryaev-roberts, cusum, martingale"):
        Calibration.of([*streams(0, 8)], "ville")  # type: ignore[arg-type]
