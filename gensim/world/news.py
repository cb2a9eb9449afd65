"""What a frame's latent says that the frame before did not: what dynamics will have to foretell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gensim.models.vae import Cells, fine

STAYS = 0.68  # chance that a patch says again what it said
MOVES = 0.04  # that it says what one of the eight around it said
CHANGES = 0.05  # of all this, that it says anything at all instead


def news(log_q: Tensor, cells: Cells) -> Tensor:
    """Nats (n,) that laws of second frames hold beyond what first frames, and a guess at motion, lead to expect.

    The divergence of each variable's law from a mixture of the laws that its patch and those around it had in the first
    frame, and of a little of the uniform one. Of an eye that pays for it little is new where nothing moves.

    Reference: Deep Variational Information Bottleneck (Alemi et al., 2017), arXiv:1612.00410; there the law that is
    expected knows no frame before.

    Arguments:
        log_q: log-laws (2 n, groups, classes), of each pair the first frame's and then the second's.
        cells: where the variables lie.
    """
    classes = log_q.shape[-1]
    placed = fine(cells.placed(log_q), classes).unflatten(0, (-1, 2))  # (n, 2, variables * classes, h, w)
    before, now = placed[:, 0].exp(), placed[:, 1]
    kernel = torch.full((1, 1, 3, 3), MOVES, device=log_q.device)
    kernel[..., 1, 1] = STAYS
    around = F.conv2d(F.pad(before.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate"), kernel)
    expected = (1 - CHANGES) * around.view_as(before) + CHANGES / classes
    return (now.exp() * (now - expected.log())).sum((1, 2, 3))
