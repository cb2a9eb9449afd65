"""The card of a world: what was measured, for machines (gap.json), for people (card.md), and as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import atomic_path, sha256, write_json
from gensim.core.frames import encode, mosaic, write_png
from gensim.world.heldout import Heldout
from gensim.world.quality import CONTEXT, Futures

FILES = ("world.safetensors", "starts.npz", "heldout.npz")
PICTURE = "dream_vs_real.png"
PICTURE_LIMIT = 400_000  # bytes
Gap = dict[str, Any]


def write_card(
    folder: str | Path,
    gap: Gap,
    heldout: Heldout,
    told: Futures,
    headline: str = "",
    alive: str = "",
    sections: Sequence[str] = (),
    pictures: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes heldout.npz, the pictures, card.md and, last, gap.json with the hashes of the folder's files.

    Raises ValueError when the held-out frames are too many for their file.

    Arguments:
        folder: the world's.
        gap: what was measured.
        heldout: segments that travel with the world.
        told: what the picture shows.
        headline: Markdown at the top of the card.
        alive: the section on what the world's own folder measures.
        sections: others, after that on returns.
        pictures: others, uint8 (h, w, 3), by file name.
    """
    folder = Path(folder)
    heldout.save(folder / "heldout.npz")
    write_picture(folder / PICTURE, told, gap["world"]["fps"])
    for name, shown in (pictures or {}).items():
        write_png(folder / name, shown)
    hashes = {name: sha256(folder / name) for name in FILES if (folder / name).is_file()}
    gap = {"summary": summary(gap), **gap, "files": hashes}
    with atomic_path(folder / "card.md") as path:
        path.write_text(render(gap, headline, alive, sections), encoding="utf-8")
    write_json(folder / "gap.json", gap)


# -------------------------------------------------------------------- in one line


def summary(gap: Gap) -> str:
    """The gap in one line, as `gensim worlds` shows it."""
    figures, parts = gap["figures"], []
    quality = figures["quality"]
    fps, horizons = gap["world"]["fps"], quality["horizons"]
    at = len(horizons) - 1
    dream, still = (quality["psnr"][name]["value"][at] for name in ("dream", "repeated"))
    parts.append(f"{dream:.1f} dB after {horizons[at] / fps:.1f} s (still picture {still:.1f})")
    parts += [figures["alive"]["summary"]] if "alive" in figures else []
    returns = figures.get("returns", {})
    if {"dream", "real"} <= returns.keys():
        dreamed, real = amounts(*(returns[side]["mean"] for side in ("dream", "real")))
        parts.append(f"return {dreamed} dreamed, {real} real")
    ranked = figures.get("ranking", {}).get("all")
    if ranked and ranked["spearman"]["value"] is not None:
        parts.append(f"ranks {ranked['policies']} policies with {ranked['spearman']['value']:.2f}")
    return "; ".join(parts)


# -------------------------------------------------------------------- as a picture


def write_picture(path: str | Path, told: Futures, fps: float, contexts: int = 4) -> None:
    """Writes rows of real and dreamed frames by horizon as a PNG of less than 400 kB."""
    for scale in (2, 1):
        blob = encode(picture(told, fps, contexts, scale), 9)
        if len(blob) <= PICTURE_LIMIT:
            break
    with atomic_path(path) as temporary:
        temporary.write_bytes(blob)


def picture(told: Futures, fps: float, contexts: int = 4, scale: int = 2) -> np.ndarray:
    """Two rows for each of some contexts, the real frames above the dreamed ones: uint8 (H, W, 3)."""
    chosen = np.linspace(0, len(told.real) - 1, min(contexts, len(told.real))).round().astype(int)
    rows = [row for i in chosen for row in (told.real[i, 0], told.rivals["dream"][i, 0])]  # (q, h, w, 3) each
    lasts = [told.context[i] for i in chosen for _ in range(2)]
    cells = np.concatenate([np.concatenate([last[None], row]) for last, row in zip(lasts, rows)])
    cells = cells.repeat(scale, 1).repeat(scale, 2)  # (2 contexts (1 + q), scale h, scale w, 3)
    cells = np.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    sheet = mosaic(cells, 1 + len(told.horizons))
    names = ["told", *(f"+{h / fps:.2g} s" for h in told.horizons)]
    return _labelled(sheet, names, ["real", "dream"] * len(chosen))


