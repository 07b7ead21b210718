"""A weight channel over memory that learner and engines on one machine share.

The sender owns an anonymous file (memfd) and the receivers map it through ``/proc``. It has no name
in any directory, so nothing is left behind however the processes end.
"""

from __future__ import annotations

import mmap
import os
import platform
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed

from rlvr.types import WeightVersion
from rlvr.weights.base import LogprobProbe, TensorEntry, WeightManifest, WeightProofError

CHANNEL = "rlvr.weights.shm"
ALIGNMENT = 64
"""Bytes; any dtype can be viewed at such an offset, and copies start on a cache line."""
FIRST_BYTES = 64 * 2**20


def machine() -> str:
    """What two processes must share for one to map the other's memory."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.node()}/{boot}/{os.readlink('/proc/self/ns/pid')}"


class Sender:
    """The learner's end. The buffer grows to the largest set of tensors that it was given."""

    def __init__(self, *, checksum_bytes: int) -> None:
        """``checksum_bytes`` per send are hashed; of more than that, a rotating sample."""
        self._checksum_bytes = checksum_bytes
        self._descriptor = -1
        self._map: mmap.mmap | None = None
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._cursor = 0

    def send(
        self,
        tensors: Iterable[tuple[str, torch.Tensor]],
        *,
        version: WeightVersion,
        probe: LogprobProbe | None,
    ) -> WeightManifest | None:
        """Write every tensor; on ranks other than 0 only draw them, as gathering takes all ranks.

        The buffer is written in place: call it again only when every receiver has confirmed.
        """
        if not _is_rank_0():
            for _ in tensors:
                pass
            return None
        entries: list[TensorEntry] = []
        end = 0
        for name, tensor in tensors:
            entry = _entry(name, tensor, offset=-(-end // ALIGNMENT) * ALIGNMENT)
            end = entry.offset + entry.nbytes
            self._reserve(end)
            _view(self._buffer, entry).copy_(tensor.detach())
            entries.append(entry)
        if not entries:
            raise ValueError(f"version {version} has no tensors: the learner's model is empty")
        status = os.fstat(self._descriptor)
        return WeightManifest(
            version=version,
            channel=CHANNEL,
            address={
                "machine": machine(),
                "pid": os.getpid(),
                "descriptor": self._descriptor,
                "inode": status.st_ino,
                "nbytes": status.st_size,
            },
            tensors=self._hashed(entries),
            probe=probe,
        )

    def close(self) -> None:
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._map = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _reserve(self, nbytes: int) -> None:
        if self._descriptor >= 0 and nbytes <= self._buffer.numel():
            return
        # Pages that are never written take no memory, so room to double is free.
        size = max(FIRST_BYTES, 2 * self._buffer.numel(), nbytes)
        if self._descriptor < 0:
            self._descriptor = os.memfd_create("rlvr-weights", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, size)
        self._map = mmap.mmap(self._descriptor, size)
        self._buffer = torch.frombuffer(self._map, dtype=torch.uint8)

    def _hashed(self, entries: list[TensorEntry]) -> tuple[TensorEntry, ...]:
        """Hash from where the last send left off, so that each tensor has its turn."""
        hashed = list(entries)
        budget = self._checksum_bytes
        for step in range(len(entries)):
            index = (self._cursor + step) % len(entries)
            entry = entries[index]
            if step and entry.nbytes > budget:
                self._cursor = index
                break
            budget -= entry.nbytes
            hashed[index] = replace(entry, checksum=checksum(self._buffer, entry))
        return tuple(hashed)


class Receiver:
    """The engine's end. Keeps its mapping for as long as the sender keeps its buffer."""

    def __init__(self) -> None:
        self._address: Mapping[str, Any] = {}
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def receive(self, manifest: WeightManifest) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield views on the sender's memory, valid until its next send.

        Raises:
            WeightProofError: the buffer cannot be reached from here, or a tensor's bytes are not
                those that were sent.
        """
        if manifest.channel != CHANNEL:
            raise WeightProofError(
                f"version {manifest.version} was sent through {manifest.channel!r} and this engine "
                f"receives through {CHANNEL!r}: set weights.channel alike on both sides"
            )
        if manifest.address != self._address:
            self._buffer = _mapped(manifest)
            self._address = dict(manifest.address)
        for entry in manifest.tensors:
            _check_entry(entry, manifest, room=self._buffer.numel())
            if entry.checksum is not None:
                found = checksum(self._buffer, entry)
                if found != entry.checksum:
                    raise WeightProofError(
                        f"version {manifest.version}: tensor {entry.name} "
                        f"({entry.dtype}{list(entry.shape)}) arrived with checksum {found:#010x} "
                        f"and was sent with {entry.checksum:#010x}: it was changed on the way, or "
                        "the learner sent again before this load was over"
                    )
            yield entry.name, _view(self._buffer, entry)

    def close(self) -> None:
        self._address = {}
        self._buffer = torch.empty(0, dtype=torch.uint8)


def checksum(buffer: torch.Tensor, entry: TensorEntry) -> int:
    """CRC-32 of the entry's bytes."""
    raw = buffer[entry.offset : entry.offset + entry.nbytes]
    return zlib.crc32(memoryview(cast(Any, raw.numpy())))


def _is_rank_0() -> bool:
    group = torch.distributed
    return not (group.is_available() and group.is_initialized()) or group.get_rank() == 0


def _entry(name: str, tensor: torch.Tensor, *, offset: int) -> TensorEntry:
    return TensorEntry(
        name=name,
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        offset=offset,
        nbytes=tensor.numel() * tensor.element_size(),
        checksum=None,
    )


def _view(buffer: torch.Tensor, entry: TensorEntry) -> torch.Tensor:
    raw = buffer[entry.offset : entry.offset + entry.nbytes]
    return raw.view(getattr(torch, entry.dtype)).view(entry.shape)


def _check_entry(entry: TensorEntry, manifest: WeightManifest, *, room: int) -> None:
    dtype = getattr(torch, entry.dtype, None)
    elements = 1
    for size in entry.shape:
        elements *= size
    if not isinstance(dtype, torch.dtype) or elements * dtype.itemsize != entry.nbytes:
        raise WeightProofError(
            f"version {manifest.version}: tensor {entry.name} is said to be "
            f"{entry.dtype}{list(entry.shape)} in {entry.nbytes} bytes, which do not fit together"
        )
    if entry.offset + entry.nbytes > room:
        raise WeightProofError(
            f"version {manifest.version}: tensor {entry.name} ends at byte "
            f"{entry.offset + entry.nbytes} of a buffer of {room}"
        )


def _mapped(manifest: WeightManifest) -> torch.Tensor:
    address = manifest.address
    here = machine()
    if address["machine"] != here:
        raise WeightProofError(
            f"the weights lie in the memory of {address['machine']} and this engine runs on "
            f"{here}: shared memory does not reach another machine or container. Place learner "
            "rank 0 and the engines together, or choose another weights.channel"
        )
    path = f"/proc/{address['pid']}/fd/{address['descriptor']}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WeightProofError(
            f"the buffer of version {manifest.version} is gone ({path}: {error.strerror}): the "
            "learner's rank 0 has ended or runs as another user"
        ) from error
    try:
        status = os.fstat(descriptor)
        if (status.st_ino, status.st_size) != (address["inode"], address["nbytes"]):
            raise WeightProofError(
                f"{path} is not the buffer of version {manifest.version} any more: the learner's "
                "rank 0 has ended and its number was given away"
            )
        # Copy-on-write: torch wants writable memory, and nothing written here reaches the sender.
        private = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)
    return torch.frombuffer(private, dtype=torch.uint8)
