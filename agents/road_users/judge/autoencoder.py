"""A conditional variational autoencoder of people, as large as the GAN: what the GAN is measured against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.agents.road_users.pictures import Pictures
from gensim.models.gan import CHANNELS, SLOPE, Generator, sizes_of


class Autoencoder(nn.Module):
    """Pictures of what a condition says, by a latent that their own pictures tell; its decoder is a `Generator`.

    The scale of the pictures' noise is the one that fits best at each step.

    References: Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114. Simple and Effective VAE
    Training with Calibrated Decoders (Rybkin et al., 2021), arXiv:2006.13202.

    Arguments:
        conditions: width of the condition.
        identity: width of the latent.
        widths: channels of the decoder, as the GAN's.
    """

    def __init__(self, conditions: int, identity: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = Generator(conditions, identity, widths)
        ins, outs = [CHANNELS, *reversed(widths[1:])], [*reversed(widths)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in zip(ins, outs))
        self.read = nn.Linear(8 * widths[0] + conditions, 2 * identity)

    def loss(self, pictures: Tensor, told: Tensor, chance: torch.Generator) -> Tensor:
        """Nats of pictures (n, 4, h, w) under conditions (n, conditions), less a constant: minus the bound, a mean."""
        x = pictures
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        mean, spread = self.read(torch.cat([x.flatten(1), told], -1)).chunk(2, -1)
        spread = spread.clamp(-8, 4)
        z = mean + (spread / 2).exp() * torch.randn(mean.shape, generator=chance)
        apart = (mean.square() + spread.exp() - spread - 1).sum(-1).mean() / 2
        drawn = self.net(told, z, pictures.shape[-2])
        goals = sizes_of(pictures, len(drawn))
        misses = [one.sub(goal).square().mean().clamp_min(1e-5) for one, goal in zip(drawn, goals)]
        told_by = [miss.log() * goal[0].numel() / 2 for miss, goal in zip(misses, goals)]
        return told_by[0] + 0.1 * sum(told_by[1:], torch.zeros(())) + apart


def loss(net: Autoencoder, pictures: Pictures, count: int, chance: torch.Generator) -> Tensor:
    """What a batch of one picture each of some persons costs."""
    real, told, _ = pictures.pairs(count, chance)
    return net.loss(real.chunk(2, 1)[0], told.chunk(2, -1)[0], chance)
