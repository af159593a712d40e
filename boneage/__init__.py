"""Bone age from hand radiographs: segmentation, regression and explanation."""

__version__ = "0.1.0"
