"""Returns of one agent, dreamed and real: own ones, or what `gensim score` wrote before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import read_json
from gensim.core.intervals import student_t95
from gensim.gap.policies import Player
from gensim.gap.ranking import Measured
from gensim.world import World


def returns(agent: Measured, world: World, scores: Sequence[Path], seed: int, horizon: int) -> dict[str, Any]:
    """Real and dreamed returns, and how far they are apart; what `scores` hold stands in for own episodes.

    Raises ValueError naming the file that is of another agent, simulator, world or horizon.
    """
    env, real, dreamed = world.spec["env_id"], agent.real, agent.dreams.returns.tolist()
    mine = {"env": env, "real_frames": real.real_frames} | spread(real.returns) | {"returns": real.returns}
    told = {"env": f"dream of {env}", "real_frames": 0} | spread(dreamed) | {"returns": dreamed}
    rows = {
        "real": mine | {"seeds": span(real.seeds)},
        "dream": told | {"seeds": [seed, seed + len(dreamed) - 1]},
        **{side: _row(one) for side, one in scored(scores, agent.player, world, horizon).items()},
    }
    about = {"agent": Path(str(agent.player.agent)).resolve().name, "weights": agent.player.weights, "horizon": horizon}
    return {**about, **rows, "difference": difference(rows["dream"]["returns"], rows["real"]["returns"], seed)}


def scored(scores: Sequence[Path], player: Player, world: World, horizon: int | None) -> dict[str, dict[str, Any]]:
    """What was scored before, "real" and "dream"; dreams of any horizon when that is None.

    Raises ValueError naming the file that is of something else.
    """
    found = {}
    for path in scores:
        one = read_json(path)
        side = "real" if one.get("env") == world.spec["env_id"] else "dream"
        wrong = _wrong(one, player, None if side == "real" else world, horizon)
        if wrong:
            steps = horizon or "as many steps as whole episodes have"
            raise ValueError(
                f"{path} lacks or differs in {', '.join(wrong)}: give what `gensim score AGENT --json` wrote of "
                f"this agent in its simulator, or in this world with `trust_floor 0` and a `horizon` of {steps}"
            )
        found[side] = one
    return found


def difference(dreamed: Sequence[float], real: Sequence[float], seed: int = 0, draws: int = 2000) -> dict[str, Any]:
    """The mean dreamed return over the mean real one, less one, with its bootstrap interval; null around 0."""
    a, b = np.asarray(dreamed, np.float64), np.asarray(real, np.float64)
    rng = np.random.default_rng(seed)
    shown = [(rng.choice(a, len(a)).mean(), rng.choice(b, len(b)).mean()) for _ in range(draws)]
    if b.mean() == 0 or min(len(a), len(b)) < 2 or any(y * b.mean() <= 0 for _, y in shown):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile([(x - y) / abs(y) for x, y in shown], [0.025, 0.975])
    value = (a.mean() - b.mean()) / abs(b.mean())
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation and the mean's 95 % interval of so many returns."""

    mean, n = float(np.mean(values)), len(values)
    std = float(np.std(values, ddof=1)) if n > 1 else None
    half = student_t95(n) * std / np.sqrt(n) if std is not None else None
    ci95 = None if half is None else [float(mean - half), float(mean + half)]
    return {"mean": mean, "std": std, "ci95": ci95, "episodes": n}


def span(seeds: Sequence[int]) -> list[int]:
    """First and last."""
    return [min(seeds), max(seeds)]


def _wrong(one: Mapping[str, Any], player: Player, world: World | None, horizon: int | None) -> list[str]:
    """What a score lacks, or what of it differs from this player's episodes, dreamed in `world` or else real."""
    from gensim.envs.engine import DreamConfig

    wanted, told = {"weights": player.weights, "deterministic": player.calm}, {**one}
    if world is not None:
        given = asdict(DreamConfig()) | (one.get("env_kwargs") or {})
        length = given["horizon"] if horizon is None else horizon
        wanted |= {"world_hash": world.hash, **asdict(DreamConfig(horizon=length, trust_floor=0.0))}
        told |= given
    missing = {"env", "mean", "ci95", "returns", "seeds"} - one.keys()
    return [*(name for name, value in wanted.items() if told.get(name) != value), *sorted(missing)]


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("env", "mean", "std", "ci95", "deterministic", "real_frames", "returns")
    return {name: one.get(name) for name in names} | {"episodes": len(one["returns"]), "seeds": span(one["seeds"])}
