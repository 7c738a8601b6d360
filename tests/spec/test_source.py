"""The source hash, and the changes of code that keep it."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_dml.spec.lookup import find_defense
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.source import attack_source, defense_source, source_hash
from robustbench_dml.utils.errors import RbdmlError

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = sorted([*(ROOT / "defenses").rglob("*.py"), *(ROOT / "attacks").rglob("*.py")])
CODE = [path.read_text() for path in PLUGINS if path.stat().st_size > 500]
USER = """
from dataclasses import dataclass
from robustbench_dml import register_defense
from robustbench_dml.defenses.regular import Regular

@register_defense("source-user", summary="s", paper="p")
@dataclass(kw_only=True)
class User(Regular):
    pass
"""
SMALL = '''
"""Doc."""
import math
from functools import partial as half

LIMIT = 3

class Model:
    """Doc."""

    steps: int = 4
    """Doc."""

    def run(self, x, *, scale=0.5):
        """Doc."""
        y = [x + scale, -x]
        return f"{math.floor(x):>3} of {LIMIT}" if x < self.steps else half(y)
'''


@pytest.fixture
def digest(tmp_path: Path) -> Callable[[str], str]:
    def hashed(code: str) -> str:
        (tmp_path / "code.py").write_text(code)
        return source_hash([tmp_path / "code.py"])

    return hashed


def hash_of(code: str) -> str:
    """The hash of a text, without a folder of its own."""
    from robustbench_dml.spec.source import _code_hash

    return _code_hash(code.encode())


@pytest.mark.parametrize("folder", ["plain", "proj.v1/some.thing/p.k.g"])
def test_the_source_of_a_users_file_is_that_file_wherever_it_is(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "user.py"
    path.parent.mkdir(parents=True)
    path.write_text(USER)
    (path.parent / "__init__.py").write_text("X = 1\n")
    try:
        entry, _ = find_defense(f"{path}:source-user")
        assert defense_source(entry) == source_hash([path])
    finally:
        DEFENSES._entries.pop("source-user", None)


def test_a_defense_with_a_folder_has_all_its_files() -> None:
    single, folder = (defense_source(DEFENSES.get(name)) for name in ("act", "hm-s-lga"))
    assert single == source_hash([ROOT / "defenses/act.py"])
    assert folder == source_hash((ROOT / "defenses/hm").glob("*.py"))
    assert folder == defense_source(DEFENSES.get("madry"))  # the same class with other parameters
    assert folder != source_hash([ROOT / "defenses/hm/manipulation.py"])


def test_names_and_order_of_files_do_not_count(tmp_path: Path) -> None:
    for name, code in {"a.py": "x = 1\n", "b.py": "x = 1\n", "c.py": "x = 2\n", "d.py": '"""No code."""\n'}.items():
        (tmp_path / name).write_text(code)
    a, b, c, d = sorted(tmp_path.iterdir())
    assert source_hash([a]) == source_hash([b]) == source_hash([d, a])
    assert source_hash([a, c]) == source_hash([c, b])
    assert len({source_hash(files) for files in ([a], [c], [a, b], [a, c], [a, b, c], [d])}) == 6


def test_the_source_of_an_attack_covers_the_rooms_it_runs_through(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def record(files: Iterable[Path]) -> str:
        hashed.extend(files)
        return ""

    monkeypatch.setattr("robustbench_dml.spec.source.source_hash", record)
    attack_source(published_evaluation("fashion"))
    names = {path.relative_to(ROOT).as_posix() for path in hashed}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "attacks").glob("*.py")} <= names
    assert {
        "robustbench_dml/evaluation/evaluate.py",
        "robustbench_dml/solvers/pgd.py",
        "robustbench_dml/retrieval/geometry.py",
    } <= names
    assert not any(name.startswith(("robustbench_dml/cli", "robustbench_dml/report", "defenses")) for name in names)


@pytest.mark.parametrize("code", ["def f(:", "x = \0", "é = '\\N{NO SUCH}'"])
def test_a_file_that_is_not_python_is_refused(code: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(RbdmlError, match=r"bad\.py: not valid Python .*: mend the file"):
        source_hash([tmp_path / "bad.py"])


def test_a_deep_expression_is_hashed(digest: Callable[[str], str]) -> None:
    assert digest("x = " + "+".join("1" * 900)) != digest("x = " + "+".join("1" * 899) + "+2")


SAME = {
    "comment": lambda code: code.replace("LIMIT = 3", "# why\nLIMIT = 3  # because"),
    "docstrings": lambda code: code.replace('"""Doc."""', '"""Another."""'),
    "no docstrings": lambda code: code.replace('"""Doc."""', "pass"),
    "order of imports": lambda code: code.replace("import math\n", "").replace("LIMIT = 3", "import math\nLIMIT = 3"),
    "place of imports": lambda code: code.replace("from functools import", "from elsewhere import"),
    "imports for annotations": lambda code: f"{code}\nif TYPE_CHECKING:\n    from typing import Any\n",
    "future": lambda code: "from __future__ import annotations\n" + code,
    "exports": lambda code: code + '\n__all__ = ["Model"]\n',
    "formatting": lambda code: code.replace("[x + scale, -x]", "[\n  (x+scale),\n  -x,\n]").replace("0.5", ".50"),
    "quotes": lambda code: code.replace('f"{', "f'{").replace('}"', "}'"),
    "types of arguments": lambda code: code.replace("x, *, scale=0.5):", "x: Tensor, *, scale: float = 0.5) -> str:"),
    "type of a variable": lambda code: code.replace("y = ", "y: list[float] = ").replace("LIMIT = ", "LIMIT: Final = "),
    "numbers": lambda code: code.replace("= 4", "= 0x4"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_these_changes_keep_the_hash(change: Callable[[str], str], digest: Callable[[str], str]) -> None:
    assert change(SMALL) != SMALL
    assert digest(change(SMALL)) == digest(SMALL)


OTHER = {
    "constant": ("LIMIT = 3", "LIMIT = 4"),
    "type of a constant": ("LIMIT = 3", "LIMIT = 3.0"),
    "bool": ("LIMIT = 3", "LIMIT = True"),
    "default": ("scale=0.5", "scale=0.25"),
    "kind of an argument": ("*, scale", "scale"),
    "operator": ("x + scale", "x - scale"),
    "sign": ("-x]", "+x]"),
    "comparison": ("x < self", "x <= self"),
    "name": ("x + scale", "y + scale"),
    "attribute": ("self.steps", "self.step"),
    "call": ("math.floor(x)", "math.ceil(x)"),
    "text": (" of ", " off "),
    "format": (":>3}", ":>4}"),
    "order": ("[x + scale, -x]", "[-x, x + scale]"),
    "kind of a sequence": ("[x + scale, -x]", "(x + scale, -x)"),
    "decorator": ("    def run", "    @property\n    def run"),
    "name of a class": ("class Model", "class Network"),
    "base class": ("class Model", "class Model(Base)"),
    "type of a parameter": ("steps: int", "steps: float"),
    "no parameter": ("steps: int", "steps"),
    "imported under this name": ("partial as half", "reduce as half"),
    "a statement more": ("LIMIT = 3", "LIMIT = 3\nLIMIT += 1"),
    "a statement less": ("LIMIT = 3", ""),
    "a generator": ("        y = [", "        yield [")
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), OTHER.values(), ids=OTHER)
def test_these_changes_give_another_hash(old: str, new: str, digest: Callable[[str], str]) -> None:
    assert SMALL.replace(old, new) != SMALL
    assert digest(SMALL.replace(old, new)) != digest(SMALL)


def test_the_hash_is_the_same_for_every_version_of_python(digest: Callable[[str], str]) -> None:
    """The expected values come from Python 3.11, 3.12 and 3.13, whose trees of these texts differ."""
    assert digest(SMALL) == "99f738322514563115bc1d08369de7ec05865ff26c471af90e0720c726f61980"
    strings = 'x = f"{a:{b}}" f"{{}}{c=}{d!r:}"\nclass A: ...\ndef f(): return\n'
    assert digest(strings) == "fdfd37785a8d18bb09d385fa7f5f60eaad82780c6f831b8494efbe2f23e88e13"


def naive(code: str) -> str:
    """The same idea by the standard library alone, valid within one version of Python."""

    class Stripped(ast.NodeTransformer):
        def visit_Import(self, node: ast.Import) -> None:
            return None

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            return None

        def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
            return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

        def visit_Pass(self, node: ast.Pass) -> None:
            return None

        def visit_arg(self, node: ast.arg) -> ast.AST:
            node.annotation = None
            return node

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            node.returns = None
            return self.generic_visit(node)

    return ast.dump(Stripped().visit(ast.parse(code)))


def commented(code: str, draw: random.Random) -> str:
    """The code with comments between and behind lines outside of texts."""
    tree = ast.parse(code)
    inside = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr)
        for line in range(node.lineno, node.end_lineno or 0)
    }
    lines = []
    for number, line in enumerate(code.splitlines(), 1):
        lines.append(line)
        if number not in inside and not line.endswith("\\") and draw.random() < 0.3:
            lines[-1] += f"  # {draw.random()}"
            lines += [" " * draw.randrange(9) + "# a line"] * draw.randrange(2)
    return "\n".join(lines) + "\n"


def documented(code: str, draw: random.Random) -> str:
    """The code printed anew, with other docstrings and shuffled imports."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
            if ast.get_docstring(node) is not None:
                node.body.pop(0)
            if draw.random() < 0.5 or not node.body:
                node.body.insert(0, ast.Expr(ast.Constant(f"doc {draw.random()}")))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    rest = [node for node in tree.body if node not in imports]
    draw.shuffle(imports)
    tree.body = [*imports, *rest]
    return ast.unparse(ast.fix_missing_locations(tree))


