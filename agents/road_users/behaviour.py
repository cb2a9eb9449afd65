"""What a person aims at next: a law over velocities, given all they noticed so far, sampled with its log-probability.

Somebody's own velocity follows what they aim at within half a second, as in the social force model. The law is over
aims and not over velocities, for a velocity is almost what it was a moment ago: who learns to foretell that learns to
go on whatever comes (Fighting Copycat Agents in Behavioral Cloning, Wen et al., 2020, arXiv:2010.14876).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.agents.road_users.senses import WIDTH, along
from gensim.core.files import load_tensors, save_tensors

AHEAD = np.linspace(-1.4, 3.2, 24)  # metres a second, towards the goal
LEFT = np.linspace(-1.0, 1.0, 11)  # and to the left of it
FOLLOW = 0.19  # of what is between a velocity and what is aimed at, in a step: relaxation in 0.5 s, by 0.05 s twice
FORMAT = "gensim road users behaviour 2"
WEIGHTS = Path(__file__).parent / "behaviour.safetensors"


class Behaviour(nn.Module):
    """p(aim | what was noticed), step after step of 0.1 s: first how fast ahead, then how fast to the left.

    A recurrent cell remembers what was noticed, so that somebody may take their time to answer.

    Reference: Learning Phrase Representations using RNN Encoder-Decoder (Cho et al., 2014), arXiv:1406.1078.

    Arguments:
        hidden: width of the memory.
    """

    def __init__(self, hidden: int = 96) -> None:
        super().__init__()
        self.hidden = hidden
        self.inp = nn.Linear(WIDTH, hidden)
        self.cell = nn.GRU(hidden, hidden, batch_first=True)
        self.mid = nn.Linear(2 * hidden, hidden)
        self.ahead = nn.Linear(hidden, len(AHEAD))
        self.given = nn.Embedding(len(AHEAD), hidden)
        self.left = nn.Linear(hidden, len(LEFT))

    def read(self, noticed: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is made of things noticed (n, t, WIDTH) at each step (n, t, hidden), and the memory (1, n, hidden)."""
        x = F.silu(self.inp(noticed))
        out, h = self.cell(x, h)
        return F.silu(self.mid(torch.cat([x, out], -1))), h

    def log_prob(self, noticed: Tensor, aims: Tensor) -> Tensor:
        """Log-probabilities (n, t) of aims, as bins (n, t, 2) of AHEAD and LEFT, that followed on each step."""
        x, _ = self.read(noticed)
        ahead = self.ahead(x).log_softmax(-1).gather(-1, aims[..., :1])[..., 0]
        return ahead + self._left(x, aims[..., 0]).gather(-1, aims[..., 1:])[..., 0]

    @torch.no_grad()
    def sample(self, noticed: Tensor, h: Tensor, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Bins (n, 2) drawn by u (n, 2) in (0, 1), their log-probabilities (n,) float64, and the next memory.

        noticed (n, WIDTH), h (1, n, hidden). Each row is one of a batch of its own, so that nobody's draw depends on
        who else is there.
        """
        x, h = self.read(noticed[:, None], h)
        first = self.ahead(x[:, 0]).double().softmax(-1)
        ahead = invert(first, u[:, 0])
        second = self._left(x[:, 0], ahead).double().exp()
        left = invert(second, u[:, 1])
        rows = torch.arange(len(ahead))
        log_p = first[rows, ahead].log() + second[rows, left].log() - second.sum(-1).log()
        return torch.stack([ahead, left], -1).numpy(), log_p.numpy(), h

    def _left(self, x: Tensor, ahead: Tensor) -> Tensor:
        return self.left(F.silu(x + self.given(ahead))).log_softmax(-1)

    def save(self, path: Path) -> None:
        """Writes the weights, all or nothing."""
        save_tensors(path, self.state_dict(), {"format": FORMAT})

    @classmethod
    def load(cls, path: Path) -> Behaviour:
        """Weights that `save` wrote; ValueError if they are something else."""
        tensors, about = load_tensors(path)
        if about.get("format") != FORMAT:
            raise ValueError(f"{path} is no behaviour of road users ({about.get('format')!r}); give one of {FORMAT!r}")
        own = cls(tensors["inp.bias"].shape[0])
        own.load_state_dict(tensors)
        return own.eval()


@lru_cache(1)
def usual_behaviour() -> Behaviour:
    """What comes with gensim."""
    if not WEIGHTS.exists():
        raise FileNotFoundError(
            f"{WEIGHTS} is not there: copy the whole folder, make it by scripts/fit_behaviour, or give behaviour=, "
            "None (people go on as they like) or a Behaviour"
        )
    return Behaviour.load(WEIGHTS)


def invert(law: Tensor, u: np.ndarray) -> Tensor:
    """Bins (n,) of laws (n, k), by their cumulative sums at u (n,)."""
    total = law.cumsum(-1)
    return (torch.from_numpy(u)[:, None] * total[:, -1:] > total).sum(-1).clamp_max(law.shape[-1] - 1)


def velocity(bins: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Velocities (n, 2) in the world, of bins (n, 2), for who goes along unit vectors (n, 2)."""
    ahead, left = AHEAD[bins[..., 0]][..., None], LEFT[bins[..., 1]][..., None]
    across = np.stack([-goal[..., 1], goal[..., 0]], -1)
    return ahead * goal + left * across


def followed(velocity: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """Velocities (n, 2) a step after velocities (n, 2) of people who aim at others (n, 2)."""
    return velocity + FOLLOW * (aim - velocity)


def aimed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """What was aimed at (..., 2) where a velocity (..., 2) became another one: the inverse of `followed`."""
    return before + (after - before) / FOLLOW


def binned(moves: np.ndarray, goal: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Bins (..., 2) of velocities (..., 2) in the world, up or down by chance u (..., 2), so that the mean is kept."""
    own = along(goal, moves)
    found = []
    for i, points in enumerate((AHEAD, LEFT)):
        at = (np.clip(own[..., i], points[0], points[-1]) - points[0]) / (points[1] - points[0])
        found.append(np.clip(np.floor(at + u[..., i]), 0, len(points) - 1).astype(np.int64))
    return np.stack(found, -1)
