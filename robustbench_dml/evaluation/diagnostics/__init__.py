"""Checks for signs that an evaluation measured something other than robustness.

After Athalye et al., ICML 2018, arXiv:1802.00420, and Carlini et al., 2019, arXiv:1902.06705. Every evaluation runs
the checks on a sample of its queries, and every record stores their measurements.
"""

from robustbench_dml.evaluation.diagnostics.findings import Finding, Findings
from robustbench_dml.evaluation.diagnostics.suite import check_model

__all__ = ["Finding", "Findings", "check_model"]
