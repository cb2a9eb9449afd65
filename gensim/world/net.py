"""A world's networks as one module, and the loss that fits them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.cellular import CellDynamics
from gensim.models.dynamics import Dynamics
from gensim.models.heads import DisagreementHead, RewardHead, TellingHead, TerminationHead
from gensim.models.vae import Decoder, Encoder, grid_of, log_softmax_unimix, sample_straight_through
from gensim.world.config import FitConfig, NetConfig
from gensim.world.news import news

LOOKING = 0.01  # the least share of the uniform law while encoder and decoder look alone, where values have no order


class Net(nn.Module):
    """VAE with discrete latents, dynamics over them, and heads; the encoder and decoder see no memory.

    Reference: Mastering Atari with Discrete World Models (Hafner et al., 2020), arXiv:2010.02193.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        c = self.config = config
        wide = [2 * width for width in c.widths] if c.cells else c.widths  # dreams draw much and read nothing
        self.encoder = Encoder(c.shape, wide, c.groups, c.classes, c.cells)
        self.decoder = Decoder(c.shape, c.widths, c.groups, c.classes, len(c.labels) + bool(c.labels), c.cells, c.light)
        sizes = (c.groups, c.classes, c.actions, c.hidden, c.clock, len(c.conditions), c.stages or 1)
        self.dynamics = CellDynamics(c.grid, *sizes) if c.cells else Dynamics(*sizes)
        latent = c.groups * c.classes
        gist = c.hidden // 2 if c.cells else c.hidden
        state = gist + (gist if c.cells else latent)  # what heads judge
        self.reward = RewardHead(state, c.head)
        self.termination = TerminationHead(state, c.head)
        self.disagreement = DisagreementHead(gist, latent)
        telling = (len(c.readouts), len(c.kinds))
        self.telling = TellingHead(state, c.head, *telling) if any(telling) else None

    @classmethod
    def bare(cls, config: NetConfig) -> Net:
        """Networks to be filled with weights; torch's generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            return cls(config)

    def forward(
        self,
        batch: dict[str, Tensor],
        free_nats: float,
        decoded: int,
        generator: torch.Generator,
        weights: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The parts of the loss on a batch of windows, each a mean over valid frames; see `Sampler.batch`.

        Encoder and decoder learn from `decoded` frames of each window, drawn anew: neighbours look alike, and
        images are most of the cost. The dynamics and the heads learn from all. `weights` maps frames (m, h, w, 3)
        to the weights (m, h, w) of their pixels' errors, 1 where it is None. Where pixels have labels, the batch says
        which frames are decoded. With stages, the divergence is that of each stage given the ones before it as they
        were drawn, and the encoder is not paid for what its draws do to later stages.

        A batch that holds frames' laws, log_q (b, t, groups, classes), trains all but encoder and decoder; one that is
        to be looked at alone (frames and nothing of time, "look") trains those.
        """
        if "log_q" in batch:
            return self._followed(batch, free_nats, generator)
        if "look" in batch:
            return self._looked(batch, generator, weights)
        valid = batch["valid"].float()  # (b, t)
        b, t = valid.shape
        x = pictures(batch["frames"].flatten(0, 1))  # (b t, 3, h, w)
        some = self._some(valid, decoded, generator) if "some" not in batch else _rows(batch["some"], t)  # (m,)
        log_q, z = self._posterior(x, some, generator)  # (b t, groups, classes)
        seen = valid.flatten()[some]
        shown = self._shown(z[some], x[some], batch["frames"].flatten(0, 1)[some], batch, weights, seen)
        log_q, z = log_q.unflatten(0, (b, t)), z.unflatten(0, (b, t))
        told, log_p = self._foretold(log_q, z, batch, free_nats, generator)
        rep = _kl(log_q, log_p.detach()).clamp_min(free_nats).flatten()[some]
        return {**shown, "rep": _mean(rep, seen), **told}

    def _followed(self, batch: dict[str, Tensor], free_nats: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of all but encoder and decoder."""
        log_q = batch["log_q"].float()  # (b, t, groups, classes)
        return self._foretold(log_q, draw(log_q, generator), batch, free_nats, generator)[0]

    def _looked(
        self, batch: dict[str, Tensor], generator: torch.Generator, weights: Callable[[Tensor], Tensor] | None
    ) -> dict[str, Tensor]:
        """Losses of encoder and decoder alone; "rep" is what a latent says of which of the batch's frames it is.

        Where frames (m, 1, h, w, 3) come in "pairs", the second follows on the first, and "news" is what it tells.
        """
        frames = batch["frames"].flatten(0, 1)
        x = pictures(frames)  # (m, 3, h, w)
        ordered = self.encoder.levels is not None
        logits = self.encoder(x, batch.get("at"))
        log_q, z = self._read(logits, generator, self.config.unimix if ordered else LOOKING)
        seen = batch["valid"].flatten().float()  # (m,)
        shown = self._shown(z, x, frames, batch, weights, seen)
        usual = log_q.logsumexp(0) - math.log(len(x))  # (groups, classes)
        shown["rep"] = _mean(_kl(log_q, usual), seen)
        if "pairs" in batch:
            cells = self.encoder.cells.part(grid_of(x.shape[2:], self.config.widths, True))  # type: ignore[union-attr]
            shown["news"] = _mean(news(log_q, cells), seen[1::2])
        return shown

    def _shown(
        self,
        z: Tensor,
        x: Tensor,
        frames: Tensor,
        batch: dict[str, Tensor],
        weights: Callable[[Tensor], Tensor] | None,
        seen: Tensor,
    ) -> dict[str, Tensor]:
        """Losses of what is drawn of latents z (m, groups, classes): pictures x, and their labels if there are any."""
        c = self.config
        part = (batch["at"], grid_of(x.shape[2:], c.widths, c.cells)) if "at" in batch else ()
        drawn, labels = self.decoder.labelled(z, *part) if c.labels else (self.decoder(z), None)
        error = (drawn.float() - x) ** 2  # (m, 3, h, w)
        if weights is not None:
            error = error * weights(frames)[:, None]
        if c.labels:  # what is rare is small, and is seen
            error = error * batch["shown"][batch["classes"].flatten(0, 1).long()][:, None]
        rec = error.sum((1, 2, 3)) / 4  # (m,) 0..1 units
        return {"rec": _mean(rec, seen), **(self._labels(labels, batch, seen) if labels is not None else {})}

    def _foretold(
        self, log_q: Tensor, z: Tensor, batch: dict[str, Tensor], free_nats: float, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses of the dynamics and the heads on latents z (b, t, groups, classes), and the dynamics' log-law."""
        valid = batch["valid"].float()  # (b, t)
        acts, steps, first = batch["act"], batch["tally"][..., 1], batch["first"][:, 0]
        read = self._noisy(z, batch["noise"], generator) if "noise" in batch else z
        h = self.dynamics.unroll(read, acts, steps, first, batch.get("cond"))  # (b, t, hidden)
        prior = self.dynamics.prior(h, self._masks(len(h), h, generator), z.detach())
        log_p = log_softmax_unimix(prior, self.config.unimix)
        later = valid.clone()
        later[:, 0] = 0  # nothing has led to a window's first frame
        x = self.state(h, z)  # (b, t, state)
        parts = {
            "dyn": _mean(_kl(log_q.detach(), log_p).clamp_min(free_nats), valid),
            **self._judgements(x, h, z, batch, later, generator),
            **self._telling(x, batch, valid),
        }
        return parts, log_p

    def state(self, h: Tensor, z: Tensor) -> Tensor:
        """What heads judge (..., state) of memories (..., hidden) and one-hot latents (..., groups, classes)."""
        seen = self.dynamics.embedding(z) if isinstance(self.dynamics, CellDynamics) else z
        return torch.cat([self.dynamics.gist(h), seen.flatten(-2)], -1)

    def _noisy(self, z: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
        """Latents (b, t, groups, classes), some of whose variables, or of whose cells, are those of another frame.

        Of each window another share, `share` () on average and at most twice that: a dream's own latents are a little
        wrong as well, and who learned from right ones alone takes them at their word.

        Reference: Diffusion Models Are Real-Time Game Engines (Valevski et al., 2024), arXiv:2408.14837.
        """
        many = z.shape[:2]
        chance = lambda *shape: torch.rand(shape, generator=generator, device=z.device)  # noqa: E731
        other = z.flatten(0, 1)[chance(math.prod(many)).argsort()].view_as(z)
        wrong = chance(*many, self.config.groups) < 2 * share * chance(many[0], 1, 1)  # (b, t, groups)
        if self.config.cells:
            cells = chance(*many, math.prod(self.config.grid)) < 2 * share * chance(many[0], 1, 1)
            wrong = wrong | cells.repeat(1, 1, self.config.groups // cells.shape[-1])
        return torch.where(wrong[..., None], other, z)

    def _labels(self, labels: Tensor, batch: dict[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
        """Losses of what is told (m, classes + 1, h, w) of the pixels of decoded frames."""
        truth, far = batch["classes"].flatten(0, 1).long(), batch["depth"].flatten(0, 1)  # (m, h, w)
        weight = batch["balance"][truth]
        told = F.cross_entropy(labels[:, :-1].float(), truth, reduction="none") * weight
        miss = (labels[:, -1].float() - far).abs() * weight
        return {"cls": _mean(told.sum((1, 2)), seen), "far_px": _mean(miss.sum((1, 2)), seen)}

    def _telling(self, x: Tensor, batch: dict[str, Tensor], valid: Tensor) -> dict[str, Tensor]:
        if self.telling is None:
            return {}
        told = self.telling(x)
        numbers, kinds = self.telling.loss(told, batch["numbers"], batch["kind"])
        return {"num": _mean(numbers, valid), "kind": _mean(kinds, (batch["kind"] >= 0).float())}

    def _posterior(self, x: Tensor, some: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """log q(z | frame) (n, groups, classes) of frames x (n, 3, h, w), and draws; gradients for `some` (m,)."""
        if len(some) == len(x):
            return self._read(self.encoder(x), generator)
        with torch.no_grad():
            logits = self.encoder(x)
        return self._read(logits.index_copy(0, some, self.encoder(x[some])), generator)

    def _read(self, logits: Tensor, generator: torch.Generator, least: float = 0.0) -> tuple[Tensor, Tensor]:
        """The log-laws of logits (n, groups, classes), and draws through which gradients go."""
        log_q = log_softmax_unimix(logits, max(self.config.unimix, least))
        if self.encoder.levels is None:
            return log_q, sample_straight_through(log_q, generator)
        return log_q, self.encoder.levels.straight(logits, draw(log_q.detach(), generator))

    def _judgements(
        self,
        x: Tensor,
        h: Tensor,
        z: Tensor,
        batch: dict[str, Tensor],
        later: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        rew = self.reward.loss(self.reward(x, batch["tally"]), batch["rew"])
        term = self.termination.loss(self.termination(x, batch["tally"]), batch["term"])
        share = torch.rand((4, len(h)), generator=generator, device=h.device) < 0.7  # (heads, b)
        share = share[..., None].expand(-1, -1, h.shape[1]).flatten(1).float()  # (heads, b t)
        gist, told = self.dynamics.gist(h.detach()), z.detach().flatten(2)  # (b, t, gist), (b, t, latent)
        far = self.disagreement.loss(gist.flatten(0, 1), told.flatten(0, 1), share)
        return {"rew": _mean(rew, later), "term": _mean(term, later), "far": _mean(far.view_as(later), later)}

    def _some(self, valid: Tensor, decoded: int, generator: torch.Generator) -> Tensor:
        b, t = valid.shape
        order = torch.rand((b, t), generator=generator, device=valid.device) + (1 - valid)  # invalid ones last
        rows = torch.arange(b, device=valid.device)[:, None] * t
        return (order.argsort(1)[:, :decoded] + rows).flatten()  # (b decoded,)

    def _masks(self, b: int, h: Tensor, generator: torch.Generator) -> Tensor:
        keep = 1 - self.config.dropout
        mask = torch.rand((b, 1, self.config.hidden), generator=generator, device=h.device) < keep
        return mask.float() / keep


def _rows(index: Tensor, t: int) -> Tensor:
    """Frames (b, d) of windows of t as indices (b d,) into all frames."""
    return (index + torch.arange(len(index), device=index.device)[:, None] * t).flatten()


def total(parts: dict[str, Tensor], fit: FitConfig) -> Tensor:
    """The weighted sum of the loss's parts."""
    weights = {
        "rec": fit.reconstruction,
        "rep": fit.rep,
        "cls": fit.labels,
        "far_px": 10 * fit.labels,
        "news": fit.stay,
    }
    return torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()


def draw(log_q: Tensor, generator: torch.Generator) -> Tensor:
    """One-hot draws (..., classes) of categorical laws; nothing is learned through them."""
    cdf = log_q.exp().cumsum(-1)
    u = torch.rand((*log_q.shape[:-1], 1), generator=generator, device=log_q.device)
    index = (u * cdf[..., -1:] > cdf).sum(-1).clamp_max(log_q.shape[-1] - 1)
    return F.one_hot(index, log_q.shape[-1]).float()


def pictures(frames: Tensor) -> Tensor:
    """Frames (m, h, w, 3) uint8 as (m, 3, h, w) in -1..1."""
    x = frames.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return x.contiguous(memory_format=torch.channels_last)


def _kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    return (log_q.exp() * (log_q - log_p)).sum((-2, -1))


def _mean(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum() / weight.sum().clamp_min(1)
