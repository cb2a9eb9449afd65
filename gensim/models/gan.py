"""A conditional GAN of small cut-out pictures: a generator, and a critic that sees two pictures of one identity.

Generator and critic are plain convolutions without any normalisation across a batch, trained by the relativistic loss
with gradient penalties on real and on generated pictures.

Reference: The GAN is dead; long live the GAN! A Modern GAN Baseline (Huang et al., 2024), arXiv:2501.05441.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 4  # colours, each times the coverage, and the coverage
SLOPE = 0.2  # of what is below zero
FIRST = 2  # level that draws first, of 16x8 cells


class Generator(nn.Module):
    """Pictures of what a condition says, of one identity: colours times coverage, and coverage.

    What a picture shows comes in by a first grid of 4 by 2 cells, by maps that are added to the first channels of the
    next levels, up to 32x16 cells, and by scales and shifts of all channels (Perez et al., 2017, arXiv:1709.07871), so
    that a batch is one convolution a layer. From 16x8 cells on each level draws what it adds to the picture of the
    level before, 2 by 2 pixels a cell.

    Arguments:
        conditions: width of the condition.
        identity: width of the identity's latent, which is standard normal.
        widths: channels at 4x2, 8x4, 16x8 and 32x16 cells, for pictures of 32x16 and 64x32; one more makes 128x64.
        maps: channels at 8x4, 16x8 and 32x16 cells that maps are added to.
        hidden: width of what condition and identity are read into.
    """

    def __init__(
        self,
        conditions: int,
        identity: int,
        widths: Sequence[int],
        maps: Sequence[int] = (80, 48, 16),
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.identity, self.conditions, self.widths = identity, conditions, tuple(widths)
        self.told = nn.Sequential(
            nn.Linear(conditions + identity, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(SLOPE),
        )
        self.begin = nn.Linear(hidden, 8 * widths[0])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip([widths[0], *widths], widths))
        self.scales = nn.ModuleList(nn.Linear(hidden, 2 * width) for width in widths)
        self.mapped = tuple(min(m, w) for m, w in zip(maps, widths[1:]))
        self.maps = nn.ModuleList(nn.Linear(hidden, m * (8 << 2 * (i + 1))) for i, m in enumerate(self.mapped))
        self.outs = nn.ModuleList(nn.Conv2d(width, 4 * CHANNELS, 3, padding=1) for width in widths[FIRST:])
        self.kernels: list[Tensor] = []  # of what is frozen
        _begin(self.convs)
        for out in self.outs:
            nn.init.normal_(out.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(out.bias)  # type: ignore[arg-type]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Heights of the pictures it draws; each is twice as high as wide."""
        return tuple(32 << i for i in range(len(self.outs)))

    def grown(self) -> list[nn.Module]:
        """What its last level is made of: larger pictures are what it adds to those of the level before."""
        return [self.convs[-1], self.scales[-1], self.outs[-1]]

    def forward(self, condition: Tensor, identity: Tensor, height: int = 64) -> list[Tensor]:
        """Pictures (n, 4, h, h / 2) about 0..1, of `height` pixels first, then of all heights below.

        Of conditions (n, conditions) and identities (n, identity).
        """
        w = self.told(torch.cat([condition, identity], -1))  # (n, hidden)
        x = (
            self.begin(w).unflatten(-1, (-1, 4, 2)).contiguous(memory_format=torch.channels_last)
        )  # (n, widths[0], 4, 2)
        drawn: list[Tensor] = []
        for level in range(FIRST + 1 + self.sizes.index(height)):
            scale, shift = self.scales[level](w)[..., None, None].chunk(2, 1)  # (n, width, 1, 1)
            x = torch.addcmul(shift, self._convolved(level, x), 1 + scale)  # (n, width, 4, 2 << level)
            if 0 < level <= len(self.maps):
                many = self.mapped[level - 1]
                x[:, :many] += self.maps[level - 1](w).unflatten(-1, (many, *x.shape[2:]))
            x = F.leaky_relu(x, SLOPE, inplace=True)
            if level >= FIRST:
                told = F.pixel_shuffle(self.outs[level - FIRST](x), 2)  # (n, 4, 8, 4 << level)
                drawn.insert(
                    0, told if not drawn else F.interpolate(drawn[0], scale_factor=2.0, mode="bilinear") + told
                )
        return drawn

    def freeze(self) -> Generator:
        """Makes ready for drawing alone: nothing is learned from here on."""
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.kernels = [doubled(conv.weight) for conv in list(self.convs)[1:]]  # type: ignore[arg-type]
        return self

    def _convolved(self, level: int, x: Tensor) -> Tensor:
        """The level's convolution of what the level before made, at twice its size: (n, width, 4, 2 << level)."""
        conv = self.convs[level]
        assert isinstance(conv, nn.Conv2d)
        if level == 0:
            return conv(x)
        kernel = self.kernels[level - 1] if self.kernels else doubled(conv.weight)
        return F.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=1)


