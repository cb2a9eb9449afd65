"""Fitting a world to recorded episodes, from any point at which it was stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from gensim.core.checkpoint import moments, over, refill, under
from gensim.core.devices import has_bfloat16
from gensim.core.files import load_tensors, save_tensors
from gensim.core.frames import shape_of
from gensim.core.progress import bar
from gensim.core.seeds import fold
from gensim.core.settings import differing
from gensim.episodes import Dataset, read_episode
from gensim.episodes.sample import Sampler
from gensim.models.vae import log_softmax_unimix
from gensim.world.config import FitConfig, NetConfig
from gensim.world.net import Net, pictures, total
from gensim.world.parts import alone, look_at, places
from gensim.world.weights import Weights
from gensim.world.world import World

COUNTED = 2000  # frames whose colours are counted
LOOKED = 64  # frames that are encoded at once
COUNTED_BATCHES = 8  # batches whose classes are
RAREST = 12.0  # weight of the rarest class of pixels, beside the most frequent one, unless marked
PARTS = 2**40  # folds into a step where parts of frames are drawn
WHOLE = 4  # of so many steps that look at parts, one looks at the whole
CHECKPOINT = "fit/checkpoint.safetensors"
# settings that were constants once
LATER = ("head", "look", "look_lr", "look_frames", "look_part", "decay", "unimix", "noise", "eye", "light", "redraw")
SEEING = ("shape", "groups", "classes", "widths", "cells", "light", "labels")  # settings that encoder and decoder have
DEFAULTS = {name: getattr(FitConfig, name) for name in LATER}


class Fit:
    """The state of a fit: weights, their running average, Adam's moments, and the clock."""

    def __init__(self, config: FitConfig, net_config: NetConfig) -> None:
        config.check_labels(net_config)
        self.config, self.step, self.seconds = config, 0, 0.0
        self.fabric = make_fabric(config.devices)
        torch.manual_seed(config.seed)
        net = Net(net_config)
        if config.init is not None:
            net.load_state_dict(_first_weights(net, config.init, bool(config.look)))
        if config.eye is not None:
            net.load_state_dict(_eye(net, config.eye), strict=False)
        if config.redraw is not None:
            net.load_state_dict(_undrawn(net, config.redraw), strict=False)
            net.encoder.requires_grad_(False)
        self.average = {k: v.clone() for k, v in net.state_dict().items()}
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        encoder = list(net.encoder.parameters())
        others = [value for name, value in net.named_parameters() if not name.startswith("encoder.")]
        optimiser = torch.optim.Adam([{"params": encoder}, {"params": others}], config.lr, eps=1e-8)
        self.net, self.optimiser = self.fabric.setup(net, optimiser)
        self.weights = Weights.of(net_config.shape, config.emphasis)
        self.balance = self.shown = torch.ones(len(net_config.labels))

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One optimiser step on a batch; returns the loss's parts."""
        generator = self._chance(self.fabric.device, self.step)
        c, begun = self.config, self.config.look * (self.step >= self.config.look)
        warm, rate = (self.step - begun + 1) / c.warmup, c.rate(self.step)
        for group, late in zip(self.optimiser.param_groups, (1, 0)):  # the encoder begins when the decoder has
            group["lr"] = rate * min(1.0, max(0.0, (warm - late) / (1 + late)))
        settled = min(1.0, self.step / c.settle)
        weights = self.weights and partial(self.weights, settled=settled)
        batch = batch | {name: 1 + (getattr(self, name) - 1) * settled for name in ("balance", "shown")}
        if "look" in batch:
            batch = self._looks(batch)
        batch |= {"noise": torch.tensor(c.noise)} if c.noise else {}
        parts = self.net(self.fabric.to_device(batch), c.free_nats, c.decoded, generator, weights)
        self.fabric.backward(total(parts, self.config))
        self.fabric.clip_gradients(self.net, self.optimiser, max_norm=self.config.clip, error_if_nonfinite=True)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._follow()
        return {name: part.item() for name, part in parts.items()}

    def _looks(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a step of looking sees of windows of one frame or two: all of these, or of each window one part."""
        c, t = self.config, batch["valid"].shape[1]
        batch = alone(batch) | ({"pairs": torch.ones(1)} if c.stay else {})
        if not c.look_part or self.step % WHOLE == 0:
            return batch
        grid, chance = self.net.module.config.grid, self._chance("cpu", PARTS + self.step)
        at = places(batch["classes"][::t, 0], self.shown**2, grid, c.look_part, chance)
        return look_at(batch, at.repeat_interleave(t, 0), grid, c.look_part)

    def _chance(self, device: torch.device | str, what: int) -> torch.Generator:
        """What a step draws by: a function of the seed and of what is drawn."""
        key = fold(np.array([self.config.seed], np.uint64), what)[0]
        return torch.Generator(device).manual_seed(int(key) >> 1)

    def save(self) -> None:
        """Writes the checkpoint, all or nothing."""
        path = self.config.out / CHECKPOINT
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = over("net.", self.net.module.state_dict()) | over("average.", self.average)
        tensors |= over("adam.", moments(self.optimiser))
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        meta = {"step": str(self.step), "seconds": str(self.seconds), "config": self.config.identity()}
        save_tensors(path, tensors, meta)

    def load(self) -> bool:
        """Goes on from the folder's checkpoint if there is one; ValueError if it is another fit's."""
        path = self.config.out / CHECKPOINT
        if not path.exists():
            return False
        tensors, meta = load_tensors(path)
        mine = json.loads(self.config.identity())
        its = {name: value for name, value in DEFAULTS.items() if name in mine}  # what it did not know was so
        differ = differing(its | json.loads(meta.get("config", "{}")), mine)
        if differ:
            raise ValueError(f"{path} belongs to a fit with {differ}: give the same to go on, or another --out")
        self.net.module.load_state_dict(under("net.", tensors))
        self.average = {k: v.to(self.fabric.device) for k, v in under("average.", tensors).items()}
        refill(self.optimiser, under("adam.", tensors))
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])
        return True

    @torch.no_grad()
    def stand(self, sampler: Sampler) -> None:
        """Encoder and decoder stand as they are on average, and windows hold the laws of their frames' latents."""
        fixed = {k: v for k, v in self.average.items() if k.startswith(("encoder.", "decoder."))}
        self.net.module.load_state_dict(fixed, strict=False)
        encoder, unimix = self.net.module.encoder, self.net.module.config.unimix

        def law(episode: int) -> np.ndarray:
            frames = self.fabric.to_device(torch.from_numpy(sampler.pictures(episode)))
            with self.fabric.autocast():
                logits = torch.cat([encoder(pictures(part)) for part in frames.split(LOOKED)])
            return log_softmax_unimix(logits, unimix).half().cpu().numpy()  # (T + 1, groups, classes)

        sampler.laws = [law(episode) for episode in range(len(sampler.episodes))]

    def limit(self, tallies: Tensor) -> None:
        """Tells heads and clock the range (2, 2) of the tallies that there are to learn from."""
        known = {"dynamics.late": tallies[1, 1]} if self.config.clock else {}
        tallies = torch.zeros_like(tallies) if self.config.tally is False else tallies  # a table read in one place
        known |= {f"{head}.tally.limits": tallies for head in ("reward", "termination")}
        for name, value in known.items():
            self.net.module.get_buffer(name).copy_(value)
            self.average[name].copy_(value)

    def scale(self, sampler: Sampler) -> None:
        """Tells the head of numbers their means and deviations, and weighs classes by how rare they are."""
        if self.net.module.config.readouts and not self.config.redraw:
            for name, value in zip(("mean", "scale"), sampler.moments()):
                self.net.module.get_buffer(f"telling.{name}").copy_(torch.from_numpy(value))
                self.average[f"telling.{name}"].copy_(torch.from_numpy(value))
        if self.net.module.config.labels:
            classes = np.concatenate([sampler.batch(step).more["classes"].ravel() for step in range(COUNTED_BATCHES)])
            share = np.bincount(classes, minlength=len(self.balance)) / len(classes)
            rare = share.max() / np.maximum(share, 1e-9)
            self.balance = torch.from_numpy(np.minimum(rare**0.5, RAREST).astype(np.float32))
            marks = dict(self.config.mark)
            self.shown = self.balance * torch.tensor([marks.get(name, 1.0) for name in self.net.module.config.labels])

    def count(self, sampler: Sampler) -> None:
        """Weighs colours by how rare they are in frames of the data, where the settings ask for it."""
        if self.config.rarity:
            frames = torch.from_numpy(sampler.some(COUNTED))
            self.weights = Weights.of(self.net.module.config.shape, self.config.emphasis, frames)

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.average, self.step / (self.step + 10))
        for name, value in self.net.module.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)


