"""Estimators of rare events on problems whose answers are known, each many times, with as many calls for all.

Beside ours stand OpenTURNS' subset simulation and its cross-entropy importance sampling, in standard normal space, as
they come, with as many draws a level as the budget allows. What a method says is held against the known answer: its
relative error, how often its 95 % interval covers, and how often a way to fail is missing among the failures it saw.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gensim.core.circumstances import circumstances
from gensim.core.files import write_json
from gensim.core.progress import bar
from gensim.rare.estimate import LEAST, estimate
from gensim.rare.problem import Problem
from gensim.rare.problems import KNOWN

LEVELS = 7  # of subset simulation and of cross-entropy, towards one in a million, and one to spare


@dataclass(frozen=True)
class BenchConfig:
    """How to hold estimators against known answers."""

    repeats: int = 1000
    """Of each problem, by each method."""
    calls: int = 20_000
    """Evaluations of the event in each."""
    seed: int = 1_001_000
    """Of the first repeat."""
    processes: int = 2
    """Side by side."""
    out: Path = Path("results/rare-bench.json")
    """Where the result goes."""


class Said(NamedTuple):
    """What a method said once."""

    p: float
    low: float
    high: float
    calls: int
    missed: bool
    seconds: float


def bench(config: BenchConfig, quiet: bool = False) -> dict[str, Any]:
    """Runs, writes and returns what came of it; OpenTURNS' methods are left out where it is not there.

    Raises:
        ValueError: if there is nothing to run, or too few calls for an estimate.
    """
    if min(config.repeats, config.processes) < 1 or config.calls < LEAST or config.seed < 0:
        raise ValueError(f"{config}: give repeats and processes of at least 1, and {LEAST} calls")
    methods = [name for name in METHODS if name == OURS or find_spec("openturns")]
    told: dict[str, Any] = {**circumstances(), "repeats": config.repeats, "calls": config.calls, "seed": config.seed}
    began = time.time()
    with ProcessPoolExecutor(config.processes, get_context("spawn")) as pool:
        for name, made in KNOWN.items():
            known = made()
            about = {"p": known.p, "dims": known.dims, "regions": known.regions}
            told[name] = about
            for method in methods:
                run = partial(once, name, method, config.calls)
                seeds = range(config.seed, config.seed + config.repeats)
                said = list(bar(pool.map(run, seeds, chunksize=20), f"{name}, {method}", quiet, unit="repeat"))
                told[name][method] = judged(known.p, said)
    told["seconds"] = time.time() - began
    write_json(config.out, told)
    return told


def table(told: dict[str, Any]) -> str:
    """A line a problem and method."""
    lines = [
        f"{'problem':<8} {'method':<18} {'rmse':>6} {'mean':>6} {'covered':>8} {'missed':>7} {'calls':>7} {'s':>6}"
    ]
    for name in KNOWN:
        for method in METHODS:
            if (one := told[name].get(method)) is not None:
                figures = f"{one['relative rmse']:>6.3f} {one['mean over truth']:>6.3f} {one['covered']:>8.1%}"
                figures += f" {one['missed a region']:>7.1%} {one['calls at most']:>7,} {one['seconds']:>6.2f}"
                lines.append(f"{name:<8} {method:<18} {figures}")
    return "\n".join(lines)


def judged(p: float, said: list[Said]) -> dict[str, float]:
    """How a method did."""
    found = np.nan_to_num(np.array([one.p for one in said]))
    covers = [one.low <= p <= one.high for one in said]
    return {
        "relative rmse": float(np.sqrt(((found / p - 1) ** 2).mean())),
        "mean over truth": float(found.mean() / p),
        "covered": float(np.mean(covers)),
        "gave up": float(np.mean([np.isnan(one.p) for one in said])),
        "missed a region": float(np.mean([one.missed for one in said])),
        "calls at most": max(one.calls for one in said),
        "seconds": float(np.mean([one.seconds for one in said])),
    }


def once(name: str, method: str, calls: int, seed: int) -> Said:
    """One run of a method."""
    known, began = KNOWN[name](), time.perf_counter()
    seen: set[int] = {-1}

    def severity(x: np.ndarray) -> np.ndarray:
        found = known.severity(x)
        seen.update(known.region(x[found <= 0]).tolist())
        return found

    problem = Problem(known.dims, severity)
    p, low, high = METHODS[method](problem, calls, seed)
    return Said(p, low, high, problem.calls, len(seen) <= known.regions, time.perf_counter() - began)


def ours(problem: Problem, calls: int, seed: int) -> tuple[float, float, float]:
    """gensim.rare.estimate."""
    found = estimate(problem, np.random.default_rng(seed), calls)
    return found.p, found.low, found.high


def subset(problem: Problem, calls: int, seed: int) -> tuple[float, float, float]:
    """OpenTURNS' subset simulation."""
    import openturns as ot

    return openturns(problem, seed, calls // LEVELS, ot.SubsetSampling)


def entropy(problem: Problem, calls: int, seed: int) -> tuple[float, float, float]:
    """OpenTURNS' cross-entropy importance sampling."""
    import openturns as ot

    kind = ot.StandardSpaceCrossEntropyImportanceSampling
    return openturns(problem, seed, calls // LEVELS, lambda event: kind(event, 0.1))


def openturns(problem: Problem, seed: int, many: int, method: Any) -> tuple[float, float, float]:
    """An estimate and its interval of 95 %, `many` draws a level."""
    import openturns as ot

    ot.Log.Show(ot.Log.NONE)
    ot.RandomGenerator.SetSeed(seed)
    asked = ot.PythonFunction(problem.dims, 1, func_sample=lambda x: problem(np.asarray(x))[:, None])
    drawn = ot.CompositeRandomVector(asked, ot.RandomVector(ot.Normal(problem.dims)))
    run = method(ot.ThresholdEvent(drawn, ot.LessOrEqual(), 0.0))
    run.setMaximumOuterSampling(max(many // 100, 1))
    run.setBlockSize(100)
    run.setMaximumCoefficientOfVariation(0.0)
    try:
        run.run()
    except (TypeError, RuntimeError):  # it ends in a law without spread, or where no law weighs, for two
        return np.nan, np.nan, np.nan
    result = run.getResult()
    p, half = result.getProbabilityEstimate(), result.getConfidenceLength(0.95) / 2
    return p, p - half, p + half


OURS = "ours"
METHODS = {OURS: ours, "subset simulation": subset, "cross-entropy": entropy}
