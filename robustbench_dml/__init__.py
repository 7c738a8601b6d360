"""RobustBench-DML: a benchmark of adversarial robustness in deep metric learning.

Every public name is listed in `__init__.pyi` and loaded when it is first used, so that `rbdml --help` does not wait
for PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
