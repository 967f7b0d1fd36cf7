"""What a person waits for, slider moves and the start of the page; and how busy the machine is."""

import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gcd_core.domains.opening import Domain
from gcd_core.generators.device import choose_precision

APP = Path(__file__).resolve().parents[2] / "app.py"


@torch.inference_mode()
def slider_latency(domain: Domain, image: Tensor, moves: int = 100) -> dict:
    """Milliseconds of slider moves on an opened image: decode one point, ask, measure LPIPS.

    Every position is new, so that no path decoded before can answer; the direction does not matter.
    Each is decoded by the default solver and, where there is one, by that for live moves, in turn.

    Returns
    -------
    dict
        `moves`; `full` and `live`, each with `p50_ms` and `p95_ms`; and `ratio`, of the medians.
        Without a solver for live moves, `live` is `full`.
    """
    latent = domain.generator.encode(image)
    random = torch.Generator().manual_seed(0)
    direction = torch.randn(1, domain.generator.z_sem_size, generator=random).to(latent.z_sem)
    direction = direction / direction.norm()
    positions = domain.alpha_max * (2 * torch.rand(moves, generator=random) - 1)
    solvers = {"full": None, "live": domain.generator.live_solver}
    if solvers["live"] is None:
        del solvers["live"]
    milliseconds: dict[str, list[float]] = {name: [] for name in solvers}
    for alpha in [0.0, 0.0, *positions.tolist()]:  # the first two warm up
        point = latent.with_z_sem(latent.z_sem + alpha * direction)
        for name, solver in solvers.items():
            start = time.perf_counter()
            frame = domain.generator.decode(point, solver)
            domain.classifier(frame).tolist()
            domain.perceptual(frame, image.to(frame.device)).item()
            milliseconds[name].append(1000 * (time.perf_counter() - start))
    result: dict = {"moves": moves}
    for name, times in milliseconds.items():
        cuts = statistics.quantiles(times[2:], n=20)
        result[name] = {"p50_ms": statistics.median(times[2:]), "p95_ms": cuts[-1]}
    result.setdefault("live", result["full"])
    result["ratio"] = result["full"]["p50_ms"] / result["live"]["p50_ms"]
    return result


@torch.inference_mode()
def matmul_share(domain: Domain, image: Tensor, batch: int | None = None) -> dict:
    """How near decoding comes to the machine's rate of matrix products, measured beside it.

    Parameters
    ----------
    image : Tensor (1, C, S, S)
        In [0, 1].
    batch : int, optional
        Images decoded at once; by default 16, on a GPU 64.

    Returns
    -------
    dict
        `fp32_gflops` and `bf16_gflops` of a square product (of a smaller one in bf16 where the
        hardware has none, as it then takes a thousand times as long); `gflop_per_image` and
        `gflops` of decoding a batch; `share_of_fp32`, `share_of_bf16`.
    """
    device = torch.device(domain.device)
    whole = 8192 if device.type == "cuda" else 2048
    batch = batch or (64 if device.type == "cuda" else 16)
    native = choose_precision("auto", device) == "bf16"
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        side = whole if native or dtype == torch.float32 else 256
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        rates[name] = 2 * side**3 / fastest(partial(torch.matmul, a, b), device) / 1e9
    latent = domain.generator.encode(image).repeat(batch)
    with FlopCounterMode(display=False) as counter:
        domain.generator.decode(latent, batch_size=batch)
    work = counter.get_total_flops() / 1e9
    seconds = fastest(lambda: domain.generator.decode(latent, batch_size=batch), device, 3)
    return {
        "batch": batch,
        "gflop_per_image": work / batch,
        "gflops": work / seconds,
        "fp32_gflops": rates["fp32"],
        "bf16_gflops": rates["bf16"],
        "share_of_fp32": work / seconds / rates["fp32"],
        "share_of_bf16": work / seconds / rates["bf16"],
    }


def fastest(action: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """Seconds of the fastest of some runs, after one to warm up."""
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def peak_memory() -> float | None:
    """Peak resident memory of this process so far, in MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10


def start_up(domain: Domain, app: Path = APP, timeout: float = 120) -> dict | None:
    """Start the page on a domain, as its operator would, until it answers.

    Returns
    -------
    dict or None
        `seconds` until the first page, and `idle_memory_mib` of the process then (None where the
        system does not say); None if it does not answer in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(app), "--domain", str(domain.folder.resolve())]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", domain.device],
        cwd=app.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None and time.perf_counter() - start < timeout:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    page.read()
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
                continue
            seconds = time.perf_counter() - start
            return {"seconds": seconds, "idle_memory_mib": _resident(process.pid)}
        return None
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _resident(pid: int) -> float | None:
    """Resident memory of a process in MiB, where /proc tells it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    kib = next(line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kib) / 2**10
