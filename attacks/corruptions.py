"""Common corruptions of queries, of the gallery, or of both, at severities 1 to 5.

Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.
"""

from __future__ import annotations

from robustbench_dml import recall_column, register_attack
from robustbench_dml.evaluation.corrupted import Corrupted

LETTERS = {"query": "Q", "gallery": "G", "both": "QG"}
SUMMARY = {"query": "a corrupted query", "gallery": "a corrupted gallery", "both": "a corrupted query and gallery"}

for _where, _letters in LETTERS.items():
    for _severity in range(1, 6):
        _column = f"C{_severity}:{_letters}"
        register_attack(
            f"corrupted-{_where}-{_severity}",
            summary=f"{SUMMARY[_where]}: noise, blur, brightness, contrast, pixels and JPEG at severity {_severity}",
            paper="Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261",
            columns=(recall_column(_column),),
            where=_where,
            severity=_severity,
            column=_column,
        )(Corrupted)
