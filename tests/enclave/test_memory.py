import pytest

from enclave.launcher import ENVIRONMENT
from tests.enclave.child import run_child

HARDEN = """
import ctypes, json, os, resource
before = ctypes.CDLL(None).prctl(3)
from enclave.memory import harden_process
resource.setrlimit(resource.RLIMIT_CORE, (1024, resource.getrlimit(resource.RLIMIT_CORE)[1]))
harden_process()
def look():
    limits = open("/proc/self/limits").read().splitlines()
    core = next(line for line in limits if line.startswith("Max core file size")).split()[4:6]
    return {"dumpable": ctypes.CDLL(None).prctl(3), "core": core}
parent = look()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, json.dumps(look()).encode())
    os._exit(0)
os.wait()
print(json.dumps({"before": before, "parent": parent, "child": json.loads(os.read(reader, 4096))}))
"""

CHECK = """
import json
from enclave.errors import UnsafeProcess
from enclave.memory import check_allocator
try:
    check_allocator()
    print(json.dumps(["safe", ""]))
except UnsafeProcess as reason:
    print(json.dumps([str(reason), reason.hint]))
"""

MALLOC = {"PYTHONMALLOC": "malloc"}
PERTURB = "glibc.malloc.perturb=165"
NO_CACHE = "glibc.malloc.tcache_count=0"


def test_a_hardened_process_and_its_forks_are_not_dumpable_and_leave_no_core():
    seen = run_child(HARDEN)
    assert seen["before"] == 1
    assert seen["parent"] == {"dumpable": 0, "core": ["0", "0"]}
    assert seen["child"] == seen["parent"]


def test_hardening_that_has_no_effect_is_refused():
    answer = run_child(
        """
import json, types
from enclave import memory
from enclave.errors import UnsafeProcess
memory._libc = lambda: types.SimpleNamespace(prctl=lambda *arguments: 1)
try:
    memory.harden_process()
    print(json.dumps("hardened"))
except UnsafeProcess:
    print(json.dumps("refused"))
"""
    )
    assert answer == "refused"


def test_the_launchers_environment_leaves_nothing_readable_in_freed_memory():
    assert run_child(CHECK, environment=ENVIRONMENT)[0] == "safe"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({}, "C allocator"),
        (MALLOC, "C allocator"),
        (MALLOC | {"GLIBC_TUNABLES": PERTURB}, "C allocator"),
        (MALLOC | {"GLIBC_TUNABLES": NO_CACHE}, "C allocator"),
        ({"GLIBC_TUNABLES": f"{PERTURB}:{NO_CACHE}"}, "Python's allocator"),
        (MALLOC | {"GLIBC_TUNABLES": "glibc.malloc.perturbation=165:typo=1"}, "C allocator"),
    ],
    ids=["nothing", "malloc only", "thread cache left on", "no overwriting", "pymalloc", "misspelt"],
)
def test_an_allocator_that_leaves_freed_memory_readable_is_refused(environment, reason):
    found, hint = run_child(CHECK, environment=environment)
    assert reason in found
    assert "casemate serve" in hint
