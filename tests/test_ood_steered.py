"""What actions move: that it is found where it is faint, and that there is none without actions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gensim.ood.steered import RANK, Steered


def films(
    seed: int, k: int, faint: float, episodes: int = 12, steps: int = 80
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Episodes of 20 numbers that wander by themselves; along `k` hidden directions they sum the actions, faintly."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.linalg.qr(torch.randn(20, 20, generator=generator)).Q[:, :k]
    found = []
    for _ in range(episodes):
        acts = torch.randn(steps, k, generator=generator)
        walk = torch.randn(steps + 1, 20, generator=generator).cumsum(0)
        walk = walk - (walk @ hidden) @ hidden.T  # what wanders is all elsewhere
        moved = torch.cat([torch.zeros(1, k), acts.cumsum(0)])
        found.append((walk + faint * moved @ hidden.T, acts))
    return found, hidden


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.integers(1, 3), st.sampled_from([0.1, 1.0]))
def test_finds_what_follows_actions(seed: int, k: int, faint: float) -> None:
    seen, hidden = films(seed, k, faint)
    basis = Steered.fit(seen).basis
    assert basis.shape == (20, k)
    span = torch.linalg.qr(basis).Q
    assert torch.linalg.svdvals(span.T @ hidden).min() > 0.9


def test_no_actions_no_directions() -> None:
    seen, _ = films(0, 1, 1.0)
    bare = [(places, acts[:, :0]) for places, acts in seen]
    assert Steered.fit(bare).basis.shape == (20, 0) and Steered.fit(bare).place(seen[0][0]).shape == (81, 0)


def test_many_actions_give_so_many_directions_at_most() -> None:
    seen, _ = films(0, 12, 1.0)
    assert Steered.fit(seen).basis.shape == (20, RANK)


@pytest.mark.parametrize("seed", [0, 1])
def test_comes_back_from_tensors(seed: int) -> None:
    seen, _ = films(seed, 2, 1.0)
    made = Steered.fit(seen)
    assert (Steered.of(made.tensors()).place(seen[0][0]) == made.place(seen[0][0])).all()
    spread = torch.cat([made.place(places) for places, _ in seen]).std(0, unbiased=False)
    assert torch.allclose(spread, torch.ones(2), atol=1e-3)
