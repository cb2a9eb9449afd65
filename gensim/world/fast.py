"""A world's networks laid out for stepping: layers that read the same input fused, one-hot products looked up."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.core.devices import compute_dtype
from gensim.models.cellular import CellDynamics
from gensim.models.vae import fine, softmax_unimix
from gensim.world.net import Net

Steer = Callable[[Tensor, int], Tensor]
Edit = Callable[[str, Tensor], Tensor]
Dreamed = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class Fast:
    """The same functions as a `Net`, in the processor's own type, without gradients.

    Arguments:
        net: the networks; later changes to them are not seen.
        dtype: what to multiply in; by default the processor's fastest.
    """

    def __init__(self, net: Net, dtype: torch.dtype | None = None) -> None:
        self.config, self.dtype = net.config, dtype or compute_dtype()
        c = net.config
        copy = Net.bare(c)
        copy.load_state_dict(net.state_dict())
        copy = copy.to(self.dtype).eval().requires_grad_(False)
        self.encoder = copy.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.decoder = copy.decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dynamics, self.reward, self.termination = copy.dynamics, copy.reward, copy.termination
        self.disagreement = copy.disagreement
        readers: list[nn.Linear] = [copy.disagreement.inp]
        if isinstance(copy.dynamics, CellDynamics):
            copy.dynamics.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        else:
            readers.insert(0, copy.dynamics.prior_in)
        gist = copy.disagreement.inp.in_features
        judges: list[nn.Linear] = [copy.reward.inp, copy.termination.inp]
        self.read_w = torch.cat([m.weight[:] for m in readers] + [m.weight[:, :gist] for m in judges])
        self.read_b = torch.cat([m.bias[:] for m in readers + judges])
        self.split = [m.weight.shape[0] for m in readers] + [sum(m.weight.shape[0] for m in judges)]
        self.judge_z = torch.cat([m.weight[:, gist:] for m in judges]).T.contiguous()  # (what is seen, 2 head)
        self.telling = net.telling  # float32: its numbers have units
        if net.telling is not None:
            weight = net.telling.inp.weight.detach()
            self.tell_h, self.tell_z = weight[:, :gist].contiguous(), weight[:, gist:].T.contiguous()
        self._scale_to_bytes(self.decoder.out)
        self.paint_z, self.paint_b = self._painting(copy)
        self.offset = torch.arange(c.groups) * c.classes
        self.tables = [copy.dynamics.table(stage) for stage in range((c.stages or 1) - 1)]

    def memory(self, h: Tensor, z: Tensor, act: Tensor, tally: Tensor, cond: Tensor) -> Tensor:
        """The next memory (n, hidden) float32 after latents (n, groups) and actions (n, k), after a tally (n, 2).

        cond (n, c): conditions that hold for the episode.
        """
        return self.dynamics.cell(self.dynamics.inputs_of(z, act, tally[:, 1], cond), h)

    def read(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a memory says: to the prior (n, read), disagreement (n,), the judges' share (n, 2 head)."""
        x = F.linear(self.dynamics.gist(h).to(self.dtype), self.read_w, self.read_b)
        if isinstance(self.dynamics, CellDynamics):
            prior, (far, judges) = self.dynamics.read(h), x.split(self.split, -1)
        else:
            prior, far, judges = x.split(self.split, -1)
        return prior, self._spread(far), judges

    def judge(self, judges: Tensor, z: Tensor, tally: Tensor) -> tuple[Tensor, Tensor]:
        """Expected reward (n,) float32 and log-odds of an end (n,) of latents (n, groups) after a tally (n, 2)."""
        so_far = torch.cat([self.reward.tally(tally), self.termination.tally(tally)], -1)  # (n, 2 head)
        x = F.silu(judges + self._seen(z, self.judge_z) + so_far)
        rew, term = x.chunk(2, -1)
        odds = self.termination.log_odds(self.termination.out(term)[..., 0])
        return self.reward.mean(self.reward.out(rew)), odds

    def dream(
        self,
        h: Tensor,
        z: Tensor,
        tally: Tensor,
        cond: Tensor,
        act: Tensor,
        mask: Tensor,
        u: Tensor,
        end: Tensor,
        t: Tensor | None = None,
    ) -> Dreamed:
        """One imagined step: (h, z, log_p, log_q, rew, term, log_end, term_prob, unusual), rows first.

        tally (n, 2) of the steps before, cond (n, c) conditions, u (n, groups) and end (n,) float64 draws in (0, 1),
        t (n,) temperatures; without them all are 1, with equal bytes and less work.
        """
        h = self.memory(h, z, act, tally, cond)
        read, unusual, judges = self.read(h)
        z, log_p, log_q = self.draw(read, mask, u, t)
        return h, z, log_p, log_q, *self.verdict(judges, z, tally, end), unusual

    def draw(
        self,
        read: Tensor,
        mask: Tensor,
        u: Tensor,
        t: Tensor | None = None,
        proposal: Steer | None = None,
        edit: Edit | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (n, groups) drawn by u (n, groups) at temperatures t (n,), stage after stage; log_p and log_q (n,).

        edit(name, logits) may change a stage's logits, proposal(log-law, stage) its log-law (n, groups of the stage,
        classes) to the one that is drawn from.
        """
        drawn, log_ps, log_qs = [], [], []
        for stage in range(self.dynamics.stages):
            logits = self.dynamics.stage(read, mask, stage)
            name = "prior" if self.dynamics.stages == 1 else f"prior.{stage}"
            p = softmax_unimix(edit(name, logits) if edit else logits, self.config.unimix)
            q = p if t is None else heat(p, t)
            q = proposal((q / q.sum(-1, keepdim=True)).log(), stage).exp() if proposal else q
            z = invert(q, u[:, self.dynamics.part(stage)])
            drawn.append(z)
            log_ps.append(log_prob(p, z))
            log_qs.append(log_ps[-1] if q is p else log_prob(q, z))
            if stage + 1 < self.dynamics.stages:
                read = read + self.dynamics.told_of(z, self.tables[stage])
        if len(drawn) == 1:
            return drawn[0], log_ps[0], log_qs[0]
        return torch.cat(drawn, 1), torch.stack(log_ps).sum(0), torch.stack(log_qs).sum(0)

    def surprise(self, read: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        """Log-probability (n,) float64 of latents z (n, groups) that came."""
        parts = []
        for stage in range(self.dynamics.stages):
            some = z[:, self.dynamics.part(stage)]
            parts.append(log_prob(softmax_unimix(self.dynamics.stage(read, mask, stage), self.config.unimix), some))
            if stage + 1 < self.dynamics.stages:
                read = read + self.dynamics.told_of(some, self.tables[stage])
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def verdict(self, judges: Tensor, z: Tensor, tally: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reward, end, log-probability of that (float64) and probability of an end, each (n,)."""
        rew, odds = self.judge(judges, z, tally)
        prob = odds.sigmoid()
        term = end < prob.double()
        return rew, term, F.logsigmoid(torch.where(term, odds, -odds)).double(), prob

    def tell(self, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (n, r) in their units, and probabilities (n, kinds) of what it is that ends, if it ends."""
        assert self.telling is not None
        x = F.linear(self.dynamics.gist(h).float(), self.tell_h, self.telling.inp.bias) + self._seen(z, self.tell_z)
        numbers, kinds = self.telling.read(x)
        return self.telling.units(numbers), kinds.softmax(-1)

    def see(self, frames: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (n, groups) of frames (n, h, w, 3) uint8, drawn by u (n, groups), and their log-probability."""
        x = (frames.permute(0, 3, 1, 2).float() / 127.5 - 1).to(self.dtype)
        q = softmax_unimix(self.encoder(x.contiguous(memory_format=torch.channels_last)), self.config.unimix)
        z = invert(q, u)
        return z, log_prob(q, z)

    def paint(self, z: Tensor) -> tuple[Tensor]:
        """Frames (n, h, w, 3) uint8 of latents (n, groups)."""
        x = self.decoder.out(self._drawn(z))  # (n, 12, h / 2, w / 2), 0..255
        return (self._bytes(x),)

    def label(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same frames, classes of their pixels uint8 (n, h, w), and distances float32 (n, h, w) in 0..1."""
        x = self._drawn(z)
        told = self._told(x).unflatten(0, (-1, 4))  # (classes + 1, 4 pixels, n, h / 2, w / 2)
        classes, far = greatest(told[:-1]), told[-1].float().clamp(0, 1)  # (4, n, h / 2, w / 2)
        return self._bytes(self.decoder.out(x)), _blocks(classes), _blocks(far)

    def _told(self, x: Tensor) -> Tensor:
        """What pixels are told (4 labels, n, h / 2, w / 2), each number's in one piece, of the decoder's last layer."""
        layer = self.decoder.labels
        assert layer is not None and layer.bias is not None
        if layer.kernel_size != (1, 1):
            return layer(x).transpose(0, 1).contiguous()
        n, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, c)  # (n h w / 4, c), a view of what is laid out so
        return torch.addmm(layer.bias[:, None], layer.weight.view(-1, c), rows.T).view(-1, n, h, w)

    def _painting(self, net: Net) -> tuple[Tensor, Tensor]:
        """What each value of each variable adds to the decoder's first layer (latent, channels * cells), and its bias.

        Of cells what it adds to its own patch (variables of a patch * classes, channels).
        """
        inp, cells = net.decoder.inp, net.decoder.cells
        if cells is None:
            return inp.weight.T.contiguous(), inp.bias  # type: ignore[operator, return-value, union-attr]
        place = F.pixel_shuffle(net.decoder.place, 2).permute(1, 2, 0).contiguous()  # (h, w, channels)
        return inp.weight[..., 0, 0].T.contiguous(), place  # type: ignore[index]

    def _drawn(self, z: Tensor) -> Tensor:
        cells = self.decoder.cells
        if cells is None:
            return self.decoder.grow((self._look_up(z, self.paint_z) + self.paint_b).unflatten(-1, self.decoder.grid))
        patches = fine(cells.placed(z[..., None]), 1).permute(0, 2, 3, 1)  # (n, h, w, variables)
        index = patches.reshape(-1, patches.shape[-1]) + self.offset[: patches.shape[-1]]
        x = F.embedding_bag(index, self.paint_z, mode="sum").view(*patches.shape[:3], -1) + self.paint_b
        return self.decoder.grow(x.permute(0, 3, 1, 2))

    def _bytes(self, x: Tensor) -> Tensor:
        x = x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)  # (n, h / 2, w / 2, 12)
        n, h, w, _ = x.shape
        x = x.view(torch.int16).unflatten(-1, (2, 3)).permute(0, 1, 3, 2, 4)  # (n, h / 2, 2, w / 2, 6 bytes)
        return x.contiguous().view(torch.uint8).view(n, 2 * h, 2 * w, 3)

    def _scale_to_bytes(self, out: nn.Conv2d) -> None:
        """The last layer gives 0..255, its channels ordered by pixel: a block of two by two is two runs of bytes."""
        order = torch.arange(12).view(3, 4).T.flatten()
        weight, bias = out.weight.float()[order], out.bias.float()[order]  # type: ignore[union-attr]
        out.weight.copy_(127.5 * weight)
        out.bias.copy_(127.5 * bias + 127.5)  # type: ignore[union-attr]

    def _seen(self, z: Tensor, weight: Tensor) -> Tensor:
        """What a head reads (n, head) of latents (n, groups) by its weight (latent, head), of cells half the memory."""
        if isinstance(self.dynamics, CellDynamics):
            return self.dynamics.embedded(z).flatten(1).to(weight.dtype) @ weight
        return self._look_up(z, weight)

    def _look_up(self, z: Tensor, table: Tensor) -> Tensor:
        return F.embedding_bag(z + self.offset, table, mode="sum")

    def _spread(self, x: Tensor) -> Tensor:
        head = self.disagreement
        x = F.silu(x).unflatten(-1, (head.heads, -1)).transpose(0, 1)  # (heads, n, hidden)
        return (torch.bmm(x, head.out).float().var(0).mean(-1) + 1e-8).log()


def greatest(x: Tensor) -> Tensor:
    """Which of x (k, ...) is greatest, uint8 (...); the first of equal ones. Many times as fast as argmax.

    It is how many of the greatest so far, one after the other, are less than the greatest of all.
    """
    so_far = list(accumulate(x.unbind(0), torch.maximum))
    which = torch.zeros_like(x[0], dtype=torch.uint8)
    for one in so_far[:-1]:
        which += (one < so_far[-1]).view(torch.uint8)
    return which


def _blocks(x: Tensor) -> Tensor:
    """Pictures (n, h, w) of their blocks' four pixels (4, n, h / 2, w / 2)."""
    _, n, h, w = x.shape
    return x.view(2, 2, n, h, w).permute(2, 3, 0, 4, 1).reshape(n, 2 * h, 2 * w)


def heat(p: Tensor, t: Tensor) -> Tensor:
    """Weights (n, groups, classes) of the law p at temperatures t (n,); at 1 they are p itself, bit for bit."""
    return p.pow(1 / t[:, None, None])


def invert(q: Tensor, u: Tensor) -> Tensor:
    """Indices (n, groups) by inverting the cumulative weights at u (n, groups): nearby laws give equal draws."""
    cdf = q.cumsum(-1, dtype=torch.float64)
    return (u[..., None] * cdf[..., -1:] > cdf).sum(-1).clamp_max(q.shape[-1] - 1)


def log_prob(q: Tensor, z: Tensor) -> Tensor:
    """Log-probability (n,) float64 of indices z under weights q (n, groups, classes)."""
    share = q.gather(-1, z[..., None])[..., 0].double() / q.sum(-1, dtype=torch.float64)
    return share.log().sum(-1)


def traced(f: Callable[..., tuple[Tensor, ...]], *rows: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """f as one native call of the same operations, which does not hold Python's lock; f itself where that is gone."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.jit.trace(f, rows, check_trace=False)
    except (AttributeError, RuntimeError):
        return f
