"""The one door to devices: one, many, or none take the same path."""

import contextlib

import tensorflow as tf

from boneage.files import InputError


class OneDevice(contextlib.nullcontext):
    """Nothing to distribute over."""

    replicas = 1

    def __init__(self, names: str) -> None:
        """`names` says what TensorFlow computes on."""
        super().__init__()
        self.names = names


class ManyDevices:
    """Every device holds a copy of the network; gradients are averaged."""

    def __init__(self, names: list[str]) -> None:
        """Devices by TensorFlow's names, such as GPU:0."""
        self.strategy = tf.distribute.MirroredStrategy(names)
        self.replicas = len(names)
        self.names = ", ".join(names)

    def __enter__(self) -> None:
        self._scope = self.strategy.scope()
        self._scope.__enter__()

    def __exit__(self, *error: object) -> None:
        self._scope.__exit__(*error)


def distribution(devices: str, kind: str = "GPU") -> OneDevice | ManyDevices:
    """A context to build and compile in, with the number of its `replicas`.

    Args:
        devices: a number, or "all".
        kind: GPU; CPU for tests on logical devices.

    Raises:
        InputError: this machine has no such number of them.
    """
    here = len(tf.config.list_logical_devices(kind))
    if devices != "all" and not devices.isdecimal():
        raise InputError(f"--devices {devices}: expected a number or all")
    wanted = max(here, 1) if devices == "all" else int(devices)
    if wanted == 0 or wanted > max(here, 1):
        raise InputError(f"--devices {devices}: this machine has {here} {kind}s")
    if wanted == 1:
        return OneDevice(f"{kind}:0" if here else "CPU")
    return ManyDevices([f"{kind}:{index}" for index in range(wanted)])
