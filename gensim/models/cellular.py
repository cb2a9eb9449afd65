"""Autoregressive dynamics over the latents of a frame's cells: a memory that is a grid, like what it remembers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.dynamics import Unrolled
from gensim.models.levels import Levels
from gensim.models.vae import Cells


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
        hidden: width of the memory, all cells together.
        clock, conditions, stages: as those of `Dynamics`.
        summary: width of what all cells hear.
    """

    late: Tensor  # () the steps of the longest episode in the data; later ones are told alike
    cell_of: Tensor  # (groups,) which cell each variable tells of
    one_of: Tensor  # (groups,) which of its cell's variables it is
    back: Tensor  # (groups,) variables ordered by cell, then by which of its cell's it is

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
        width, each = hidden // self.count, groups // self.count
        self.seen = 2 * width * math.prod((side + 1) // 2 for side in grid)
        cells = Cells(grid, groups)
        for name, index in {"cell_of": cells.order // each, "one_of": cells.order % each, "back": cells.back}.items():
            self.register_buffer(name, index, persistent=False)
        self.initial = nn.Parameter(torch.zeros(2, hidden))  # memory before a mid-episode / a first frame
        self.embed = nn.Parameter(begun(each, classes, width) * each**-0.5)
        self.place = nn.Parameter(torch.zeros(self.count, width))
        self.act = nn.Linear(actions, width)
        self.clock = nn.Linear(2, width, bias=False) if clock else None
        if self.clock is not None:
            nn.init.zeros_(self.clock.weight)
            self.register_buffer("late", torch.tensor(0.0))
        self.conditions = nn.Linear(conditions, width, bias=False) if conditions else None
        self.norm, self.near = nn.LayerNorm(width), nn.Conv2d(width, width, 3, padding=1)
        self.gates_x, self.gates_h = nn.Linear(width, 3 * width), nn.Conv2d(width, 3 * width, 3, padding=1)
        self.summary, self.heard = nn.Linear(hidden, summary), nn.Linear(summary, 3 * width, bias=False)
        self.prior_in, self.prior_norm = nn.Conv2d(width, width, 3, padding=1), nn.LayerNorm(width)
        self.prior_mid, self.prior_out = nn.Linear(width, 2 * width), Outs(self.count, each, classes, 2 * width)
        self.hear = nn.Parameter(begun(each, classes, width) * 0.3)
        self.given = nn.Conv2d(width, width, 3, padding=1, bias=False) if stages > 1 else None

    def inputs(self, z: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None = None) -> Tensor:
        """Gate inputs (..., 3 hidden) of one-hot latents (..., groups, classes), actions (..., k) and steps (...).

        cond (..., c): conditions of the episode, for dynamics that are told any.
        """
        placed = z[..., self.back, :].unflatten(-2, (self.count, -1)).flatten(-2)  # (..., cells, each * classes)
        return self._gates(placed @ self.embed.to(z.dtype), act, steps, cond)

    def inputs_of(self, index: Tensor, act: Tensor, steps: Tensor, cond: Tensor | None = None) -> Tensor:
        """Gate inputs (n, 3 hidden) of latent indices (n, groups), actions (n, k) and steps so far (n,), by look-up."""
        return self._gates(self.embedded(index), act, steps, cond)

    def embedded(self, index: Tensor) -> Tensor:
        """What the latents (n, groups) of each cell are read as (n, cells, width)."""
        each = self.groups // self.count
        at = index[:, self.back].view(-1, each) + torch.arange(each, device=index.device) * self.classes
        return F.embedding_bag(at, self.embed, mode="sum").view(len(index), self.count, -1)

    def cell(self, gates: Tensor, h: Tensor) -> Tensor:
        """The next memory (n, hidden) float32 from gate inputs (n, 3 hidden) and memory (n, hidden)."""
        x = h.to(self.gates_h.weight.dtype)
        told = self.heard(F.silu(self.summary(x)))[:, None]  # (n, 1, 3 width)
        heard = _flat(self.gates_h(self._grid(x))) + told  # (n, cells, 3 width)
        r, u, c = gates.float().unflatten(-1, (self.count, -1)).chunk(3, -1)
        hr, hu, hc = heard.float().chunk(3, -1)
        u = torch.sigmoid(u + hu - 1).flatten(1)
        return torch.lerp(h, torch.tanh(c + torch.sigmoid(r + hr) * hc).flatten(1), u)

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
        """What the prior reads (n, hidden) of memories (n, hidden)."""
        return _flat(self.prior_in(self._grid(h.to(self.prior_in.weight.dtype)))).flatten(1)

    def stage(self, read: Tensor, mask: Tensor | None, stage: int) -> Tensor:
        """Logits (n, groups / stages, classes) of a stage, from what was read of the memory and of earlier stages."""
        x = F.silu(self.prior_norm(read.unflatten(-1, (self.count, -1))))  # (n, cells, width)
        x = x if mask is None else x * mask.to(x.dtype).view_as(x)
        cell = self.cell_of[self.part(stage)]
        x = F.silu(self.prior_mid(x[:, cell]))  # (n, groups / stages, 2 width)
        return self.prior_out(x, cell, self._ones(stage))

    def told(self, z: Tensor, stage: int) -> Tensor:
        """What a stage's part of one-hot latents z (n, groups, classes) adds to what is read (n, hidden)."""
        part = self.part(stage)
        table = self.hear.unflatten(0, (-1, self.classes))[self._ones(stage)].to(z.dtype)  # (classes, width) or m of it
        return self._spread((z[:, part, None] @ table)[:, :, 0] if table.ndim > 2 else z[:, part] @ table, part)

    def told_of(self, index: Tensor, stage: int) -> Tensor:
        """The same of a stage's indices (n, groups / stages), by look-up."""
        part = self.part(stage)
        return self._spread(F.embedding(index + self.one_of[part] * self.classes, self.hear), part)

    def glance(self, h: Tensor, index: Tensor) -> Tensor:
        """A state for policies to see (n, seen): memory (n, hidden) and latents (n, groups), four cells as one."""
        both = torch.cat([h.float().unflatten(-1, (self.count, -1)), self.embedded(index).float()], -1)
        return F.avg_pool2d(self._grid(both), 2, ceil_mode=True).flatten(1)

    def _ones(self, stage: int) -> int | Tensor:
        """Which of its cell's variables each of a stage's is; a number where all are the same one."""
        each = self.groups // self.count
        return self.one_of[self.part(stage)] if self.stages % each else stage * each // self.stages

    def _spread(self, x: Tensor, part: slice) -> Tensor:
        """What cells and their neighbours hear (n, hidden) of vectors (n, m, width) of a part's variables."""
        assert self.given is not None
        cells = x.new_zeros(len(x), self.count, x.shape[-1]).index_add(1, self.cell_of[part], x)
        return _flat(self.given(self._grid(cells.to(self.given.weight.dtype)))).flatten(1)

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
        return self.gates_x(x).flatten(1).unflatten(0, many)

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

    def forward(self, x: Tensor, cell: Tensor, one: int | Tensor) -> Tensor:
        """Logits (n, m, classes) of variables of these cells (m,), the one-th of each, from x (n, m, width)."""
        weight = self.weight[one]  # (classes, width), or m of it
        out = F.linear(x, weight) if weight.ndim == 2 else torch.einsum("nmc,mkc->nmk", x, weight)
        return out + self.bias[cell, one]


def begun(each: int, classes: int, width: int) -> Tensor:
    """First vectors (each * classes, width) of the values of a cell's variables: neighbours are read alike."""
    unit = Levels(classes).unit  # (classes, scalars)
    return (unit @ torch.randn(each, unit.shape[1], width)).flatten(0, 1)


def _flat(x: Tensor) -> Tensor:
    """The reverse of a grid: (n, cells, channels) of (n, channels, rows, columns)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
