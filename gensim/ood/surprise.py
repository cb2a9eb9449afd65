"""Whether what follows is what should follow: a small predictor of features under actions, and what it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.ood.eye import PLACED
from gensim.ood.gauss import Gauss
from gensim.ood.motion import Motion
from gensim.ood.training import seeded, train

PAST = 4  # frames that are looked back on
LATE = 2  # steps by which actions may come late in what is held against what happened
ACTS = PAST + LATE
WINDOW = 25.0  # a slow mean has the weight of some 50 frames
HIDDEN = 128
LEAST = 20  # moments that slow means are judged by
CUT = 4.0  # deviations at which an error is cut
BATCH = 256
RATE = 2e-3
MUTED = 0.25  # share of training rows that are not told the actions
DROPPED = 0.3  # share of hidden units that a training row goes without
KEPT = ("scale", "weight", "centre", "spread")  # tensors beside the net and the laws
LAWS = ("told", "untold", "late", "later", "weak")  # what the predictor is told about the actions


class Predictor(nn.Module):
    """The next features from the last `PAST` ones and the actions since."""

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        told = PAST * (features + actions) + 1
        self.plain, self.inp = nn.Linear(told, features), nn.Linear(told, HIDDEN)
        self.mid = nn.Linear(HIDDEN, HIDDEN)
        self.out = nn.Linear(HIDDEN, features)

    def forward(self, past: Tensor, acts: Tensor, told: Tensor, kept: Tensor | None = None) -> Tensor:
        """Change (n, d) after features (n, PAST, d) and actions (n, PAST, k), of which told (n, 1) says if known.

        kept (n, HIDDEN) weighs hidden units while it is trained.
        """
        steps = torch.cat([past.diff(dim=1), past[:, -1:]], 1).flatten(1)  # (n, PAST * d)
        x = torch.cat([steps, (acts * told[:, :, None]).flatten(1), told], -1)
        hidden = F.silu(self.inp(x))
        hidden = hidden + F.silu(self.mid(hidden))
        return self.plain(x) + self.out(hidden if kept is None else hidden * kept)


class Surprise:
    """Errors of a predictor: how large, whether of one sign over many frames, and whether actions explain them.

    What is slow is a running mean since the episode began, from nothing, of a weight of some 50 frames: errors with
    their signs ("drift"), those of what actions move ("steered drift"), the latter times actions ("response"), and by
    how much the true actions explain better what happened than none, than those one and two steps late, and than
    weaker ones ("use"), where each feature counts as much as it usually gains. Changed dynamics show there
    while every frame looks usual.

    Arguments:
        net: the predictor, in eval mode.
        scale: deviations of features' changes (d,) and of its errors (d,), stacked (2, d).
        weight: of each feature in the use of actions, for each law but the first (laws - 1, d).
        centre: the usual mean of everything that is averaged, (m,).
        spread: deviations of slow errors of the features that actions move (r,), which begin at `PLACED`.
        drift, response: the laws of slow means.
    """

    group = "dynamics"
    names = (
        "surprise",
        "drift inside",
        "drift outside",
        "steered drift",
        "response inside",
        "response outside",
        "slow surprise",
        "slow use of actions",
        "slow use against late ones",
        "slow use against later ones",
        "slow use against weak ones",
        "slow motion",
        "slow stillness",
        "slow repetition",
    )
    sides = (0, 1, 1, 1, 1, 1, 0, -1, -1, -1, -1, 0, 0, 1)  # distances are unusual when high, uses when low
    grains = (*[0.0] * 13, 0.5 / WINDOW)  # least deviation: half of what one repeated frame adds

    def __init__(
        self,
        net: Predictor,
        scale: Tensor,
        weight: Tensor,
        centre: Tensor,
        spread: Tensor,
        drift: Gauss,
        response: Gauss,
    ) -> None:
        self.net = net.eval().requires_grad_(False)
        self.scale, self.weight, self.centre, self.spread = scale, weight, centre, spread
        self.drift, self.response = drift, response

    @classmethod
    def fit(
        cls, films: Sequence[Film], steered: int, steps: int, seed: int, work: Path, quiet: bool = True
    ) -> Surprise:
        """From episodes, of whose features `steered` follow actions; training that was stopped goes on from `work`.

        Every fourth episode is not trained on: the errors there say how large they are. Those that are too short to say
        anything are left out.
        """
        films = [film for film in films if len(film[0]) > ACTS]
        held = films[::4] if len(films) > 3 else films
        past, acts, now, _ = windows([film for i, film in enumerate(films) if i % 4 or len(films) < 4])
        change = (now - past[:, -1]).std(0, unbiased=False) + 1e-3
        net = seeded(lambda: Predictor(now.shape[1], acts.shape[2]), seed)
        assert isinstance(net, Predictor)

        def loss(rng: np.random.Generator) -> Tensor:
            rows = torch.from_numpy(rng.integers(len(now), size=BATCH))
            told = torch.from_numpy((rng.random((BATCH, 1)) > MUTED).astype(np.float32))
            kept = torch.from_numpy((rng.random((BATCH, HIDDEN)) > DROPPED).astype(np.float32)) / (1 - DROPPED)
            error = (now[rows] - past[rows, -1]) / change - net(past[rows], acts[rows, LATE:], told, kept)
            return F.huber_loss(error, torch.zeros_like(error), delta=2.0)

        train(net, loss, steps, RATE, seed, work / "predictor.safetensors", quiet)
        return cls._measured(net, change, held, steered)

    @classmethod
    def _measured(cls, net: Predictor, change: Tensor, films: Sequence[Film], steered: int) -> Surprise:
        past, acts, now, _ = windows(films)
        d, k, blank = now.shape[1], acts.shape[2], Gauss.fit(torch.zeros(4, 1), 1)
        even = torch.full((len(LAWS) - 1, d), 1 / d)
        made = cls(net, torch.stack([change, torch.ones(d)]), even, torch.zeros(0), torch.ones(steered), blank, blank)
        with torch.no_grad():
            made.scale = torch.stack([change, made.errors(past, acts, now)[0].std(0, unbiased=False) + 1e-3])
            gain = gains(made.standard(past, acts, now)).mean(0).clamp_min(0) + 1e-6  # (laws - 1, d)
            made.weight = gain / gain.sum(-1, keepdim=True)
            seen = [made.averaged(*windows([film])) for film in films]
            made.centre = torch.cat(seen).mean(0)
            slow = torch.cat([_settled(made.slowed(values)) for values in seen])
        if len(slow) < LEAST:
            raise ValueError(f"episodes of {len(seen[0])} steps are too short to see dynamics in: record longer ones")
        made.drift = Gauss.fit(slow[:, :d], 24)
        made.spread = slow[:, made.steered].square().mean(0).sqrt() + 1e-3
        made.response = Gauss.fit(slow[:, d : d + 2 * k * steered], 16) if k * steered else blank
        return made

    @property
    def steered(self) -> slice:
        """The features that are there to follow the actions."""
        return slice(PLACED, PLACED + len(self.spread))

    def errors(self, past: Tensor, acts: Tensor, now: Tensor) -> Tensor:
        """What is wrong with each of `LAWS` (laws, n, d), in deviations of the features' changes.

        past (n, PAST, d), acts (n, ACTS, k), now (n, d).
        """
        change = (now - past[:, -1]) / self.scale[0]
        true = acts[:, LATE:]
        given = torch.stack([true, torch.zeros_like(true), acts[:, 1:-1], acts[:, :-LATE], 0.6 * true])
        told = torch.ones(len(LAWS), len(now), 1)
        told[LAWS.index("untold")] = 0
        every = past.expand(len(LAWS), *past.shape)
        guess = self.net(every.flatten(0, 1), given.flatten(0, 1), told.flatten(0, 1))  # (laws * n, d)
        return change - guess.unflatten(0, told.shape[:2])

    def standard(self, past: Tensor, acts: Tensor, now: Tensor) -> Tensor:
        """Errors (laws, n, d) in deviations of the usual ones, cut."""
        return (self.errors(past, acts, now) / self.scale[1]).clamp(-CUT, CUT)

    def averaged(self, past: Tensor, acts: Tensor, now: Tensor, motion: Tensor) -> Tensor:
        """All that is averaged over time (n, m): errors, errors times actions, surprise, uses of actions, motion."""
        errors = self.standard(past, acts, now)
        true, last = acts[:, -1], acts[:, -2]
        told = torch.cat([true, last - true], -1)  # (n, 2 k)
        response = (errors[0][:, self.steered, None] * told[:, None]).flatten(1)
        use = (gains(errors) * self.weight).sum(-1)  # (n, laws - 1)
        return torch.cat([errors[0], response, errors[0].square().mean(-1, keepdim=True), use, motion], -1)

    def slowed(self, values: Tensor) -> Tensor:
        """The running means (t, m) of one episode's values (t, m)."""
        return _slowed(values - self.centre)

    def read(self, values: Tensor, slow: Tensor) -> Tensor:
        """(n, 14) of what is averaged (n, m) and the running means with it (n, m)."""
        d, parts = self.scale.shape[1], len(LAWS) + len(Motion.followed)
        drift, response = slow[:, :d], slow[:, d : slow.shape[1] - parts]
        wide = self.response.read(response) if response.shape[1] else torch.zeros(len(slow), 2)
        now = (values[:, -parts] + 1e-3).log()[:, None]
        steered = (drift[:, self.steered] / self.spread).square().sum(-1, keepdim=True).add(1e-3).log()
        return torch.cat([now, self.drift.read(drift), steered, wide, slow[:, -parts:]], -1)

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        net = {f"predictor.{name}": value for name, value in self.net.state_dict().items()}
        plain = {f"surprise.{name}": getattr(self, name) for name in KEPT}
        return net | plain | self.drift.tensors("drift") | self.response.tensors("response")

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], features: int, actions: int) -> Surprise:
        """The reverse of `tensors`; KeyError or RuntimeError when they do not fit."""
        net = seeded(lambda: Predictor(features, actions), 0)
        assert isinstance(net, Predictor)
        net.load_state_dict({name: tensors[f"predictor.{name}"] for name in net.state_dict()})
        scale, weight, centre, spread = (tensors[f"surprise.{name}"] for name in KEPT)
        laws = Gauss.of(tensors, "drift"), Gauss.of(tensors, "response")
        return cls(net, scale, weight, centre, spread, *laws)


