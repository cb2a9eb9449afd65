"""An autoregressive model of frames: each pixel's colour given all pixels above it and to its left."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.bits import bits_per_dim, check_frames
from gensim.models.logistic import Colours, numbers

UP, LEFT, RIGHT = 4, 8, 4  # black pixels around a frame, and how far the first layers see
DILATIONS = (1, 2, 4, 8)  # of the blocks in turn
LOOKS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))  # neighbours (down, right) that may be copied


@dataclass(frozen=True)
class PixelConfig:
    """Sizes of a PixelCNN."""

    size: int = 64
    """Side of the square frame in pixels."""
    width: int = 64
    """Channels of both stacks, an even number."""
    blocks: int = 6
    """Residual blocks of each stack."""
    mixtures: int = 8
    """Logistic components of a pixel's colour."""
    shades: int = 256
    """Values of a channel; fewer than 256 for small image spaces."""

    def __post_init__(self) -> None:
        if min(self.size, self.width, self.blocks, self.mixtures) < 1 or self.width % 2:
            raise ValueError(f"{self}: give sizes of at least 1 and an even width")
        if not 2 <= self.shades <= 256:
            raise ValueError(f"shades={self.shades}: give 2..256")


class Vertical(nn.Module):
    """A gated block over whole rows: it reads a row and the one `reach` above it."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.conv = nn.Conv2d(width, width, (2, 3), dilation=reach)
        self.out = nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps rows (n, width, reach + h, w), of which the first `reach` are context, to (n, width, h, w)."""
        seen = self.conv(F.pad(x, (self.reach, self.reach)))  # (n, width, h, w)
        return x[:, :, self.reach :] + self.out(F.glu(seen, 1))


class Horizontal(nn.Module):
    """A gated block within a row: it reads a pixel, the one `reach` to its left, and the rows above."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.conv = nn.Conv2d(width, width, (1, 2), dilation=(1, reach))
        self.link = nn.Conv2d(width, width, 1, bias=False)
        self.out = nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor, above: Tensor) -> Tensor:
        """Maps pixels (n, width, h, reach + w) and the vertical stack's (n, width, h, w) to (n, width, h, w)."""
        seen = self.conv(x) + self.link(above)  # (n, width, h, w)
        return x[..., self.reach :] + self.out(F.glu(seen, 1))


