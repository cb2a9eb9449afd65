"""Heads that judge a latent state: its reward, its end, and how far it lies from the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAIN = 16.0  # rows of a tally are met rarely; each meeting moves them as far as others move in many


class Tally(nn.Module):
    """What an episode has brought so far, the sum of its rewards and its steps, as a vector for a head to add.

    Each of the two is read off a table by linear interpolation between knots on a logarithmic scale: a lap that is
    driven brings nothing more, however the road looks. What lies beyond the data is read at the data's edge.
    """

    limits: Tensor  # (2, 2) the least and the greatest of each in the data

    def __init__(self, hidden: int, knots: int = 257) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2, knots, hidden))
        self.register_buffer("limits", torch.tensor([[-2900.0, 2900.0], [0.0, 2900.0]]))

    def forward(self, tally: Tensor) -> Tensor:
        """Maps tallies (..., 2) to vectors (..., hidden)."""
        last = self.table.shape[1] - 1
        tally = torch.clamp(tally.float(), self.limits[:, 0].float(), self.limits[:, 1].float())
        place = (tally.sign() * tally.abs().log1p() + 8).clamp(0, 16) * (last / 16)  # (..., 2) in 0..last
        low = place.long().clamp(0, last - 1)
        share = (place - low)[..., None].to(self.table.dtype)  # (..., 2, 1)
        at = low + torch.arange(2, device=low.device) * (last + 1)  # (..., 2) rows of both tables as one
        rows = self.table.flatten(0, 1)
        return GAIN * torch.lerp(rows[at], rows[at + 1], share).sum(-2)


class RewardHead(nn.Module):
    """A categorical law over rewards, trained on two-hot targets whose mean is the reward itself.

    Reference: Mastering Diverse Domains through World Models (Hafner et al., 2023), arXiv:2301.04104.
    """

    bins: Tensor

    def __init__(self, inputs: int, hidden: int, bins: int = 65) -> None:
        super().__init__()
        self.inp, self.out, self.tally = nn.Linear(inputs, hidden), nn.Linear(hidden, bins), Tally(hidden)
        nn.init.zeros_(self.out.weight)
        grid = torch.linspace(-6, 6, bins)
        self.register_buffer("bins", grid.sign() * grid.abs().expm1(), persistent=False)

    def forward(self, x: Tensor, tally: Tensor) -> Tensor:
        """Logits (..., bins) of the reward that arrives with state x (..., inputs) after a tally (..., 2)."""
        return self.out(F.silu(self.inp(x) + self.tally(tally)))

    def mean(self, logits: Tensor) -> Tensor:
        """The expected reward (...), in the simulator's own units."""
        return logits.float().softmax(-1) @ self.bins.float()

    def loss(self, logits: Tensor, reward: Tensor) -> Tensor:
        """Cross-entropy (...) against the two bins around each reward (...)."""
        reward = reward.clamp(self.bins[0], self.bins[-1])
        high = torch.searchsorted(self.bins, reward.contiguous()).clamp(1, len(self.bins) - 1)
        low = high - 1
        share = (reward - self.bins[low]) / (self.bins[high] - self.bins[low])
        log_p = logits.float().log_softmax(-1)
        at = lambda i: log_p.gather(-1, i[..., None])[..., 0]  # noqa: E731
        return -((1 - share) * at(low) + share * at(high))


