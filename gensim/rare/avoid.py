"""Could it have been avoided: does any other action survive?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from gensim.envs.engine import load_world
from gensim.envs.registry import folder_of
from gensim.episodes.actions import ActionSpec
from gensim.rare.cases import Case, played
from gensim.rare.dreams import Dreams, rows_of
from gensim.rare.policies import Held

AFTER = 10  # steps after the case's end for which one must survive


@dataclass(frozen=True)
class Avoided:
    """What other actions came to.

    acts (m, k) or (m,) that were held from `back` steps before the end on; survived (m,): whether the event stayed away
    until AFTER steps after it, under the same luck.
    """

    back: int
    acts: np.ndarray
    survived: np.ndarray

    @property
    def avoidable(self) -> bool:
        """Whether any survived."""
        return bool(self.survived.any())


def avoid(
    dreams: Dreams, case: Case, back: int = 10, levels: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0)
) -> Avoided:
    """Tries all held actions of a grid from some steps before the end, under the same luck.

    Raises:
        ValueError: if there are no such steps, or actions are no numbers.
    """
    if not 0 < back <= case.steps:
        raise ValueError(f"back={back}: give 1 to {case.steps}, the case's steps")
    before = list(played(dreams, case))[case.steps - back]
    acts = _others(ActionSpec.from_dict(load_world(folder_of(dreams.config.world)).spec["action"]), levels)
    many = rows_of(before, np.zeros(len(acts), int))
    horizon = max(dreams.config.horizon or 0, case.steps + AFTER + 1)
    config = replace(dreams.config, horizon=horizon, trust_floor=0.0, observation="latents")  # nobody looks
    held = Dreams(config, Held(acts), dreams.event, dreams.options, dreams.people, dreams.behaviour)
    many, survived = replace(many, memory=None), np.ones(len(acts), bool)
    for _ in range(back + AFTER):
        over = many.done
        many = held.advance(many)
        survived &= (many.severity > 0) | over
    return Avoided(back, acts, survived)


def _others(action: ActionSpec, levels: tuple[float, ...]) -> np.ndarray:
    """Actions to try: (m, k) float32, or (m,) int64."""
    if action.type == "discrete":
        return np.arange(action.size)
    return np.array(list(product(levels, repeat=action.size)), np.float32)
