"""A VAE whose latent is a row of categorical variables: one frame in, one latent out, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.levels import Levels


class Encoder(nn.Module):
    """q(z | frame): logits of the latent's categories, from one frame alone.

    Reference: Mastering Atari with Discrete World Models (Hafner et al., 2020), arXiv:2010.02193.

    Arguments:
        shape: height and width of the frame in pixels, multiples of 16.
        widths: channels after each halving; three or four.
        groups, classes: the latent is `groups` categorical variables of `classes` values.
        cells: whether each variable tells of a cell of what the halvings leave, 8 or 16 pixels a side and all cells
            alike, instead of the whole frame. Its values are then ordered; see `Levels`.
    """

    def __init__(
        self, shape: tuple[int, int], widths: Sequence[int], groups: int, classes: int, cells: bool = False
    ) -> None:
        super().__init__()
        self.groups, self.classes = groups, classes
        channels = [3, *widths]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in zip(channels, channels[1:]))
        self.squeeze = nn.Conv2d(widths[-1], widths[-1] // 2, 3 if cells else 1, 1, int(cells))
        grid = grid_of(shape, widths)
        self.cells = Cells(grid, groups) if cells else None
        self.levels = Levels(classes) if cells else None
        if self.cells is None or self.levels is None:
            self.out: nn.Module = nn.Linear(widths[-1] // 2 * math.prod(grid), groups * classes)
        else:
            self.out = nn.Conv2d(widths[-1] // 2, self.cells.each * self.levels.scalars, 1, bias=False)
            self.place = nn.Parameter(torch.zeros(self.cells.each * self.levels.scalars, *grid))
            begin(self, last=("out",))

    def forward(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """Maps frames (n, 3, h, w) in -1..1 to logits (n, groups, classes).

        at (n, 2): of cells, where in the whole frame each begins, in rows and columns of cells; x are then parts.
        """
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)  # (n, widths[i], h / 2, w / 2)
        x = F.relu(self.squeeze(x), inplace=True)  # (n, widths[-1] / 2, rows, columns)
        if self.cells is not None and self.levels is not None:
            cells = self.cells if at is None else self.cells.part(x.shape[2:])
            return self.levels.logits(cells.ordered(self.out(x) + cells.cut(self.place, at)))
        return self.out(x.flatten(1)).unflatten(-1, (self.groups, self.classes))  # (n, groups, classes)


def grid_of(shape: tuple[int, int], widths: Sequence[int]) -> tuple[int, int]:
    """Rows and columns that are left of a frame of this shape after as many halvings as there are widths."""
    return shape[0] >> len(widths), shape[1] >> len(widths)


def cut(x: Tensor, at: Tensor, size: Sequence[int]) -> Tensor:
    """Parts (n, ..., *size) of pictures x (n, ..., h, w), the first row and column of each at (n, 2)."""
    rows, columns = (at[:, i, None] + torch.arange(size[i], device=at.device) for i in (0, 1))  # (n, size[i])
    n = torch.arange(len(x), device=at.device)[:, None, None]
    found = x.movedim((-2, -1), (1, 2))[n, rows[:, :, None], columns[:, None]]  # (n, *size, ...)
    return found.movedim((1, 2), (-2, -1))


class Cells(nn.Module):
    """Which variables of a latent tell of which cell of a frame, and in which order.

    Every cell has a first variable, a second one, and so on. First come all cells' first ones, of these those of every
    other cell as on a chequerboard before the rest: in twice as many stages as a cell has variables, where the cells
    are even in number, half of the cells are drawn given their neighbours.

    Reference: Parallel Multiscale Autoregressive Density Estimation (Reed et al., 2017), arXiv:1703.03664.
    """

    order: Tensor  # (groups,) where in (cells, each) each variable lies
    back: Tensor  # (groups,) the reverse

    def __init__(self, grid: tuple[int, int], groups: int) -> None:
        super().__init__()
        self.grid, self.groups, self.each = grid, groups, groups // math.prod(grid)
        row, column, one = torch.meshgrid(*(torch.arange(n) for n in (*grid, self.each)), indexing="ij")
        order = (one * 2 + (row + column) % 2).flatten().argsort(stable=True)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)

    def part(self, grid: Sequence[int]) -> Cells:
        """The same of a part of the frame, of so many rows and columns of cells."""
        return Cells((grid[0], grid[1]), self.each * grid[0] * grid[1]).to(self.order.device)

    def cut(self, x: Tensor, at: Tensor | None) -> Tensor:
        """Parts (n, k, rows, columns), as large as this grid, of a whole grid x (k, all rows, all columns)."""
        return x if at is None else cut(x[None].expand(len(at), *x.shape), at, self.grid)

    def ordered(self, x: Tensor) -> Tensor:
        """Variables (n, groups, k) of what each cell has (n, each * k, rows, columns)."""
        return x.permute(0, 2, 3, 1).reshape(len(x), self.groups, -1)[:, self.order]

    def placed(self, z: Tensor) -> Tensor:
        """The reverse: (n, each * k, rows, columns) of variables (n, groups, k)."""
        return z[:, self.back].reshape(len(z), *self.grid, -1).permute(0, 3, 1, 2)


class Decoder(nn.Module):
    """The frame's mean given its latent, and labels of its pixels; it sees the latent alone, no memory and no action.

    A frame can therefore be drawn again from its stored indices, 20 bytes a step.

    Arguments:
        shape, widths, groups, classes: as the encoder's.
        labels: numbers that are told of every pixel besides its colour.
        cells: as the encoder's.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        widths: Sequence[int],
        groups: int,
        classes: int,
        labels: int = 0,
        cells: bool = False,
    ) -> None:
        super().__init__()
        self.grid = (widths[-1] // 2, *grid_of(shape, widths))  # channels, rows, columns
        self.cells = Cells(self.grid[1:], groups) if cells else None
        if self.cells is None:
            self.inp: nn.Module = nn.Linear(groups * classes, math.prod(self.grid))
            self.widen = nn.Conv2d(self.grid[0], widths[-1], 1)
        else:
            self.inp = nn.Conv2d(self.cells.each * classes, self.grid[0], 1, bias=False)
            self.place = nn.Parameter(torch.zeros(self.grid))
            self.widen = nn.Conv2d(self.grid[0], widths[-1], 3, 1, 1)
        widths = widths[::-1]
        self.convs = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, 2, 1) for i, o in zip(widths, widths[1:]))
        self.out = nn.Conv2d(widths[-1], 12, 3, 1, 1)
        near = 1 if cells else 3  # of whole frames 3 x 3, as worlds have it that were fitted so
        self.labels = nn.Conv2d(widths[-1], 4 * labels, near, 1, near // 2) if labels else None
        if self.cells is not None:
            begin(self, last=("out", "labels"))
            unit = Levels(classes).unit  # (classes, scalars)
            slopes = (
                torch.randn(self.grid[0], self.cells.each, unit.shape[1]) * (self.cells.each * unit.shape[1]) ** -0.5
            )
            with torch.no_grad():
                self.inp.weight.copy_((slopes @ unit.T).flatten(1)[..., None, None])  # type: ignore[union-attr, operator]

    def forward(self, z: Tensor) -> Tensor:
        """Maps one-hot latents (n, groups, classes) to frames (n, 3, h, w), about -1..1."""
        return F.pixel_shuffle(self.out(self.grow(self.read(z))), 2)  # (n, 3, h, w)

    def labelled(self, z: Tensor, at: Tensor | None = None, grid: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """The same frames, and what is told of their pixels (n, labels, h, w).

        at (n, 2), grid: of cells, z tell of parts of frames that begin there, of so many rows and columns of cells.
        """
        assert self.labels is not None
        if at is None:
            x = self.grow(self.read(z))
        else:
            assert self.cells is not None
            cells = self.cells.part(grid)
            x = self.grow((self.inp(cells.placed(z)) + cells.cut(self.place, at)).flatten(1), grid)
        return F.pixel_shuffle(self.out(x), 2), F.pixel_shuffle(self.labels(x), 2)

    def read(self, z: Tensor) -> Tensor:
        """The first layer's output (n, channels * cells) of one-hot latents (n, groups, classes)."""
        if self.cells is None:
            return self.inp(z.flatten(1))
        return (self.inp(self.cells.placed(z)) + self.place).flatten(1)

    def grow(self, x: Tensor, grid: Sequence[int] = ()) -> Tensor:
        """What both are read from (n, widths[0], h / 2, w / 2), of the first layer's output (n, channels * cells)."""
        x = F.relu(x.unflatten(-1, (self.grid[0], *(grid or self.grid[1:]))))
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.widen(x), inplace=True)  # (n, widths[-1], rows, columns)
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)  # (n, widths[i], 2 rows, 2 columns)
        return x


