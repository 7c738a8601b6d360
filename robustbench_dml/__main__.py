"""One process of a run on several devices; `launch` starts it with the arguments of the command."""

from robustbench_dml.cli.main import main

main()
