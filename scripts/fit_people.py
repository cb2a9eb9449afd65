#!/usr/bin/env python
"""Fits the GAN of people to renders, and what tells where their joints are; both go into one file of weights."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from torch.nn import functional as F

from gensim.agents.road_users.fit import FitPeople, fit
from gensim.agents.road_users.painter import WEIGHTS, Joints, Painter
from gensim.agents.road_users.pictures import Pictures
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json
from gensim.core.progress import bar
from gensim.models.gan import Generator


@dataclass(frozen=True)
class Options(FitPeople):
    """How to fit, and where the weights go."""

    weights: Path = WEIGHTS
    """File to write in the end."""
    large_steps: int = 1500
    """Steps of the game of pictures of 128 by 64, whose level is added to the others in the end."""
    large_widths: tuple[int, int] = (16, 24)
    """Channels of that level, and of the critic's."""
    joint_steps: int = 6000
    """Steps of what tells where joints are."""


def main(config: Options) -> None:
    """Fits both and writes them."""
    told = {name: getattr(config, name) for name in FitPeople.__dataclass_fields__}
    small = FitPeople(**told)
    before = fit(small)
    made = {"steps": before.step, "seconds": round(before.seconds), "settings": json.loads(small.identify())}
    (width, judge), folder = config.large_widths, small.out / "large"
    widths, seers = (*small.widths, width), (judge, *small.judge)
    large = replace(small, out=folder, grown=small.out, guess=0, steps=config.large_steps, widths=widths, judge=seers)
    run = fit(large)
    net = Generator(run.pictures.conditions.shape[-1], large.identity, large.widths)
    net.load_state_dict(run.average)
    Painter(net, joints(run.pictures, config)).save(config.weights)
    larger = {"steps": run.step, "seconds": round(run.seconds)}
    about = {"persons": len(run.pictures), "64 by 32": made, "128 by 64": larger} | circumstances()
    write_json(config.weights.with_suffix(".json"), about)
    print(f"{config.weights}: {config.weights.stat().st_size / 1e6:.1f} MB after {run.step} steps, {run.seconds:.0f} s")


def joints(pictures: Pictures, config: Options) -> Joints:
    """What tells of a condition where the joints are."""
    torch.manual_seed(config.seed)
    told, real = pictures.conditions.flatten(0, 1), pictures.joints.flatten(0, 1)
    net = Joints(told.shape[-1])
    player = torch.optim.Adam(net.parameters(), 2e-3)
    for step in bar(range(config.joint_steps), "joints", unit="step"):
        player.param_groups[0]["lr"] = 2e-3 * min(1.0, 1.4 * (1 - step / config.joint_steps))
        some = torch.randint(len(told), (256,))
        found = net(told[some])
        miss = (found[..., :2] - real[some][..., :2]).abs().mean() * 10
        loss = miss + 0.1 * F.binary_cross_entropy_with_logits(found[..., 2], real[some][..., 2])
        player.zero_grad(set_to_none=True)
        loss.backward()
        player.step()
    return net


if __name__ == "__main__":
    tell(["scripts/fit_people", *sys.argv[1:]])
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Options, description=__doc__))
