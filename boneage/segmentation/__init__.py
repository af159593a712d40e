"""Cutting the hand out of the radiograph, by a committee that asks for annotations."""
