"""What may happen in an episode: functions of what is seen, that fall to zero as it comes about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from gensim.core.files import line


@dataclass(frozen=True)
class Seen:
    """What an event is told of a moment of n episodes.

    Arguments:
        frames: draws the frames uint8 (n, h, w, 3); labels: tells classes, depth and what else info has.
        gaps: metres (n, k) between the robot and each of k people in the scene, below 0 where they touch.
        act: the actions that led here, None at first.
        rew, returns: of the step and of the episode so far, float (n,).
        term: whether the episode ended by itself, bool (n,).
        step: steps since the episode began, int (n,).
    """

    frames: Callable[[], np.ndarray]
    labels: Callable[[], dict[str, Any]]
    gaps: np.ndarray
    act: np.ndarray | None
    rew: np.ndarray
    term: np.ndarray
    returns: np.ndarray
    step: np.ndarray


@dataclass(frozen=True)
class Event:
    """Something that may happen: at moments whose severity is 0 or less.

    Arguments:
        name: what it is called.
        far: of what is seen to float (n,): how far it is off; 1 or so where it is not near.
        labels: whether it looks at labels.
        grain: how finely severities need be told apart.
        people: whether it is about people in the scene.
        since: steps into the episode before which nothing counts, and the severity is 1.
    """

    name: str
    far: Callable[[Seen], np.ndarray]
    labels: bool = False
    grain: float = 0.01
    since: int = 0
    people: bool = False

    def severity(self, seen: Seen, memory: Any) -> tuple[np.ndarray, Any]:
        """Severities (n,), and what is remembered of the episodes, None at first."""
        found = asked(self.name, self.far, seen)
        return np.where(seen.step < self.since, 1.0, found), None


def asked(name: str, far: Callable[[Seen], np.ndarray], seen: Seen) -> np.ndarray:
    """What a function says of what is seen, float (n,).

    Raises:
        ValueError: if it fails, or does not say one number of each episode.
    """
    try:
        found = np.asarray(far(seen), float)
    except Exception as fault:
        raise ValueError(f"{name} cannot be told: {type(fault).__name__}: {line(fault)}") from fault
    if found.shape != seen.step.shape:
        raise ValueError(f"{name} says {found.shape} of {len(seen.step)} episodes: return one number each")
    return found


@dataclass(frozen=True)
class Held(Event):
    """An event that holds for so many steps in a row.

    Its severity is the share of them that is still to come, and while it does not hold, how far it is off besides.
    """

    steps: int = 2

    def severity(self, seen: Seen, memory: Any) -> tuple[np.ndarray, Any]:
        """See `Event`; what is remembered is for how many steps it has held."""
        now, _ = super().severity(seen, None)
        run = np.where(now <= 0, (0 if memory is None else memory) + 1, 0)
        return np.maximum(self.steps - run, 0) / self.steps + np.maximum(now, 0), run


def held(event: Event, steps: int) -> Held:
    """The event going on for so many steps; 2 at least."""
    if steps < 2:
        raise ValueError(f"steps={steps}: give 2 or more")
    return Held(
        f"{event.name} for {steps} steps", event.far, event.labels, event.grain, event.since, event.people, steps
    )


def both(name: str, events: Sequence[Event]) -> Event:
    """All of them at once."""
    return _of(name, events, np.maximum.reduce)


def either(name: str, events: Sequence[Event]) -> Event:
    """Any of them."""
    return _of(name, events, np.minimum.reduce)


def _of(name: str, events: Sequence[Event], reduced: Callable[[list[np.ndarray]], np.ndarray]) -> Event:
    if any(type(event) is not Event for event in events) or not events:
        raise ValueError("give events of a moment each, at least one; what lasts comes last: held(both(...), steps)")
    labels, grain = any(event.labels for event in events), min(event.grain for event in events)
    since, people = max(event.since for event in events), any(event.people for event in events)
    return Event(name, lambda seen: reduced([event.far(seen) for event in events]), labels, grain, since, people)


def named(name: str, world: str) -> Event:
    """The event of a name: of a world's module of events, or MODULE:NAME of your own.

    Raises:
        ValueError: if there is none.
    """
    if ":" in name:
        module, attribute = name.split(":", 1)
        found = getattr(_imported(module), attribute, None)
    else:
        found = known(world).get(name)
    if not isinstance(found, Event):
        some = ", ".join(sorted(known(world))) or "none of its own"
        raise ValueError(f"event={name!r}: give one of {world}'s ({some}), or MODULE:NAME of an Event")
    return found


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except Exception as fault:
        raise ValueError(
            f"{module} cannot be imported: {type(fault).__name__}: {line(fault)}; give MODULE:NAME of an Event"
        ) from fault


def known(world: str) -> dict[str, Event]:
    """The events that come with a world, by name."""
    try:
        return dict(import_module(f"gensim.envs.{world.lower()}.events").EVENTS)
    except ModuleNotFoundError:
        return {}
