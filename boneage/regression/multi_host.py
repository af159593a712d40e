"""One training on several machines, a process on each, with Keras's JAX backend."""

import contextlib
import os
import re
import sys
import traceback
from types import TracebackType

from boneage import cli
from boneage.errors import InputError
from boneage.regression.settings import TrainingSettings

HEARTBEAT_S = 30
"""Silence after which a process counts as dead and the others end."""

LOST = 3
"""Exit status if another process is gone."""


LOST_BY = re.compile(
    r"\bgloo\b|\bnccl|connection (reset|closed|refused)|socket closed|heartbeat", re.I
)
"""Words of JAX's errors, of any type, when the connection to a process breaks."""


def process_group(settings: TrainingSettings) -> contextlib.AbstractContextManager:
    """Context of a training with the other processes of --cluster, if there are any.

    Must be entered before Keras is imported, because it selects the JAX backend.

    Raises:
        InputError: another backend is selected, or JAX is not installed.
    """
    if not settings.cluster:
        return contextlib.nullcontext()
    backend = os.environ.setdefault("KERAS_BACKEND", "jax")
    if backend != "jax":
        raise InputError(
            f"KERAS_BACKEND must be jax with --cluster (got {backend}); unset it"
        )
    try:
        import jax  # noqa: F401
    except ImportError:
        raise InputError(
            "--cluster cannot be used without JAX; install it with pip install "
            '"jax[cuda12]" (or "jax[cpu]")'
        ) from None
    return Cluster(settings)


class Cluster:
    """Membership of the group, from the first connection to the end of all processes.

    A process that ends with an error does not wait for the others, which end when its
    heartbeat is missing. If another process is gone, the error names it.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        """Keep the address; nothing is connected yet."""
        self.settings = settings

    def __enter__(self) -> None:
        import jax

        settings = self.settings
        print(
            f"process {settings.index} of {settings.processes}, waiting for the others "
            f"at {settings.cluster}"
        )
        jax.distributed.initialize(
            settings.cluster,
            settings.processes,
            settings.index,
            heartbeat_timeout_seconds=HEARTBEAT_S,
            # the first process predicts and writes while the others wait in the end
            shutdown_timeout_seconds=24 * 3600,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        if isinstance(error, (RuntimeError, ValueError)) and LOST_BY.search(str(error)):
            print(
                f"error: another process of --cluster {self.settings.cluster} is gone; "
                "start all of them again to resume from the last checkpoint",
                file=sys.stderr,
            )
            status = LOST
        else:
            known = cli.exit_status_for(error)
            if known is None:
                traceback.print_exception(error)
            status = 1 if known is None else known
        sys.stdout.flush()
        sys.stderr.flush()
        # JAX would wait for the others before it lets Python end
        os._exit(status)
