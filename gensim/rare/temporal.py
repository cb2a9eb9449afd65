"""Events that are told by a formula over time: "touched while it rains, within 3 s of somebody stepping out"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from gensim.envs.events import Event, Seen, asked

Signal = Callable[[Seen], np.ndarray]


@dataclass(frozen=True)
class Temporal(Event):
    """An event that a formula of signal temporal logic tells; its severity is the formula's robustness, turned round.

    The formula looks back: `once[0:30] (out >= 1)` held at some time in the last 30 steps. Signals are of a like size
    near the event, or the largest drowns the others.

    References: Monitoring Temporal Properties of Continuous Signals (Maler and Nickovic, 2004),
    doi:10.1007/978-3-540-30206-3_12; RTAMT: Online Robustness Monitors from STL (Nickovic and Yamaguchi, 2020),
    arXiv:2005.11827, which evaluates it.

    Arguments:
        formula: as rtamt reads it.
        signals: of what is seen to float (n,), by the names that the formula uses.
    """

    formula: str = ""
    signals: Mapping[str, Signal] = field(default_factory=dict)

    def severity(self, seen: Seen, memory: Any) -> tuple[np.ndarray, Any]:
        """See `Event`."""
        now = np.stack([asked(name, signal, seen) for name, signal in self.signals.items()], -1)  # (n, k)
        past = np.zeros((len(now), 0, now.shape[1])) if memory is None else memory
        history = np.concatenate([past, now[:, None]], 1)  # (n, t, k)
        found = -np.array([self._robust(one) for one in history])
        return np.where(seen.step < self.since, np.maximum(found, 1.0), found), history

    def _robust(self, history: np.ndarray) -> float:
        """Robustness at the last of moments (t, k)."""
        monitor = _parsed(self.formula, tuple(self.signals))
        monitor.reset()
        for step, values in enumerate(history.tolist()):
            last = monitor.update(step, list(zip(self.signals, values)))
        return float(last)


def temporal(
    name: str,
    formula: str,
    signals: Mapping[str, Signal],
    labels: bool = False,
    people: bool = False,
    grain: float = 0.01,
    since: int = 0,
) -> Temporal:
    """An event of a formula; see `Temporal`.

    Raises:
        ValueError: if rtamt is not there, or cannot read the formula, or it looks ahead.
    """
    _parsed(formula, tuple(signals))
    return Temporal(name, lambda seen: np.zeros(len(seen.step)), labels, grain, since, people, formula, dict(signals))


@lru_cache(32)
def _parsed(formula: str, names: tuple[str, ...]) -> Any:
    """A monitor of a formula over signals, read once."""
    try:
        import rtamt
    except ModuleNotFoundError as fault:
        raise ValueError("formulas over time are read by rtamt: pip install rtamt") from fault
    monitor = rtamt.StlDiscreteTimeSpecification()
    for one in names:
        monitor.declare_var(one, "float")
    monitor.spec = formula
    try:
        monitor.parse()
        monitor.update(0, [(one, 0.0) for one in names])
    except Exception as fault:
        raise ValueError(f"{formula!r} is no formula that looks back over {', '.join(names)}: {fault}") from fault
    return monitor
