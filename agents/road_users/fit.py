"""How the GAN of people is fitted to renders: first it guesses what they look like on average, then it is judged.

In the game half of what is drawn is of persons that are known, who must also stay like their renders: what is asked for
stays true while the critic makes it sharp, as in Image-to-Image Translation with Conditional Adversarial Networks
(Isola et al., 2017), arXiv:1611.07004, and with a latent a person as in Optimizing the Latent Space of Generative
Networks (Bojanowski et al., 2018), arXiv:1707.05776. And what was asked for must be read off whoever is drawn, by a
network that learned it from the same renders, as in Conditional Image Synthesis with Auxiliary Classifier GANs (Odena
et al., 2017), arXiv:1610.09585.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.agents.road_users.judge import reader
from gensim.agents.road_users.learner import learn
from gensim.agents.road_users.pictures import Pictures
from gensim.core.checkpoint import moments, over, refill, under
from gensim.core.files import load_tensors, save_tensors
from gensim.core.progress import bar
from gensim.models.gan import Critic, Generator, altered, penalised, relativistic, sizes_of

CHECKPOINT, READER = Path("fit") / "checkpoint.safetensors", Path("fit") / "reader.safetensors"


@dataclass(frozen=True)
class FitPeople:
    """How to fit."""

    data: Path = Path("runs/people/data")
    """Folder of renders."""
    out: Path = Path("runs/people/gan")
    """Folder of the fit; one that was stopped goes on from there."""
    guess: int = 12_000
    """Steps at first that foretell renders by their mean error, with a latent of its own for each person. The latents'
    law is then made standard normal: what they came to say is what an identity's latent says from then on."""
    guess_lr: float = 2e-3
    """Learning rate of these steps; it falls to zero."""
    steps: int = 7500
    """Steps of the game between generator and critic, after these."""
    batch: int = 32
    """Pairs of pictures in a step."""
    true: float = 0.02
    """Weight, in the game, of the squared error of those who are known."""
    asked: float = 0.3
    """Weight, in the game, of how far what is read off those who are drawn is off what was asked for."""
    read_steps: int = 2500
    """Steps of what reads it."""
    lr: float = 3e-4
    """Learning rate of Adam, of the game; over its last half it falls to a tenth."""
    gamma: tuple[float, float] = (1.0, 0.1)
    """Weight of the gradients' penalties, at the game's beginning and from its middle on."""
    penalise: int = 4
    """Of so many steps one has the penalties, as many times as heavy."""
    average: float = 0.999
    """Decay of the running average of the generator's weights, which is what is kept."""
    identity: int = 64
    """Width of the identity's latent."""
    widths: tuple[int, ...] = (160, 80, 48, 28)
    """Channels of the generator."""
    judge: tuple[int, ...] = (48, 96, 160, 192)
    """Channels of the critic."""
    grown: Path | None = None
    """Folder of a fit with a level less: its levels stay as they are, and the last one is learned by the game alone."""
    save_every: float = 120.0
    """Seconds between checkpoints."""
    seed: int = 0
    """Seed of weights and of draws."""

    def identify(self) -> str:
        """What must not change when a fit goes on."""
        free = ("data", "out", "save_every", "steps", "grown")
        return json.dumps({name: value for name, value in asdict(self).items() if name not in free}, sort_keys=True)

    @property
    def height(self) -> int:
        """Pixels that the largest pictures are high."""
        return 4 << len(self.widths)


