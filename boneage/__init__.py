"""Bone age from hand radiographs: segmentation, regression and explanation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boneage.prediction.python_api import predict_bone_age

__version__ = "0.1.0"
__all__ = ["predict_bone_age"]


def __getattr__(name: str) -> Any:
    """Import `predict_bone_age` at its first use.

    `import boneage`, and the steps that need none of it, stay quick.
    """
    if name == "predict_bone_age":
        from boneage.prediction.python_api import predict_bone_age

        return predict_bone_age
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
