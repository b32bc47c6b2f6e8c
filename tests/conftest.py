"""Being here makes the support modules of this folder importable from every folder of tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A machine that does other things at the same time is no finding.
settings.register_profile("gswarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gswarm")
