"""Autoregressive dynamics over discrete latents: p(z_t | z_<t, a_<=t) in one pass of a recurrent cell.

Within a latent, all variables are drawn at once, or in a few ordered stages, each given those before it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Unrolled(nn.Module):
    """What all dynamics share: a window is their cell, step after step, and a stage is a part of the groups."""

    initial: Tensor  # (2, hidden) memory before a mid-episode / a first frame
    inputs: Callable[..., Tensor]
    cell: Callable[..., Tensor]
    groups: int
    stages: int

    def unroll(self, z: Tensor, act: Tensor, steps: Tensor, first: Tensor, cond: Tensor | None = None) -> Tensor:
        """Memories h (b, t, hidden), each before its own latent, of a window of latents and actions.

        z (b, t, groups, classes) one-hot, act (b, t, k), steps (b, t) before each action, first (b,) bool: the window
        opens an episode; cond (b, c).
        """
        h = self.initial[first.long()].float()  # (b, hidden)
        told = None if cond is None else cond[:, None]  # (b, 1, c)
        gates = self.inputs(z[:, :-1], act[:, 1:], steps[:, 1:], told)  # (b, t - 1, 3 hidden)
        memories = [h]
        for step in gates.unbind(1):
            h = self.cell(step, h)
            memories.append(h)
        return torch.stack(memories, 1)  # (b, t, hidden)

    def gist(self, h: Tensor) -> Tensor:
        """What heads judge (..., gist) of memories (..., hidden): here all of it."""
        return h

    def part(self, stage: int, each: int = 1) -> slice:
        """Which of `groups` things, of `each` rows, are a stage's."""
        size = self.groups // self.stages * each
        return slice(stage * size, (stage + 1) * size)


class Dynamics(Unrolled):
    """A GRU that reads latents and actions and says how likely each next latent is.

    `act[t]` leads from latent t-1 to latent t. The memory h_t has read z_<t and a_<=t, so that the
    prior of z_t, drawn from h_t alone, has an exact probability. With stages, the groups' law is a product over them:
    p(z | h) = prod_k p(z_k | h, z_<k).

    Reference: Learning Phrase Representations using RNN Encoder-Decoder (Cho et al., 2014), arXiv:1406.1078.

    Arguments:
        groups, classes: shape of the latent.
        actions: width of the action vector.
        hidden: width of the memory h.
        clock: whether it is told the episode's steps so far. A fit sees short windows, so that what piles up over an
            episode, such as monsters, is known by the clock alone.
        conditions: numbers that hold for an episode, such as how dense its traffic is, that it is told.
        stages: ordered parts of equal size that a latent is drawn in.
    """

    late: Tensor  # () the steps of the longest episode in the data; later ones are told alike

    def __init__(
        self,
        groups: int,
        classes: int,
        actions: int,
        hidden: int,
        clock: bool = False,
        conditions: int = 0,
        stages: int = 1,
    ) -> None:
        super().__init__()
        self.groups, self.classes, self.hidden, self.stages = groups, classes, hidden, stages
        self.initial = nn.Parameter(torch.zeros(2, hidden))  # memory before a mid-episode / a first frame
        self.embed = nn.Parameter(torch.randn(groups * classes, hidden) * groups**-0.5)
        self.act = nn.Linear(actions, hidden)
        self.clock = nn.Linear(2, hidden, bias=False) if clock else None
        if self.clock is not None:
            nn.init.zeros_(self.clock.weight)
            self.register_buffer("late", torch.tensor(0.0))
        self.conditions = nn.Linear(conditions, hidden, bias=False) if conditions else None
        self.norm = nn.LayerNorm(hidden)
        self.gates_x = nn.Linear(hidden, 3 * hidden)
        self.gates_h = nn.Linear(hidden, 3 * hidden)
        self.prior_in = nn.Linear(hidden, hidden)
        self.prior_norm = nn.LayerNorm(hidden)
        self.prior_out = nn.Linear(hidden, groups * classes)
        self.given = nn.Linear(hidden, hidden, bias=False) if stages > 1 else None

    def inputs(self, z: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None = None) -> Tensor:
        """Gate inputs (..., 3 hidden) of one-hot latents (..., groups, classes), actions (..., k) and steps (...).

        cond (..., c): conditions of the episode, for dynamics that are told any.
        """
        return self._gates(z.flatten(-2) @ self.embed.to(z.dtype), act, steps, cond)

    def inputs_of(self, index: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None = None) -> Tensor:
        """Gate inputs (n, 3 hidden) of latent indices (n, groups), actions (n, k) and steps so far (n,), by look-up."""
        offset = torch.arange(self.groups, device=index.device) * self.classes
        return self._gates(F.embedding_bag(index + offset, self.embed, mode="sum"), act, steps, cond)

    def cell(self, gates: Tensor, h: Tensor) -> Tensor:
        """The next memory (n, hidden) float32 from gate inputs (n, 3 hidden) and memory (n, hidden)."""
        r, u, c = gates.float().chunk(3, -1)
        hr, hu, hc = self.gates_h(h.to(self.gates_h.weight.dtype)).float().chunk(3, -1)
        u = torch.sigmoid(u + hu - 1)
        return torch.lerp(h, torch.tanh(c + torch.sigmoid(r + hr) * hc), u)

    def prior(self, h: Tensor, mask: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Logits (..., groups, classes) of the latent that follows memory h, under a dropout mask or none.

        z (..., groups, classes), one-hot, is that latent: with stages, each stage's logits are those given the stages
        before it.
        """
        read, found = self.prior_in(h.to(self.prior_in.weight.dtype)), []
        for stage in range(self.stages):
            found.append(self.stage(read, mask, stage))
            if stage + 1 < self.stages:
                assert z is not None
                read = read + self.told(z, stage)
        return torch.cat(found, -2) if len(found) > 1 else found[0]

    def stage(self, read: Tensor, mask: Tensor | None, stage: int) -> Tensor:
        """Logits (..., groups / stages, classes) of a stage, from what was read of the memory and of earlier stages."""
        x = F.silu(self.prior_norm(read))
        x = x if mask is None else x * mask.to(x.dtype)
        at = self.part(stage, self.classes)
        x = F.linear(x, self.prior_out.weight[at], self.prior_out.bias[at])
        return x.unflatten(-1, (self.groups // self.stages, self.classes))

    def told(self, z: Tensor, stage: int) -> Tensor:
        """What a stage's part of one-hot latents z (..., groups, classes) adds to what is read (..., hidden)."""
        assert self.given is not None
        part = z[..., self.part(stage), :].flatten(-2)
        return self.given(part @ self.embed[self.part(stage, self.classes)].to(z.dtype))

    def table(self, stage: int) -> Tensor:
        """What each value of a stage's variables adds to what is read (groups / stages * classes, hidden)."""
        assert self.given is not None
        return self.given(self.embed[self.part(stage, self.classes)])

    def told_of(self, index: Tensor, table: Tensor) -> Tensor:
        """What a stage's indices (n, groups / stages) add to what is read, by its table."""
        offset = torch.arange(index.shape[1], device=index.device) * self.classes
        return F.embedding_bag(index + offset, table, mode="sum")

    def _gates(self, embedded: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        x = embedded + self.act(act.to(self.act.weight.dtype))
        if self.clock is not None:
            steps = steps.float().clamp(max=self.late)
            told = torch.stack([steps.log1p() / 4, steps / 256], -1)  # (..., 2)
            x = x + self.clock(told.to(x.dtype))
        if self.conditions is not None:
            assert cond is not None
            x = x + self.conditions(cond.to(x.dtype))
        return self.gates_x(F.silu(self.norm(x)))