def altered(code: str, draw: random.Random) -> str:
    """The code with one constant, operator or name changed."""
    tree = ast.parse(code)
    silent: set[int] = set()
    for node in ast.walk(tree):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        parts += [node] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else []
        parts += [node] if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node) else []
        silent |= {id(inner) for part in parts if part is not None for inner in ast.walk(part)}
    kinds = ast.Constant | ast.BinOp | ast.Compare | ast.Name | ast.Attribute
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds) and id(node) not in silent]
    node = draw.choice(nodes)
    match node:
        case ast.Constant(value=bool() | None):
            node.value = 7
        case ast.Constant(value=str() as text):
            node.value = text + "x"
        case ast.Constant():
            node.value = 7.25
        case ast.BinOp():
            node.op = ast.Mod() if isinstance(node.op, ast.Add) else ast.Add()
        case ast.Compare():
            node.ops[0] = ast.Gt() if isinstance(node.ops[0], ast.Lt) else ast.Lt()
        case ast.Name():
            node.id += "_"
        case ast.Attribute():
            node.attr += "_"
    return ast.unparse(tree)


@given(code=st.sampled_from(CODE), draw=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_comments_docstrings_and_the_order_of_imports_keep_the_hash(code: str, draw: random.Random) -> None:
    assert hash_of(commented(code, draw)) == hash_of(code)
    assert hash_of(documented(code, draw)) == hash_of(code)


@given(code=st.sampled_from(CODE), draw=st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_every_constant_operator_and_name_changes_the_hash(code: str, draw: random.Random) -> None:
    other = altered(code, draw)
    assert (hash_of(other) == hash_of(code)) == (naive(other) == naive(code))
    assert hash_of(other) != hash_of(code)


def test_every_file_has_a_hash_of_its_own() -> None:
    assert len(set(map(hash_of, CODE))) == len(set(map(naive, CODE))) == len(CODE)
