"""What a latent says beyond the frame before: least where all stays, more where it moves, most where it is another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.models.vae import Cells, coarse
from gensim.world.news import CHANGES, MOVES, STAYS, news
from gensim.world.parts import alone

CELLS, CLASSES = Cells((3, 4), 96), 5  # patches 6 x 8, of two variables each


def told(patches: torch.Tensor) -> torch.Tensor:
    """Log-laws (n, groups, classes) that are nearly sure of values (n, variables, h, w)."""
    sure = torch.nn.functional.one_hot(CELLS.ordered(coarse(patches.float(), 1))[..., 0].long(), CLASSES)
    return (sure * (1 - 1e-6 * CLASSES) + 1e-6).log()


def of(before: torch.Tensor, now: torch.Tensor) -> float:
    return float(news(told(torch.stack([before, now])), CELLS)[0])


def test_what_stays_costs_least_what_moves_more_and_what_is_new_most():
    before = torch.zeros(2, 6, 8)
    before[:, 2, 3] = 1
    stays, moves, new = before, before.roll(1, 2), before.clone()
    new[:, 2, 3] = 2
    flat = -math.log(1 - CHANGES + CHANGES / CLASSES)  # all around says the same
    said = lambda share: -math.log((1 - CHANGES) * share + CHANGES / CLASSES)  # noqa: E731
    rest = 2 * (48 - 9) * flat + 2 * 8 * said(1 - MOVES)
    assert of(before, stays) == pytest.approx(rest + 2 * said(STAYS), rel=1e-3)
    assert of(before, stays) < of(before, moves) < of(before, new)
    assert of(before, new) == pytest.approx(rest + 2 * said(0), rel=1e-3)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_it_is_a_divergence(seed):
    """At least nothing, whatever the laws; and pairs are apart."""
    generator = torch.Generator().manual_seed(seed)
    log_q = (3 * torch.randn(6, 96, CLASSES, generator=generator)).log_softmax(-1)
    found = news(log_q, CELLS)
    assert found.shape == (3,) and (found > 0).all()
    torch.testing.assert_close(news(log_q[2:4], CELLS), found[1:2])


def test_windows_come_as_single_frames_in_the_order_of_time():
    frames = torch.arange(6, dtype=torch.uint8).view(3, 2, 1, 1, 1).expand(-1, -1, 8, 8, 3)
    some = torch.tensor([[1, 0], [0, 1], [1, 0]])
    classes = frames[torch.arange(3)[:, None], some][..., 0]
    batch = {"frames": frames, "valid": torch.ones(3, 2).bool(), "some": some, "classes": classes, "depth": classes / 9}
    found = alone(batch | {"look": torch.ones(1)})
    assert found["frames"].shape == (6, 1, 8, 8, 3) and found["valid"].shape == (6, 1) and "some" not in found
    for name, scale in (("frames", 1), ("classes", 1), ("depth", 9)):
        seen = found[name][..., 0] if name == "frames" else found[name]
        assert (scale * seen[:, 0, 0, 0]).round().tolist() == [0, 1, 2, 3, 4, 5], name
