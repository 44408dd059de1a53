import json
import os
import subprocess
import sys

import pytest

from enclave.launcher import ENVIRONMENT, clean_command, is_clean
from tests.enclave.child import REPOSITORY

# timeit runs a statement from its command line, and is a module that every Python has.
LOOK = (
    "import os, sys, json; "
    "print(json.dumps([dict(os.environ), sys.path, open('/proc/self/maps').read(), {}]))"
)
DESCRIPTORS = "sorted(int(n) for n in os.listdir('/proc/self/fd'))"
FLAGS = "[sys.flags.no_user_site, sys.flags.safe_path, sys.flags.isolated, sys.flags.ignore_environment]"
PRELOADED = "libanl.so.1"


@pytest.fixture
def hostile(tmp_path):
    """An environment that tries everything, and a module on its path that would shadow a standard one."""
    (tmp_path / "timeit.py").write_text("print('shadowed')\n")
    return {
        "PYTHONPATH": f"{REPOSITORY}:{tmp_path}",
        "PYTHONMALLOC": "pymalloc",
        "PYTHONINSPECT": "1",
        "LD_PRELOAD": PRELOADED,
        "LD_LIBRARY_PATH": str(tmp_path),
        "SSLKEYLOGFILE": str(tmp_path / "keys"),
        "SSL_CERT_FILE": str(tmp_path / "roots"),
        "OPENSSL_CONF": str(tmp_path / "openssl.cnf"),
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=7",
        "MALLOC_PERTURB_": "0",
        "HOME": str(tmp_path),
        "LC_ALL": "tr_TR",
    }


def launch(statement, environment, before="", **options):
    argv = ["timeit", "-n1", "-r1", statement]
    code = f"from enclave.launcher import exec_clean\n{before}\nexec_clean({argv!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0])


def test_nothing_of_an_inherited_environment_survives(hostile, tmp_path):
    environ, path, maps, _ = launch(LOOK.format(0), hostile)
    assert environ == dict(ENVIRONMENT)
    assert str(tmp_path) not in path
    assert "" not in path
    assert PRELOADED not in maps


def test_the_preloaded_library_of_these_tests_does_load_without_the_launcher(hostile):
    code = "print(open('/proc/self/maps').read())"
    environment = {"LD_PRELOAD": hostile["LD_PRELOAD"]}
    seen = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert PRELOADED in seen.stdout


def test_the_new_process_ignores_user_packages_and_the_working_directory_but_not_its_allocator(hostile):
    *_, flags = launch(LOOK.format(FLAGS), hostile)
    assert flags == [1, True, 0, 0]


def test_inherited_descriptors_are_closed(hostile):
    reader, writer = os.pipe()
    try:
        *_, open_now = launch(
            LOOK.format(DESCRIPTORS),
            hostile,
            before=f"import os; os.fstat({writer}); os.set_inheritable({writer}, True)",
            pass_fds=[writer],
        )
    finally:
        os.close(reader)
        os.close(writer)
    # 0, 1, 2 and the descriptor of the listing itself
    assert len(open_now) == 4
    assert open_now[:3] == [0, 1, 2]


def test_a_clean_environment_is_recognised_and_any_difference_too():
    assert is_clean(dict(ENVIRONMENT))
    assert not is_clean(dict(ENVIRONMENT) | {"HTTPS_PROXY": "http://127.0.0.1:1"})
    assert not is_clean({name: ENVIRONMENT[name] for name in list(ENVIRONMENT)[1:]})


def test_the_environment_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        ENVIRONMENT["LD_PRELOAD"] = "x"  # type: ignore[index]


def test_the_command_runs_a_module_of_this_very_python():
    assert clean_command(["gateway", "serve"]) == [sys.executable, "-s", "-P", "-m", "gateway", "serve"]


RESIDENT = """
import json
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096
before, kept = resident(), []
for _ in range(4):
    bodies = [b'x' * 20_000_000 for _ in range(3)]
    kept.append(b'y' * 100_000)
    del bodies
print(json.dumps([resident() - before]))
"""


def test_large_buffers_go_back_to_the_kernel_whatever_is_kept_after_them(hostile):
    """By default glibc takes the second one from its heap, where a small block above it holds it for good."""
    [left] = launch(RESIDENT, hostile)
    assert left < 5_000_000
