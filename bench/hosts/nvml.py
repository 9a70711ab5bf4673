"""The GPUs of this host and their NVLinks, as NVIDIA's management library tells of them (nvidia-ml-py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    busid: str
    """As /sys names it: `0000:17:00.0`."""
    model: str
    capability: int
    """Compute capability: 90 for 9.0."""
    switch_links: int = 0
    """NVLinks to NVSwitches."""
    peers: dict[str, int] = field(default_factory=dict)
    """NVLinks to other GPUs, by their busid."""


def each_gpu(read: Callable[[Any, int, Any], Answer]) -> tuple[list[Answer], str]:
    """What `read` returns of each GPU, in the order of their numbers, and in words how they were found or why there are
    none. It is given NVML's module, the number of the GPU and NVML's handle of it.
    """
    try:
        import pynvml
    except ImportError:
        return [], "NVML: the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"NVML: {error}"
    try:
        numbers = range(pynvml.nvmlDeviceGetCount())
        found = [read(pynvml, number, pynvml.nvmlDeviceGetHandleByIndex(number)) for number in numbers]
    except pynvml.NVMLError as error:
        return [], f"NVML: {error}"
    finally:
        pynvml.nvmlShutdown()
    return found, "NVML" if found else "NVML: it knows no device"


def find_gpus() -> tuple[list[Gpu], str]:
    """The GPUs in the order of their numbers, and in words how they were found or why there are none."""
    return each_gpu(_gpu)


def _gpu(pynvml: Any, number: int, handle: Any) -> Gpu:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    switch_links, peers = 0, dict[str, int]()
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            if pynvml.nvmlDeviceGetNvLinkState(handle, link) != pynvml.NVML_FEATURE_ENABLED:
                continue
            if _leads_to_switch(pynvml, handle, link):
                switch_links += 1
            else:
                peer = busid(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId)
                peers[peer] = peers.get(peer, 0) + 1
        except pynvml.NVMLError:  # no such link, or a GPU without NVLink
            continue
    model = plain(pynvml.nvmlDeviceGetName(handle))
    return Gpu(busid(pynvml.nvmlDeviceGetPciInfo(handle).busId), model, 10 * major + minor, switch_links, peers)


def _leads_to_switch(pynvml: Any, handle: Any, link: int) -> bool:
    try:
        kind = pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, link)
    except pynvml.NVMLError:  # an older driver; where the link leads is known all the same
        return False
    return bool(kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH)


def busid(text: str | bytes) -> str:
    """A PCI address as /sys writes it; NVML's has a domain of eight digits and capital letters."""
    domain, _, rest = plain(text).strip("\0").lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def plain(text: str | bytes) -> str:
    """A text of NVML, which some versions of the package give as bytes."""
    return text.decode(errors="replace") if isinstance(text, bytes) else text
