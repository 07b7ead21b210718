"""Environment variables of a learner process; they must be set before it imports torch."""

from __future__ import annotations


def environment(*, threads: int, gpu: bool, one_node: bool) -> dict[str, str]:
    """Variables for one rank. ``one_node`` says that all ranks share a machine."""
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # Ranks fork nothing, and the Rust pool would spin beside the torch threads.
        "TOKENIZERS_PARALLELISM": "false",
        "DEEPSPEED_LOG_LEVEL": "error",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    if gpu:
        # A failed collective then raises in the caller instead of hanging it.
        variables["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "1"
        return variables
    variables["DS_ACCELERATOR"] = "cpu"
    variables["CUDA_VISIBLE_DEVICES"] = ""
    if one_node:
        # Where the host name does not resolve, gloo finds no interface by itself.
        variables["GLOO_SOCKET_IFNAME"] = "lo"
    return variables
