"""What a PyTorch user would write to read hands: timm's Inception v3 on their views.

    PYTORCH=/other/venv/bin/python python -m benchmarks --only reading

A process of its own, in the environment that PYTORCH names if PyTorch is not in this
one; it needs torch, timm and NumPy, and no package of this repository.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from unittest import mock

PYTHON = os.environ.get("PYTORCH", sys.executable)
TORCHVISION = (
    *("", ".transforms", ".transforms.functional", ".models"),
    *(".models.feature_extraction", ".ops", ".ops.misc", ".datasets"),
)
"""What timm imports of it: for data and training, not for its networks."""


def is_installed() -> bool:
    """Whether there is a PyTorch with timm to compare with."""
    find = "from importlib.util import find_spec as f; assert f('torch') and f('timm')"
    command = [PYTHON, "-c", find]
    return not subprocess.run(command, capture_output=True, check=False).returncode


@contextlib.contextmanager
def forward_passes(
    precision: str, count: int, side: int
) -> Iterator[Callable[[], None]]:
    """What reads `count` views of a hand, each time that it is called.

    precision: float32 or bfloat16.
    """
    command = [PYTHON, __file__, precision, str(count), str(side)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:

        def read() -> None:
            print(file=process.stdin, flush=True)
            if not process.stdout.readline():
                raise RuntimeError(f"{' '.join(command)}: ended too early")

        yield read
        process.stdin.close()


def main(precision: str, count: int, side: int) -> None:
    """Read the views once for every line on standard input."""
    with contextlib.suppress(ImportError):
        import torchvision  # noqa: F401
    if "torchvision" not in sys.modules:
        for name in TORCHVISION:
            sys.modules[f"torchvision{name}"] = mock.MagicMock()
    import timm
    import torch

    # as the engine does, see `engine.core_count`
    cores = os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))
    torch.set_num_threads(int(cores))
    network = timm.create_model("inception_v3", num_classes=1).eval()
    kind = {"dtype": getattr(torch, precision), "memory_format": torch.channels_last}
    network = network.to(**kind)
    grey = torch.randint(0, 256, (count, 1, side, side))
    with torch.inference_mode():
        for _ in sys.stdin:
            views = (grey.expand(-1, 3, -1, -1) / 127.5 - 1).to(**kind)
            network(views).float().numpy()
            print("read", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
