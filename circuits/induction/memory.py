"""Does it fit into memory? Asked before anything large is made."""

from pathlib import Path

import torch

from circuits.errors import InputError

_MEMINFO = Path("/proc/meminfo")


def free(device: torch.device) -> int | None:
    """Free bytes of a device; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not _MEMINFO.is_file():
        return None
    said = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line)
    return int(said["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in said else None


def check_fits(n: int, literals: int, device: torch.device, share: float = 1.0) -> None:
    """Refuse literals x positions that do not fit.

    Args:
        n: positions; literals: how many; share: bytes for each literal and position.

    Raises:
        InputError: they take more bytes than are free.
    """
    left = free(device)
    if left is None or n * literals * share <= left:
        return
    fewer, shorter = int(left / (n * share)), int(left / (literals * share))
    raise InputError(
        f"{literals} literals at {n:,} positions take {n * literals * share / 1e9:.1f} GB and {left / 1e9:.1f} GB are"
        f" free on {device}: {fewer} literals would fit, or {shorter:,} positions, {shorter / n:.1%} of these games"
    )
