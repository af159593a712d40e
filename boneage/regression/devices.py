"""The only place that knows devices: one or many, any machine, any Keras backend."""

from __future__ import annotations

import contextlib

import keras
import numpy as np

from boneage.errors import InputError


class OneDevice(contextlib.nullcontext):
    """Nothing to distribute over."""

    replicas, processes, index = 1, 1, 0

    def __init__(self, names: str) -> None:
        """`names` of the devices, for the screen."""
        super().__init__()
        self.names = names

    def evaluation_model(self, model: keras.Model) -> keras.Model:
        """The network to predict with."""
        return model

    def broadcast(self, value: float) -> float:
        """`value` of the first process, for all processes."""
        return value


class ManyDevices(OneDevice):
    """TensorFlow: every device holds a copy of the network; gradients are averaged."""

    def __init__(self, names: list[str]) -> None:
        """Devices by TensorFlow's names, such as GPU:0."""
        import tensorflow as tf

        super().__init__(", ".join(names))
        self.strategy = tf.distribute.MirroredStrategy(names)
        self.replicas = len(names)

    def __enter__(self) -> None:
        self._scope = self.strategy.scope()
        self._scope.__enter__()

    def __exit__(self, *error: object) -> None:
        self._scope.__exit__(*error)


class JaxDevices(OneDevice):
    """JAX: batches are spread over devices of all processes; one program, one network.

    Batch norm sees the whole batch, so that any number of devices trains as one.
    """

    def __init__(self, chosen: list, kind: str) -> None:
        """`chosen`: JAX devices, the same number of each process."""
        import jax

        super().__init__(f"{len(chosen)} {kind}s by JAX")
        self.replicas = len(chosen)
        self.processes, self.index = jax.process_count(), jax.process_index()
        self._distribution = keras.distribution.DataParallel(
            devices=[f"{kind.lower()}:{device.id}" for device in chosen],
            auto_shard_dataset=False,
        )
        self._copy: keras.Model | None = None

    def __enter__(self) -> None:
        self._scope = self._distribution.scope()
        self._scope.__enter__()

    def __exit__(self, *error: object) -> None:
        self._scope.__exit__(*error)

    def evaluation_model(self, model: keras.Model) -> keras.Model:
        """A copy on one device of this process: the other ones need not take part."""
        if self._copy is None:
            self._copy = keras.models.clone_model(model)
        self._copy.set_weights(model.get_weights())
        return self._copy

    def broadcast(self, value: float) -> float:
        """The first process's number, so that all take the same decisions."""
        if self.processes == 1:
            return value
        from jax.experimental import multihost_utils

        return float(multihost_utils.broadcast_one_to_all(np.float32(value)))


def chosen_devices(devices: str, kind: str = "GPU") -> OneDevice:
    """Context in which to build, compile and fit; `replicas` is its number of devices.

    Args:
        devices: a number, or "all"; of each process.
        kind: GPU; CPU for tests on logical devices.

    Raises:
        InputError: this machine does not have so many.
    """
    if devices != "all" and not devices.isdecimal():
        raise InputError(f"--devices must be a number or all (got {devices})")
    if keras.backend.backend() == "jax":
        return _of_jax(devices)
    if keras.backend.backend() == "torch":
        if devices not in ("1", "all"):
            raise InputError(
                f"--devices must be 1 on PyTorch (got {devices}); for several devices "
                "set KERAS_BACKEND=tensorflow or jax"
            )
        return OneDevice("one device by PyTorch")
    import tensorflow as tf

    wanted, here = _number(devices, len(tf.config.list_logical_devices(kind)), kind)
    if wanted == 1:
        return OneDevice(f"{kind}:0" if here else "CPU")
    return ManyDevices([f"{kind}:{index}" for index in range(wanted)])


def make_deterministic() -> None:
    """Make all later operations reproducible to the bit.

    Raises:
        InputError: the backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "--deterministic cannot be used without TensorFlow; leave it out"
        )
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def _of_jax(devices: str) -> OneDevice:
    import jax

    kind = jax.local_devices()[0].platform.upper()
    wanted, _ = _number(devices, len(jax.local_devices()), kind)
    by_process = [jax.local_devices(i)[:wanted] for i in range(jax.process_count())]
    chosen = [device for devices in by_process for device in devices]
    if len(chosen) == 1:
        return OneDevice(f"{kind}:0 by JAX")
    if len(chosen) < wanted * jax.process_count():
        raise InputError(
            f"--devices must be available on every machine (got {devices}, not every "
            f"one has {wanted} {kind}s)"
        )
    return JaxDevices(chosen, kind)


def _number(devices: str, here: int, kind: str) -> tuple[int, int]:
    """Number of devices wanted, and number of devices of this machine."""
    wanted = max(here, 1) if devices == "all" else int(devices)
    if wanted == 0 or wanted > max(here, 1):
        raise InputError(
            f"--devices must be at most the {here} {kind}s of this machine, and at "
            f"least 1 (got {devices})"
        )
    return wanted, here
