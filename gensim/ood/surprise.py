"""Whether what follows is what should follow: a small predictor of features under actions, and what it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.ood.gauss import Gauss
from gensim.ood.training import seeded, train

PAST = 4  # frames that are looked back on
LATE = 2  # steps by which actions may come late in what is held against what happened
ACTS = PAST + LATE
WINDOW = 25.0  # a slow mean has the weight of some 50 frames
HIDDEN = 128
LED = 8  # features that follow the actions most, whose errors are held against actions
LEAST = 20  # moments that slow means are judged by
CUT = 4.0  # deviations at which an error is cut
BATCH = 256
RATE = 2e-3
MUTED = 0.25  # share of training rows that are not told the actions
LAWS = ("told", "untold", "late", "later", "weak")  # what the predictor is told about the actions


class Predictor(nn.Module):
    """The next features from the last `PAST` ones and the actions since."""

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        self.inp = nn.Linear(PAST * (features + actions) + 1, HIDDEN)
        self.mid = nn.Linear(HIDDEN, HIDDEN)
        self.out = nn.Linear(HIDDEN, features)

    def forward(self, past: Tensor, acts: Tensor, told: Tensor) -> Tensor:
        """Change (n, d) after features (n, PAST, d) and actions (n, PAST, k), of which told (n, 1) says if known."""
        steps = torch.cat([past.diff(dim=1), past[:, -1:]], 1).flatten(1)  # (n, PAST * d)
        x = torch.cat([steps, (acts * told[:, :, None]).flatten(1), told], -1)
        x = F.silu(self.inp(x))
        return self.out(x + F.silu(self.mid(x)))


class Surprise:
    """Errors of a predictor: how large, whether of one sign over many frames, and whether actions explain them.

    What is slow is a running mean since the episode began, from nothing, of a weight of some 50 frames: errors with
    their signs ("drift"), errors times actions ("response"), and by how much the true actions explain better what
    happened than none, than those one and two steps late, and than weaker ones. Changed dynamics show there while every
    frame looks usual.

    Arguments:
        net: the predictor, in eval mode.
        scale: deviations of features' changes (d,) and of its errors (d,), stacked (2, d).
        led: the features that follow the actions most, int64 (LED,).
        centre: the usual mean of everything that is averaged, (m,).
        drift, response: the laws of slow means.
    """

    group = "dynamics"
    names = (
        "surprise",
        "drift inside",
        "drift outside",
        "response inside",
        "response outside",
        "slow surprise",
        "slow use of actions",
        "slow use against late ones",
        "slow use against later ones",
        "slow use against weak ones",
        "slow motion",
        "slow stillness",
    )

    def __init__(
        self, net: Predictor, scale: Tensor, led: Tensor, centre: Tensor, drift: Gauss, response: Gauss
    ) -> None:
        self.net = net.eval().requires_grad_(False)
        self.scale, self.led, self.centre, self.drift, self.response = scale, led, centre, drift, response

    @classmethod
    def fit(cls, films: Sequence[Film], steps: int, seed: int, work: Path, quiet: bool = True) -> Surprise:
        """From episodes' features and actions; training that was stopped goes on from `work`.

        Every fourth episode is not trained on: the errors there say how large they are.
        """
        held = films[::4] if len(films) > 3 else films
        past, acts, now, _ = windows([film for i, film in enumerate(films) if i % 4 or len(films) < 4])
        change = (now - past[:, -1]).std(0, unbiased=False) + 1e-3
        net = seeded(lambda: Predictor(now.shape[1], acts.shape[2]), seed)
        assert isinstance(net, Predictor)

        def loss(rng: np.random.Generator) -> Tensor:
            rows = torch.from_numpy(rng.integers(len(now), size=BATCH))
            told = torch.from_numpy((rng.random((BATCH, 1)) > MUTED).astype(np.float32))
            error = (now[rows] - past[rows, -1]) / change - net(past[rows], acts[rows, LATE:], told)
            return F.huber_loss(error, torch.zeros_like(error), delta=2.0)

        train(net, loss, steps, RATE, seed, work / "predictor.safetensors", quiet)
        return cls._measured(net, change, held)

    @classmethod
    def _measured(cls, net: Predictor, change: Tensor, films: Sequence[Film]) -> Surprise:
        past, acts, now, _ = windows(films)
        d, k = now.shape[1], acts.shape[2]
        blank = Gauss.fit(torch.zeros(4, 1), 1)
        led = torch.arange(min(LED, d))
        made = cls(net, torch.stack([change, torch.ones(d)]), led, torch.zeros(0), blank, blank)
        with torch.no_grad():
            errors = made.errors(past, acts, now)  # (laws, n, d)
            made.scale = torch.stack([change, errors[0].std(0, unbiased=False) + 1e-3])
            gain = ((errors[1] / made.scale[1]).square() - (errors[0] / made.scale[1]).square()).clamp(-25, 25).mean(0)
            made.led = gain.topk(len(led)).indices.sort().values
            seen = [made.averaged(*windows([film])) for film in films]
            made.centre = torch.cat(seen).mean(0)
            slow = torch.cat([made.slowed(values)[min(int(WINDOW), len(values) // 2) :] for values in seen])
        if len(slow) < LEAST:
            raise ValueError(f"episodes of {len(seen[0])} steps are too short to see dynamics in: record longer ones")
        made.drift = Gauss.fit(slow[:, :d], 24)
        made.response = Gauss.fit(slow[:, d : d + 2 * k * len(led)], 16) if k else blank
        return made

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

    def averaged(self, past: Tensor, acts: Tensor, now: Tensor, motion: Tensor) -> Tensor:
        """All that is averaged over time (n, m): errors, errors times actions, surprise, uses of actions, motion."""
        errors = (self.errors(past, acts, now) / self.scale[1]).clamp(-CUT, CUT)
        true, last = acts[:, -1], acts[:, -2]
        told = torch.cat([true, last - true], -1)  # (n, 2 k)
        response = (errors[0][:, self.led, None] * told[:, None]).flatten(1)
        size = errors.square().mean(-1).T  # (n, laws)
        return torch.cat([errors[0], response, size[:, :1], size[:, 1:] - size[:, :1], motion], -1)

    def slowed(self, values: Tensor) -> Tensor:
        """The running means (t, m) of one episode's values (t, m)."""
        mean, means = np.zeros(values.shape[1], np.float32), []
        for row in (values - self.centre).numpy():
            mean = follow(mean, row)
            means.append(mean)
        return torch.from_numpy(np.stack(means)) if means else torch.zeros(0, values.shape[1])

    def read(self, values: Tensor, slow: Tensor) -> Tensor:
        """(n, 12) of what is averaged (n, m) and the running means with it (n, m)."""
        d, parts = self.scale.shape[1], len(LAWS) + 2
        drift, response = slow[:, :d], slow[:, d : slow.shape[1] - parts]
        wide = self.response.read(response) if response.shape[1] else torch.zeros(len(slow), 2)
        now = (values[:, -parts] + 1e-3).log()[:, None]
        return torch.cat([now, self.drift.read(drift), wide, slow[:, -parts:]], -1)

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        net = {f"predictor.{name}": value for name, value in self.net.state_dict().items()}
        plain = {f"surprise.{name}": getattr(self, name) for name in ("scale", "led", "centre")}
        return net | plain | self.drift.tensors("drift") | self.response.tensors("response")

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], features: int, actions: int) -> Surprise:
        """The reverse of `tensors`; KeyError or RuntimeError when they do not fit."""
        net = seeded(lambda: Predictor(features, actions), 0)
        assert isinstance(net, Predictor)
        net.load_state_dict({name: tensors[f"predictor.{name}"] for name in net.state_dict()})
        plain = [tensors[f"surprise.{name}"] for name in ("scale", "led", "centre")]
        return cls(net, plain[0], plain[1], plain[2], Gauss.of(tensors, "drift"), Gauss.of(tensors, "response"))


Film = tuple[Tensor, Tensor, Tensor]
"""An episode as features (t + 1, d), actions (t, k) and what is told of motion (t + 1, 2)."""
Windows = tuple[Tensor, Tensor, Tensor, Tensor]


def windows(films: Sequence[Film]) -> Windows:
    """All moments of episodes with enough past: (n, PAST, d), (n, ACTS, k), (n, d), (n, 2); ValueError without any."""
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


def follow(mean: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A running mean float32 after one more value; elementwise, so that a row does not feel its neighbours."""
    return mean + (value - mean) * np.float32(1 / WINDOW)