class Fit:
    """A fit as it stands."""

    def __init__(self, config: FitPeople, pictures: Pictures) -> None:
        torch.manual_seed(config.seed)
        self.config, self.pictures = config, pictures
        width = pictures.conditions.shape[-1]
        self.net, self.critic = Generator(width, config.identity, config.widths), Critic(width, config.judge)
        for net in (self.net, self.critic):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.who = nn.Embedding(len(pictures), config.identity)
        nn.init.normal_(self.who.weight, std=0.3)
        if config.grown is not None:
            self._grow(config.grown)
        self.average = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.guesser = torch.optim.Adam([*self.net.parameters(), *self.who.parameters()], config.guess_lr)
        self.players = [
            torch.optim.Adam(net.parameters(), config.lr, betas=(0.0, 0.99)) for net in (self.net, self.critic)
        ]
        self.reader = reader.Reader().eval().requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        self.parts: dict[str, torch.nn.Module] = {"net.": self.net, "critic.": self.critic, "who.": self.who}
        self.optimisers = {"guesser.": self.guesser, "draws.": self.players[0], "judges.": self.players[1]}

    @torch.no_grad()
    def _grow(self, folder: Path) -> None:
        """Takes the levels of a smaller fit; the generator's stay as they are, and its last one adds nothing yet."""
        tensors, _ = load_tensors(folder / CHECKPOINT)
        self.net.load_state_dict(self.net.state_dict() | under("average.", tensors))
        self.who.weight.copy_(tensors["who.weight"])
        self.net.requires_grad_(False)
        for part in self.net.grown():
            part.requires_grad_(True)
        own, known = self.critic.state_dict(), under("critic.", tensors)
        for name, value in known.items():
            place = name
            if name.startswith("convs."):
                _, level, kind = name.split(".")
                place = f"convs.{int(level) + 1}.{kind}"
            wide = own[place]
            if wide.shape != value.shape:  # the first level of before reads what the new one makes of larger pictures
                wide.zero_()
                wide[:, -value.shape[1] :] = value
            else:
                wide.copy_(value)

    def advance(self) -> dict[str, float]:
        """One step more."""
        chance = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        began = time.perf_counter()
        if self.step < self.config.guess:
            told = self._guess(chance)
            if self.step + 1 == self.config.guess:
                self._settle()
        else:
            told = self._play(chance)
        self.step += 1
        self.seconds += time.perf_counter() - began
        self._follow()
        return told

    def _guess(self, chance: torch.Generator) -> dict[str, float]:
        part = self.step / self.config.guess
        self.guesser.param_groups[0]["lr"] = self.config.guess_lr * min(
            1.0, (self.step + 1) / 100, 2 * (1 - part) + 0.01
        )
        real, told, who = self.pictures.pairs(self.config.batch, chance)
        own = self.who(who)
        miss = missed(self._drawn(told, own + 0.1 * torch.randn(own.shape, generator=chance)), real)
        loss = miss + 0.05 * own.square().sum(-1).mean()
        self.guesser.zero_grad(set_to_none=True)
        loss.backward()
        self.guesser.step()
        return {"miss": miss.item()}

    @torch.no_grad()
    def _settle(self) -> None:
        """The identities' latents become standard normal, and the generator reads them as it read the old ones."""
        own = self.who.weight.double()
        mean, spread = own.mean(0), torch.linalg.cholesky(own.T.cov() + 1e-4 * torch.eye(own.shape[1]))
        first = self.net.told[0]
        assert isinstance(first, nn.Linear)
        of = first.weight[:, self.net.conditions :].double()
        first.bias.add_((of @ mean).float())
        first.weight[:, self.net.conditions :] = (of @ spread).float()
        self.who.weight.copy_(torch.linalg.solve_triangular(spread, (own - mean).T, upper=False).T)
        self.average = {name: value.clone() for name, value in self.net.state_dict().items()}

    def _play(self, chance: torch.Generator) -> dict[str, float]:
        c = self.config
        part = (self.step - c.guess) / max(1, c.steps)
        for player in self.players:
            slow = min(1.0, (self.step - c.guess + 1) / 200)
            player.param_groups[0]["lr"] = c.lr * slow * (1.0 if part < 0.5 else max(0.1, 1 - 1.8 * (part - 0.5)))
        gamma = c.gamma[0] + (c.gamma[1] - c.gamma[0]) * min(1.0, 2 * part)
        with torch.no_grad():
            real, drawn, told = self._both(chance)[:3]
        if (self.step - c.guess) % c.penalise == 0:
            (good, rough), (bad, smooth) = (penalised(self.critic, some, told) for some in (real, drawn))
            loss = relativistic(good, bad) + c.penalise * gamma / 2 * (rough + smooth)
        else:
            good, bad = self.critic(real, told), self.critic(drawn, told)
            loss = relativistic(good, bad)
        self._take(self.players[1], loss)
        real, drawn, told, untrue = self._both(chance)
        lie = untrue()
        with torch.no_grad():
            good = self.critic(real, told)
        self.critic.requires_grad_(False)
        fooled = relativistic(self.critic(drawn, told), good)
        self._take(self.players[0], fooled + lie)
        self.critic.requires_grad_(True)
        told_apart = (good.mean() - bad.mean()).item()
        return {"critic": loss.item(), "drawn": fooled.item(), "apart": told_apart, "untrue": lie.item()}

    def _both(self, chance: torch.Generator) -> tuple[list[Tensor], list[Tensor], Tensor, Callable[[], Tensor]]:
        """Pairs of real pictures and of drawn ones under the same conditions, of all sizes, altered alike.

        The first half of what is drawn is of the persons themselves. Last comes what tells how untrue it is.
        """
        real, told, who = self.pictures.pairs(self.config.batch, chance)
        identity, known = torch.randn((len(real), self.config.identity), generator=chance), len(real) // 2
        identity[:known] = self.who.weight.detach()[who[:known]]
        drawn = self._drawn(told, identity)
        state = chance.get_state()
        shown = altered(sizes_of(real, len(drawn)), chance), altered(drawn, _at(state))
        return *shown, told, lambda: self._untrue(drawn, real, told, known)

    def _untrue(self, drawn: list[Tensor], real: Tensor, told: Tensor, known: int) -> Tensor:
        """What it costs that persons who are known are not like their renders, and that all are not as asked for."""
        small = F.avg_pool2d(drawn[0], self.config.height // 64)
        read, _ = self.reader(torch.cat(small.chunk(2, 1)))
        unlike = missed([one[:known] for one in drawn], real[:known])
        return self.config.true * unlike + self.config.asked * reader.missed(read, torch.cat(told.chunk(2, -1)))

    def _drawn(self, told: Tensor, identity: Tensor) -> list[Tensor]:
        """Pairs of pictures (n, 8, h, w) under pairs of conditions (n, 2 WIDTH), each pair of one identity (n, i)."""
        conditions = torch.cat(told.chunk(2, -1))  # (2 n, WIDTH)
        return [torch.cat(one.chunk(2), 1) for one in self.net(conditions, identity.repeat(2, 1), self.config.height)]

    def _take(self, player: torch.optim.Optimizer, loss: Tensor) -> None:
        player.zero_grad(set_to_none=True)
        loss.backward()
        player.step()

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.average, self.step / (self.step + 10))
        for name, value in self.net.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def save(self) -> None:
        """Writes the checkpoint, all or nothing."""
        path = self.config.out / CHECKPOINT
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = over("average.", self.average)
        for prefix, part in self.parts.items():
            tensors |= over(prefix, part.state_dict())
        for prefix, optimiser in self.optimisers.items():
            tensors |= over(prefix, moments(optimiser))
        about = {"step": str(self.step), "seconds": str(self.seconds), "config": self.config.identify()}
        save_tensors(path, {name: value.contiguous() for name, value in tensors.items()}, about)

    def load(self) -> bool:
        """Goes on from the folder's checkpoint if there is one; ValueError if it is another fit's."""
        path = self.config.out / CHECKPOINT
        if not path.exists():
            return False
        tensors, about = load_tensors(path)
        if about.get("config") != self.config.identify():
            raise ValueError(f"{path} belongs to a fit with other settings: {about.get('config')}; give another --out")
        for prefix, part in self.parts.items():
            part.load_state_dict(under(prefix, tensors))
        for prefix, optimiser in self.optimisers.items():
            refill(optimiser, under(prefix, tensors))
        self.average = under("average.", tensors)
        self.step, self.seconds = int(about["step"]), float(about["seconds"])
        return True


