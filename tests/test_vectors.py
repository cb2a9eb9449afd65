"""The flow of vectors: a density whose whole is one, that follows what it learns, and names its extra."""

import sys

import pytest
import torch

from gensim.models.vectors import VectorConfig, VectorFlow


def flow(dim=2, seed=0):
    pytest.importorskip("zuko")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VectorFlow(VectorConfig(dim=dim, transforms=2, width=16))


def vectors(n, generator):
    """Two numbers that go together, far from zero and of unlike size."""
    z = torch.randn(n, 2, generator=generator)
    return torch.stack([100 + 5 * z[:, 0], -3 + 0.2 * (0.9 * z[:, 0] + 0.436 * z[:, 1])], 1)


def test_the_density_integrates_to_one_and_follows_what_it_learns():
    model, generator = flow(), torch.Generator().manual_seed(0)
    model.prepare(vectors(1000, generator))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(vectors(128, generator)).backward()
        optimiser.step()
    a, b = torch.meshgrid(torch.linspace(60, 140, 161), torch.linspace(-5, -1, 161), indexing="ij")
    with torch.no_grad():
        mass = model.log_prob(torch.stack([a.flatten(), b.flatten()], 1)).exp().sum() * 0.5 * 0.025
        assert mass.item() == pytest.approx(1, abs=0.02)
    before = torch.get_rng_state()
    drawn = model.sample(4000, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(drawn.mean(0), torch.tensor([100.0, -3.0]), rtol=0.02, atol=0)
    assert torch.corrcoef(drawn.T)[0, 1].item() == pytest.approx(0.9, abs=0.06)


def test_what_it_is_not_made_for_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"\(n, 2\), not \(3, 4\)"):
        flow().log_prob(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="at least 1"):
        VectorConfig(dim=0)
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ModuleNotFoundError, match=r"gensim-worlds\[ood\]"):
        VectorFlow(VectorConfig())