class TerminationHead(nn.Module):
    """The probability that the episode ends with this state, trained with the rare class weighted.

    The weight moves the trained logit by its logarithm; `log_odds` takes that off, so that the
    probability stays that of the data.
    """

    def __init__(self, inputs: int, hidden: int, weight: float = 50.0) -> None:
        super().__init__()
        self.inp, self.out, self.tally = nn.Linear(inputs, hidden), nn.Linear(hidden, 1), Tally(hidden)
        self.weight = weight

    def forward(self, x: Tensor, tally: Tensor) -> Tensor:
        """Weighted logits (...) of states x (..., inputs) after a tally (..., 2)."""
        return self.out(F.silu(self.inp(x) + self.tally(tally)))[..., 0]

    def log_odds(self, logits: Tensor) -> Tensor:
        """The data's own log-odds (...) of an end, from weighted logits (...)."""
        return logits.float() - math.log(self.weight)

    def loss(self, logits: Tensor, term: Tensor) -> Tensor:
        """Weighted cross-entropy (...) against term (...) in {0, 1}."""
        weight = torch.tensor(self.weight, device=logits.device)
        return F.binary_cross_entropy_with_logits(logits.float(), term.float(), pos_weight=weight, reduction="none")


class TellingHead(nn.Module):
    """Numbers that a state tells, such as the speed of who drives, and what ends the episode where it ends.

    Arguments:
        inputs, hidden: widths.
        numbers: how many.
        kinds: how many ends there are.
    """

    mean: Tensor  # (numbers,) of the data
    scale: Tensor  # (numbers,) their standard deviations

    def __init__(self, inputs: int, hidden: int, numbers: int, kinds: int) -> None:
        super().__init__()
        self.numbers, self.kinds = numbers, kinds
        self.inp, self.out = nn.Linear(inputs, hidden), nn.Linear(hidden, numbers + kinds)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (..., numbers), not in their units yet, and logits of the ends (..., kinds), of states x."""
        return self.read(self.inp(x))

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same of the first layer's output (..., hidden)."""
        return self.out(F.silu(x)).float().split([self.numbers, self.kinds], -1)

    def units(self, numbers: Tensor) -> Tensor:
        """Numbers in the simulator's own units."""
        return numbers * self.scale.float() + self.mean.float()

    def loss(self, told: tuple[Tensor, Tensor], numbers: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """Errors (...) of numbers in their units (..., numbers), and cross-entropy (...), 0 where kind (...) is -1."""
        goal = (numbers - self.mean) / self.scale
        far = F.smooth_l1_loss(told[0], goal, reduction="none").mean(-1)
        flat = F.cross_entropy(told[1].flatten(0, -2), kind.flatten(), ignore_index=-1, reduction="none")
        return far, flat.view_as(kind)


class DisagreementHead(nn.Module):
    """Several small predictors of the next latent; how much they differ says how far h is from the data.

    Each predicts a fixed random projection of the next latent and saw another part of the episodes.

    Reference: Self-Supervised Exploration via Disagreement (Pathak et al., 2019), arXiv:1906.04161.
    """

    projection: Tensor

    def __init__(self, inputs: int, latent: int, heads: int = 4, hidden: int = 64, out: int = 32) -> None:
        super().__init__()
        self.heads, self.width = heads, out
        self.inp = nn.Linear(inputs, heads * hidden)
        self.out = nn.Parameter(torch.randn(heads, hidden, out) * hidden**-0.5)
        self.register_buffer("projection", torch.randn(latent, out) * (32 / latent) ** 0.5)

    def forward(self, h: Tensor) -> Tensor:
        """Predictions (heads, n, out) from memories (n, inputs)."""
        x = F.silu(self.inp(h.to(self.inp.weight.dtype))).unflatten(-1, (self.heads, -1))  # (n, heads, hidden)
        return torch.einsum("nkh,kho->kno", x, self.out.to(x.dtype)).float()

    def score(self, h: Tensor) -> Tensor:
        """Disagreement (n,), the log of the predictors' mean variance; higher = more unusual."""
        return (self(h).var(0).mean(-1) + 1e-8).log()

    def loss(self, h: Tensor, z: Tensor, share: Tensor) -> Tensor:
        """Squared error (n,) to one-hot latents (n, latent); share (heads, n) weighs each predictor's data."""
        target = z @ self.projection  # (n, out)
        return (((self(h) - target) ** 2).mean(-1) * share).mean(0)