Film = tuple[Tensor, Tensor, Tensor]
"""An episode as features (t + 1, d), actions (t, k) and what is told of motion (t + 1, 3)."""
Windows = tuple[Tensor, Tensor, Tensor, Tensor]


def windows(films: Sequence[Film]) -> Windows:
    """All moments of episodes with enough past: (n, PAST, d), (n, ACTS, k), (n, d), (n, 3); ValueError without any."""
    parts = [_windows(*film) for film in films if len(film[0]) > ACTS]
    if not parts:
        raise ValueError(f"no episode has more than {ACTS} steps: record longer ones")
    past, acts, now, motion = (torch.cat(column) for column in zip(*parts))
    return past, acts, now, motion


def _windows(features: Tensor, acts: Tensor, motion: Tensor) -> Windows:
    """Moments ACTS .. t of one episode."""
    past = features[LATE:-1].unfold(0, PAST, 1).transpose(1, 2)  # (t - ACTS + 1, PAST, d)
    told = acts.unfold(0, ACTS, 1).transpose(1, 2)  # (t - ACTS + 1, ACTS, k)
    return past.contiguous(), told.contiguous(), features[ACTS:], motion[ACTS:]


def gains(errors: Tensor) -> Tensor:
    """By how much the true actions explain features better than each other law's (n, laws - 1, d).

    errors: (laws, n, d), standard.
    """
    square = errors.square()
    return (square[1:] - square[0]).movedim(0, 1)


def _slowed(values: Tensor) -> Tensor:
    """Running means (t, ...) of one episode's values (t, ...), from 0."""
    mean, means = np.zeros(values.shape[1:], np.float32), []
    for row in values.numpy():
        mean = follow(mean, row)
        means.append(mean)
    return torch.from_numpy(np.stack(means)) if means else torch.zeros_like(values)


def _settled(slow: Tensor) -> Tensor:
    """Running means without the first ones, which are near nothing."""
    return slow[min(int(WINDOW), len(slow) // 2) :]


def follow(mean: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A running mean float32 after one more value; elementwise, so that a row does not feel its neighbours."""
    return mean + (value - mean) * np.float32(1 / WINDOW)
