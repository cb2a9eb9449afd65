"""Scores by name, from the statistics of single frames: what others have proposed, beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gensim.ood.eye import FRAME_NAMES

if TYPE_CHECKING:
    from gensim.ood.detector import Detector

AT = {name: i for i, name in enumerate(FRAME_NAMES)}
PATH = ("drawing error", "latent norm", "latent spread")


def named(detector: Detector, values: np.ndarray, scores: np.ndarray | None) -> dict[str, np.ndarray]:
    """Scores (n,) of statistics (n, f) and their normal scores (n, f), higher more unusual.

    bound likelihood: minus the VAE's evidence lower bound, as it is; on its own it finds simple frames usual.
    complexity corrected: the same less the frame's own complexity (Serra et al., 2019, arXiv:1909.11480). typicality:
    how far the bound lies from its usual value (Nalisnick et al., 2019, arXiv:1906.02994). likelihood path: distance of
    the VAE's error and its latents' norms (Huang et al., 2024, arXiv:2401.04933). feature distance: Mahalanobis
    distance among the encoder's means. All other names: one statistic's distance from its median in normal scores.
    """
    scores = detector.scales[0](values) if scores is None else scores
    bound = values[:, AT["bound"]].astype(np.float64)
    nats = np.log(2) * 3 * detector.size**2 * values[:, AT["complexity"]].astype(np.float64)
    path = scores[:, [AT[name] for name in PATH]]
    found = {
        "bound likelihood": bound,
        "complexity corrected": bound - nats,
        "typicality": np.abs(scores[:, AT["bound"]]),
        "likelihood path": np.sqrt((path * path).sum(1)),
        "feature distance": values[:, AT["latents inside"]].astype(np.float64),
    }
    return found | dict(zip(FRAME_NAMES, np.abs(scores).T))
