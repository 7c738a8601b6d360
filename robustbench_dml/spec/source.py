"""Hashes of the source code that a result depends on.

They are over the syntax tree. Names, constants, operators and calls count. Imports, comments, docstrings, formatting,
annotations of functions and the names of files do not, so that code can be moved and explained freely. Annotations in
the body of a class count, because they declare parameters. All Python versions give the same hash.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

from robustbench_dml.spec.lookup import FILE_MODULE, failure
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import ATTACKS, SOLVERS, DefenseInfo
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils.errors import RbdmlError

# The rooms of the package that decide the values of an evaluation.
ROOMS = ("utils", "spec", "retrieval", "datasets", "models", "solvers", "training", "evaluation", "runs", "attacks")
SILENT_FIELDS = {"ctx", "kind", "type_comment", "type_ignores", "returns"}  # no effect, or implied by the rest
# Sources that were rewritten and compute the same, bit for bit, by the hash of the version that records know.
REWRITTEN = {
    # regular, est and ses: the triplet loss moved to `Defense.metric_loss`
    "e7567d8a53c727b91ffd86cbaf83741d0d3a584085c28d0b451b47de048d9b7f": (
        "f1f4cdfb67524ddb9329c2156627373096c8b49fad20ddc99452f2a36f984de4"
    ),
    "5ad61d8bb351babd79be7cc7e0abfcf236ae0686fab3f6abff26ce27b57837a9": (
        "21dbfd414ff1486e46a8b2ff75916f9535fabe3fc2e8eadcdd62df2bb00cfcd7"
    ),
}
NO_CODE = hashlib.sha256().hexdigest()


def defense_source(info: DefenseInfo) -> str:
    """Hash the file that defines a defense, all files of its folder if it has a folder, or its notebook's cell."""
    module = info.cls.__module__
    try:
        path = Path(inspect.getfile(info.cls))
    except (OSError, TypeError):  # `__main__` of a notebook has no file
        return cell_hash(info.cls)
    if module.startswith(FILE_MODULE):  # the dots of such a name belong to a path
        return source_hash([path])
    depth = module.count(".") - 2 + (path.name == "__init__.py")  # folders between `<package>.defenses` and the file
    if depth > 0 and (folder := path.parents[depth - 1]).joinpath("__init__.py").is_file():
        return source_hash(folder.rglob("*.py"))
    return source_hash([path])


def attack_source(evaluation: Evaluation) -> str:
    """Hash all code that decides the values of an evaluation: the package's, its attacks' and its solver's."""
    package = Path(__file__).parents[1]
    attacks = [ATTACKS.get(name).cls for name in attacks_of(evaluation)]
    plugins = [Path(inspect.getfile(cls)) for cls in (*attacks, SOLVERS.get(evaluation.solver.name).cls)]
    ours = [file for room in ROOMS for file in (package / room).rglob("*.py")]
    return source_hash({file.resolve() for file in (*ours, *plugins)})


def cell_hash(cls: type) -> str:
    """Hash the functions and classes in the cell of a notebook that defines a class.

    Raises:
        RbdmlError: the text of the cell is not known.
    """
    codes = [getattr(value, "__code__", None) for value in vars(cls).values()]
    cells = ["".join(linecache.getlines(code.co_filename)) for code in codes if code is not None]
    for text in filter(None, cells):
        body = ast.parse(text).body
        kept: list[ast.stmt] = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        if cls.__name__ in {getattr(node, "name", "") for node in kept}:
            return _code_hash(ast.unparse(ast.Module(kept, [])).encode())
    raise RbdmlError(f"the source of {cls.__name__} is not known: define it in a notebook's cell or in a file")


def source_hash(files: Iterable[Path]) -> str:
    """Hash Python files, whatever their names and order; a file without code does not count.

    Raises:
        RbdmlError: a file is not Python.
    """
    hashes = sorted(digest for digest in map(_file_hash, files) if digest != NO_CODE)
    digest = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return REWRITTEN.get(digest, digest)


def _file_hash(file: Path) -> str:
    try:
        return _code_hash(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RbdmlError(f"{file}: not valid Python ({failure(error, file)}): mend the file") from None


@cache
def _code_hash(code: bytes) -> str:
    tree = ast.parse(code)
    lines = (f"{token}\n".encode() for token in (*_aliases(tree), *_tokens(tree)))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _aliases(tree: ast.Module) -> list[str]:
    """Return the names that imports change: `import a.b as c` makes `c` mean `b`."""
    names = [name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for name in node.names]
    pairs = {(name.asname, name.name.rpartition(".")[2]) for name in names if name.asname}
    return sorted(f"{alias} = {name}" for alias, name in pairs if alias != name)


def _tokens(tree: ast.Module) -> Iterator[str]:
    """Walk the tree without recursion, which its depth could exhaust, and name all that counts."""
    stack: list[object] = list(_fields(tree))
    while stack:
        match stack.pop():
            case ast.AST() as node:
                yield f"({type(node).__name__}"
                stack.append(_End(")"))
                stack.extend(reversed(list(_fields(node))))
            case list() as values:
                yield "["
                stack.append(_End("]"))
                stack.extend(reversed(values))
            case _End() as token:
                yield token
            case value:
                yield f"{type(value).__name__} {hex(value) if type(value) is int else ascii(value)}"


class _End(str):
    """A closing bracket or the name of a field, which is no value of the tree."""


def _fields(node: ast.AST) -> Iterator[object]:
    """Names and values of the fields that count; absent and empty ones, which differ by Python version, do not."""
    if isinstance(node, ast.arg):
        yield node.arg
        return
    for name, value in ast.iter_fields(node):
        kept = list(_counting(node, value)) if isinstance(value, list) else value
        if name not in SILENT_FIELDS and kept is not None and kept != []:
            yield from (_End(name), kept)


def _counting(node: ast.AST, items: list[object]) -> Iterator[object]:
    """Leave out silent statements, and annotations unless they declare a field of a class."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 splits its texts and adds empty ones
        for is_text, parts in groupby(items, lambda item: isinstance(item, ast.Constant)):
            if not is_text:
                yield from parts
            elif text := "".join(str(part.value) for part in parts if isinstance(part, ast.Constant)):
                yield text
        return
    for item in items:
        if isinstance(item, ast.AnnAssign) and not isinstance(node, ast.ClassDef):
            if item.value is not None:
                yield ast.Assign(targets=[item.target], value=item.value)
        elif not _silent(item):
            yield item


def _silent(item: object) -> bool:
    """Recognise statements that do nothing at run time, or nothing but name other modules."""
    match item:
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(ast.Constant(str())):
            return True
        case ast.Assign([ast.Name("__all__")]):
            return True
        case ast.If(ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), body, []):
            return all(map(_silent, body))
    return False
