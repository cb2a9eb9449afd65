"""How hot a world's prior is: as hot as it takes for random play to last as long in dreams as it really did.

Variables of a latent that are drawn at once are drawn each by itself, so what takes several of them, such as a fireball
that leaves a hand, can come too rarely in dreams though each variable's law is learned well. One temperature for all
logits is found on recorded episodes and folded into the weights; the law at temperature 1 is then the mended one,
everywhere.

Reference: On Calibration of Modern Neural Networks (Guo et al., 2017), arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gensim.episodes import Dataset, Episode, read_episode
from gensim.world.furnish import action_rows, conditions
from gensim.world.world import World

STRIDE = 1.1  # one temperature to the next
STRIDES = 8
MOST = 256  # episodes that are dreamed
LEFT = 0.1  # of the episodes: a life is watched as long as so many are
DRAWS = 200


def tempered(world: World, dataset: Dataset) -> tuple[World, float, int]:
    """The world with its prior's logits over a temperature, that temperature, and up to which step lives were compared.

    Of the temperatures from 1 up to where dreams get too short, or down to where they get too long, 2.14 and 0.47 at
    most, it is the one whose dreams last most nearly as long as random play did. It is 1 where they do at 1, within two
    standard errors, where no other does better by one, and where no episode of such play ended by itself.
    """
    episodes = random_play(dataset)
    if not any(episode.term[-1] for episode in episodes):
        return world, 1.0, 0
    real, error, steps = lasted([len(e.act) for e in episodes], [bool(e.term[-1]) for e in episodes])
    longer = [life(world, episodes, steps) - real]
    stride = STRIDE if longer[0] > 0 else 1 / STRIDE
    while abs(longer[0]) > 2 * error and longer[-1] * longer[0] > 0 and len(longer) <= STRIDES:
        longer.append(life(heated(world, stride ** len(longer)), episodes, steps) - real)
    best = min(range(len(longer)), key=lambda i: abs(longer[i]))
    found = stride**best if abs(longer[0]) - abs(longer[best]) > error else 1.0
    return heated(world, found), found, steps


def random_play(dataset: Dataset) -> list[Episode]:
    """The first `MOST` episodes whose actions were drawn without looking."""
    chance = [header for header in dataset.episodes if header.meta.get("policy") == "random"]
    return [read_episode(header.path) for header in chance[:MOST]]


def lasted(lengths: Sequence[int], ended: Sequence[bool], seed: int = 0) -> tuple[float, float, int]:
    """Expected steps of episodes up to an end or to a last step, their standard error, and that step.

    Episodes that were cut count as long as they were watched; the last step is one that `LEFT` of them reached.

    Reference: Nonparametric Estimation from Incomplete Observations (Kaplan and Meier, 1958),
    doi:10.1080/01621459.1958.10501452; the error is a bootstrap over episodes.
    """
    n, long = len(lengths), np.asarray(lengths)
    steps = int(np.sort(long)[-max(1, round(LEFT * n))])
    at = np.arange(1, steps)
    watched = long[:, None] >= at  # (n, steps - 1)
    over = (long[:, None] == at) & np.asarray(ended)[:, None]
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS)
    weights = np.concatenate([np.ones((1, n), int), weights])  # (1 + draws, n)
    hazard = weights @ over / np.maximum(weights @ watched, 1)
    means = 1 + (1 - hazard).cumprod(1).sum(1)
    return float(means[0]), float(means[1:].std()), steps


def heated(world: World, temperature: float) -> World:
    """The world with its prior's logits over a temperature, and neither starts nor trust."""
    weights: dict[str, Tensor] = {
        name: value / temperature if name.startswith("dynamics.prior_out.") else value
        for name, value in world.weights().items()
    }
    return World.from_weights(world.config, weights, world.spec)


def life(world: World, episodes: Sequence[Episode], steps: int) -> float:
    """Expected steps up to an end or to `steps`, of dreams that begin as episodes did and take their actions in turn.

    An episode that was shorter gives its actions again from the first: they were drawn without looking.
    """
    acts = [action_rows(world, episode) for episode in episodes]
    keys = np.arange(len(episodes), dtype=np.uint64)
    state = world.first(np.stack([e.frame(0) for e in episodes]), keys, cond=conditions(world, episodes))
    alive, total = np.ones(len(episodes)), 0.0
    for t in range(steps):
        total += float(alive.mean())
        state, step = world.imagine(state, np.stack([act[t % len(act)] for act in acts]))
        alive *= 1 - step.term_prob
    return total