def fit(config: FitConfig, quiet: bool = False) -> World:
    """Fits a world to the episodes in `config.data` and writes it to `config.out`; resumes if it was stopped.

    Raises ValueError if the data hold no episode long enough to learn from.
    """
    dataset = Dataset(config.data)
    run = Fit(config, net_config(config, dataset.spec))
    run.load()
    about = {"mirror": config.mirror or None, "decoded": config.decoded}
    sampler = Sampler(dataset, config.length, config.batch, config.seed, config.holdout, **about)  # type: ignore[arg-type]
    if not config.redraw:
        run.limit(torch.from_numpy(sampler.limits))
    run.scale(sampler)
    run.count(sampler)
    if run.step < config.look:
        _loop(run, _looker(config, dataset), quiet, config.look)
    if not config.redraw:
        if config.look or config.eye:
            run.stand(sampler)
        _loop(run, sampler, quiet)
    return export(run, dataset, sampler)


def _looker(config: FitConfig, dataset: Dataset) -> Sampler:
    """Draws frames for encoder and decoder, each alone, or in pairs where what is new in the second has a price."""
    t = 2 if config.stay else 1
    about = {"mirror": config.mirror or None, "decoded": t, "opening": 0.0}
    return Sampler(dataset, t, config.look_frames // t, config.seed, config.holdout, **about)  # type: ignore[arg-type]


def net_config(config: FitConfig, spec: dict[str, Any]) -> NetConfig:
    """Sizes of the networks for a data set's frames and actions."""
    action = spec["action"]
    dim = action.get("dim") or action["n"]
    height, width = shape_of(spec)
    wide = None if width == height else width
    named = {"readouts": "numbers", "labels": "labels", "conditions": "conditions", "kinds": "kinds"}
    told = {name: tuple(spec.get(key) or ()) for name, key in named.items()}
    sizes = {"hidden": config.hidden, "groups": config.groups, "widths": tuple(config.widths), "head": config.head}
    sizes |= {"unimix": config.unimix, "cells": config.cells, "light": config.light}
    sizes |= {"stages": config.stages if (config.stages or 1) > 1 else None}
    return NetConfig(**{"size": height, "width": wide, "actions": dim, "clock": bool(config.clock), **sizes, **told})


def _first_weights(net: Net, folder: Path, looks: bool) -> dict[str, Tensor]:
    """The weights of the world in `folder` for a network; if it has no clock, with one that says nothing yet.

    looks: with the network's own heads.
    """
    world = World.load(folder)
    its_config = replace(world.config, clock=net.config.clock)
    if looks:
        its_config = replace(its_config, head=net.config.head, unimix=net.config.unimix)
    if its_config != net.config or world.config.clock > net.config.clock:
        own, asked = asdict(world.config), asdict(net.config)
        told = [f"{name}={own[name]}" for name in own if own[name] != asked[name]]
        raise ValueError(f"init={folder}: its networks have {', '.join(told)}, unlike this fit's; give a world like it")
    own, its = net.state_dict(), world.weights()
    if looks:
        return own | {name: x for name, x in its.items() if name.startswith(("encoder.", "decoder.", "dynamics."))}
    return {name: x for name, x in own.items() if name.startswith(("dynamics.clock", "dynamics.late"))} | its


def _eye(net: Net, folder: Path) -> dict[str, Tensor]:
    """The weights of encoder and decoder of the world in `folder`, for a network that sees as it does."""
    world = _alike(net, "eye", folder, SEEING)
    return {name: x for name, x in world.weights().items() if name.startswith(("encoder.", "decoder."))}


def _undrawn(net: Net, folder: Path) -> dict[str, Tensor]:
    """All weights but the decoder's of the world in `folder`, for a network that is like its own but for that."""
    names = [one.name for one in fields(net.config) if one.name != "light"]
    world = _alike(net, "redraw", folder, names)
    return {name: x for name, x in world.weights().items() if not name.startswith("decoder.")}


def _alike(net: Net, what: str, folder: Path, names: Sequence[str]) -> World:
    """The world in `folder`; ValueError where it is unlike a network in one of these settings."""
    world = World.load(folder)
    its, asked = ({name: getattr(c, name) for name in names} for c in (world.config, net.config))
    if its != asked:
        told = [f"{name}={its[name]}" for name in names if its[name] != asked[name]]
        raise ValueError(
            f"{what}={folder}: its networks have {', '.join(told)}, unlike this fit's; give a world like it"
        )
    return world


def make_fabric(devices: int) -> Fabric:
    """Lightning Fabric on the accelerator at hand, in bfloat16 where that is native."""
    mixed = torch.cuda.is_available() or has_bfloat16()
    on_gpu = torch.cuda.is_available()
    fabric = Fabric(
        accelerator="auto" if on_gpu else "cpu",
        devices=devices if on_gpu else 1,
        precision="bf16-mixed" if mixed else "32-true",
    )
    fabric.launch()
    return fabric


def export(run: Fit, dataset: Dataset, sampler: Sampler) -> World:
    """Writes the averaged weights as a world folder, with its starts, held-out frames and calibrated trust."""
    from gensim.world.furnish import furnish

    weights = {k: v.detach().float().cpu() for k, v in run.average.items()}
    spec = dataset.spec | {"real_frames": dataset.meter()["real_frames"], "fit_steps": run.step}
    world = World.from_weights(run.net.module.config, weights, spec | {"fit_seconds": round(run.seconds)})
    if run.config.calibrate and not run.config.redraw:
        world = _calibrated(world, dataset, sampler)
    world = furnish(world, dataset, sampler.heldout)
    world.save(run.config.out)
    return world


def _calibrated(world: World, dataset: Dataset, sampler: Sampler) -> World:
    from gensim.world.ends import assured
    from gensim.world.temper import tempered

    world, (slope, shift) = assured(world, [read_episode(header.path) for header in sampler.heldout])
    world, temperature, steps = tempered(world, dataset)
    told = {"ends_slope": slope, "ends_shift": shift, "prior_temperature": temperature}
    told = {name: round(value, 4) for name, value in told.items()}
    world.spec = world.spec | {"calibrated": {**told, "random_play_steps": steps}}
    return world


def _loop(run: Fit, sampler: Sampler, quiet: bool, looks: int | None = None) -> None:
    """Takes steps up to the goal, or up to so many that look alone."""
    config = run.config
    goal = looks or (config.steps if config.steps or config.minutes else 20_000)
    log = SummaryWriter(str(config.out / "fit" / "log"))
    progress = bar(_total(goal, config.minutes), "look" if looks else "fit", quiet)
    progress.update(int(run.step if goal else run.seconds))
    saved = last = time.monotonic()
    for batch in sampler.prefetch(run.step):
        if run.step >= (goal or np.inf) or run.seconds >= 60 * (config.minutes or np.inf):
            break
        parts = run.update(_tensors(batch) | ({"look": torch.ones(1)} if looks else {}))
        now = time.monotonic()
        run.seconds, before, last = run.seconds + now - last, run.seconds, now
        progress.update(1 if goal else int(run.seconds) - int(before))
        if run.step % 10 == 0:
            _report(log, progress, run.step, parts)
        if now - saved > config.save_every:
            run.save()
            saved = now
    run.save()
    progress.close()
    log.close()


def _total(goal: int | None, minutes: float | None) -> int:
    return goal or int(60 * (minutes or 0))


def _report(log: SummaryWriter, progress: Any, step: int, parts: dict[str, float]) -> None:
    for name, value in parts.items():
        log.add_scalar(f"loss/{name}", value, step)
    progress.set_postfix({k: f"{v:.3g}" for k, v in parts.items()} | {"step": step})


def _tensors(batch: Any) -> dict[str, Tensor]:
    names = ("frames", "act", "rew", "term", "first", "valid", "tally")
    found = {name: torch.from_numpy(getattr(batch, name)) for name in names}
    return found | {name: torch.from_numpy(value) for name, value in batch.more.items()}
