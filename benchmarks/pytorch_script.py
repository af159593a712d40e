"""What a PyTorch user would write: timm's network and a DataLoader on PNG files."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import io, transforms

from boneage import hdf5, radiographs
from boneage.regression.parts import Hands

NAMES = {"xception": "legacy_xception"}
"""Of timm, where they differ."""


class HandFiles(Dataset):
    """A folder of hands, turned by chance as users turn them."""

    def __init__(self, folder: Path, months: list[float], side: int) -> None:
        """`months`, one a file in order of names; `side`: px."""
        self.paths, self.months = sorted(folder.glob("*.png")), months
        self.prepare = transforms.Compose(
            [
                transforms.Resize((side, side), antialias=True),
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(15, (0.1, 0.1), (0.9, 1.1)),
                transforms.ColorJitter(0.1),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, float]:
        """One hand, (3, side, side) float32 in [-1, 1], and its months."""
        image = self.prepare(io.read_image(str(self.paths[index])))
        return image.expand(3, -1, -1) / 127.5 - 1, self.months[index]


@contextlib.contextmanager
def epochs(
    hands: Hands, backbone: str, side: int, batch: int
) -> Iterator[Callable[[], None]]:
    """What trains one epoch on the hands, each time that it is called."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = timm.create_model(NAMES.get(backbone, backbone), num_classes=1)
    optimizer = torch.optim.Adam(network.parameters())
    loss = torch.nn.L1Loss()
    months = [float(age) for age in hands.cohort.bone_age_months]
    with tempfile.TemporaryDirectory() as name:
        for number in range(len(hands)):
            image = hands.image(number, hdf5.HAND_PX)
            radiographs.write(Path(name) / f"{number:05d}.png", image)
        files = HandFiles(Path(name), months, side)
        loader = DataLoader(files, batch, shuffle=True, num_workers=1, drop_last=True)

        def train() -> None:
            network.train()
            for images, true in loader:
                optimizer.zero_grad()
                loss(network(images)[:, 0], true.float()).backward()
                optimizer.step()

        yield train
