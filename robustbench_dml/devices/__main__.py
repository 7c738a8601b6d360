"""One process of a run on several devices; `launch` starts it with the arguments of the command."""

from robustbench_dml.cli import main

main()
