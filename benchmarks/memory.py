"""Memory that training on the whole RSNA set takes, beside the bare network.

Anonymous memory is counted: pages of the mapped file belong to the system's cache,
which gives them back whenever somebody needs memory.
"""

import functools
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.timing import MOST, Goal, Row, Size

BATCH = 8
MB = 2**20

ALLOWED_MB = 1536


def anonymous_mb() -> float:
    """Anonymous resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError(
        "/proc/self/status must have RssAnon (got none); use Linux 4.5 or newer"
    )


def highest(stop: threading.Event, seen: list[float]) -> None:
    """Keep the highest memory in `seen` until `stop` is set."""
    while not stop.wait(0.05):
        seen[0] = max(seen[0], anonymous_mb())


def measure(kind: str, count: int, side: int, steps: int) -> float:
    """Highest MB of a training of some steps, in this process.

    kind: ours goes through the packed file once and trains; loading reads it as
    float32 first; bare repeats one batch from memory.
    """
    import numpy as np

    from benchmarks import noise_hands
    from boneage.regression import network
    from boneage.regression.batches import TrainingBatches

    seen, stop = [0.0], threading.Event()
    watch = threading.Thread(target=highest, args=(stop, seen))
    watch.start()
    model = network.build_network("inception_v3", side, "none", sex_input=True)
    model.compile(optimizer="adam", loss="mae")
    with noise_hands.hands(count) as hands:
        feed = functools.partial(network.feed_dict, model)
        batches = TrainingBatches(hands, feed, side, BATCH, 1.0, 0, workers=2)
        if kind == "loading":
            share = max(count // 10, 1)
            kept = np.stack([hands.image(i, side) for i in range(share)])
            kept = np.repeat(kept[..., None].astype(np.float32), 3, axis=3)
        if kind == "ours":
            # every hand is touched, as in an epoch
            for index in range(len(batches)):
                batches[index]
        for index in range(steps):
            model.train_on_batch(*batches[index if kind == "ours" else 0])
        time.sleep(0.1)
    stop.set()
    watch.join()
    # a tenth was loaded; the rest would be alike
    return seen[0] + (9 * kept.nbytes / MB if kind == "loading" else 0)


def compare(size: Size) -> list[Row]:
    """Three processes, one after the other."""
    count, side, steps = size.of(12611, 40), size.of(299, 75), size.of(5, 1)
    peaks_mb = {}
    for kind in ("ours", "loading", "bare"):
        code = (
            f"from benchmarks import memory; print(memory.measure({kind!r}, {count}, "
        )
        code += f"{side}, {steps}))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        peaks_mb[kind] = float(done.stdout.split()[-1])
    allowed = (peaks_mb["bare"] + ALLOWED_MB) / peaks_mb["bare"]
    return [
        Row(
            f"memory, {count} hands, {side} px",
            *(peaks_mb["ours"], "loading all as float32 first (a tenth, scaled)"),
            *(peaks_mb["loading"], "the network on one batch", peaks_mb["bare"]),
            *(Goal(MOST, allowed), "MB"),
        )
    ]