def _labelled(sheet: np.ndarray, columns: Sequence[str], rows: Sequence[str]) -> np.ndarray:
    """The sheet with a name above each column and left of each row."""
    top, left = 20, 52
    canvas = np.full((top + len(sheet), left + sheet.shape[1], 3), 255, np.uint8)
    canvas[top:, left:] = sheet
    width, height = sheet.shape[1] // len(columns), len(sheet) // len(rows)
    for i, name in enumerate(columns):
        _write(canvas, name, (left + i * width + 4, 14))
    for i, name in enumerate(rows):
        _write(canvas, name, (4, top + i * height + height // 2))
    return canvas


def _write(canvas: np.ndarray, text: str, at: tuple[int, int]) -> None:
    import cv2

    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


# -------------------------------------------------------------------- for people


def render(gap: Gap, headline: str = "", alive: str = "", sections: Sequence[str] = ()) -> str:
    """The card as Markdown, its headline first; `alive` and `sections` are Markdown of others."""
    whole = [
        _title(gap),
        headline,
        _head(gap),
        _quality(gap),
        alive,
        _judgement(gap),
        _returns(gap),
        *sections,
        _limits(gap),
        _made(gap),
    ]
    return "\n\n".join(section for section in whole if section) + "\n"


def _title(gap: Gap) -> str:
    return f"# A learned {gap['world']['env_id']}"


def _head(gap: Gap) -> str:
    world, meter = gap["world"], gap["meter"]
    used = world.get("real_frames") or (meter or {}).get("real_frames", 0)
    spent = _spent(meter, used) if meter else ""
    budget = f"{world['fit_steps']:,} optimiser steps" if world.get("fit_steps") else "an unknown number of steps"
    minutes = f" in {world['fit_seconds'] / 60:.0f} minutes of its last fit" if world.get("fit_seconds") else ""
    lines = [
        f"A generative model of `{world['env_id']}` that is a Gymnasium environment: one discrete latent a frame "
        f"({world['groups']} variables of {world['classes']} values), autoregressive dynamics, "
        f"{world.get('width') or world['size']} x {world['size']} frames at {world['fps']} a second "
        f"({world['skip']} simulator frames a step), {world['megabytes']:.1f} MB of weights.",
        f"- **Made from** {used:,} simulator frames{spent}. The meter counts every step that "
        f"the simulator took for it, skipped ones included; what a kill lost was taken again, alike, and counts once. "
        f"{_chosen(world.get('calibrated'))}",
        f"- **Fitted** for {budget}{minutes}.",
        f"- **In one line**: {gap['summary']}.",
        f"![Dreamed below real, by horizon]({PICTURE})",
        f"Each pair of rows goes on from {CONTEXT} recorded frames of an episode that the fit did not see: above what "
        f"was recorded, below what is dreamed under the same actions. The pairs are spread evenly over the segments, "
        f"not chosen by eye.",
    ]
    return "\n\n".join([lines[0], "\n".join(lines[1:4]), *lines[4:]])


def _spent(meter: Mapping[str, Any], used: int) -> str:
    """What the world's own data set has cost by now, where that is more than went into the world."""
    chosen = ", ".join(f"{n:,} for {purpose}" for purpose, n in meter["others"].items())
    if used == meter["real_frames"] and not chosen:
        return ""
    return (
        f" ({meter['real_frames']:,} with all that its data set has by now{', of these ' + chosen if chosen else ''})"
    )


def _chosen(calibrated: Mapping[str, float] | None) -> str:
    """What was tuned on frames that figures are made from."""
    if not calibrated:
        return "Frames behind the figures below chose nothing."
    steps = calibrated.get("random_play_steps")  # worlds from before it was told lack it
    return (
        "Tuned after the fit: the log-odds of an end, on the held-out episodes (slope "
        f"{calibrated['ends_slope']:.2f}, shift {calibrated['ends_shift']:.2f}), and one temperature for the latents' "
        f"law, {calibrated['prior_temperature']:.2f}, so that random play lasts as long in dreams as it was recorded"
        f"{f' to within {steps} steps' if steps else ''}: that dreamed and real chance agree was seen to. Else "
        "frames behind the figures below chose nothing."
    )


def _quality(gap: Gap) -> str:
    quality = gap["figures"]["quality"]
    nearest = (
        "; and the recorded moment of the training data that looks most like it and went on under similar actions, "
        f"alone and as the mean of the {quality['samples']} nearest, each of another episode. What is a mean is to be "
        "read beside what is a mean of as many: the mean of the dreams"
    )
    whose = "new" if gap["world"].get("unseen") else "held-out"
    nearest = nearest if "nearest" in quality["psnr"] else ""
    text = (
        f"## Frame against frame\n\n{quality['contexts']} segments of {quality['episodes']} {whose} episodes. The "
        f"world sees {quality['context_frames']} frames, then dreams alone under the recorded actions at temperature "
        f"1, {quality['samples']} times; figures are means over dreams, in brackets 95 % bootstrap intervals over "
        f"episodes. Beside it: the last frame seen, repeated{nearest}. PSNR and SSIM forgive blur. The distance of "
        f"beliefs is our own: how far the world's encoder's laws of the latent lie apart for the two frames, 0 for "
        f"equal ones and 1 for ones that exclude each other (lower is better); it is no FID or LPIPS, and the world "
        f"judges itself by it.{_of_labels(quality)}"
    )
    labels = (
        *(("psnr", "PSNR (dB)", 1), ("ssim", "SSIM", 3), ("beliefs", "Distance of beliefs", 3)),
        *(("miou", "Labels (mean IoU)", 3), ("far", "Distances (octaves)", 3)),
    )
    tables = [
        table_by_horizon(label, quality[name], quality["horizons"], gap["world"]["fps"], digits)
        for name, label, digits in labels
        if name in quality
    ]
    return "\n\n".join([text, *tables])


def _of_labels(quality: Mapping[str, Any]) -> str:
    if "miou" not in quality:
        return ""
    return (
        " Labels are compared pixel by pixel: the mean over classes of intersection over union (higher is better), and "
        "how far distances are off, an octave being twice or half (lower is better); of several, what most say, and "
        "the mean of the distances' logarithms."
    )


def _judgement(gap: Gap) -> str:
    figures, lines = gap["figures"], []
    if "rewards" in figures:
        rewards = figures["rewards"]
        lines.append(
            f"- Rewards of {rewards['steps']} dreamed steps sum to {cell(rewards['dreamed'], 2)}, recorded "
            f"{cell(rewards['recorded'], 2)}; correlation over segments {cell(rewards['correlation'], 2)}."
        )
    if "ends" in figures:
        ends = figures["ends"]
        lines.append(
            f"- Terminations, following real frames: {ends['hits']} of {ends['terminations']} seen when they came; "
            f"false alarms in a share of {cell(ends['false_alarms'], 4)} of {ends['steps'] - ends['terminations']:,} "
            "other steps."
        )
    return "## Judgement\n\n" + "\n".join(lines) if lines else ""


def _returns(gap: Gap) -> str:
    returns = gap["figures"].get("returns")
    if not returns:
        return ""
    rows = []
    for name, one in ((name, returns[name]) for name in ("real", "dream") if name in returns):
        mean, *ends = amounts(one["mean"], *(one["ci95"] or ()))
        seeds = " to ".join(f"{seed:,}" for seed in one["seeds"])
        rows.append([name, mean, " to ".join(ends) or "-", str(one["episodes"]), seeds])
    text = (
        f"## Return of an agent, dreamed and real\n\nThe agent `{returns['agent']}` in whole episodes: dreams begin "
        f"where real episodes do, at temperature 1, and last {returns['horizon']} steps at most."
    )
    table_of = table(["", "mean", "95 % interval", "episodes", "seeds"], rows)
    difference = returns.get("difference")
    more = [f"Dreamed over real, less one: {cell(difference, 3)}."] if difference else []
    return "\n\n".join([text, table_of, *more])


def _limits(gap: Gap) -> str:
    world, quality = gap["world"], gap["figures"]["quality"]
    last = quality["horizons"][-1]
    by = f", by the policies that recorded it: {', '.join(gap['policies'])}" if gap["policies"] else ""
    lines = [
        f"It knows what was recorded{by}. Elsewhere it invents; `trust` in `info` says how unusual a step is.",
        f"Frame by frame it was measured up to {last} steps ({last / world['fps']:.1f} s). Beyond, only the agent's "
        f"return and the eye judge.",
        *gap["limits"],
        "An agent that learns in the dream can exploit it; only its return in the simulator counts.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _made(gap: Gap) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in gap["versions"].items())
    files = "\n".join(f"- `{name}` sha256 `{digest}`" for name, digest in gap["files"].items())
    by = f" by `{gap['command']}`" if gap["command"] else ""
    return f"## Where this comes from\n\nWritten{by} with {versions}; every figure is in `gap.json`.\n\n{files}"


# -------------------------------------------------------------------- tables


def table_by_horizon(title: str, rows: Mapping[str, Gap], horizons: Sequence[int], fps: float, digits: int) -> str:
    """A Markdown table of figures by name and horizon (steps)."""
    head = [title, *(f"{h} ({h / fps:.2g} s)" for h in horizons)]
    return table(head, [[name, *_cells(one, digits)] for name, one in rows.items()])


def cell(one: Gap, digits: int) -> str:
    """A figure of one number, with its interval."""
    return _cell(one["value"], one["low"], one["high"], digits)


def amounts(*values: float) -> list[str]:
    """Numbers with as many decimals as the largest needs for three digits: some games return 900, some 0.9."""
    largest = max(abs(value) for value in values)
    digits = max(0, 2 - math.floor(math.log10(largest))) if largest else 0
    return [f"{round(value, digits) + 0.0:.{digits}f}" for value in values]  # no minus zero


def amount(one: Gap) -> str:
    """A mean return with its interval."""
    mean, *ends = amounts(one["mean"], *(one["ci95"] or ()))
    return f"{mean} ({' to '.join(ends)})" if ends else mean


def _cells(one: Gap, digits: int) -> Iterable[str]:
    for value, low, high in zip(one["value"], one["low"], one["high"]):
        yield _cell(value, low, high, digits)


def _cell(value: float | None, low: float | None, high: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" + ("" if low is None else f" ({_range([low, high], digits)})")


def _range(ends: Sequence[Any] | None, digits: int) -> str:
    return "-" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
