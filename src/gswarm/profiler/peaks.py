"""What GPUs can do at most, for the share of it that training uses (MFU).

bf16 matrix products with dense operands and fp32 accumulation, in FLOP a second, of NVIDIA's data sheets and architecture white papers
(where a sheet gives only the number "with sparsity", half of it). Products are told apart by the name that the driver gives them.
"""

from __future__ import annotations

import math

_TERA = 1e12
_PEAKS = (
    ("B200", 2250),
    ("B100", 1750),
    ("GH200", 989.4),
    ("H200 NVL", 835.5),
    ("H200", 989.4),
    ("H100 NVL", 835),
    ("H100 PCIe", 756),
    ("H100", 989.4),
    ("H800 PCIe", 756),
    ("H800", 989.4),
    ("H20", 148),
    ("A100", 312),
    ("A800", 312),
    ("A30", 165),
    ("A40", 149.7),
    ("A10G", 70),
    ("A10", 125),
    ("A16", 36),
    ("L40S", 362),
    ("L40", 181),
    ("L4", 121),
    ("RTX 6000 Ada", 364.2),
    ("RTX A6000", 154.8),
    ("RTX A5000", 111.1),
    ("RTX 4090", 165.2),
    ("RTX 3090", 71),
)
"""Product and teraFLOP a second; the longer name of two that begin alike comes first."""


def peak_flops(product: str) -> float:
    """Of a GPU's product name, such as ``NVIDIA H100 80GB HBM3``; NaN where it is not known (a MIG device has a part of its GPU's)."""
    words = f" {product.replace('-', ' ')} "
    if " MIG " in words:
        return math.nan
    return next((peak * _TERA for name, peak in _PEAKS if f" {name} " in words), math.nan)
