"""Autoregressive dynamics over the latents of a frame's cells: a memory that is a grid, like what it remembers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.dynamics import Unrolled
from gensim.models.levels import begun


class CellDynamics(Unrolled):
    """A convolutional GRU that reads the latents of cells, and says how likely each next latent is.

    Cells are all alike, so that what is learned of a car in one place is known in all. A cell hears its neighbours at
    each step; what all must know at once, such as how fast the scene goes by, they hear of a summary of the memory.
    Time, stages and exact probabilities are those of `gensim.models.dynamics.Dynamics`.

    Reference: Delving Deeper into Convolutional Networks for Learning Video Representations (Ballas et al., 2015),
    arXiv:1511.06432.

    Arguments:
        grid: rows and columns of cells.
        groups, classes: shape of the latent, ordered as `gensim.models.vae.Cells` has it.
        actions: width of the action vector.
        hidden: width of the memory, all cells together. Half of it is gated; half is the last latents as they are read,
            so that to say them again nothing has to be remembered.
        clock, conditions, stages: as those of `Dynamics`.
        summary: width of what all cells hear.
    """

    late: Tensor  # () the steps of the longest episode in the data; later ones are told alike
    around: Tensor  # (cells, 9) the numbers of the cells around each, row by row; their count where there is none

    def __init__(
        self,
        grid: tuple[int, int],
        groups: int,
        classes: int,
        actions: int,
        hidden: int,
        clock: bool = False,
        conditions: int = 0,
        stages: int = 1,
        summary: int = 128,
    ) -> None:
        super().__init__()
        self.grid, self.groups, self.classes, self.hidden, self.stages = grid, groups, classes, hidden, stages
        self.count = math.prod(grid)
        width, each = hidden // self.count // 2, groups // self.count
        self.each, self.share = each, each // stages  # variables of a cell, and in a stage
        self.seen = 2 * width * math.prod((side + 1) // 2 for side in grid)
        self.initial = nn.Parameter(torch.zeros(2, hidden))  # memory before a mid-episode / a first frame
        self.embed = nn.Parameter(begun(each, classes, width))
        self.place = nn.Parameter(torch.zeros(self.count, width))
        self.act = nn.Linear(actions, width)
        self.clock = nn.Linear(2, width, bias=False) if clock else None
        if self.clock is not None:
            nn.init.zeros_(self.clock.weight)
            self.register_buffer("late", torch.tensor(0.0))
        self.conditions = nn.Linear(conditions, width, bias=False) if conditions else None
        self.norm, self.near = nn.LayerNorm(width), nn.Conv2d(width, width, 3, padding=1)
        self.gates_x, self.gates_h = nn.Linear(width, 3 * width), nn.Conv2d(width, 3 * width, 3, padding=1)
        self.summary, self.heard = nn.Linear(hidden // 2, summary), nn.Linear(summary, 3 * width, bias=False)
        self.prior_in, self.prior_norm = nn.Conv2d(2 * width, width, 3, padding=1), nn.LayerNorm(width)
        self.prior_mid, self.prior_out = nn.Linear(width, 2 * width), Outs(self.count, each, classes, 2 * width)
        self.hear = nn.Parameter(begun(each, classes, width) * 0.3 * each**0.5)
        self.given = nn.Conv2d(width, width, 3, padding=1, bias=False) if stages > 1 else None
        numbered = F.pad(torch.arange(self.count).view(grid), (1, 1, 1, 1), value=self.count)
        around = numbered.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2).flatten(0, 1)  # (cells, 9)
        self.register_buffer("around", around, persistent=False)

    def inputs(self, z: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None = None) -> Tensor:
        """Gate inputs (..., 2 hidden) of one-hot latents (..., groups, classes), actions (..., k) and steps (...).

        cond (..., c): conditions of the episode, for dynamics that are told any.
        """
        return self._gates(self.embedding(z), act, steps, cond)

    def inputs_of(self, index: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None = None) -> Tensor:
        """Gate inputs (n, 2 hidden) of latent indices (n, groups), actions (n, k) and steps so far (n,), by look-up."""
        return self._gates(self.embedded(index), act, steps, cond)

    def embedding(self, z: Tensor) -> Tensor:
        """What one-hot latents (..., groups, classes) of each cell are read as (..., cells, width)."""
        return self._by_cell(z, self.each) @ self.embed.to(z.dtype)

    def embedded(self, index: Tensor) -> Tensor:
        """The same of latent indices (n, groups), by look-up."""
        return self._look_up(index, self.embed)

    def cell(self, gates: Tensor, h: Tensor) -> Tensor:
        """The next memory (n, hidden) float32 from gate inputs (n, 2 hidden) and memory (n, hidden)."""
        h = self._kept(h)  # (n, cells, width)
        x = h.to(self.gates_h.weight.dtype)
        told = self.heard(F.silu(self.summary(x.flatten(1))))[:, None]  # (n, 1, 3 width)
        heard = _flat(self.gates_h(self._grid(x))) + told  # (n, cells, 3 width)
        r, u, c, last = gates.float().unflatten(-1, (self.count, -1)).chunk(4, -1)
        hr, hu, hc = heard.float().chunk(3, -1)
        h = torch.lerp(h, torch.tanh(c + torch.sigmoid(r + hr) * hc), torch.sigmoid(u + hu - 1))
        return torch.cat([h, last], -1).flatten(1)

    def prior(self, h: Tensor, mask: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Logits (..., groups, classes) of the latent that follows memory h (..., hidden), under a dropout mask or not.

        z (..., groups, classes), one-hot, is that latent: with stages, each stage's logits are those given the stages
        before it.
        """
        many, found = h.shape[:-1], []
        mask = mask if mask is None else mask.expand(*many, -1).reshape(-1, self.hidden)
        read = self.read(h.reshape(-1, self.hidden))  # (n, hidden)
        for stage in range(self.stages):
            found.append(self.stage(read, mask, stage))
            if stage + 1 < self.stages:
                assert z is not None
                read = read + self.told(z.reshape(-1, self.groups, self.classes), stage)
        return torch.cat(found, -2).unflatten(0, many)

    def read(self, h: Tensor) -> Tensor:
        """What the prior reads (n, hidden / 2) of memories (n, hidden)."""
        return _flat(self.prior_in(self._grid(h.to(self.prior_in.weight.dtype)))).flatten(1)

    def stage(self, read: Tensor, mask: Tensor | None, stage: int) -> Tensor:
        """Logits (n, groups / stages, classes) of a stage, from what was read of the memory and of earlier stages."""
        x = F.silu(self.prior_norm(read.unflatten(-1, (self.count, -1))))  # (n, cells, width)
        x = x if mask is None else x * self._kept(mask).to(x.dtype)
        return self.prior_out(F.silu(self.prior_mid(x)), self._ones(stage))  # of (n, cells, 2 width)

    def told(self, z: Tensor, stage: int) -> Tensor:
        """What a stage's part of one-hot latents z (n, groups, classes) adds to what is read (n, hidden / 2)."""
        return self._spread(self._by_cell(z[:, self.part(stage)], self.share) @ self._heard(stage).to(z.dtype))

    def table(self, stage: int) -> Tensor:
        """What each value of a stage's variables adds to the cells around it (9 (share * classes + 1), width).

        One part for each of 3 x 3 places, the last row of each for what lies beyond the frame and adds nothing.
        """
        assert self.given is not None
        told = torch.einsum("vw,owyx->yxvo", self._heard(stage), self.given.weight)  # (3, 3, share * classes, width)
        return F.pad(told, (0, 0, 0, 1)).flatten(0, 2)

    def told_of(self, index: Tensor, table: Tensor) -> Tensor:
        """What a stage's indices (n, groups / stages) add to what is read (n, hidden / 2), by its table."""
        beyond = self.share * self.classes
        first = torch.arange(0, beyond, self.classes, device=index.device)[:, None]
        at = F.pad(index.unflatten(-1, (self.share, self.count)) + first, (0, 1), value=beyond)  # (n, share, cells + 1)
        at = at[..., self.around] + torch.arange(9, device=index.device) * (beyond + 1)  # (n, share, cells, 9)
        at = at.transpose(1, 2).reshape(-1, 9 * self.share)  # (n cells, 9 share)
        return F.embedding_bag(at, table, mode="sum").view(len(index), -1)

    def gist(self, h: Tensor) -> Tensor:
        """What heads judge (..., hidden / 2) of memories (..., hidden): the gated half, which has read the other."""
        return self._kept(h).flatten(-2)

    def glance(self, h: Tensor, index: Tensor) -> Tensor:
        """A state for policies to see (n, seen): memory (n, hidden) and latents (n, groups), four cells as one."""
        both = torch.cat([self._kept(h).float(), self.embedded(index).float()], -1)
        return F.avg_pool2d(self._grid(both), 2, ceil_mode=True).flatten(1)

    def _kept(self, h: Tensor) -> Tensor:
        """The gated half (..., cells, width) of memories (..., hidden), or of masks of them."""
        return h.unflatten(-1, (self.count, 2, -1))[..., 0, :]

    def _ones(self, stage: int) -> slice:
        """Which of each cell's variables a stage's are."""
        return slice(stage * self.share, (stage + 1) * self.share)

    def _heard(self, stage: int) -> Tensor:
        """What the values of a stage's variables are heard as (share * classes, width)."""
        return self.hear.unflatten(0, (self.each, -1))[self._ones(stage)].flatten(0, 1)

    def _by_cell(self, z: Tensor, variables: int) -> Tensor:
        """Of each cell all its so many variables (..., cells, variables * classes), of (..., groups, classes)."""
        return z.unflatten(-2, (variables, self.count)).transpose(-3, -2).flatten(-2)

    def _look_up(self, index: Tensor, table: Tensor) -> Tensor:
        """The sum (n, cells, width) of what a table (m * classes, width) has for indices (n, m * cells)."""
        at = index.unflatten(-1, (-1, self.count)).transpose(1, 2).flatten(0, 1)  # (n cells, m)
        at = at + torch.arange(at.shape[1], device=at.device) * self.classes
        return F.embedding_bag(at, table, mode="sum").unflatten(0, (-1, self.count))

    def _spread(self, x: Tensor) -> Tensor:
        """What cells and their neighbours hear (n, hidden) of vectors (n, cells, width)."""
        assert self.given is not None
        return _flat(self.given(self._grid(x.to(self.given.weight.dtype)))).flatten(1)

    def _gates(self, embedded: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        told = self.act(act.to(self.act.weight.dtype))  # (..., width)
        if self.clock is not None:
            steps = steps.float().clamp(max=self.late)
            told = told + self.clock(torch.stack([steps.log1p() / 4, steps / 256], -1).to(told.dtype))
        if self.conditions is not None:
            assert cond is not None
            told = told + self.conditions(cond.to(told.dtype))
        x = F.silu(self.norm(embedded + self.place + told[..., None, :]))  # (..., cells, width)
        many = x.shape[:-2]
        x = F.silu(_flat(self.near(self._grid(x.reshape(-1, self.count, x.shape[-1])))))  # (n, cells, width)
        gates = self.gates_x(x).unflatten(0, many)  # (..., cells, 3 width)
        return torch.cat([gates, embedded.expand_as(gates[..., : embedded.shape[-1]]).to(gates.dtype)], -1).flatten(-2)

    def _grid(self, x: Tensor) -> Tensor:
        """Cells (n, cells, width) or (n, cells * width) as a picture (n, width, rows, columns)."""
        return x.reshape(len(x), *self.grid, -1).permute(0, 3, 1, 2)


class Outs(nn.Module):
    """Logits of cells' variables: all cells' first ones are read alike, all second ones, and so on.

    Arguments:
        cells, each, classes: variables of so many values that each cell has.
        width: of what they are read from.
    """

    def __init__(self, cells: int, each: int, classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(each, classes, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(cells, each, classes))  # what is usual where

    def forward(self, x: Tensor, ones: slice) -> Tensor:
        """Logits (n, m * cells, classes) of these m of each cell's variables, from x (n, cells, width)."""
        weight, bias = self.weight[ones], self.bias[:, ones]  # (m, classes, width), (cells, m, classes)
        out = F.linear(x, weight.flatten(0, 1)).unflatten(-1, weight.shape[:2]) + bias
        return out.transpose(1, 2).flatten(1, 2)


def _flat(x: Tensor) -> Tensor:
    """The reverse of a grid: (n, cells, channels) of (n, channels, rows, columns)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
