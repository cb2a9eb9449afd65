"""Environments for RLlib, which does not see Gymnasium's registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym


def creator(config: Mapping[str, Any] | None = None) -> gym.Env:
    """What `ray.tune.register_env` takes: an environment from {"id": ..., **arguments of gym.make}.

    The id is gensim/CarRacing-v0 unless given; `ray.tune.register_env("dream", gensim.envs.rllib.creator)`.
    """
    import gensim  # noqa: F401  registers the ids in a worker's fresh interpreter

    arguments = dict(config or {})
    return gym.make(arguments.pop("id", "gensim/CarRacing-v0"), **arguments)