def begin(module: nn.Module, last: Sequence[str]) -> None:
    """First weights of a module's convolutions that keep a signal's size through ReLUs; the last ones have none.

    Reference: Delving Deep into Rectifiers (He et al., 2015), arXiv:1502.01852.
    """
    for name, conv in module.named_modules():
        if isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)):
            taps = math.prod(conv.kernel_size) / (math.prod(conv.stride) if isinstance(conv, nn.ConvTranspose2d) else 1)
            nn.init.normal_(conv.weight, std=((1 if name in last else 2) / (conv.in_channels * taps)) ** 0.5)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


def log_softmax_unimix(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities of a softmax mixed with a share `unimix` of the uniform law (Hafner et al., 2023)."""
    return softmax_unimix(logits, unimix).log()


def softmax_unimix(logits: Tensor, unimix: float) -> Tensor:
    """The same law's probabilities, float32."""
    return (1 - unimix) * logits.float().softmax(-1) + unimix / logits.shape[-1]


def sample_straight_through(log_p: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One-hot samples (..., classes) of categorical laws whose gradient is that of the probabilities."""
    uniform = torch.rand(log_p.shape, generator=generator, device=log_p.device).clamp_(1e-9, 1 - 1e-7)
    index = (log_p - (-uniform.log()).log()).argmax(-1)  # Gumbel-max
    probs = log_p.exp()
    return F.one_hot(index, log_p.shape[-1]) + probs - probs.detach()
