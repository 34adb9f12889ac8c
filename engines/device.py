"""Choice of the machine's accelerator and how much memory it uses; called in workers, imports torch lazily."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engines.errors import SettingError

if TYPE_CHECKING:
    import torch

CHOICES = ("auto", "cuda", "mps", "cpu")


def choose(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` is CUDA when there is one, else Apple's MPS, else the CPU.

    Raises
    ------
    SettingError
        When the named device is not there.
    """
    import torch

    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    kind, _, index = name.partition(":")
    if kind not in CHOICES or (index and not index.isdigit()):
        raise SettingError(f"There is no device '{name}': choose one of {', '.join(CHOICES)}.", "device")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise SettingError(
                "Device 'cuda' is not usable because torch finds no NVIDIA GPU here: choose cpu, or auto.",
                "device",
            )
        if index and int(index) >= count:
            raise SettingError(
                f"Device '{name}' is not there: this machine has cuda:0 to cuda:{count - 1}.", "device"
            )
    if kind == "mps" and not has_mps:
        raise SettingError(
            "Device 'mps' is not usable because this is no Apple GPU: choose cpu, or auto.", "device"
        )
    return torch.device(name)


def memory(device: torch.device) -> int:
    """Bytes in use: on the GPU by torch, on the CPU by this process; 0 when unknown."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.current_allocated_memory())
    return resident_memory()


def resident_memory() -> int:
    """Bytes of this process in RAM; 0 when the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    except ImportError:
        return 0


def description(device: torch.device) -> str:
    """The device by name, for the window and the results."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def processor() -> str:
    """The processor by name, as far as the system tells."""
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
