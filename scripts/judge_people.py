#!/usr/bin/env python
"""Judges the GAN of people against renders that its fit did not see.

A network learns from *other* renders to read attributes, directions and who somebody is; it then reads held-out renders
and what the GAN draws under their conditions. "Changed" renders show somebody twice, one attribute apart, and so does
the GAN: how far do all other attributes move along? A conditional VAE with the GAN's own layers, fitted to the same
renders, is what realism is measured against; two halves of the held-out renders say what could be reached at best.
OpenCV's detector of people, which learned from photographs, looks at both before a dreamed street.

Everything that takes long is kept in the folder and goes on when run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from render_people import Render
from render_people import main as render
from torch import Tensor

from gensim.agents.road_users.judge import autoencoder, reader
from gensim.agents.road_users.judge.autoencoder import Autoencoder
from gensim.agents.road_users.judge.realism import Whitened, frechet, precision_recall
from gensim.agents.road_users.learner import learn
from gensim.agents.road_users.painter import WEIGHTS, Painter, latents
from gensim.agents.road_users.person import GAITS, WIDTH, slices
from gensim.agents.road_users.pictures import Pictures
from gensim.agents.road_users.source.crowd import CHANGES
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json

FALSE = 0.01  # share of pairs of different persons that may pass for one
FRAMES = 200  # of somebody's walk


@dataclass(frozen=True)
class Judge:
    """What to judge."""

    people: Path = WEIGHTS
    """Weights to judge."""
    folder: Path = Path("runs/people")
    """Folder of the renders; those that the GAN was fitted to are in its folder data."""
    first: int = 1_000_000
    """Seed of the first held-out render."""
    persons: int = 4096
    """Held-out persons, one picture each; an eighth as many more once with each attribute changed."""
    others: int = 1504
    """Persons, of seeds 500,000 on, that the judging network learns from."""
    read_steps: int = 3000
    """Steps of it."""
    vae_steps: int = 12_000
    """Steps of the VAE."""
    processes: int = 1
    """Renderers side by side."""
    hog: Path = Path(".venv-hog/bin/python")
    """Python with opencv-python < 5, whose detector of people was left out later; made if it is not there."""
    out: Path = Path("results/people.json")
    """Where the result goes."""


def main(config: Judge) -> None:
    """Renders, learns, judges and writes."""
    held, changed, known, net = prepared(config)
    painter = Painter.load(config.people)
    real, told = held.drawn[:, 0], held.conditions[:, 0]
    who = np.arange(len(told), dtype=np.uint64)
    drawn = painted(painter, told, who)
    answer: dict[str, Any] = {**circumstances(), "seeds": [config.first, config.first + config.persons - 1]}
    answer |= {"persons": len(told), "weights": config.people.stat().st_size}
    read = {"renders": reader.said(net, real), "gan": reader.said(net, drawn)}
    vae = autoencoded(config)
    with torch.no_grad():
        rows = zip(told.split(256), latents(who, vae.net.identity).split(256))
        other = torch.cat([bytes_of(vae.net(a, z)[0].clamp(0, 1)) for a, z in rows])
    read["vae"] = reader.said(net, other)
    answer["recognised"] = recognised(read, told)
    answer["realism"] = realism({name: one[2] for name, one in read.items()})
    answer["moved"] = leakage(net, painter, changed)
    answer["identity"] = identity(net, painter, known, changed)
    answer["hog"] = hog(config, painter, held)
    write_json(config.out, answer)
    print(f"{config.out}: {summary(answer)}")


def prepared(config: Judge) -> tuple[Pictures, Pictures, Pictures, reader.Reader]:
    """Held-out persons, changed ones, some in many pictures, and the network that reads them."""
    wanted: dict[str, tuple[int, int, Any]] = {
        "others": (500_000, config.others, "many"),
        f"held-{config.first}": (config.first, config.persons, "one"),
        f"changed-{config.first}": (config.first + 100_000, config.persons // 8, "changed"),
        f"many-{config.first}": (config.first + 200_000, 128, "many"),
    }
    for name, (first, persons, kind) in wanted.items():
        render(Render(config.folder / name, persons, first // 32 * 32, config.processes, kind))
    others, held, changed, known = (Pictures.load(config.folder / name) for name in wanted)
    torch.manual_seed(0)
    net = reader.Reader()
    costs = partial(reader.loss, net, others, 64)
    path, of = config.folder / "reader.safetensors", f"{config.others} persons"
    learn(net, lambda _, chance: costs(chance), path, config.read_steps, 2e-3, "reader", of)
    return held, changed, known, net.eval()


def autoencoded(config: Judge) -> Autoencoder:
    """The VAE, fitted to the GAN's renders."""
    painter, data = Painter.load(config.people), Pictures.load(config.folder / "data")
    torch.manual_seed(0)
    net = Autoencoder(WIDTH, painter.net.identity, painter.net.widths[:4])
    costs = partial(autoencoder.loss, net, data, 64)
    path, of = config.folder / "vae.safetensors", f"{len(data)} persons, widths {painter.net.widths[:4]}"
    learn(net, lambda _, chance: costs(chance), path, config.vae_steps, 2e-3, "vae", of)
    return net.eval()


