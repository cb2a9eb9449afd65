"""Frames of cases with what is in them: vehicles, people and obstacles of labelled worlds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gensim.envs.driving.things import KINDS as KINDS
from gensim.envs.driving.things import things
from gensim.rare.cases import Case, played
from gensim.rare.dreams import Dreams
from gensim.rare.export import Labelled, Picture


def pictures(dreams: Dreams, case: Case, name: str, every: int = 5) -> Iterator[Picture]:
    """A case's frames, every so many steps back from its last, in order.

    A frame counts as much as its case does in the event's probability.

    Raises:
        ValueError: if the world has no labels, or every is less than 1.
    """
    if every < 1:
        raise ValueError(f"every={every}: give 1 or more")
    if not dreams.config.labels:
        raise ValueError("pictures are labelled by the world: give labels=True, and a world that has them")
    log_weight = float(np.log(case.weight)) if case.weight > 0 else None
    for step, now in enumerate(played(dreams, case)):
        if (case.steps - step) % every:
            continue
        told = dreams.labels(now)
        found = [
            Labelled(one.kind, one.box, one.distance, one.mask) for one in things(told["classes"][0], told["depth"][0])
        ]
        yield Picture(f"{name}-{step:04d}", dreams.look(now)[0], found, log_weight, name)
