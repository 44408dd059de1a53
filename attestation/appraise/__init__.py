"""Is it acceptable? Authentic claims, bound manifest and configuration against one policy.

Every rule makes exactly one check, whether it passes or not, so that a report shows what was looked at.
Specification, with every check id: docs/spec/policy.md.
"""

from __future__ import annotations

from attestation.appraise.gateway import appraise_config, appraise_manifest
from attestation.appraise.hardware import appraise_hardware
from attestation.appraise.snp import appraise_snp

__all__ = ["appraise_config", "appraise_hardware", "appraise_manifest", "appraise_snp"]