def learn_to_read(run: Fit, quiet: bool = False) -> None:
    """Fits what reads attributes off pictures of 64 by 32, or takes it from the fit's folder, or the smaller's."""
    config = run.config
    pictures = run.pictures if config.height == 64 else Pictures.load(config.data, quiet=quiet)
    path, of = (config.grown or config.out) / READER, f"{len(pictures)} persons, seed {config.seed}"
    torch.manual_seed(config.seed + 1)
    own = reader.Reader()
    cost = lambda _, chance: reader.loss(own, pictures, 64, chance)  # noqa: E731
    learn(own, cost, path, config.read_steps, 2e-3, "learn to read", of)
    run.reader.load_state_dict(own.state_dict())


def missed(drawn: list[Tensor], real: Tensor) -> Tensor:
    """Squared error, summed over pixels and sizes, of pictures (n, 8, h, w) of all sizes from real ones: a mean."""
    misses = [(one - goal).square().flatten(1).sum(-1).mean() for one, goal in zip(drawn, sizes_of(real, len(drawn)))]
    return torch.stack(misses).sum()


def _at(state: Tensor) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(state)
    return generator


def fit(config: FitPeople, quiet: bool = False) -> Fit:
    """Fits, or goes on with a fit that was stopped."""
    run = Fit(config, Pictures.load(config.data, config.height, quiet=quiet))
    run.load()
    learn_to_read(run, quiet)
    total, saved = config.guess + config.steps, time.time()
    shown = bar(total, "fit people", json=quiet, unit="step")
    shown.update(run.step)
    while run.step < total:
        told = run.advance()
        shown.update()
        if run.step % 50 == 0:
            shown.set_postfix({name: f"{value:.3g}" for name, value in told.items()})
        if time.time() - saved > config.save_every:
            run.save()
            saved = time.time()
    run.save()
    shown.close()
    return run
