"""How hot a world's prior is: as hot as it takes for random play to last as long in dreams as it really did.

The variables of a latent are drawn each by itself, so what takes several of them at once, such as a fireball that
leaves a hand, comes too rarely in dreams though each variable's law is learned well. One temperature for all logits,
found on recorded episodes and folded into the weights, mends most of it; the law at temperature 1 is then the mended
one, everywhere.

Reference: On Calibration of Modern Neural Networks (Guo et al., 2017), arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gensim.episodes import Dataset, Episode, read_episode
from gensim.world.furnish import action_rows
from gensim.world.world import World

STRIDE = 1.1  # one temperature to the next
STRIDES = 8
MOST = 256  # episodes that are dreamed


def tempered(world: World, dataset: Dataset) -> tuple[World, float]:
    """The world with its prior's logits over a temperature, and that temperature, from 0.47 to 2.14.

    Of those from 1 up to where dreams get too short, or down to where they get too long, it is the one whose dreams
    last most nearly as long as random play did. It is 1 where the data hold no such play that ended by itself.
    """
    episodes = random_play(dataset)
    if not any(episode.term[-1] for episode in episodes):
        return world, 1.0
    steps = min((len(e.act) for e in episodes if not e.term[-1]), default=max(len(e.act) for e in episodes))
    real = float(np.mean([min(len(e.act), steps) for e in episodes]))
    longer = {1.0: life(world, episodes, steps) - real}
    stride = STRIDE if longer[1.0] > 0 else 1 / STRIDE
    for i in range(1, STRIDES + 1):
        temperature = stride**i
        longer[temperature] = life(heated(world, temperature), episodes, steps) - real
        if longer[temperature] * longer[1.0] <= 0:
            break
    found = min(longer, key=lambda temperature: abs(longer[temperature]))
    return heated(world, found), found


def random_play(dataset: Dataset) -> list[Episode]:
    """The first `MOST` episodes whose actions were drawn without looking."""
    chance = [header for header in dataset.episodes if header.meta["policy"] == "random"]
    return [read_episode(header.path) for header in chance[:MOST]]


def heated(world: World, temperature: float) -> World:
    """The world with its prior's logits over a temperature, and neither starts nor trust."""
    weights: dict[str, Tensor] = {
        name: value / temperature if name.startswith("dynamics.prior_out.") else value
        for name, value in world.weights().items()
    }
    return World.from_weights(world.config, weights, world.spec)


def life(world: World, episodes: Sequence[Episode], steps: int) -> float:
    """Expected steps up to an end or to `steps`, of dreams that begin as episodes did and take their actions in turn.

    An episode that was shorter gives its actions again from the first: what was drawn without looking fits anywhere.
    """
    acts = [action_rows(world, episode) for episode in episodes]
    state = world.first(np.stack([e.frame(0) for e in episodes]), np.arange(len(episodes), dtype=np.uint64))
    alive, total = np.ones(len(episodes)), 0.0
    for t in range(steps):
        total += float(alive.mean())
        state, step = world.imagine(state, np.stack([act[t % len(act)] for act in acts]))
        alive *= 1 - step.term_prob
    return total
