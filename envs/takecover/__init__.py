"""TakeCover: monsters on the far side of a room throw fireballs, and the player, who can step left or right, lives on.

What is seen is the stock scenario's view, without status bar, drawn at 160 x 120: the 52 rows of it that monsters
stand and fireballs fly in, drawn out to a square. Ceiling and floor, which tell nothing, are not seen. A step holds an
action for 4 of the game's 35 tics a second and its reward is the number of tics survived in it, so that a return counts
tics, as the literature does. An episode is cut after 2,100 tics, as there.

Reference: World Models (Ha and Schmidhuber, 2018), arXiv:1803.10122. They act at every tic; 4 tics a step make an
episode short enough to be dreamed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from gensim.envs.spec import ActionSpec, WorldSpec

LIMIT = 2100  # tics, one minute
SEEN = slice(40, 92)  # rows of the picture
NONE, RIGHT, LEFT = range(3)  # the simulator's own order


def simulator(**kwargs: Any) -> tuple[gym.Env, Callable[[Any], np.ndarray]]:
    """VizDoom's own TakeCover, with a clock and with a picture of its last moment."""
    from gensim.envs.takecover.game import make

    return make(**kwargs)


SPEC = WorldSpec(
    name="TakeCover",
    real_id="vizdoom.gymnasium_wrapper:VizdoomTakeCover-v1",
    size=64,
    skip=4,
    fps=8.75,
    action=ActionSpec("discrete", 3),
    simulator=simulator,
    real_kwargs={"screen_resolution": "RES_160X120"},
    reward_threshold=750.0,
    emphasis=(0.2, 0.6, 0.0, 1.0, 4.0),  # where monsters stand and fireballs begin, a few pixels each
    rarity=True,
    calibrate=True,
    tally=False,
    clock=True,  # monsters are ever more
    mirror=(NONE, LEFT, RIGHT),
    max_steps=LIMIT // 4,
    horizon=LIMIT // 4,
    keys={"a": LEFT, "d": RIGHT},
)
