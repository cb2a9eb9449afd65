"""A small detector of vehicles and people, and its score: a heat map of middles at stride 2, and a box at each.

Reference: Objects as Points (Zhou et al., 2019), arXiv:1904.07850.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from augment_frames import Shots
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE, TOP = 2, 20  # pixels of the frame a cell; boxes of a frame, at the most
ALARMS, OVERLAP, SAME, COVERED = 0.1, 0.5, 0.5, 0.3  # false alarms a frame; IoU of a hit; of a double; share to excuse
KINDS = ("vehicle", "person")


class Block(nn.Module):
    """Two convolutions beside which the input goes past."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.c, self.d = (nn.GroupNorm(4, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) to the same."""
        return F.relu(x + self.d(self.b(F.relu(self.c(self.a(x))))))


class Detector(nn.Module):
    """Frames uint8 (b, 3, h, w) to heat (b, 2, h/2, w/2) as logits and boxes (b, 4, h/2, w/2).

    Arguments:
        standardise: whether each frame is brought to one mean and one contrast first.
        widths: channels at strides 2, 4 and 8.
    """

    def __init__(self, standardise: bool, widths: tuple[int, int, int] = (16, 32, 48)) -> None:
        super().__init__()
        self.standardise = standardise
        a, b, c = widths
        self.first = nn.Conv2d(3, a, 5, 2, 2)
        self.second = nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(4, b), nn.ReLU(), Block(b), Block(b))
        self.third = nn.Sequential(nn.Conv2d(b, c, 3, 2, 1), nn.GroupNorm(4, c), nn.ReLU(), Block(c), Block(c))
        self.up = nn.Conv2d(c, b, 1)
        self.join = nn.Sequential(Block(b), nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2))
        self.last = nn.Sequential(nn.Conv2d(2 * a, 2 * a, 3, padding=1), nn.GroupNorm(4, 2 * a), nn.ReLU())
        self.out = nn.Conv2d(2 * a, 2 + 4, 1)
        nn.init.zeros_(self.out.weight)
        self.out.bias = nn.Parameter(torch.tensor([-3.0, -3.0, 0.0, 0.0, 1.5, 1.5]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        one = F.relu(self.first(pixels(x, self.standardise)))  # (b, a, h/2, w/2)
        two = self.second(one)  # (b, b, h/4, w/4)
        three = F.interpolate(self.up(self.third(two)), scale_factor=2.0)
        out = self.out(self.last(torch.cat([one, self.join(two + three)], 1)))
        return out[:, :2], out[:, 2:]


@dataclass(frozen=True)
class Targets:
    """What is to be learned: frames uint8 (n, 3, h, w), heat and boxes, and weights of cells, as tensors."""

    frames: Tensor
    heat: Tensor  # (n, 2, h/2, w/2), 1 at middles
    boxes: Tensor  # (n, 4, h/2, w/2), from the cell's middle to the box's, and logarithms of width and height
    weight: Tensor  # (n, 1, h/2, w/2), 0 where nothing is asked

    @classmethod
    def of(cls, shots: Shots) -> Targets:
        """Those of labelled frames."""
        n, h, w = shots.classes.shape
        size = (h // STRIDE, w // STRIDE)
        heat, boxes = np.zeros((n, 2, *size), np.float32), np.zeros((n, 4, *size), np.float32)
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        for (person, left, top, right, bottom, *_), i in zip(shots.things, shots.owner):
            cx, cy, wide, high = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
            row, column = int(min(cy // STRIDE, size[0] - 1)), int(min(cx // STRIDE, size[1] - 1))
            spread = [max(0.6, 0.15 * side / STRIDE) for side in (wide, high)]
            bump = np.exp(-(((x - column) / spread[0]) ** 2 + ((y - row) / spread[1]) ** 2) / 2)
            heat[i, int(person)] = np.maximum(heat[i, int(person)], bump)
            middle = ((column + 0.5) * STRIDE, (row + 0.5) * STRIDE)
            boxes[i, :, row, column] = (cx - middle[0], cy - middle[1], np.log(wide), np.log(high))
        careless = shots.careless.reshape(n, size[0], STRIDE, size[1], STRIDE).max((2, 4))
        frames = torch.from_numpy(shots.frame.transpose(0, 3, 1, 2).copy())
        return cls(
            frames, torch.from_numpy(heat), torch.from_numpy(boxes), torch.from_numpy(~careless[:, None]).float()
        )


def pixels(frames: Tensor, standardise: bool) -> Tensor:
    """Frames uint8 (b, 3, h, w) as numbers near -1..1."""
    x = frames.float().to(memory_format=torch.channels_last)
    if not standardise:
        return x / 127.5 - 1
    return (x - x.mean((1, 2, 3), keepdim=True)) / (2 * x.std((1, 2, 3), keepdim=True) + 4)


def train(
    real: Targets,
    extra: Targets | None,
    share: float,
    steps: int,
    rate: float,
    batch: int,
    standardise: bool,
    seed: int,
) -> Detector:
    """A detector, fitted from scratch; a share of all frames it sees is of the extra ones."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 9])
    net = Detector(standardise).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        many = int((step + 1) * batch * share) - int(step * batch * share) if extra is not None else 0
        parts = [_some(real, rng, batch - many)] + ([_some(extra, rng, many)] if extra is not None and many else [])
        x, heat, boxes, weight = (torch.cat(one) for one in zip(*parts))
        loss = loss_of(net(x), heat, boxes, weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    return net.eval()


def _some(of: Targets, rng: np.random.Generator, n: int) -> tuple[Tensor, ...]:
    """n by chance, mirrored all or none."""
    at = torch.from_numpy(rng.integers(len(of.frames), size=n))
    parts = [of.frames[at], of.heat[at], of.boxes[at], of.weight[at]]
    if rng.random() < 0.5:
        parts = [one.flip(-1) for one in parts]
        parts[2] = parts[2] * torch.tensor([-1.0, 1.0, 1.0, 1.0])[:, None, None]
    return tuple(parts)


def loss_of(said: tuple[Tensor, Tensor], heat: Tensor, told: Tensor, weight: Tensor) -> Tensor:
    """The focal loss of middles and the distance of boxes, a thing."""
    logits, boxes = said
    p = logits.sigmoid()
    at = (heat == 1).float()
    hit = at * (1 - p) ** 2 * F.logsigmoid(logits)
    miss = (1 - at) * weight * (1 - heat) ** 4 * p**2 * F.logsigmoid(-logits)
    n = at.sum().clamp(min=1)
    cell = at.amax(1, keepdim=True)
    off = (boxes - told).abs() * torch.tensor([0.3, 0.3, 1.0, 1.0])[:, None, None]
    return (-(hit + miss).sum() + (cell * off).sum()) / n


# -------------------------------------------------------------------- found


def found(net: Detector, frames: np.ndarray) -> list[np.ndarray]:
    """Boxes (k, 6) of each frame: score, whether a person, left, top, right, bottom; the surest first."""
    some = []
    with torch.inference_mode():
        for start in range(0, len(frames), 64):
            x = torch.from_numpy(frames[start : start + 64].transpose(0, 3, 1, 2).copy())
            logits, boxes = net(x)
            heat = logits.sigmoid()
            heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
            score, at = heat.flatten(1).topk(TOP)  # (b, TOP)
            some += [_boxes(*one) for one in zip(score.numpy(), at.numpy(), boxes.numpy())]
    return some


def _boxes(score: np.ndarray, at: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    h, w = boxes.shape[1:]
    person, row, column = np.unravel_index(at, (2, h, w))
    x, y, wide, high = boxes[:, row, column]
    wide, high = np.exp(np.clip(wide, 0, 5)), np.exp(np.clip(high, 0, 5))
    cx, cy = (column + 0.5) * STRIDE + x, (row + 0.5) * STRIDE + y
    left, right = np.clip(cx - wide / 2, 0, w * STRIDE), np.clip(cx + wide / 2, 0, w * STRIDE)
    top, bottom = np.clip(cy - high / 2, 0, h * STRIDE), np.clip(cy + high / 2, 0, h * STRIDE)
    return _singles(np.stack([score, person, left, top, right, bottom], 1))


def _singles(boxes: np.ndarray) -> np.ndarray:
    kept: list[np.ndarray] = []
    for one in boxes:
        if all(one[1] != other[1] or iou(one[None, 2:], other[None, 2:])[0, 0] < SAME for other in kept):
            kept.append(one)
    return np.array(kept)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area = lambda x: (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])  # noqa: E731
    return inter / np.maximum(area(a)[:, None] + area(b)[None] - inter, 1e-9)


# -------------------------------------------------------------------- scored


@dataclass(frozen=True)
class Score:
    """How sure a detector was.

    Arguments:
        hit: (m,) of each thing that counts; 0 where it was not found.
        alarm: (k,) of each false alarm, and `of` (k,) which class it was taken for.
        frames: how many there were.
    """

    hit: np.ndarray
    alarm: np.ndarray
    of: np.ndarray
    frames: int

    def threshold(self) -> float:
        """The score above which there are `ALARMS` false alarms a frame."""
        allowed = int(ALARMS * self.frames)
        ranked = np.sort(self.alarm)[::-1]
        return float(ranked[allowed]) if len(ranked) > allowed else 0.0


def scored(net: Detector, shots: Shots) -> Score:
    """Hits and false alarms; what lies on something too small to count is neither."""
    hit, alarms, careless = np.zeros(len(shots.things)), [], shots.careless
    for i, boxes in enumerate(found(net, shots.frame)):
        at = np.flatnonzero(shots.owner == i)
        overlap = iou(boxes[:, 2:], shots.things[at, 1:5]) * (boxes[:, None, 1] == shots.things[None, at, 0])
        for one, row in zip(boxes, overlap):
            row = np.where(hit[at] > 0, 0.0, row)
            if len(at) and row.max() >= OVERLAP:
                hit[at[row.argmax()]] = one[0]
            elif not _excused(one, careless[i]):
                alarms.append((one[0], one[1]))
    alarm, of = np.array(alarms).reshape(-1, 2).T
    return Score(hit, alarm, of, len(shots))


def _excused(box: np.ndarray, careless: np.ndarray) -> bool:
    left, top, right, bottom = box[2:].round().astype(int)
    inside = careless[top:bottom, left:right]
    return bool(inside.size and inside.mean() >= COVERED)


def precision(score: Score, person: np.ndarray) -> float:
    """Average precision, the mean of the two classes'."""
    values = []
    for kind in (0, 1):
        hits = score.hit[person == kind]
        if len(hits):
            sure = np.concatenate([hits[hits > 0], score.alarm[score.of == kind]])
            right = np.concatenate([np.ones((hits > 0).sum()), np.zeros((score.of == kind).sum())])
            right = right[np.argsort(-sure, kind="stable")]
            curve = np.cumsum(right) / np.arange(1, len(right) + 1)
            best = np.maximum.accumulate(curve[::-1])[::-1]
            values.append(float((best * right).sum() / len(hits)))
    return float(np.mean(values))


def figures(net: Detector, clear: Shots, hard: Shots, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Recall on hard frames at the threshold of clear ones: of all things, by kind, and of what makes frames hard.

    `recall_equal_alarms` is that with `ALARMS` false alarms a hard frame instead.
    """
    easy, score = scored(net, clear), scored(net, hard)
    threshold = easy.threshold()
    yes, person, why = score.hit > threshold, hard.things[:, 0], hard.things[:, 7] > 0
    kind = hard.kind[hard.owner]
    told: dict[str, Any] = {
        "recall": float(yes.mean()),
        "recall_why": float(yes[why].mean()),
        "recall_kinds_mean": float(np.mean([yes[kind == i].mean() for i in range(len(kinds))])),
        "by_kind": {name: float(yes[kind == i].mean()) for i, name in enumerate(kinds)},
        "by_kind_why": {name: float(yes[why & (kind == i)].mean()) for i, name in enumerate(kinds)},
        "by_class": {name: float(yes[person == i].mean()) for i, name in enumerate(KINDS)},
        "false_alarms": float((score.alarm > threshold).sum() / len(hard)),
        "recall_equal_alarms": float((score.hit > score.threshold()).mean()),
        "average_precision": precision(score, person),
        "threshold": threshold,
    }
    clear_person = clear.things[:, 0]
    told |= {"clear_recall": float((easy.hit > threshold).mean()), "clear_ap": precision(easy, clear_person)}
    return told