def painted(painter: Painter, told: Tensor, who: np.ndarray) -> Tensor:
    """Pictures uint8 (n, 4, 64, 32) that the GAN draws."""
    return bytes_of(torch.from_numpy(painter.paint(told.numpy(), who)).permute(0, 3, 1, 2))


def bytes_of(x: Tensor) -> Tensor:
    return (x * 255).round().to(torch.uint8)


def recognised(read: dict[str, Any], told: Tensor) -> dict[str, Any]:
    """How often each attribute is read as asked, in renders and drawn, and the one over the other."""
    hits = {name: reader.recognised(one[0], told) for name, one in read.items()}
    found: dict[str, Any] = {}
    for name in reader.ATTRIBUTES:
        shares = {of: float(hit[name].float().mean()) for of, hit in hits.items()}
        found[name] = shares | {"ratio": shares["gan"] / shares["renders"]}
    return found


def realism(features: dict[str, Tensor]) -> dict[str, Any]:
    """Precision, recall and Fréchet distances to the held-out renders."""
    seen = {name: Whitened(features["renders"])(one) for name, one in features.items()}
    real = seen.pop("renders")
    half = len(real) // 2
    found: dict[str, Any] = {}
    pairs = {name: (real, one) for name, one in seen.items()} | {"halves": (real[:half], real[half:])}
    for name, (a, b) in pairs.items():
        precision, recall = precision_recall(a, b)
        found[name] = {"precision": precision, "recall": recall, "frechet": frechet(a, b)}
        if name != "halves":
            of = precision_recall(a[:half], b[half:])
            found[name]["of half as many"] = {
                "precision": of[0],
                "recall": of[1],
                "frechet": frechet(a[:half], b[half:]),
            }
    return found | {"pictures": len(real), "frechet, gan over vae": found["gan"]["frechet"] / found["vae"]["frechet"]}


def leakage(net: reader.Reader, painter: Painter, changed: Pictures) -> dict[str, Any]:
    """Points that reading each attribute moves by when another one changes: in renders, drawn, and what is too much."""
    told = changed.conditions  # (p, 1 + changes, WIDTH)
    persons, many = told.shape[:2]
    own = np.arange(persons, dtype=np.uint64)
    who = np.repeat(own[:, None], many, 1)
    who[:, 1 + CHANGES.index("identity")] += np.uint64(1 << 32)
    drawn = painted(painter, told.flatten(0, 1), who.reshape(-1))
    found: dict[str, Any] = {}
    moves = {}
    for of, pictures in (("renders", changed.drawn.flatten(0, 1)), ("gan", drawn)):
        read, _, _ = reader.said(net, pictures)
        rows = {name: value.unflatten(0, (persons, many)) for name, value in read.items()}
        first = {name: value[:, :1].expand_as(value).flatten(0, 1) for name, value in rows.items()}
        all_moved = reader.moved(first, {name: value.flatten(0, 1) for name, value in rows.items()})
        moves[of] = {name: value.unflatten(0, (persons, many)) for name, value in all_moved.items()}
    for i, change in enumerate(CHANGES):
        own_part = {}
        for name in reader.ATTRIBUTES:
            pair = [moves[of][name][:, 1 + i] * 100 for of in ("renders", "gan")]
            more = pair[1] - pair[0]
            error = float(more.std() / persons**0.5)
            own_part[name] = {"renders": float(pair[0].mean()), "gan": float(pair[1].mean())}
            own_part[name] |= {"more": float(more.mean()), "error": error}
        found[change] = own_part
    pairs = {f"{a} moves {b}": one["more"] for a, part in found.items() for b, one in part.items() if a != b}
    worst = max(pairs, key=lambda name: pairs[name])
    return {"persons": persons, "worst": {worst: pairs[worst]}, "by": found}


