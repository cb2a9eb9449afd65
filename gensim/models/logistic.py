"""Laws over colours: mixtures of discretised logistics and of exact copies, whose probabilities sum to one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR = 1e-6  # share of the uniform law over all colours, so that no frame is impossible
NARROW, BROAD = -4.0, 6.0  # logarithms of the least and the greatest scale, in shades
REACH = 8.0  # shades by which an output of one moves a mean
PARTS = 10  # numbers that describe a component: weight, 3 offsets, 3 scales, 3 leanings


@dataclass(frozen=True)
class Colours:
    """The law of each pixel's colour: components that are logistic by channel, and atoms that are one colour each.

    A component's mean of green leans on the red that came out, that of blue on both. Where colours lie flat, an atom
    costs nothing, which no density of finite width can do.

    Reference: PixelCNN++ (Salimans et al., 2017), arXiv:1701.05517.

    Arguments:
        weight: log-probabilities (..., k + a) of the components and of the atoms.
        base: where each component's offsets begin, (..., k, 3) in shades.
        offset: (..., k, 3) in shades.
        log_scale: (..., k, 3), natural logarithms of shades.
        lean: (..., k, 3), of green on red, of blue on red, of blue on green.
        atoms: colours (..., a, 3) in shades.
        shades: values of a channel, 0..shades - 1.
    """

    weight: Tensor
    base: Tensor
    offset: Tensor
    log_scale: Tensor
    lean: Tensor
    atoms: Tensor
    shades: int

    @classmethod
    def of(cls, told: Tensor, anchors: Tensor, atoms: Tensor, shades: int) -> Colours:
        """From a network's numbers (..., `numbers(k, a)`); components begin at the anchors (..., m, 3) in turn."""
        a, told = atoms.shape[-2], told.float()
        k = (told.shape[-1] - a) // PARTS
        weight, offset, scale, lean = told.split([k + a, 3 * k, 3 * k, 3 * k], -1)
        offset, scale, lean = (x.unflatten(-1, (k, 3)) for x in (offset, scale, lean))  # (..., k, 3)
        base = anchors.float()[..., [i % anchors.shape[-2] for i in range(k)], :]  # (..., k, 3)
        log_scale = (NARROW + F.softplus(scale - NARROW)).clamp(max=BROAD)
        return cls(weight.log_softmax(-1), base, REACH * offset, log_scale, lean, atoms.float(), shades)

    def log_prob(self, colours: Tensor) -> Tensor:
        """Log-probabilities (...) of colours (..., 3) in 0..shades - 1, in nats."""
        x = colours.float()[..., None, :]  # (..., 1, 3)
        mass = _log_mass(x, self._means(x), self.log_scale, self.shades).sum(-1)  # (..., k)
        same = (self.atoms == x).all(-1)  # (..., a)
        hit = torch.zeros_like(same, dtype=mass.dtype).masked_fill(~same, -torch.inf)
        mixed = (self.weight + torch.cat([mass, hit], -1)).logsumexp(-1)  # (...)
        floor = torch.full_like(mixed, math.log(FLOOR) - 3 * math.log(self.shades))
        return torch.logaddexp(mixed + math.log1p(-FLOOR), floor)

    def draw(self, uniform: Tensor) -> Tensor:
        """Colours (..., 3) uint8 from uniform draws (..., 4): the first one picks, the others say the colour."""
        share = torch.cat([self.weight.exp() * (1 - FLOOR), torch.full_like(self.weight[..., :1], FLOOR)], -1)
        pick = (uniform[..., :1] >= share.double().cumsum(-1)).sum(-1)  # (...)
        k, a = self.base.shape[-2], self.atoms.shape[-2]
        colour = self._drawn(pick.clamp(max=k - 1), uniform[..., 1:])
        if a:
            copied = _at(self.atoms, (pick - k).clamp(0, a - 1))
            colour = torch.where((pick >= k)[..., None], copied, colour)
        chance = (uniform[..., 1:] * self.shades).float().floor()
        return torch.where((pick >= k + a)[..., None], chance, colour).clamp(0, self.shades - 1).byte()

    def _means(self, x: Tensor) -> Tensor:
        """Components' means (..., k, 3) given colours (..., 1, 3), of which red and green are used."""
        red, green, _ = (x - self.base).unbind(-1)  # (..., k)
        leaning = [torch.zeros_like(red), self.lean[..., 0] * red, self.lean[..., 1] * red + self.lean[..., 2] * green]
        return self.base + self.offset + torch.stack(leaning, -1)

    def _drawn(self, pick: Tensor, uniform: Tensor) -> Tensor:
        """Colours (..., 3) of the picked components (...), channel after channel, from uniform draws (..., 3)."""
        base, offset, log_scale, lean = (_at(x, pick) for x in (self.base, self.offset, self.log_scale, self.lean))
        spread = log_scale.exp() * uniform.clamp_min(1e-300).logit().float()  # (..., 3)
        middle = base + offset + spread
        rounded = lambda x: x.round().clamp(0, self.shades - 1)  # noqa: E731
        red = rounded(middle[..., 0])
        green = rounded(middle[..., 1] + lean[..., 0] * (red - base[..., 0]))
        blue = middle[..., 2] + lean[..., 1] * (red - base[..., 0]) + lean[..., 2] * (green - base[..., 1])
        return torch.stack([red, green, rounded(blue)], -1)


def numbers(components: int, atoms: int) -> int:
    """How many numbers a network says of a pixel."""
    return PARTS * components + atoms


def _log_mass(x: Tensor, mean: Tensor, log_scale: Tensor, shades: int) -> Tensor:
    """Log-masses of the unit intervals around x under logistics; the first and the last interval have no end."""
    rate = (-log_scale).exp()
    above, below = (x + 0.5 - mean) * rate, (x - 0.5 - mean) * rate
    width = torch.log(-torch.expm1(-rate))  # the difference of two sigmoids is a product of three terms
    left = torch.where(x >= shades - 1, 0.0, F.logsigmoid(above))
    right = torch.where(x <= 0, 0.0, F.logsigmoid(-below))
    return left + right + torch.where((x <= 0) | (x >= shades - 1), 0.0, width)


def _at(x: Tensor, pick: Tensor) -> Tensor:
    """Rows (..., 3) of x (..., k, 3) at indices (...)."""
    return x.gather(-2, pick[..., None, None].expand(*pick.shape, 1, 3))[..., 0, :]
