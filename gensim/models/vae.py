"""A VAE whose latent is a row of categorical variables: one frame in, one latent out, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.levels import Levels, begun


class Encoder(nn.Module):
    """q(z | frame): logits of the latent's categories, from one frame alone.

    Reference: Mastering Atari with Discrete World Models (Hafner et al., 2020), arXiv:2010.02193.

    Arguments:
        shape: height and width of the frame in pixels, multiples of 16.
        widths: channels after each halving; three or four, of cells two or three.
        groups, classes: the latent is `groups` categorical variables of `classes` values.
        cells: whether each variable tells of a patch, a pixel of what the halvings leave, instead of the whole frame;
            all patches are alike. Its values are then ordered; see `Levels` and `Cells`.
    """

    def __init__(
        self, shape: tuple[int, int], widths: Sequence[int], groups: int, classes: int, cells: bool = False
    ) -> None:
        super().__init__()
        self.groups, self.classes = groups, classes
        channels = [3, *widths]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in zip(channels, channels[1:]))
        grid = grid_of(shape, widths, cells)
        self.cells = Cells(grid, groups) if cells else None
        self.levels = Levels(classes) if cells else None
        if self.cells is None or self.levels is None:
            self.squeeze = nn.Conv2d(widths[-1], widths[-1] // 2, 1)
            self.out: nn.Module = nn.Linear(widths[-1] // 2 * math.prod(grid), groups * classes)
        else:
            scalars = self.cells.each * self.levels.scalars
            self.squeeze = nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)
            self.out = nn.Conv2d(widths[-1], scalars // PATCHES, 1, bias=False)
            self.place = nn.Parameter(torch.zeros(scalars, *grid))
            begin(self, last=("out",))

    def forward(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """Maps frames (n, 3, h, w) in -1..1 to logits (n, groups, classes).

        at (n, 2): of cells, where in the whole frame each begins, in rows and columns of cells; x are then parts.
        """
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)  # (n, widths[i], h / 2, w / 2)
        x = F.relu(self.squeeze(x), inplace=True)  # (n, widths[-1] or half of it, h, w of patches)
        if self.cells is None or self.levels is None:
            return self.out(x.flatten(1)).unflatten(-1, (self.groups, self.classes))  # (n, groups, classes)
        x = coarse(self.out(x), self.levels.scalars)  # (n, each * scalars, rows, columns)
        cells = self.cells if at is None else self.cells.part(x.shape[2:])
        return self.levels.logits(cells.ordered(x + cells.cut(self.place, at)))


def grid_of(shape: Sequence[int], widths: Sequence[int], cells: bool = False) -> tuple[int, int]:
    """Rows and columns that are left of a frame after as many halvings as there are widths; one more makes cells."""
    halvings = len(widths) + cells
    return shape[0] >> halvings, shape[1] >> halvings


def cut(x: Tensor, at: Tensor, size: Sequence[int]) -> Tensor:
    """Parts (n, ..., *size) of pictures x (n, ..., h, w), the first row and column of each at (n, 2)."""
    rows, columns = (at[:, i, None] + torch.arange(size[i], device=at.device) for i in (0, 1))  # (n, size[i])
    n = torch.arange(len(x), device=at.device)[:, None, None]
    found = x.movedim((-2, -1), (1, 2))[n, rows[:, :, None], columns[:, None]]  # (n, *size, ...)
    return found.movedim((1, 2), (-2, -1))


PATCHES = 4  # of a cell, two by two
TURN = (0, 3, 1, 2)  # which comes when: upper left, lower right, upper right, lower left
BACK = (0, 2, 3, 1)  # the reverse


def coarse(x: Tensor, scalars: int) -> Tensor:
    """Cells (n, each * scalars, rows, columns) of patches (n, each / 4 * scalars, 2 rows, 2 columns)."""
    x = F.pixel_unshuffle(x, 2).unflatten(1, (-1, scalars, PATCHES))[:, :, :, TURN]  # of each patch in its turn
    return x.transpose(2, 3).flatten(1, 3)


def fine(x: Tensor, scalars: int) -> Tensor:
    """The reverse: patches (n, each / 4 * scalars, 2 rows, 2 columns) of cells (n, each * scalars, rows, columns)."""
    x = x.unflatten(1, (-1, PATCHES, scalars))[:, :, BACK]
    return F.pixel_shuffle(x.transpose(2, 3).flatten(1, 3), 2)


class Cells(nn.Module):
    """Which variables of a latent tell of which cell of a frame, and in which order.

    A cell is two by two patches, and each variable tells of one patch. First come all cells' first variables, then all
    second ones, and so on: first ones of patches, those of every other patch as on a chequerboard before the rest, then
    second ones of patches. With as many stages as a cell has variables each is drawn given all before it, its
    neighbours' among them.

    Reference: Parallel Multiscale Autoregressive Density Estimation (Reed et al., 2017), arXiv:1703.03664.
    """

    def __init__(self, grid: tuple[int, int], groups: int) -> None:
        super().__init__()
        self.grid, self.groups, self.each = grid, groups, groups // math.prod(grid)

    def part(self, grid: Sequence[int]) -> Cells:
        """The same of a part of the frame, of so many rows and columns of cells."""
        return Cells((grid[0], grid[1]), self.each * grid[0] * grid[1])

    def cut(self, x: Tensor, at: Tensor | None) -> Tensor:
        """Parts (n, k, rows, columns), as large as this grid, of a whole grid x (k, all rows, all columns)."""
        return x if at is None else cut(x[None].expand(len(at), *x.shape), at, self.grid)

    def ordered(self, x: Tensor) -> Tensor:
        """Variables (n, groups, k) of what each cell has (n, each * k, rows, columns)."""
        return x.unflatten(1, (self.each, -1)).movedim(2, -1).reshape(len(x), self.groups, -1)

    def placed(self, z: Tensor) -> Tensor:
        """The reverse: (n, each * k, rows, columns) of variables (n, groups, k)."""
        return z.unflatten(1, (self.each, *self.grid)).movedim(-1, 2).flatten(1, 2)


class Decoder(nn.Module):
    """The frame's mean given its latent, and labels of its pixels; it sees the latent alone, no memory and no action.

    A frame can therefore be drawn again from its stored indices, 20 bytes a step.

    Arguments:
        shape, widths, groups, classes: as the encoder's.
        labels: numbers that are told of every pixel besides its colour.
        cells: as the encoder's.
        light: of cells, with less than half of the work: what is around a pixel is read channel by channel.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        widths: Sequence[int],
        groups: int,
        classes: int,
        labels: int = 0,
        cells: bool = False,
        light: bool = False,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.grid = (widths[-1] // 2, *grid_of(shape, widths))  # channels, rows, columns
        self.cells = Cells(grid_of(shape, widths, True), groups) if cells else None
        if self.cells is None:
            self.inp: nn.Module = nn.Linear(groups * classes, math.prod(self.grid))
            self.widen = nn.Conv2d(self.grid[0], widths[-1], 1)
        else:
            self.inp = nn.Conv2d(self.cells.each // PATCHES * classes, self.grid[0], 1, bias=False)
            self.place = nn.Parameter(torch.zeros(self.grid[0] * PATCHES, *self.cells.grid))
            self.widen = nn.Conv2d(self.grid[0], widths[-1], 3, 1, 1)
            self.within = Residual(widths[-1], light)
        widths = widths[::-1]
        doubled = partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)
        larger: Callable[[int, int], nn.Module] = Raised if light else doubled
        self.convs = nn.ModuleList(larger(i, o) for i, o in zip(widths, widths[1:]))
        self.smooth = Residual(widths[-1], light) if light else None
        self.out = nn.Conv2d(widths[-1], 12, 1) if light else nn.Conv2d(widths[-1], 12, 3, 1, 1)
        near = 1 if cells else 3  # of whole frames 3 x 3, as worlds have it that were fitted so
        self.labels = nn.Conv2d(widths[-1], 4 * labels, near, 1, near // 2) if labels else None
        if self.cells is not None:
            begin(self, last=("out", "labels"))
            first = begun(self.cells.each // PATCHES, classes, self.grid[0])  # (variables * classes, channels)
            with torch.no_grad():
                self.inp.weight.copy_(first.T[..., None, None])  # type: ignore[union-attr, operator]

    def forward(self, z: Tensor) -> Tensor:
        """Maps one-hot latents (n, groups, classes) to frames (n, 3, h, w), about -1..1."""
        return F.pixel_shuffle(self.out(self.grow(self.read(z))), 2)  # (n, 3, h, w)

    def labelled(self, z: Tensor, at: Tensor | None = None, grid: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """The same frames, and what is told of their pixels (n, labels, h, w).

        at (n, 2), grid: of cells, z tell of parts of frames that begin there, of so many rows and columns of cells.
        """
        assert self.labels is not None
        x = self.grow(self.read(z, at, grid))
        return F.pixel_shuffle(self.out(x), 2), F.pixel_shuffle(self.labels(x), 2)

    def read(self, z: Tensor, at: Tensor | None = None, grid: Sequence[int] = ()) -> Tensor:
        """The first layer's output (n, channels, rows, columns) of one-hot latents (n, groups, classes)."""
        if self.cells is None:
            return self.inp(z.flatten(1)).unflatten(-1, self.grid)
        cells = self.cells.part(grid) if grid else self.cells
        return self.inp(fine(cells.placed(z), self.classes)) + F.pixel_shuffle(cells.cut(self.place, at), 2)

    def grow(self, x: Tensor) -> Tensor:
        """What both are read from (n, widths[0], h / 2, w / 2), of the first layer's output (n, channels, h, w)."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.widen(F.relu(x) if self.cells is None else x)  # (n, widths[-1], rows, columns)
        x = F.relu(x if self.cells is None else self.within(x), inplace=True)
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)  # (n, widths[i], 2 rows, 2 columns)
        return x if self.smooth is None else F.relu(self.smooth(x), inplace=True)


class Residual(nn.Module):
    """What is added to a picture's channels (n, width, h, w) by what is around each pixel.

    Reference: Identity Mappings in Deep Residual Networks (He et al., 2016), arXiv:1603.05027; light, with each
    channel's surroundings read apart: MobileNets (Howard et al., 2017), arXiv:1704.04861.
    """

    def __init__(self, width: int, light: bool = False) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 3, 1, 1, groups=width if light else 1)
        self.back = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The sum, of the same shape."""
        found = F.relu(self.around(F.relu(x)), inplace=True).permute(0, 2, 3, 1)  # (n, h, w, width)
        return x + F.linear(found, self.back.weight.flatten(1), self.back.bias).permute(0, 3, 1, 2)


class Raised(nn.Module):
    """A picture (n, into, 2 h, 2 w) of one (n, width, h, w): each pixel becomes four, of itself alone.

    Reference: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
    Network (Shi et al., 2016), arXiv:1609.05158.
    """

    def __init__(self, width: int, into: int) -> None:
        super().__init__()
        self.four = nn.Conv2d(width, 4 * into, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The picture, laid out as convolutions take it."""
        return F.pixel_shuffle(self.four(x), 2).contiguous(memory_format=torch.channels_last)


def begin(module: nn.Module, last: Sequence[str]) -> None:
    """First weights of a module's convolutions that keep a signal's size through ReLUs; the last ones have none.

    Reference: Delving Deep into Rectifiers (He et al., 2015), arXiv:1502.01852.
    """
    for name, conv in module.named_modules():
        if isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)):
            taps = math.prod(conv.kernel_size) / (math.prod(conv.stride) if isinstance(conv, nn.ConvTranspose2d) else 1)
            heard = conv.in_channels // conv.groups * taps
            nn.init.normal_(conv.weight, std=((1 if name in last else 2) / heard) ** 0.5)
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
