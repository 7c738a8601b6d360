"""The command `rbdml` as `python -m robustbench_dml.cli`."""

from robustbench_dml.cli.main import main

main()
