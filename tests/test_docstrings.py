"""Every public name of the reference says what goes in, what comes out and what is raised."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_reference import documented

Function = ast.FunctionDef | ast.AsyncFunctionDef
ARRAY = re.compile(r"\b(Tensor|NDArray|ndarray|\w*Array|Int64|Float64)\b")
SHAPE = re.compile(r"\w x \w|\b[BCDHKMNTW]\b|\bshape|\bscalar|\b0-d\b|\bone \w+ for each\b")


def source(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def section(text: str, name: str) -> str:
    """The lines below a heading of a Google-style docstring."""
    found = re.search(rf"^{name}:\n((?:[ ]+.*\n|\n)*)", f"{text}\n", re.M)
    return found[1] if found else ""


def decorators(node: Function) -> set[str]:
    return {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}


def parameters(node: Function) -> list[ast.arg]:
    given = node.args
    several = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [p for p in several if p and p.arg not in ("self", "cls") and p.arg[0] != "_"]


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What a function does itself: not the functions within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_nodes(child)


def raised(node: Function) -> set[str]:
    """The errors that a function names after `raise`."""
    calls = [n.exc for n in own_nodes(node) if isinstance(n, ast.Raise) and n.exc]
    names = [ast.unparse(c.func if isinstance(c, ast.Call) else c) for c in calls]
    return {name.rpartition(".")[2] for name in names if re.fullmatch(r"[A-Z]\w*Error", name)}


def lacking(node: Function, text: str) -> list[str]:
    """What the docstring of a function leaves out."""
    arguments = section(text, "Args")
    missing = [
        f"Args: {p.arg}"
        for p in parameters(node)
        if not re.search(rf"^ +\*{{0,2}}{p.arg}: ", arguments, re.M)
    ]
    result = ast.unparse(node.returns) if node.returns else "None"
    described = section(text, "Returns") or section(text, "Yields")
    is_property = decorators(node) & {"property", "cached_property"}
    if result not in ("None", "NoReturn") and not described and not is_property:
        missing.append("Returns")
    if re.search(r":\s", re.sub(r"`[^`]*`", "", described.strip().partition("\n")[0])):
        missing.append("Returns whose first line has a colon: the site takes it for a type")
    missing += [
        f"Raises: {name}" for name in sorted(raised(node)) if name not in section(text, "Raises")
    ]
    annotations = [ast.unparse(p.annotation) for p in parameters(node) if p.annotation]
    if any(ARRAY.search(a) for a in [*annotations, result]) and not SHAPE.search(text):
        missing.append("shapes")
    return missing


def fields(node: ast.ClassDef, text: str) -> list[str]:
    """The public fields of a class that are described neither by it nor below their line."""
    pairs = zip(node.body, [*node.body[1:], None], strict=True)
    return [
        f"field: {line.target.id}"
        for line, after in pairs
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if line.target.id[0] != "_"
        if not re.search(rf"^ +{line.target.id}: ", text, re.M)
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]


def functions(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """The public functions and methods of a module; a class may describe how it is made."""
    for node in tree.body:
        if isinstance(node, Function) and node.name[0] != "_":
            yield node.name, node, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef) and node.name[0] != "_":
            for method in (m for m in node.body if isinstance(m, Function)):
                text = ast.get_docstring(method) or ""
                if method.name == "__init__":
                    text = f"{ast.get_docstring(node) or ''}\n{text}"
                elif method.name[0] == "_" or decorators(method) & {"setter", "overload"}:
                    continue
                yield f"{node.name}.{method.name}", method, text


def faults(module: str) -> list[str]:
    tree = ast.parse(source(module).read_text("utf-8"))
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    named = [(c.name, fields(c, ast.get_docstring(c) or "")) for c in classes]
    named += [(name, lacking(node, text)) for name, node, text in functions(tree)]
    bare = [c.name for c in classes if not ast.get_docstring(c)]
    bare += [name for name, _, text in functions(tree) if not text.strip()]
    return [f"{name}: no docstring" for name in bare] + [
        f"{name}: {', '.join(missing)}" for name, missing in named if missing
    ]


@pytest.mark.parametrize("module", sorted(documented()))
def test_every_public_name_says_what_it_takes_and_gives(module: str) -> None:
    assert faults(module) == []


def test_a_name_that_says_nothing_is_found() -> None:
    tree = ast.parse('def f(x: Tensor) -> int:\n    """X."""\n    raise UsageError("no")\n')
    [(_, node, text)] = functions(tree)
    assert lacking(node, text) == ["Args: x", "Returns", "Raises: UsageError", "shapes"]
