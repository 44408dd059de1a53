"""The trust core reads no clock, file, environment or network: same bytes in, same answer out, for ever."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.amd import NOW, World
from tests.fakes.evidence import NONCE, Scene
from tests.trust_core import ROOT, contract_modules, core_files, edge_files

CORE = core_files()
_FUNCTIONS = frozenset(
    {
        "open",
        "input",
        "print",
        "eval",
        "exec",
        "compile",
        "breakpoint",
        "__import__",
        "__builtins__",
        "globals",
    }
)
_MEMBERS = frozenset(
    {
        *("now", "utcnow", "today", "environ", "getenv", "urandom", "monotonic", "time", "localtime"),
        *("read_text", "read_bytes", "write_text", "write_bytes", "open", "load_verify_locations"),
    }
)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def impurities(source: bytes) -> list[str]:
    """Where a module opens something, asks a clock or keeps a state of the whole process."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in _FUNCTIONS:
            found.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.Global):
            found.append(f"{node.lineno}: global {', '.join(node.names)}")
        elif isinstance(node, ast.Attribute) and node.attr in _MEMBERS and not _is_handed_in(node):
            found.append(f"{node.lineno}: .{node.attr}")
    return found


def _is_handed_in(node: ast.Attribute) -> bool:
    return node.attr == "now" and isinstance(node.value, ast.Name) and node.value.id != "datetime"


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_no_module_of_the_trust_core_opens_asks_or_keeps_anything(path: Path) -> None:
    assert "open(" not in path.read_text("utf-8")
    assert impurities(path.read_bytes()) == []


@pytest.mark.parametrize(
    "line",
    [
        "open('x')",
        "read = open",
        "datetime.now(UTC)",
        "datetime.datetime.now(UTC)",
        "date.today()",
        "os.environ['A']",
        "Path('x').read_bytes()",
        "time.monotonic()",
        "def f():\n    global x",
    ],
)
def test_the_search_for_impurities_finds_them(line: str) -> None:
    assert impurities(line.encode()) != []


def test_every_module_is_either_trust_core_or_a_named_edge() -> None:
    """Whoever adds a module says on which side of the line it stands."""
    package = sorted((ROOT / "attestation").rglob("*.py"))
    told = {ROOT / "attestation" / "__init__.py", *CORE, *edge_files()}
    assert [_name(path) for path in package if path not in told] == []
    assert [_name(path) for path in CORE if path in set(edge_files())] == []
    assert [_name(path) for path in CORE if not path.is_file()] == []
    assert len(contract_modules()) > 10


_BANNED = [
    "import os\n",
    "import time\n",
    "from secrets import token_bytes\n",
    "from pathlib import Path\n",
    "from datetime import UTC, datetime\nnow = datetime.now(UTC)\n",
    "import datetime\ntoday = datetime.date.today()\n",
]


@pytest.mark.parametrize("source", _BANNED)
@pytest.mark.parametrize(
    ("place", "refused"), [("attestation/snp/new.py", True), ("attestation/commands/new.py", False)]
)
def test_the_linter_bans_clock_chance_and_environment_from_the_core_alone(
    source: str, place: str, refused: bool
) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    order = [ruff, "check", "--no-cache", "--select", "TID251", "--stdin-filename", place, "-"]
    done = subprocess.run(order, cwd=ROOT, input=source.encode(), capture_output=True, check=False)
    assert (b"TID251" in done.stdout) is refused, done.stdout + done.stderr


# Loads everything first; from then on every event that Python's own audit reports is kept.
_WATCHED = """
import json, sys
from datetime import datetime
from attestation.model import Collateral
from attestation import parse_policy
from attestation.verify import verify
document, policy, nonce, now = (sys.stdin.buffer.read(int(size)) for size in sys.argv[1:])
now = datetime.fromisoformat(now.decode())
def judge():
    rules = parse_policy(policy)
    return verify(document, Collateral(), rules, nonce=nonce, now=now).verdict.value
judge()
events, watching = [], True
sys.addaudithook(lambda event, arguments: events.append(event) if watching else None)
verdict = judge()
watching = False
json.dump([verdict, sorted(set(events))], sys.stdout)
"""
_HARMLESS = {"object.__getattr__", "sys._getframe", "code.__new__"}


def test_verifying_causes_no_event_that_python_audits(genoa: World) -> None:
    scene = Scene(genoa)
    parts = [scene.document(), scene.policy(), NONCE, NOW.isoformat().encode()]
    sizes = [str(len(part)) for part in parts]
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *sizes], input=b"".join(parts), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    verdict, events = json.loads(done.stdout)
    assert verdict == "accepted-insecure"
    assert set(events) <= _HARMLESS
