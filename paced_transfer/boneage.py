"""Import the library of this checkout, even where another one is installed.

Python searches a script's own folder first, so `import boneage` in a script finds this
file, which puts the real package in its place.
"""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
del sys.modules[__name__]
importlib.import_module(__name__)