def doubled(kernel: Tensor) -> Tensor:
    """A transposed convolution's kernel (i, o, 4, 4) that does what one of 3 by 3 (o, i, 3, 3) does to doubled maps.

    Doubled maps have each cell twice by twice; those are multiplied once: 16 products a cell in place of 36.
    """
    for side in (2, 3):
        a, b, c = kernel.unbind(side)
        kernel = torch.stack([c, b + c, a + b, a], side)
    return kernel.transpose(0, 1).contiguous(memory_format=torch.channels_last)


class Critic(nn.Module):
    """How real two pictures of one identity look under their conditions, at several sizes at once.

    Seen together they must show the same person, so that identity is what the generator's latent comes to say.

    References: cGANs with Projection Discriminator (Miyato and Koyama, 2018), arXiv:1802.05637. MSG-GAN: Multi-Scale
    Gradients for Generative Adversarial Networks (Karnewar and Wang, 2019), arXiv:1903.06048.

    Arguments:
        conditions: width of a condition.
        widths: channels at 32x16, 16x8, 8x4 and 4x2 cells, of pictures of 64x32; one more before them sees 128x64.
        hidden: width of what is judged.
    """

    def __init__(self, conditions: int, widths: Sequence[int], hidden: int = 256) -> None:
        super().__init__()
        self.sizes = len(widths) - 2  # of pictures that it sees
        seen = 2 * CHANNELS * 4
        ins = [before + seen * (level < self.sizes) for level, before in enumerate([0, *widths[:-1]])]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(ins, widths))
        self.last = nn.Linear(8 * widths[-1], hidden)
        self.told = nn.Sequential(
            nn.Linear(2 * conditions, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, hidden), nn.LeakyReLU(SLOPE)
        )
        self.match, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        _begin(self.convs)

    def forward(self, pictures: Sequence[Tensor], conditions: Tensor) -> Tensor:
        """Logits (n,) of pairs of pictures (n, 8, h, h / 2), largest first, under conditions (n, 2 conditions)."""
        x: Tensor | None = None
        for level, conv in enumerate(self.convs):
            parts = [] if x is None else [F.avg_pool2d(x, 2)]
            if level < self.sizes:
                parts.append(F.pixel_unshuffle(2 * pictures[level], 2))  # (n, 32, h / 2, h / 4)
            joined = torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)
            x = F.leaky_relu(conv(joined), SLOPE)
        assert x is not None
        x = F.leaky_relu(self.last(x.flatten(1)), SLOPE)  # (n, hidden)
        matched = (x * self.match(self.told(conditions))).mean(-1)
        return self.out(x)[..., 0] + matched * x.shape[-1] ** 0.5


def relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """How far `better` logits (n,) are from all being above the `worse` ones (n,): a mean ()."""
    return F.softplus(worse - better).mean()


def penalised(critic: Critic, pictures: Sequence[Tensor], told: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (n,) of pictures, and the squared norm of their gradient by the pictures, a mean ().

    Reference: Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018), arXiv:1801.04406.
    """
    own = [one.detach().requires_grad_() for one in pictures]
    logits = critic(own, told)
    slopes = torch.autograd.grad(logits.sum(), own, create_graph=True)
    return logits, torch.stack([slope.square().flatten(1).sum(-1) for slope in slopes]).sum(0).mean()


def sizes_of(pictures: Tensor, many: int) -> list[Tensor]:
    """Pictures (n, c, h, w) and their smaller ones, each half as high, largest first."""
    found = [pictures]
    for _ in range(many - 1):
        found.append(F.avg_pool2d(found[-1], 2))
    return found


def altered(pictures: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Pictures (n, 8, h, h / 2) of several sizes, shifted a little, and with a part cut out; gradients go through.

    All sizes are altered alike, and so are real and generated ones that are given the same generator's state.

    Reference: Differentiable Augmentation for Data-Efficient GAN Training (Zhao et al., 2020), arXiv:2006.10738.
    """
    n, device = len(pictures[0]), pictures[0].device
    chance = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    shift = (chance(n, 2) * 5).long() - 2  # of the smallest, in pixels
    middle, holed = chance(n, 2), chance(n, 1, 1) < 0.3
    least = pictures[-1].shape[2]
    return [_altered(one, shift * (one.shape[2] // least), middle, holed) for one in pictures]


def _altered(x: Tensor, shift: Tensor, middle: Tensor, holed: Tensor) -> Tensor:
    n, _, h, w = x.shape
    most = h // 16
    rows, columns = (torch.arange(size, device=x.device) + most + shift[:, i, None] for i, size in enumerate((h, w)))
    every = torch.arange(n, device=x.device)[:, None, None]
    moved = F.pad(x, (most, most, most, most)).permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None]]
    share = [(torch.arange(size, device=x.device) + 0.5) / size - middle[:, i, None] for i, size in enumerate((h, w))]
    hole = (share[0].abs() < 0.12)[:, :, None] & (share[1].abs() < 0.24)[:, None] & holed  # (n, h, w)
    return torch.where(hole[..., None], 0.0, moved).permute(0, 3, 1, 2)


def _begin(convs: nn.ModuleList) -> None:
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, SLOPE)  # type: ignore[arg-type]
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
