"""How probable is failure? Splitting finds the ways to fail, a mixture about them is sampled and weighed."""

from __future__ import annotations

from typing import Any

import numpy as np

from gensim.rare.explore import explore
from gensim.rare.mixture import Mixture, begun, closer, pooled
from gensim.rare.problem import Problem
from gensim.rare.result import Estimate, nothing, weighed

LEAST = 2000  # calls, of which finding the ways to fail takes up to three quarters


def estimate(
    problem: Problem, rng: np.random.Generator, calls: int = 20_000, refine: int = 4, flow: bool = False
) -> Estimate:
    """The probability of a problem's event, in at most so many calls.

    Up to two thirds of the calls go to splitting, which finds where failures are; some to bringing the mixture closer
    to them; the rest are drawn from the mixture, independently of all before, and are all that the estimate is made of.

    Arguments:
        flow: whether a flow learns from the failures, too, for half of what is drawn then; it takes zuko, of the extra
            "ood", and seconds.

    Raises:
        ValueError: if there are fewer than LEAST calls.
    """
    if calls < LEAST:
        raise ValueError(f"calls={calls}: give at least {LEAST}, or draw plainly: so few do not find rare failures")
    asked = problem.calls
    x, far = explore(problem, rng, max(calls // 16, 50))
    if not (far <= 0).any():
        return nothing(problem.dims, problem.calls, "no failure was found")
    mixture = begun(x, far, lambda between: problem(between) <= 0, rng, int((calls / 20) ** 0.5))
    tried: list[tuple[Mixture, np.ndarray]] = []
    fars: list[np.ndarray] = []
    for _ in range(refine):
        tried.append((mixture, mixture.sample(calls // 25, rng)))
        fars.append(problem(tried[-1][1]))
        drawn, w = pooled(tried)
        mixture = closer(mixture, drawn, np.concatenate(fars), w)
    proposal: Any = mixture
    if flow:
        from gensim.rare.flow import flowed

        drawn, w = pooled(tried)
        fails = np.concatenate(fars) <= 0
        proposal = flowed(mixture, drawn[fails], w[fails], rng)
    last = proposal.sample(calls - (problem.calls - asked), rng)
    failed = problem(last) <= 0
    return weighed(proposal.log_weight(last), failed, last, problem.calls)
