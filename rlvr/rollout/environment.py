"""The environment variables that an engine's process must be born with."""

from __future__ import annotations


def environment(*, cpus: float, gpus: float) -> dict[str, str]:
    """For the process of one engine; they count only if they are set before torch is imported.

    ``cpus`` and ``gpus`` are those that the engine was given.
    """
    common = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        # At WARNING it reports a page of harmless fallbacks at every start.
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if gpus:
        return common
    return common | {
        "OMP_NUM_THREADS": str(max(1, int(cpus))),
        # The log-prob kernel would be compiled with g++ on the first call, which takes 20 seconds.
        "TORCHDYNAMO_DISABLE": "1",
        # Ray has already given out the cores.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
