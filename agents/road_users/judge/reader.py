"""What a picture of a person says: their attributes, their direction, and who they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.agents.road_users.person import CHOICES, LIMITS, slices
from gensim.agents.road_users.pictures import Pictures

# How far off a number may be and still count as recognised, each in its own unit.
WITHIN = {"age": 12.0, "height": 0.08, "build": 0.2, "skin": 1.5, "top_colour": 40.0, "bottom_colour": 40.0}
TURNED = 30.0  # degrees that a direction may be off
SPANS = {name: high - low for name, (low, high) in LIMITS.items()} | {"top_colour": 255.0, "bottom_colour": 255.0}
ATTRIBUTES = (*WITHIN, *CHOICES, "azimuth")
KEPT = (1, 3, 5)  # convolutions whose output is what pictures are compared by


class Reader(nn.Module):
    """Reads attributes off pictures (n, 4, 64, 32), and gives each picture a place among persons.

    Who is told by vectors that are alike for two pictures of one person and unlike for two of different ones, after A
    Simple Framework for Contrastive Learning of Visual Representations (Chen et al., 2020), arXiv:2002.05709.

    Arguments:
        widths: channels at 32x16, 16x8, 8x4 and 4x2 cells.
        own: width of the vector that tells who.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 192), own: int = 64) -> None:
        super().__init__()
        self.convs, self.norms, last = nn.ModuleList(), nn.ModuleList(), 4
        for width in widths:
            self.convs.extend([nn.Conv2d(last, width, 3, 2, 1), nn.Conv2d(width, width, 3, 1, 1)])
            self.norms.extend([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
            last = width
        self.mid = nn.Linear(8 * last, 256)
        self.heads = nn.ModuleDict({name: nn.Linear(256, s.stop - s.start) for name, s in _told().items()})
        self.own = nn.Linear(256, own)

    def levels(self, x: Tensor) -> list[Tensor]:
        """What each convolution makes of pictures (n, 4, h, w): maps (n, c, h', w')."""
        found = []
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x)))
            found.append(x)
        return found

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Logits or numbers (n, k) of each attribute, and unit vectors (n, own) of who it is."""
        x = F.relu(self.mid(self.levels(x)[-1].flatten(1)))
        return {name: head(x) for name, head in self.heads.items()}, F.normalize(self.own(x), dim=-1)

    def features(self, x: Tensor) -> Tensor:
        """What pictures are compared by (n, f): means and spreads of the maps of three levels."""
        levels = self.levels(x)
        kept = [levels[i].flatten(2) for i in KEPT]
        return torch.cat([part for one in kept for part in (one.mean(-1), one.std(-1))], -1)


def loss(net: Reader, pictures: Pictures, pairs: int, chance: torch.Generator) -> Tensor:
    """What a batch of pairs of pictures of one person each costs: attributes, and telling persons apart."""
    real, told, _ = pictures.pairs(pairs, chance)
    told = torch.cat(told.chunk(2, -1))  # (2 n, WIDTH)
    x = torch.cat(real.chunk(2, 1))  # (2 n, 4, h, w)
    found, own = net(blurred(x, chance))
    total = missed(found, told)
    alike = own[:pairs] @ own[pairs:].T / 0.1  # (n, n)
    same = torch.arange(pairs)
    return total + (F.cross_entropy(alike, same) + F.cross_entropy(alike.T, same)) / 2


def missed(found: dict[str, Tensor], told: Tensor) -> Tensor:
    """How far what is read (n, k) is off what conditions (n, WIDTH) say, all attributes together: a mean ()."""
    return sum((_miss(name, found[name], told[:, part]) for name, part in _told().items()), torch.zeros(()))


def blurred(x: Tensor, chance: torch.Generator) -> Tensor:
    """Pictures with a little noise, and moved by up to a pixel, so that no single pixel counts for much."""
    dx, dy = (int(torch.randint(-1, 2, (), generator=chance)) for _ in range(2))
    return x.roll((dy, dx), (-2, -1)) + 0.03 * torch.randn(x.shape, generator=chance)


def said(net: Reader, pictures: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What is read off pictures uint8 (n, 4, h, w): attributes (n, k), who (n, own), and features (n, f).

    Words are told by their probabilities, numbers in -1..1 over their limits.
    """
    net.eval()
    with torch.no_grad():
        parts = [(*net(x), net.features(x)) for x in (some.float() / 255 for some in pictures.split(256))]
    found = {name: torch.cat([part[0][name] for part in parts]) for name in ATTRIBUTES}
    found = {name: value.softmax(-1) if name in CHOICES else value for name, value in found.items()}
    return found, torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])


def recognised(found: dict[str, Tensor], told: Tensor) -> dict[str, Tensor]:
    """Whether each attribute was read (n,) as it was asked for by conditions (n, WIDTH)."""
    return {name: _right(name, found[name], told[:, part]) for name, part in _told().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    """How far what is read of each attribute moved (n,), in 0..1.

    Words: the total variation of their probabilities; numbers: the share of their range; directions: of half a turn.
    """
    return {name: _moved(name, before[name], after[name]) for name in before}


def _moved(name: str, a: Tensor, b: Tensor) -> Tensor:
    if name in CHOICES:
        return (a - b).abs().sum(-1) / 2
    if name == "azimuth":
        return _angle(a, b) / 180
    return (a.clamp(-1, 1) - b.clamp(-1, 1)).abs().mean(-1) / 2


def _right(name: str, found: Tensor, told: Tensor) -> Tensor:
    if name in CHOICES:
        return found.argmax(-1) == told.argmax(-1)
    if name == "azimuth":
        return _angle(found, told) <= TURNED
    return ((found - told).abs() * SPANS[name] / 2 <= WITHIN[name]).all(-1)


def _miss(name: str, found: Tensor, told: Tensor) -> Tensor:
    if name in CHOICES:
        return F.cross_entropy(found, told.argmax(-1))
    return 4 * F.smooth_l1_loss(found, told, beta=0.1)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    turn = torch.atan2(a[:, 1], a[:, 0]) - torch.atan2(b[:, 1], b[:, 0])
    return torch.rad2deg(torch.atan2(turn.sin(), turn.cos()).abs())


def _told() -> dict[str, slice]:
    at = slices()
    return {name: at[name] for name in ATTRIBUTES}