class PixelCNN(nn.Module):
    """Exact probabilities of frames, pixel by pixel, from a stack over the rows above and one over the row so far.

    The first layers see many raw pixels at once, dilated blocks see further, and a learned map says where in the frame
    a pixel lies. Components of a colour's law begin at its neighbours' colours, and neighbours can be copied.

    Reference: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), arXiv:1606.05328;
    PixelCNN++ (Salimans et al., 2017), arXiv:1701.05517.
    """

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.rows = nn.Conv2d(3, width, (UP, 2 * RIGHT + 1))
        self.row = nn.Conv2d(3, width, (1, LEFT))
        self.place = nn.Parameter(torch.zeros(1, width, config.size, config.size))
        self.reaches = [DILATIONS[i % len(DILATIONS)] for i in range(config.blocks)]
        self.vertical = nn.ModuleList(Vertical(width, reach) for reach in self.reaches)
        self.horizontal = nn.ModuleList(Horizontal(width, reach) for reach in self.reaches)
        self.inp, self.out = nn.Linear(width, width), nn.Linear(width, numbers(config.mixtures, len(LOOKS)))
        self._spread()

    def log_prob(self, frames: Tensor) -> Tensor:
        """Log-probabilities (n,) of frames (n, h, w, 3) uint8, exact, in nats; ValueError for other shapes."""
        check_frames(frames, self.config.size, self.config.shades)
        return self.law(frames).log_prob(frames).sum((1, 2))

    def loss(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean bits per dimension () of frames; nothing is drawn."""
        return bits_per_dim(self.log_prob(frames), frames).mean()

    def prepare(self, frames: Tensor, generator: torch.Generator | None = None) -> None:
        """Nothing is set by the first batch."""

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Frames (n, h, w, 3) uint8: the vertical stack runs once a row, the horizontal one once a pixel."""
        size = self.config.size
        noise = torch.rand(n, size, size, 4, generator=generator, dtype=torch.float64, device=generator.device)
        return Drawing(self, noise.to(self.place.device)).run()

    def law(self, frames: Tensor) -> Colours:
        """The law (n, h, w) of every pixel given those before it."""
        canvas, size = framed(frames), self.config.size
        return self.judge(self.features(canvas), looks(canvas, 0, 0, size, size))

    def features(self, canvas: Tensor) -> Tensor:
        """What is known (n, width, h, w) before each pixel of framed frames, as `framed` gives them."""
        x = self.scaled(canvas)
        v = self.rows(x[:, :, :-1, LEFT - RIGHT :]) + self.place.to(x.dtype)  # (n, width, h, w)
        h = self.row(x[:, :, UP:, : -RIGHT - 1])  # (n, width, h, w)
        for reach, down, across in zip(self.reaches, self.vertical, self.horizontal):
            v = down(F.pad(v, (0, 0, reach, 0)))
            h = across(F.pad(h, (reach, 0)), v)
        return h

    def judge(self, features: Tensor, near: Tensor) -> Colours:
        """The law (n, h, w) of pixels from features (n, width, h, w) and neighbours (n, h, w, 6, 3); in float32."""
        with torch.autocast(features.device.type, enabled=False):
            told = self.out(F.silu(self.inp(features.float().movedim(1, -1))))  # (n, h, w, numbers)
            return Colours.of(told, self._anchors(near), near, self.config.shades)

    def scaled(self, canvas: Tensor) -> Tensor:
        """Framed frames in shades to (n, 3, ...) in -1..1."""
        x = canvas.movedim(-1, 1) * (2 / (self.config.shades - 1)) - 1
        return x.contiguous(memory_format=torch.channels_last)

    def _anchors(self, near: Tensor) -> Tensor:
        """Colours (..., 4, 3) near which the next one may lie: left, above, the plane through three, above right."""
        left, above, corner, right = near[..., :4, :].unbind(-2)
        plane = (left + above - corner).clamp(0, self.config.shades - 1)
        return torch.stack([left, above, plane, right], -2)

    def _spread(self) -> None:
        """Components begin with scales from broad to narrow, blocks as nearly nothing."""
        k = self.config.mixtures
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()
            at = k + len(LOOKS) + 3 * k
            self.out.bias[at : at + 3 * k] = torch.linspace(3.0, -1.0, k).repeat_interleave(3)
            for block in (*self.vertical, *self.horizontal):
                block.out.weight.mul_(0.3)  # type: ignore[operator, union-attr]


class Drawing:
    """Frames that are being drawn, with what both stacks remember.

    Arguments:
        model: whose frames.
        noise: uniform draws (n, h, w, 4).
    """

    def __init__(self, model: PixelCNN, noise: Tensor) -> None:
        self.model, self.noise, self.size = model, noise, model.config.size
        self.canvas = framed(torch.zeros(len(noise), self.size, self.size, 3, device=noise.device))
        blank = lambda *sides: self.canvas.new_zeros(len(noise), model.config.width, *sides)  # noqa: E731
        self.above = [blank(reach, self.size) for reach in model.reaches]
        self.left = [blank(1, reach + self.size) for reach in model.reaches]

    def run(self) -> Tensor:
        """Draws every pixel; the frames (n, h, w, 3) uint8."""
        for r in range(self.size):
            rows = self._rows(r)
            for c in range(self.size):
                self._pixel(r, c, [row[..., c : c + 1] for row in rows])
        return self.canvas[:, UP:, LEFT:-RIGHT].byte()

    def _rows(self, r: int) -> list[Tensor]:
        """What each vertical block says of row r, (n, width, 1, w) each, from the rows above."""
        model, said = self.model, []
        x = model.scaled(self.canvas[:, r : r + UP, LEFT - RIGHT :])
        v = model.rows(x) + model.place[:, :, r : r + 1]  # (n, width, 1, w)
        for i, block in enumerate(model.vertical):
            seen = torch.cat([self.above[i], v], 2)  # (n, width, reach + 1, w)
            self.above[i], v = seen[:, :, 1:], block(seen)
            said.append(v)
        return said

    def _pixel(self, r: int, c: int, above: list[Tensor]) -> None:
        """Draws the pixel at (r, c) of every frame."""
        model = self.model
        h = model.row(model.scaled(self.canvas[:, UP + r : UP + r + 1, c : c + LEFT]))  # (n, width, 1, 1)
        for reach, block, left, v in zip(model.reaches, model.horizontal, self.left, above):
            left[..., reach + c] = h[..., 0]
            h = block(left[..., c : c + reach + 1], v)
        law = model.judge(h, looks(self.canvas, r, c, 1, 1))
        colour = law.draw(self.noise[:, r : r + 1, c : c + 1])  # (n, 1, 1, 3)
        self.canvas[:, UP + r, LEFT + c] = colour[:, 0, 0].float()


def framed(frames: Tensor) -> Tensor:
    """Frames (n, h, w, 3) as float32 with black around them, (n, UP + h, LEFT + w + RIGHT, 3)."""
    return F.pad(frames.float(), (0, 0, LEFT, RIGHT, UP, 0))


def looks(canvas: Tensor, r: int, c: int, h: int, w: int) -> Tensor:
    """The neighbours (n, h, w, 6, 3) of the pixels from (r, c) on, all of them before their pixel."""
    at = [(UP + r + down, LEFT + c + right) for down, right in LOOKS]
    return torch.stack([canvas[:, y : y + h, x : x + w] for y, x in at], -2)
