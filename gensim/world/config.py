"""What a world's networks look like and how they are fitted."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gensim.core.frames import check_side
from gensim.models.vae import PATCHES, grid_of

NAMES = ("labels", "conditions", "readouts", "kinds")
LATER = ("clock", "width", "cells", "stages", "light", *NAMES)  # settings that worlds from before them have not


@dataclass(frozen=True)
class NetConfig:
    """Sizes of a world's networks."""

    size: int = 64
    """Height of a frame in pixels, a multiple of 16; and its width, if that is no other."""
    actions: int = 2
    """Width of the action vector (one-hot for discrete actions)."""
    groups: int = 32
    """Categorical variables in a latent."""
    classes: int = 32
    """Values of each variable."""
    hidden: int = 512
    """Width of the memory."""
    widths: tuple[int, ...] = (16, 48, 64, 160)
    """Channels after each halving of the frame; four of them or three, of cells three or two."""
    head: int = 256
    """Width of the reward and termination heads."""
    dropout: float = 0.1
    """Share of the prior's units off in a mask that holds for an episode."""
    unimix: float = 0.01
    """Share of the uniform law in every categorical, so that no log-probability is infinite."""
    clock: bool = False
    """Whether the dynamics are told the episode's steps so far."""
    width: int | None = None
    """Width of a frame in pixels, a multiple of 16; None where it is square."""
    cells: bool = False
    """Whether each variable tells of one patch of what the halvings leave, 4 or 8 pixels a side, instead of the whole
    frame. The memory is then a grid of cells, two by two patches each, and all are alike; a variable's values are
    ordered."""
    stages: int | None = None
    """Ordered parts of a latent, each drawn given those before it; None where all variables are drawn at once."""
    light: bool = False
    """Whether the decoder of cells is a light one, faster and a little less sharp."""
    labels: tuple[str, ...] = ()
    """Classes that every generated pixel is told to be of; its distance is told besides."""
    conditions: tuple[str, ...] = ()
    """Numbers in 0..1 that hold for an episode, which the dynamics are told."""
    readouts: tuple[str, ...] = ()
    """Numbers that a state tells, in the simulator's own units."""
    kinds: tuple[str, ...] = ()
    """What may end an episode, which a state tells."""

    def __post_init__(self) -> None:
        for side in self.shape:
            check_side(side)
        if len(self.widths) not in ((2, 3) if self.cells else (3, 4)):
            many = "two or three, with cells," if self.cells else "three or four"
            raise ValueError(f"widths={self.widths}: give {many} numbers of channels, one a halving")
        if self.light and not self.cells:
            raise ValueError("light=True without cells: a light decoder is one of cells; give --cells, too")
        check_groups(self.groups, self.grid if self.cells else None, self.stages or 1)
        if self.cells and self.hidden % (2 * math.prod(self.grid)):
            raise ValueError(f"hidden={self.hidden}: give a multiple of twice the {math.prod(self.grid)} cells")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.size, self.width or self.size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return grid_of(self.shape, self.widths, True)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it; of what came later, that alone which is used."""
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in told.items() if name not in LATER or value}


def check_groups(groups: int, grid: tuple[int, int] | None, stages: int) -> None:
    """ValueError unless variables can be dealt out to the cells of a grid, if any, and to stages."""
    if stages < 1 or groups % stages:
        raise ValueError(f"groups={groups}: give a multiple of {stages} stages")
    if grid is None:
        return
    cells = math.prod(grid)
    if groups % (PATCHES * cells) or groups // cells % stages:
        raise ValueError(
            f"groups={groups}: give a multiple of {PATCHES * cells}, the {PATCHES} patches of {cells} cells, so that "
            f"the variables of a cell are a multiple of {stages} stages"
        )


@dataclass(frozen=True)
class FitConfig:
    """How a world is fitted to recorded episodes."""

    data: Path
    """Folder of recorded episodes."""
    out: Path
    """World folder to write; a fit that was killed goes on from here."""
    minutes: float | None = None
    """Stop after so many minutes of fitting, all runs of this folder counted."""
    steps: int | None = None
    """Stop after so many optimiser steps; the default is 20,000 where no minutes are given."""
    init: Path | None = None
    """World folder whose weights to start from; where the fit looks first, those of encoder, decoder and dynamics
    alone, for heads read what they learn anew."""
    eye: Path | None = None
    """World folder whose encoder and decoder to take as they are; the rest learns from latents that they find once."""
    redraw: Path | None = None
    """World folder of which all is taken as it is but the decoder: that is fitted anew to what the encoder sees, in
    `look` steps, which are all there are."""
    batch: int = 24
    """Windows in a step."""
    length: int = 32
    """Frames in a window."""
    decoded: int = 6
    """Frames of a window that encoder and decoder are trained on; neighbours look alike."""
    lr: float = 6e-4
    """Learning rate of Adam."""
    look: int = 0
    """So many steps at first for encoder and decoder alone, with the divergence that of a frame's latent from the
    step's other frames' latents. They stand from then on, and the rest learns from latents that are found once, without
    a picture. 0: all parts learn together."""
    look_lr: float = 4e-3
    """Learning rate of these steps."""
    look_frames: int = 16
    """Frames in each of these steps: at first many small steps lead further than few large ones."""
    look_part: tuple[int, int] | None = None
    """Rows and columns of cells of a part of the frame: three of four of these steps see one, not the whole, around a
    pixel that is the likelier the more its error weighs. None: all see the whole."""
    stay: float = 0.0
    """Weight, in these steps, of what a frame's latent of cells says that the frame before did not; frames then come in
    pairs, as many in all. Little is then new where nothing moves, and dynamics have less to foretell."""
    mark: tuple[tuple[str, float], ...] = ()
    """Classes of labelled pixels, each with a factor by which its pixels' errors weigh more in a picture, besides the
    root of how rare its pixels are, which weighs those of all classes."""
    decay: float = 0.0
    """Share of the steps, at their end, over which the learning rate falls to zero; of both kinds of steps, if `look`
    makes two. It asks for `steps`."""
    warmup: int = 100
    """Steps over which the learning rate rises from zero; the encoder's begins then and takes twice as many, for a
    decoder that can draw nothing yet drives the latents to where they say nothing."""
    clip: float = 100.0
    """Largest norm of the gradient."""
    average: float = 0.995
    """Decay of the running average of the weights, which is what is shipped."""
    reconstruction: float = 2.0
    """Weight of the squared error of a frame, summed over its pixels in 0..1."""
    labels: float = 0.05
    """Weight of the labels' cross-entropy, summed over pixels; their distances' errors weigh ten times as much."""
    emphasis: tuple[float, float, float, float, float] | None = None
    """A part of the frame whose errors weigh more: top, bottom, left, right as shares of its sides, and the factor."""
    rarity: bool | None = None
    """Whether a pixel's error weighs more the rarer its colour is in the data, so that a fireball of some bright pixels
    is not drowned by walls. None: no, unless the simulator is known better."""
    tally: bool | None = None
    """Whether the heads are told an episode's steps and return so far. Where these end nothing, such as a simulator
    without laps, a head that is told them takes the hour at which earlier agents failed for the cause. None: yes,
    unless the simulator is known better."""
    clock: bool | None = None
    """Whether the dynamics are told the episode's steps so far: a fit sees short windows, and what piles up over an
    episode, such as monsters, is known by them alone. None: no, unless the simulator is known better."""
    mirror: tuple[int, ...] | None = None
    """Where left and right are alike in the simulator: the choice that each choice becomes in a mirror, or for numbers
    the sign of each, 1 or -1. Half of the windows are then learned mirrored; with (), none. None: none, unless the
    simulator is known better."""
    calibrate: bool | None = None
    """Whether ends are made as probable as held-out episodes bear out, and the prior as hot as it takes for random play
    to last as long in dreams as it really did; see `gensim.world.ends` and `gensim.world.temper`. None: no, unless the
    simulator is known better."""
    settle: int = 1000
    """Steps over which the pixels' weights rise from 1 to their own; begun with the whole, latents may say nothing."""
    rep: float = 0.1
    """Weight of the encoder's share of the divergence; the dynamics' share weighs 1."""
    unimix: float = 0.01
    """Share of the uniform law in every variable's law. With hundreds of variables a hundredth makes some of every
    frame nonsense: then give less. While encoder and decoder look alone it is a hundredth at least."""
    noise: float = 0.0
    """Share of the variables, and of the cells, that the dynamics read wrongly while they learn, as those of another
    frame: dreams then hold for longer, for what went a little wrong is put right."""
    free_nats: float = 1.0
    """Divergence below which nothing is gained."""
    save_every: float = 120.0
    """Seconds between checkpoints."""
    seed: int = 0
    """Seed of the weights, of the windows and of the noise."""
    holdout: float = 0.05
    """Share of the episodes kept away from the fit, to calibrate and to judge it."""
    hidden: int = 512
    """Width of the memory."""
    groups: int = 32
    """Categorical variables in a latent, of 32 values each."""
    widths: tuple[int, ...] = (16, 48, 64, 160)
    """Channels after each halving of the frame; four of them or three, of cells three or two."""
    head: int = 256
    """Width of the reward and termination heads."""
    cells: bool = False
    """Whether each variable of a latent tells of one patch of 8 pixels a side, or 4 with two widths, instead of the
    whole frame, and the memory is a grid of cells, two by two patches each: for scenes in which many small things
    move. `groups` is then a multiple of the number of patches, `hidden` of twice that of cells. Stages go through the
    patches of a cell as on a chequerboard, and once more for each patch's next variable."""
    light: bool = False
    """Whether the decoder of cells is a light one, with less than half of the work: dreams are faster and a little less
    sharp."""
    stages: int | None = None
    """Ordered parts of a latent, each drawn given those before it, so that what takes several variables at once comes
    whole; None draws all at once, which is fastest."""
    devices: int = 1
    """Accelerators to use, where there are any."""

    def __post_init__(self) -> None:
        counts = ["batch", "length", "decoded", "warmup", "settle", "hidden", "groups", "head", "stages", "devices"]
        counts += ["look_frames"]
        given = {name: getattr(self, name) for name in counts}
        if not 0 < self.unimix < 1:
            raise ValueError(f"unimix={self.unimix}: give a share above 0 and below 1")
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise={self.noise}: give a share from 0 to below 1")
        if self.look < 0:
            raise ValueError(f"look={self.look}: give a number of steps, or 0")
        wrong = [f"{name}={value}" for name, value in given.items() if value is not None and value < 1]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: give at least 1")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise ValueError(f"steps={self.steps}, minutes={self.minutes}: give positive numbers, or none")
        if not 0 <= self.decay <= 1 or (self.decay and self.steps is None):
            raise ValueError(f"decay={self.decay}, steps={self.steps}: give a share in 0..1, and a number of steps")
        wrong = [f"{name} {factor}" for name, factor in self.mark if factor <= 0]
        if wrong:
            raise ValueError(f"mark={', '.join(wrong)}: give factors above 0")
        self._check_sight()
        if self.emphasis is not None:
            top, bottom, left, right, factor = self.emphasis
            if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1 and factor > 0):
                raise ValueError(
                    f"emphasis={self.emphasis}: give top < bottom and left < right as shares in 0..1, "
                    "and a factor above 0"
                )

    def _check_sight(self) -> None:
        """ValueError unless what looks first, or sees with another's eye, goes with the rest."""
        told = f"look={self.look}" if self.look else f"eye={self.eye}"
        if self.stay < 0 or (self.stay and (not self.look or not self.cells or self.look_frames % 2)):
            told = f"look={self.look}, cells={self.cells}, look_frames={self.look_frames}"
            raise ValueError(
                f"stay={self.stay} with {told}: give --look, --cells, an even --look-frames, and no less than 0"
            )
        if self.redraw and (not self.look or self.steps != self.look or self.eye or self.init or self.stay):
            raise ValueError(
                f"redraw={self.redraw}: a decoder alone learns in steps that look; give --look N --steps N, and no "
                "--eye, --init or --stay"
            )
        if self.look and self.eye:
            raise ValueError(f"look={self.look} with eye={self.eye}: an eye that is taken looks no more; drop one")
        if (self.look or self.eye) and self.mirror:
            raise ValueError(f"{told} with mirror={self.mirror}: latents found once are not mirrored; drop one")
        if (self.look or self.eye) and self.devices > 1:
            raise ValueError(f"{told} with devices={self.devices}: what learns from latents found once does so on one")

    def check_labels(self, net: NetConfig) -> None:
        """ValueError unless marked classes are there, and parts within frames of cells whose pixels have classes."""
        wrong = [name for name, _ in self.mark if name not in net.labels]
        if wrong:
            raise ValueError(f"mark={', '.join(wrong)}: give classes of {', '.join(net.labels) or 'data with labels'}")
        if self.look_part is None:
            return
        if not self.look:
            raise ValueError(f"look_part={self.look_part} with look=0: nothing looks first; give --look, too")
        if not (net.cells and net.labels):
            raise ValueError(f"look_part={self.look_part}: parts are those of cells, around labels; drop it")
        if self.emphasis or self.rarity:
            raise ValueError(
                f"look_part={self.look_part}: emphasis and rarity weigh whole frames; give one or the other"
            )
        if any(not 1 <= side <= whole for side, whole in zip(self.look_part, net.grid)):
            raise ValueError(f"look_part={self.look_part}: give rows and columns within {net.grid} cells")

    def rate(self, step: int) -> float:
        """The learning rate of a step, warming up apart."""
        begun, ends, rate = (0, self.look, self.look_lr) if step < self.look else (self.look, self.steps or 0, self.lr)
        left = (ends - step) / max(1.0, self.decay * (ends - begun))
        return rate * min(1.0, max(0.0, left)) if self.decay else rate

    def identity(self) -> str:
        """What must be equal for a fit to go on, as JSON."""
        left_out = {"data", "out", "init", "minutes", "steps", "save_every", "devices", "calibrate"}
        kept = {k: v for k, v in asdict(self).items() if k not in left_out}
        kept |= {name: getattr(self, name) and True for name in ("eye", "redraw")}
        return json.dumps(kept, sort_keys=True)
