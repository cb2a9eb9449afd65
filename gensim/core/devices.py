"""What the processor at hand is good at."""

from __future__ import annotations

import torch


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices natively (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def compute_dtype() -> torch.dtype:
    """The fastest floating-point type that is exact enough here: bfloat16 where native, else float32."""
    return torch.bfloat16 if has_bfloat16() else torch.float32
