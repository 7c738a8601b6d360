"""The command `rbdml` as `python -m robustbench_dml`; each process of a run on several devices starts here."""

from robustbench_dml.cli.main import main

main()
