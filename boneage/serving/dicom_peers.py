"""Other DICOM nodes: their addresses, and sending to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from boneage.errors import InputError

SUCCESS, NO_ROOM = 0x0000, 0xA700
"""Statuses of a C-STORE response (PS3.4 B.2.3)."""
CONNECTION_S = 10


class Address(NamedTuple):
    """Another node."""

    ae_title: str
    host: str
    port: int


class NotDelivered(Exception):
    """Results that could not be delivered just now."""


def make_address(flag: str, title: str, host: str, port: str) -> Address:
    """An address from its parts; `flag` is named where one of them is wrong.

    Raises:
        InputError: no AE title, or no port.
    """
    check_title(flag, title)
    if not 1 <= int(port) <= 65535:
        raise InputError(f"{flag} must have a port from 1 to 65535 (got {port})")
    return Address(title.strip(), host, int(port))


def check_title(flag: str, title: str) -> None:
    """Raise InputError for what is no AE title (PS3.5 6.2)."""
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title) or not title.strip():
        raise InputError(
            f"{flag} must have an AE title of 1 to 16 ASCII characters (got {title!r})"
        )


def send(paths: list[Path], receiver: Address, own_title: str) -> None:
    """Send files to another node by C-STORE.

    Raises:
        NotDelivered: no connection, or it has no room now.
        InputError: it refuses them for good.
    """
    import pynetdicom
    from pydicom import uid

    entity = pynetdicom.AE(ae_title=own_title)
    entity.connection_timeout = CONNECTION_S
    entity.add_requested_context(uid.SecondaryCaptureImageStorage)
    entity.add_requested_context(uid.EnhancedSRStorage)
    where = f"{receiver.ae_title}@{receiver.host}:{receiver.port}"
    association = entity.associate(
        receiver.host, receiver.port, ae_title=receiver.ae_title
    )
    if not association.is_established:
        raise NotDelivered(f"no association with {where}")
    try:
        for path in paths:
            try:
                answer = association.send_c_store(path)
            except ValueError as error:
                raise InputError(f"{where} does not take {path.name[:2]}") from error
            except RuntimeError as error:
                raise NotDelivered(f"{where} ended the association") from error
            status = answer.get("Status")
            if status is None or status >> 8 == NO_ROOM >> 8:
                raise NotDelivered(f"{where} has no room or does not answer")
            # a warning (B000 and others) means that it was stored
            if status != SUCCESS and status >> 12 != 0xB:
                raise InputError(f"{where} refused {path.name[:2]} ({status:04X})")
    finally:
        if association.is_established:
            association.release()
