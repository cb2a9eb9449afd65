"""A proposal that a flow has learned from failures, beside the mixture, so that weights stay bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gensim.rare.mixture import Mixture, evened

if TYPE_CHECKING:
    from gensim.models.vectors import VectorFlow

SHARE = 0.5  # of what is drawn, of the flow
FEW = 200  # failures, under which nothing is learned
STEPS, BATCH, RATE, WAIT = 400, 256, 3e-3, 5  # of the fit; checks in vain after which it ends
EVERY = 20  # steps between two checks on a quarter that is held out


@dataclass(frozen=True)
class Flowed:
    """A flow and a mixture: a share of what is drawn is of the flow, and no weight exceeds the mixture's over the rest.

    References: Neural importance sampling (Mueller et al., 2019), arXiv:1808.03856; Owen and Zhou, as of `Mixture`.
    """

    flow: VectorFlow
    mixture: Mixture
    share: float = SHARE

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Choices (n, dims)."""
        many = rng.binomial(n, self.share)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        parts = [self.flow.sample(many, generator).double().numpy(), self.mixture.sample(n - many, rng)]
        return rng.permutation(np.concatenate(parts))

    def log_weight(self, x: np.ndarray) -> np.ndarray:
        """Log-probability of choices (n, dims) under the reference law, less that under this one (n,)."""
        with torch.no_grad():
            learned = self.flow.log_prob(torch.from_numpy(x).float()).double().numpy()
        usual = -(x**2).sum(1) / 2 - x.shape[1] / 2 * np.log(2 * np.pi)
        parts = np.log(self.share) + learned - usual, np.log(1 - self.share) - self.mixture.log_weight(x)
        return np.asarray(-np.logaddexp(*parts))


def flowed(mixture: Mixture, x: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> Mixture | Flowed:
    """A flow of weighted failures (n, dims), beside the mixture; the mixture alone, where they are too few.

    Raises:
        ModuleNotFoundError: without zuko, of the extra "ood".
    """
    from gensim.models.vectors import VectorConfig, VectorFlow

    if len(x) < FEW:
        return mixture
    even, held = evened(w), rng.random(len(x)) < 0.25
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        flow = VectorFlow(VectorConfig(x.shape[1], transforms=2, width=48))
        seen = torch.from_numpy(x).float()
        at = torch.from_numpy(rng.choice(np.flatnonzero(~held), (STEPS, BATCH), p=even[~held] / even[~held].sum()))
        flow.prepare(seen[at.flatten()])
        judged = torch.from_numpy(rng.choice(np.flatnonzero(held), 2000, p=even[held] / even[held].sum()))
        _fitted(flow, seen, at, judged)
    return Flowed(flow.eval(), mixture)


def _fitted(flow: VectorFlow, x: torch.Tensor, at: torch.Tensor, judged: torch.Tensor) -> None:
    """Fits to rows at (steps, batch), and keeps what was best on rows that are held out."""
    optimiser = torch.optim.AdamW(flow.parameters(), RATE, weight_decay=1e-2)
    best, kept, waited = np.inf, flow.state_dict(), 0
    for step, rows in enumerate(at):
        if step % EVERY == 0:
            with torch.no_grad():
                loss = float(flow.loss(x[judged]))
            if loss < best:
                best, waited = loss, 0
                kept = {name: value.clone() for name, value in flow.state_dict().items()}
            elif (waited := waited + 1) > WAIT:
                break
        optimiser.zero_grad(set_to_none=True)
        flow.loss(x[rows]).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
    flow.load_state_dict(kept)
