"""The code keeps the shape ARCHITECTURE.md promises: small files, small functions, no forbidden words."""

from __future__ import annotations

import ast
import os
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("attestation", "enclave", "gateway")
CODE = (*PACKAGES, "tests", "benchmarks", "examples")
FILE_LINES = 400
FUNCTION_LINES = 60
MEDIAN_LINES = 12
BINARY = {".der", ".bin", ".png", ".gz", ".crl", ".pyc"}

# Written in pieces so that this file does not find itself.
_HOSTS = (
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "go" + "lang.org",
    "crates" + ".io",
)
_TASKS = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
FORBIDDEN = {
    "a package registry's host": re.compile("|".join(re.escape(host) for host in _HOSTS)),
    "an unfinished task": re.compile(r"\b(" + "|".join(_TASKS) + r")\b"),
    "a path of one machine": re.compile(
        r"(?<![\w.$}/])/(" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me", "tm" + "p")) + r")/"
    ),
}


def _python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not _SKIPPED & set(path.relative_to(ROOT).parts):
                yield path


def _text_files() -> Iterator[Path]:
    """Every file that a commit would carry, near enough, without needing git."""
    for folder, names, files in os.walk(ROOT):
        names[:] = [n for n in names if (n == ".ci" or not n.startswith(".")) and n not in _SKIPPED]
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix not in BINARY and not name.startswith("."):
                yield path


_SKIPPED = {"node_modules", "__pycache__", "results", "build", "dist"}


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function; decorators do not count, nested functions count twice."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def _report(problems: list[str]) -> str:
    return "\n".join(["", *problems])


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in _python_files(*CODE)}
    problems = [f"{p.relative_to(ROOT)}: {n} lines" for p, n in lengths.items() if n > FILE_LINES]
    assert not problems, _report(problems)


def test_no_function_is_longer_than_60_lines() -> None:
    problems = [
        f"{name}: {lines} lines"
        for path in _python_files(*CODE)
        for name, lines in _functions(path)
        if lines > FUNCTION_LINES
    ]
    assert not problems, _report(problems)


def test_the_median_function_of_each_package_is_under_12_lines() -> None:
    medians = {
        package: statistics.median(lines for path in _python_files(package) for _, lines in _functions(path))
        for package in PACKAGES
    }
    problems = [
        f"{package}: median {median}" for package, median in medians.items() if median >= MEDIAN_LINES
    ]
    assert not problems, _report(problems)


def test_no_file_holds_a_forbidden_word() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{number}: {what}"
        for path in _text_files()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]
    assert not problems, _report(problems)


def test_no_package_prints_or_swallows_an_error_whole() -> None:
    """Output goes through the CLI's console or the typed log; a broad handler must do more than `pass`."""
    problems = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {what}"
        for path in _python_files(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if (what := _offence(node)) is not None and hasattr(node, "lineno")
    ]
    assert not problems, _report(problems)


def _offence(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return "print("
    if (
        isinstance(node, ast.ExceptHandler)
        and _is_broad(node)
        and all(isinstance(s, ast.Pass) for s in node.body)
    ):
        return "an error swallowed whole"
    return None


def _is_broad(node: ast.ExceptHandler) -> bool:
    return node.type is None or (
        isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
    )