def identity(net: reader.Reader, painter: Painter, known: Pictures, changed: Pictures) -> dict[str, Any]:
    """Of how many people do all views in a walk pass for the person of its first frame?"""
    _, own, _ = reader.said(net, known.drawn.flatten(0, 1))
    own = own.unflatten(0, known.drawn.shape[:2])  # (p, k, w)
    alike = torch.einsum("pkw,qlw->pqkl", own, own)
    persons, many = own.shape[:2]
    apart, pair = ~torch.eye(persons, dtype=torch.bool), ~torch.eye(many, dtype=torch.bool)
    least = float(alike[apart].flatten().kthvalue(int((1 - FALSE) * apart.sum() * many**2)).values)
    genuine = torch.stack([alike[i, i][pair] for i in range(persons)])
    walks = walked(known.conditions[:, 0])  # (p, FRAMES, WIDTH)
    drawn = painted(painter, walks.flatten(0, 1), np.repeat(np.arange(persons, dtype=np.uint64), FRAMES))
    _, seen, _ = reader.said(net, drawn)
    seen = seen.unflatten(0, (persons, FRAMES))
    passes = torch.einsum("pw,pfw->pf", seen[:, 0], seen) >= least
    strangers = torch.einsum("pw,qw->pq", seen[:, 0], seen[:, FRAMES // 2])[apart] >= least
    found: dict[str, Any] = {"persons": persons, "frames": FRAMES, "false acceptance of renders": FALSE}
    found["renders accepted"] = float((genuine >= least).float().mean())
    found["frames accepted"] = float(passes.float().mean())
    found["strangers accepted"] = float(strangers.float().mean())
    found["holds in all frames"] = float(passes.all(1).float().mean())
    found["holds in 19 frames of 20"] = float((passes.float().mean(1) >= 0.95).float().mean())
    return found | {"twins": twins(net, painter, changed, least)}


def twins(net: reader.Reader, painter: Painter, changed: Pictures, least: float) -> dict[str, float]:
    """How often do two people of equal attributes pass for one, in the same view?"""
    at = [0, 1 + CHANGES.index("identity")]
    told, persons = changed.conditions[:, at], len(changed)
    who = np.arange(2 * persons, dtype=np.uint64)
    found = {}
    for of, pictures in (
        ("renders", changed.drawn[:, at].flatten(0, 1)),
        ("gan", painted(painter, told.flatten(0, 1), who)),
    ):
        own = reader.said(net, pictures)[1].unflatten(0, (persons, 2))
        found[of] = float(((own[:, 0] * own[:, 1]).sum(-1) >= least).float().mean())
    return found


def walked(told: Tensor) -> Tensor:
    """Conditions (p, FRAMES, WIDTH) of people (p, WIDTH) who walk while the camera goes round them once."""
    at, found = slices(), told[:, None].repeat(1, FRAMES, 1)
    turn = torch.arange(FRAMES) / FRAMES * 2 * torch.pi
    found[..., at["gait"]] = torch.eye(len(GAITS))[GAITS.index("walk")]
    for part, angle in (("phase", 9 * turn), ("azimuth", turn)):
        found[..., at[part]] = torch.stack([angle.cos(), angle.sin()], -1)
    return found


def hog(config: Judge, painter: Painter, held: Pictures) -> dict[str, Any]:
    """How often OpenCV's detector of people fires on renders, on drawn people and on nobody, before equal streets."""
    if not config.hog.exists():
        subprocess.run([sys.executable, "-m", "venv", config.hog.parents[1]], check=True)
        subprocess.run([config.hog, "-m", "pip", "install", "-q", "opencv-python<5", "numpy"], check=True)
    path, count = config.folder / "hog.npz", min(1024, len(held))
    sharp = Pictures.load(config.folder / f"held-{config.first}", 128).drawn[:count, 0].permute(0, 2, 3, 1).numpy()
    told, who = held.conditions[:count, 0].numpy(), np.arange(count, dtype=np.uint64)
    drawn = (painter.paint(told, who, max(painter.heights)) * 255).round().astype(np.uint8)
    small = Pictures.load(config.folder / f"held-{config.first}").drawn[:count, 0].permute(0, 2, 3, 1).numpy()
    np.savez(path, street=streets(count), renders=sharp, gan=drawn, small=small)
    done = subprocess.run([config.hog, "scripts/hog_people.py", path], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"pictures": count, "ratio": found["gan"] / found["renders"], "drawn at": max(painter.heights)}


def streets(count: int) -> np.ndarray:
    """Frames uint8 (count, 96, 96, 3) of the dreamed street."""
    import gymnasium as gym

    import gensim  # noqa: F401

    env = gym.make("gensim/Driving-v0")
    frames: list[np.ndarray] = []
    seed = 0
    while len(frames) < count:
        frame, _ = env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(8):
            frames.append(np.asarray(frame["image"] if isinstance(frame, dict) else frame))
            for _ in range(5):
                frame, *_ = env.step(env.action_space.sample())
        seed += 1
    env.close()
    return np.stack(frames[:count])


def summary(answer: dict[str, Any]) -> str:
    least = min(answer["recognised"].items(), key=lambda pair: pair[1]["ratio"])
    gan = answer["realism"]["gan"]
    return (
        f"least recognised {least[0]} {least[1]['ratio']:.3f}; moved {answer['moved']['worst']}; "
        f"identity {answer['identity']['holds in 19 frames of 20']:.3f}; precision {gan['precision']:.3f}, "
        f"recall {gan['recall']:.3f}; Frechet over VAE's {answer['realism']['frechet, gan over vae']:.3f}; "
        f"HOG {answer['hog']['ratio']:.3f}"
    )


if __name__ == "__main__":
    tell(["scripts/judge_people", *sys.argv[1:]])
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Judge, description=__doc__))
