"""One training by several machines: a process each, over Keras's JAX backend."""

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
"""A process not heard of for so long is dead, and the others end."""

LOST = 3
"""Exit status where another process is gone."""


LOST_BY = re.compile(
    r"\bgloo\b|\bnccl|connection (reset|closed|refused)|socket closed|heartbeat", re.I
)
"""What JAX says when a connection to another process breaks, in errors of any type."""


def process_group(settings: TrainingSettings) -> contextlib.AbstractContextManager:
    """Train with the other processes of --cluster, or alone without one.

    To be called before anything imports Keras, which it has use JAX.

    Raises:
        InputError: another backend is asked for, or JAX is not installed.
    """
    if not settings.cluster:
        return contextlib.nullcontext()
    asked = os.environ.setdefault("KERAS_BACKEND", "jax")
    if asked != "jax":
        raise InputError(
            f"--cluster {settings.cluster}: works on JAX alone, and KERAS_BACKEND is "
            f"{asked}; take it away"
        )
    try:
        import jax  # noqa: F401
    except ImportError:
        raise InputError(
            "--cluster needs JAX, which is not installed: pip install "
            '"jax[cuda12]" (or "jax[cpu]")'
        ) from None
    return Cluster(settings)


class Cluster:
    """Belonging to the others: from meeting them to the end of all.

    Where this process ends by an error, it does not wait for the others, which end
    by the missing heartbeat; where the error is that another one is gone, it says so.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        """Not yet connected; `settings` say to whom."""
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
                f"error: --cluster {self.settings.cluster}: another process is gone; "
                "start all of them again, they go on from the last checkpoint",
                file=sys.stderr,
            )
            status = LOST
        else:
            status = cli.exit_status_for(error)
            if status is None:
                traceback.print_exception(error)
                status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        # JAX would wait for the others before it lets Python end
        os._exit(status)
