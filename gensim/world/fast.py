"""A world's networks laid out for stepping: layers that read the same input fused, one-hot products looked up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.core.devices import compute_dtype
from gensim.world.net import Net


class Fast:
    """The same functions as a `Net`, in the processor's own type, without gradients.

    Arguments:
        net: the networks; later changes to them are not seen.
        dtype: what to multiply in; by default the processor's fastest.
    """

    def __init__(self, net: Net, dtype: torch.dtype | None = None) -> None:
        self.config, self.dtype = net.config, dtype or compute_dtype()
        c = net.config
        copy = Net(c)
        copy.load_state_dict(net.state_dict())
        copy = copy.to(self.dtype).eval().requires_grad_(False)
        self.encoder = copy.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.decoder = copy.decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dynamics, self.reward, self.termination = copy.dynamics, copy.reward, copy.termination
        self.disagreement = copy.disagreement
        readers: list[nn.Linear] = [copy.dynamics.prior_in, copy.disagreement.inp]
        judges: list[nn.Linear] = [copy.reward.inp, copy.termination.inp]
        self.read_w = torch.cat([m.weight[:] for m in readers] + [m.weight[:, : c.hidden] for m in judges])
        self.read_b = torch.cat([m.bias[:] for m in readers + judges])
        self.split = [m.weight.shape[0] for m in readers] + [sum(m.weight.shape[0] for m in judges)]
        self.judge_z = torch.cat([m.weight[:, c.hidden :] for m in judges]).T.contiguous()  # (latent, 2 head)
        self.paint_z = copy.decoder.inp.weight.T.contiguous()  # (latent, width side side)
        self.offset = torch.arange(c.groups) * c.classes

    def memory(self, h: Tensor, z: Tensor, act: Tensor) -> Tensor:
        """The next memory (n, hidden) float32 after latents (n, groups) and actions (n, k)."""
        return self.dynamics.cell(self.dynamics.inputs_of(z, act), h)

    def read(self, h: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a memory says: prior logits (n, groups, classes), disagreement (n,), the judges' share (n, 2 head)."""
        x = F.linear(h.to(self.dtype), self.read_w, self.read_b)
        prior, far, judges = x.split(self.split, -1)
        prior = F.silu(self.dynamics.prior_norm(prior)) * mask.to(self.dtype)
        logits = self.dynamics.prior_out(prior).unflatten(-1, (self.config.groups, self.config.classes))
        return logits, self._spread(far), judges

    def judge(self, judges: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Expected reward (n,) float32 and log-odds of an end (n,) float32 of latents (n, groups)."""
        x = F.silu(judges + self._look_up(z, self.judge_z))
        rew, term = x.chunk(2, -1)
        odds = self.termination.log_odds(self.termination.out(term)[..., 0])
        return self.reward.mean(self.reward.out(rew)), odds

    def paint(self, z: Tensor) -> Tensor:
        """Blocks (n, 12, h / 2, w / 2) of latents (n, groups); see `blocks_to_bytes`."""
        return self.decoder.grow(self._look_up(z, self.paint_z) + self.decoder.inp.bias)

    def _look_up(self, z: Tensor, table: Tensor) -> Tensor:
        return F.embedding_bag(z + self.offset, table, mode="sum")

    def _spread(self, x: Tensor) -> Tensor:
        head = self.disagreement
        x = F.silu(x).unflatten(-1, (head.heads, -1)).transpose(0, 1)  # (heads, n, hidden)
        return (torch.bmm(x, head.out).float().var(0).mean(-1) + 1e-8).log()
