"""What asks whether it works: methods by name, other agents, searches, the released code, diagnosis, tables.

>>> from dlt_core.studies.methods import REGISTRY
>>> REGISTRY["all_tied"].about
'one weight set for all layers'
"""

import importlib
from importlib.util import find_spec
from typing import Any


def __getattr__(name: str) -> Any:
    """A module of this room, loaded when it is first used: `import dlt_core` alone is enough for
    `dlt_core.studies.released_code`."""
    if name.startswith("_") or not name.isidentifier() or find_spec(full := f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(full)
