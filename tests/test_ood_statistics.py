"""Scales, tails, blends, complexity and heads: what each does to values whose law is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.ood.bottleneck import unit
from gensim.ood.combine import Blend, Scale, Tail, blend_of, crossed, mean_nats, scale_of, tail_of, to_tensors
from gensim.ood.gauss import Gauss
from gensim.ood.heads import Head
from gensim.ood.likelihood import Likelihoods
from gensim.ood.story import shown
from gensim.ood.texture import complexity


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_normal_scores_are_normal() -> None:
    """Whatever the law of a statistic, and far out in both tails."""
    draw = rng().normal(size=(20_000, 3))
    scale = Scale.fit(np.stack([draw[:, 0] * 7 - 3, np.exp(draw[:, 1]), draw[:, 2] ** 3], 1))
    new = rng(1).normal(size=(5000, 3))
    found = scale(np.stack([new[:, 0] * 7 - 3, np.exp(new[:, 1]), new[:, 2] ** 3], 1))
    inner = np.abs(new) < 2
    assert np.abs(found - new)[inner].max() < 0.15
    assert scale(np.array([[7 * 12 - 3.0, 1.0, 0.0]]))[0, 0] > 8 and scale(np.array([[-7 * 12.0, 1.0, 0.0]]))[0, 0] < -8


def test_what_never_varies_is_unusual_once_it_does() -> None:
    scale = Scale.fit(np.stack([np.zeros(500), rng().integers(2, size=500)], 1))
    found = scale(np.array([[0.0, 0.0], [0.0, 1.0], [0.1, 0.0], [np.nan, np.nan]]))
    assert found[0, 0] == 0 and found[2, 0] > 50 and (found[3] == 0).all()
    assert found[0, 1] == pytest.approx(-found[1, 1], abs=0.2) and 0.2 < found[1, 1] < 2.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), st.integers(100, 5000))
def test_tails_are_shares(seed: int, n: int) -> None:
    x = rng(seed).normal(size=n)
    tail = Tail.fit(x)
    low, middle, high = tail(np.quantile(x, [0.1, 0.5, 0.9])) + np.log([0.9, 0.5, 0.1])
    assert max(abs(low), abs(middle)) < 0.05 and abs(high) < (0.05 if n > 200 else 0.6)  # up to 200: of 20 values
    grid = tail(np.linspace(-9, 30, 500))
    assert (np.diff(grid) >= 0).all() and grid[0] == 0 and grid[-1] > grid[-200] and np.isfinite(grid).all()


def test_blends_see_what_sticks_out_and_what_does_not_fit() -> None:
    mix = rng().normal(size=(4000, 1)) + 0.2 * rng(1).normal(size=(4000, 5))  # five that go together
    blend = Blend.fit(mix / mix.std())
    usual, one, apart = np.full(5, 0.5), np.array([0, 0, 0, 0, 6.0]), np.array([1.0, -1, 1, -1, 1])
    nats = blend(np.stack([usual, one, apart]))
    assert nats[0] < 2 and nats[1] > 6 and nats[2] > 4
    assert (blend(mix[:100] / mix.std()) == np.concatenate([blend(row[None] / mix.std()) for row in mix[:100]])).all()


@given(st.lists(st.floats(0, 500), min_size=1, max_size=4))
def test_the_most_unusual_leads(nats: list[float]) -> None:
    found = float(mean_nats([np.array([x]) for x in nats])[0])
    assert max(nats) - np.log(len(nats)) - 1e-9 <= found <= max(nats) + 1e-9


def test_parts_come_back_from_tensors() -> None:
    x = rng().normal(size=(500, 4))
    scale, blend, tail = Scale.fit(x), Blend.fit(x), Tail.fit(x[:, 0])
    new = 3 * rng(1).normal(size=(50, 4))
    assert (scale_of(to_tensors(scale, "a"), "a")(new) == scale(new)).all()
    assert (blend_of(to_tensors(blend, "a"), "a")(new) == blend(new)).all()
    assert (tail_of(to_tensors(tail, "a"), "a")(new) == tail(new)).all()


def test_a_normal_law_knows_inside_from_outside() -> None:
    basis = torch.linalg.qr(torch.randn(20, 4, generator=torch.Generator().manual_seed(0))).Q
    draw = torch.randn(3000, 4, generator=torch.Generator().manual_seed(1)) @ basis.T
    draw = draw + 0.01 * torch.randn(3000, 20, generator=torch.Generator().manual_seed(2))
    gauss = Gauss.fit(draw, 4, scaled=False)
    usual, far, out = (
        draw[:100],
        6 * draw[:100],
        draw[:100] + 0.5 * torch.linalg.qr(torch.cat([basis, torch.eye(20)[:, :1]], 1)).Q[:, -1],
    )
    read = [gauss.read(x).mean(0) for x in (usual, far, out)]
    assert abs(read[0][0]) < 0.5 and abs(read[0][1]) < 0.5
    assert read[1][0] - read[0][0] > 3 and read[2][1] - read[0][1] > 3 and abs(read[2][0] - read[0][0]) < 1


def images() -> np.ndarray:
    """From flat to noise, (n, 64, 64, 3)."""
    found = []
    for i in range(30):
        r = rng(i)
        base = cv2.resize(r.integers(0, 255, (2 + i % 6, 2 + i % 6, 3), np.uint8), (64, 64))
        found.append(np.clip(base + r.normal(0, 2.0 * (i // 6), base.shape), 0, 255).astype(np.uint8))
    return np.stack(found)


def test_complexity_goes_with_the_size_of_a_png() -> None:
    frames = images()
    sizes = [len(cv2.imencode(".png", frame)[1]) for frame in frames]
    found = complexity(unit(torch.from_numpy(frames))).numpy()
    assert np.corrcoef(np.argsort(np.argsort(sizes)), np.argsort(np.argsort(found)))[0, 1] > 0.9
    assert complexity(unit(torch.full((1, 64, 64, 3), 9, dtype=torch.uint8)))[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", ["copod", "ecod"])
def test_heads_rank_as_pyod_does(kind: Any) -> None:
    usual = np.exp(0.7 * rng().normal(size=(1000, 6)))
    asked = np.concatenate([np.exp(0.7 * rng(1).normal(size=(100, 6))), 3 + 3 * rng(2).normal(size=(100, 6))])
    mine = Head.fit(usual, kind).score(asked)
    assert mine[100:].mean() > mine[:100].mean()
    pyod = pytest.importorskip(f"pyod.models.{kind}")
    model = getattr(pyod, kind.upper())()
    model.fit(usual)
    its = model.decision_function(asked)
    assert np.corrcoef(np.argsort(np.argsort(mine)), np.argsort(np.argsort(its)))[0, 1] > 0.95
    with pytest.raises(ValueError, match="finite"):
        Head.fit(np.full((3, 2), np.nan), kind)


class Dark:
    """A density that finds dark frames likely."""

    def log_prob(self, frames: torch.Tensor) -> torch.Tensor:
        return -frames.float().mean((1, 2, 3))


def test_scores_from_densities() -> None:
    frames = images()
    nats = frames.reshape(30, -1).mean(1)
    said = Likelihoods.fit(Dark(), frames[:10], Dark()).score(frames)  # type: ignore[arg-type]
    assert np.allclose(said["likelihood"], nats, rtol=1e-5) and np.allclose(said["likelihood ratio"], 0)
    bits = complexity(unit(torch.from_numpy(frames))).numpy() * 64 * 64 * 3
    assert np.allclose(said["complexity corrected"], nats - np.log(2) * bits, rtol=1e-4)
    assert np.allclose(said["typicality"], np.abs(nats - nats[:10].mean()), atol=1e-3)
    assert "likelihood ratio" not in Likelihoods(Dark(), 0.0).score(frames)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no usual frames"):
        Likelihoods.fit(Dark(), frames[:0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="uint8"):
        Likelihoods(Dark(), 0.0).score(frames / 255)  # type: ignore[arg-type]


def test_a_side_that_says_nothing_counts_for_nothing() -> None:
    x = rng().normal(size=(2000, 3))
    both, sided = Scale.fit(x), Scale.fit(x, (0, 1, -1))
    new = 3 * rng(1).normal(size=(500, 3))
    plain, said = both(new), sided(new)
    assert (said[:, 0] == plain[:, 0]).all()
    assert (said[:, 1] == np.maximum(plain[:, 1], 0)).all() and (said[:, 2] == np.minimum(plain[:, 2], 0)).all()


def test_what_never_varied_is_weighed_by_its_grain() -> None:
    """One repeated frame where none was seen is odd; it is not impossible."""
    scale = Scale.fit(np.zeros((500, 1)), (1,), (0.02,))
    said = scale(np.array([[0.0], [0.04], [0.4]]))[:, 0]
    assert said[0] == 0 and 1 < said[1] < 5 and 10 < said[2] < 30


def test_crossed_nats_are_shares_on_new_episodes() -> None:
    """Frames of an episode are alike: judged by themselves they would find every new episode unusual."""
    shares = np.array([_over_three_nats(seed) for seed in range(12)]).mean(0)
    assert 0.02 < shares[0] < 0.08 and shares[1] > 2 * shares[0]


def _over_three_nats(seed: int) -> tuple[float, float]:
    """Shares of new episodes' frames beyond exp(-3), which is 0.05, under crossed laws and under those made at once."""
    r = rng(seed)
    draw = lambda n: [0.2 * r.normal(size=(60, 24)) + r.normal(size=24) for _ in range(n)]  # noqa: E731
    episodes, new = draw(16), np.concatenate(draw(100))
    scale, blend = crossed(episodes, [0] * 24)
    naive = Blend.fit(scale(np.concatenate(episodes)))
    crossed_share, naive_share = (float((b(scale(new)) > 3).mean()) for b in (blend, naive))
    return crossed_share, naive_share


def test_a_story_shows_the_first_alarm() -> None:
    """Eight frames, rising and none twice, wherever the alarm is."""
    for length, at in ((200, 0), (200, 97), (200, 199), (9, 3), (3, 1)):
        alarm = np.arange(length) == at
        found = shown(alarm)
        assert at in found and (np.diff(found) > 0).all() and len(found) == min(length, 8)
    assert list(shown(np.zeros(8, bool))) == list(range(8))
