"""A detector and its alarms over n running environments; what all monitors are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces

from gensim.core.frames import resize
from gensim.episodes.actions import ActionSpec, from_simulator
from gensim.episodes.looks import image_of
from gensim.ood.alarm import Alarm, Verdict
from gensim.ood.detector import Detector
from gensim.ood.reasons import reason

KEYS = ("ood_score", "ood_p", "ood_e", "ood_alarm", "ood_reason")
Policy = Callable[[Any], Any]


class Watch:
    """Verdicts frame by frame on `rows` environments side by side; no row feels its neighbours.

    Arguments:
        detector: what is usual; one that was calibrated.
        false_alarm_every: usual frames between false alarms, on average; see `Calibration.threshold`.
        rows: n.
        alarm: one for as many frames between false alarms, whose threshold is taken over.
    """

    def __init__(
        self, detector: Detector, false_alarm_every: int = 10_000, rows: int = 1, alarm: Alarm | None = None
    ) -> None:
        if not isinstance(detector, Detector):
            raise ValueError(f'detector={detector!r}: give a detector, such as gensim.ood.load("carracing")')
        self.detector, self.every, self.rows = detector, false_alarm_every, rows
        self._alarm = detector.alarm(false_alarm_every, rows) if alarm is None else alarm.like(rows)
        self._stream = detector.stream(rows)
        self._opened = np.zeros(rows, bool)

    def step(
        self, frames: np.ndarray, acts: np.ndarray | None = None, first: np.ndarray | None = None
    ) -> tuple[Verdict, list[str]]:
        """The verdict on the next frames uint8 (n, h, w, 3), and why for each row that raises an alarm, else "".

        acts (n, k) or (n,) led to them; first (n,) bool marks frames that begin an episode.
        """
        first = ~self._opened | (np.zeros(self.rows, bool) if first is None else np.asarray(first, bool))
        self._opened[:] = True
        read, d = self._stream.step(frames, acts, first), self.detector
        verdict = self._alarm.step(d.combined(read), first)
        why = [""] * self.rows
        for i in np.flatnonzero(verdict.alarm):
            (score,), (time,) = d.scales[0](read.frame[i : i + 1]), d.scales[1](read.time[i : i + 1])
            why[i] = reason(d, frames[i], score, time, bool(verdict.sudden[i]))
        return verdict, why

    def begin(self, frames: np.ndarray, rows: np.ndarray) -> tuple[Verdict, list[str]]:
        """The verdict on first frames (m, h, w, 3) of new episodes in some rows (m,) int; the others stand still."""
        fresh = Watch(self.detector, self.every, len(rows), self._alarm)
        told = fresh.step(frames)
        self._alarm.put(rows, fresh._alarm)
        self._stream.put(rows, fresh._stream)
        self._opened[rows] = True
        return told


def infos(verdict: Verdict, why: list[str]) -> list[dict[str, Any]]:
    """What monitors put into each row's info, by `KEYS`."""
    columns = (verdict.score, verdict.p, verdict.e, verdict.alarm)
    return [dict(zip(KEYS, (*(x.item() for x in row), text))) for *row, text in zip(*columns, why)]


def looker(space: spaces.Space, size: int) -> Callable[[Any], np.ndarray] | None:
    """How to take a frame uint8 (size, size, 3) from an observation; None where it has no image."""
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[0] == 3:
        return partial(_small, _turned, size)
    look = image_of(space)
    return None if look is None else partial(_small, look, size)


def _turned(obs: np.ndarray) -> np.ndarray:
    """An image in torch's order (3, h, w) as (h, w, 3)."""
    return np.moveaxis(obs, 0, -1)


def _small(look: Callable[[Any], Any], size: int, obs: Any) -> np.ndarray:
    return resize(np.ascontiguousarray(look(obs)), size)


def teller(space: spaces.Space, detector: Detector, acts: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """How to make the detector's actions of many of an environment's (n, ...); ValueError when they do not fit."""
    spec = detector.action
    if spec is None:
        return _untold
    if acts is not None:
        return partial(_each, acts)
    try:
        fits = ActionSpec.of(space) == spec
        read = from_simulator(space)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"the detector follows actions {spec.to_dict()}, the environment takes {space}: watch it as it was "
            "recorded (gensim.envs.make_real(ENV_ID)), or say with acts=FUNCTION what its actions are to the detector"
        )
    return read


def _untold(act: Any) -> None:
    """Nothing: the detector follows no actions."""


def _each(acts: Callable[[Any], Any], act: Any) -> np.ndarray:
    return np.stack([np.asarray(acts(one)) for one in act])


def check_on_alarm(on_alarm: Any, hold: int | None) -> None:
    """ValueError unless an alarm can be answered so."""
    if not callable(on_alarm) and not (isinstance(on_alarm, str) and on_alarm in ("flag", "truncate")):
        raise ValueError(f'on_alarm={on_alarm!r}: give "flag", "truncate" or a function from obs to action')
    if hold is not None and (isinstance(hold, bool) or not isinstance(hold, (int, np.integer)) or hold < 1):
        raise ValueError(
            f"hold={hold}: give the steps that the fallback acts for, 1 or more, or None: to the next reset"
        )


def as_arrays(rows: list[dict[str, Any]]) -> Mapping[str, np.ndarray]:
    """Rows' infos as a vector environment's, by key (n,)."""
    kinds = {"ood_alarm": bool, "ood_reason": object, "ood_fallback": bool}
    return {key: np.array([row[key] for row in rows], kinds.get(key, np.float64)) for key in rows[0]} if rows else {}
