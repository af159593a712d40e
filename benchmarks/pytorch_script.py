"""What a PyTorch user would write: timm's network and a DataLoader on PNG files.

    python -m benchmarks.pytorch_script FOLDER BACKBONE PX BATCH

trains an epoch for every line on standard input, and answers with a line. A process of
its own, because PyTorch and TensorFlow do not bear each other in one.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from boneage.io import hdf5, radiographs
from boneage.regression.dataset import HandDataset

NAMES = {"xception": "legacy_xception"}
"""Of timm, where they differ from the backbones'."""


def is_installed() -> bool:
    """Whether there is a PyTorch to compare with."""
    needed = ("torch", "torchvision", "timm")
    return all(importlib.util.find_spec(name) is not None for name in needed)


@contextlib.contextmanager
def epochs(
    hands: HandDataset, backbone: str, side: int, batch: int
) -> Iterator[Callable[[], None]]:
    """What trains one epoch on the hands, each time that it is called."""
    with tempfile.TemporaryDirectory() as name:
        for number, months in enumerate(hands.cohort.bone_age_months):
            image = hands.image(number, hdf5.HAND_PX)
            radiographs.write(Path(name) / f"{number:05d}_{months:.1f}.png", image)
        command = [sys.executable, "-m", "benchmarks.pytorch_script"]
        command += [name, backbone, str(side), str(batch)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:

            def train() -> None:
                print(file=process.stdin, flush=True)
                if not process.stdout.readline():
                    raise RuntimeError(f"{' '.join(command)}: ended too early")

            yield train
            process.stdin.close()


def main(folder: str, backbone: str, side: int, batch: int) -> None:
    """Train an epoch for every line that is read."""
    import timm
    import torch
    from torch.utils.data import DataLoader, Dataset
    from torchvision import io, transforms

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    prepare = transforms.Compose(
        [
            transforms.Resize((side, side), antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(15, (0.1, 0.1), (0.9, 1.1)),
            transforms.ColorJitter(0.1),
        ]
    )

    class HandFiles(Dataset):
        """Hands, (3, side, side) float32 in [-1, 1], and months from their names."""

        paths = sorted(Path(folder).glob("*.png"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> tuple:
            path = self.paths[index]
            image = prepare(io.read_image(str(path))).expand(3, -1, -1)
            return image / 127.5 - 1, float(path.stem.split("_")[1])

    loader = DataLoader(HandFiles(), batch, shuffle=True, num_workers=1, drop_last=True)
    network = timm.create_model(NAMES.get(backbone, backbone), num_classes=1)
    optimizer = torch.optim.Adam(network.parameters())
    loss = torch.nn.L1Loss()
    network.train()
    for _ in sys.stdin:
        for images, months in loader:
            optimizer.zero_grad()
            loss(network(images)[:, 0], months.float()).backward()
            optimizer.step()
        print("trained", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
