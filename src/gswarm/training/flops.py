"""How much arithmetic a token takes, for the share of a device's peak that training uses (MFU)."""

from __future__ import annotations

from typing import Any

from torch import nn

from gswarm.domain.spec import RunSpec

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def flops_per_token(model: Any, spec: RunSpec) -> float | None:
    """Floating-point operations of one trained token: two a weight on the way forward, two on the way back through it, and two for its own
    gradient where it is trained (Kaplan et al. 2020, section 2.1; PaLM, appendix B). Attention between tokens and whatever is computed
    again are not counted, so the share is rather too small.

    ``None`` where weights do not tell: packed into few bits, or of experts of which a token meets some.
    """
    if spec.quantization_bit is not None or any(getattr(model.config, name, None) for name in _EXPERTS):
        return None
    used = trained = 0
    for module in model.modules():
        if not isinstance(module, nn.Embedding):  # looked up; a head that shares its weight is a module of its own
            for weight in module.parameters(recurse=False):
                if weight.ndim >= 2:
                    used += weight.numel()
                    trained += weight.numel() if weight.requires_grad else 0
    return 4.0 * used + 2.0 * trained
