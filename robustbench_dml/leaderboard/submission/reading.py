"""Places of submitted Python that a reader should look at, from its syntax tree. The list refuses nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import robustbench_dml

PACKAGE = robustbench_dml.__name__
PUBLIC = frozenset(dir(robustbench_dml))
PLAIN = re.compile(
    r"(__future__|abc|cmath|collections|dataclasses|decimal|enum|fractions|functools|itertools|math|numbers|numpy|random"
    rf"|statistics|torch|typing|{PACKAGE})(\.[^\W_]\w*)*"
)  # imports that need no look
LOCAL = "local."  # root of names that are not imported; such a method counts on any object
KINDS = {  # full names, each with all below it
    "thread or process": "os.fork os.popen os.system subprocess _thread asyncio concurrent multiprocessing threading "
    "torch.distributed torch.multiprocessing torch.utils.data",
    "file or network access": "local.open http io os pathlib pickle requests shutil socket tempfile urllib "
    "numpy.fromfile numpy.load numpy.loadtxt numpy.memmap numpy.save numpy.savetxt numpy.savez torch.hub torch.load "
    "torch.save .mkdir .open .read_bytes .read_text .rename .tofile .touch .unlink .write_bytes .write_text",
    "internals of Python": "local.__builtins__ local.__import__ local.compile local.delattr local.eval local.exec "
    "local.getattr local.globals local.locals local.setattr local.vars builtins ctypes gc importlib inspect sys types",
    "work that the meter may miss": "copy torch.autograd.forward_ad torch.export torch.func torch.fx torch.jit "
    "torch.nn.utils.stateless torch.ops torch.overrides torch.utils.cpp_extension .forward .load_state_dict "
    ".register_forward_hook .register_forward_pre_hook .register_full_backward_hook .register_hook",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}


def to_read(path: Path) -> list[str]:
    """Return `line N: kind: name` for each place."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ["all of it: cannot be parsed as Python"]
    imports = [names for node in nodes for names in _imports(node)]
    origin = {bound.split(".")[0]: full.split(".")[0] if "." in bound else full for _, bound, full in imports}
    for node in nodes:
        if isinstance(node, ast.Assign) and not (full := _full(node.value, origin)).startswith(LOCAL):
            origin |= {target.id: full for target in node.targets if isinstance(target, ast.Name)}
    uses = [node for node in nodes if isinstance(node, ast.Attribute | ast.Name | ast.Subscript)]
    inner = {node.value for node in uses if isinstance(node, ast.Attribute)}  # a.b and a, of a.b.c
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in uses if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    listed = [
        (node.lineno, _kind(full) or ("" if PLAIN.fullmatch(full) else "import"), full) for node, _, full in imports
    ]
    names = [(node, _full(node, origin)) for node in uses if node not in inner]
    listed += [(node.lineno, _kind_of_use(node, full, own), full) for node, full in names]
    return [f"line {line}: {kind}: {full.removeprefix(LOCAL)}" for line, kind, full in sorted({*listed}) if kind]


def _imports(node: ast.AST) -> Iterator[tuple[ast.Import | ast.ImportFrom, str, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = f"{'.' * node.level}{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
        yield from ((node, alias.asname or alias.name, module + alias.name) for alias in node.names)


def _kind_of_use(node: ast.Attribute | ast.Name | ast.Subscript, full: str, own: set[str]) -> str:
    if not isinstance(node.ctx, ast.Load) and not full.startswith(LOCAL):
        return "" if isinstance(node, ast.Name) else "assignment to an imported name"
    private = {part for part in full.split(".")[2 * full.startswith(LOCAL) :] if part.startswith("_")}
    methods = own if full.startswith((f"{LOCAL}self.", f"{LOCAL}cls.")) else set()
    hidden = private - methods - {"__name__", "__init__", "__post_init__"}
    return (isinstance(node.ctx, ast.Load) and _kind(full)) or ("private name" if hidden else "")


def _full(node: ast.AST, origin: dict[str, str]) -> str:
    """Return the full name of an imported name or of its attribute; any other name begins with `LOCAL`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        parts = [node.attr, *parts] if isinstance(node, ast.Attribute) else parts
        node = node.value
    root = origin.get(node.id, LOCAL + node.id) if isinstance(node, ast.Name) else f"{LOCAL}(...)"
    return ".".join([root, *parts])


def _kind(full: str) -> str:
    parts = full.split(".")
    if parts[0] == PACKAGE and not {*parts[1:2]} <= PUBLIC:
        return "internals of the harness"
    known = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    known += [f".{parts[-1]}"] if len(parts) > 2 else []
    return next((KIND_OF[name] for name in known if name in KIND_OF), "")
