"""What a run leaves behind: its record, and what several records allow to say.

>>> records.key({"name": "depth", "preset": "laptop"}, "dynamic", 0)
'depth-laptop-dynamic-seed0'
"""

from dlt_core.records.provenance import code, hardware, stamp, versions
from dlt_core.records.record import SCHEMA_VERSION, RunRecord, key, load_all, load_records

__all__ = [
    "SCHEMA_VERSION",
    "RunRecord",
    "code",
    "hardware",
    "key",
    "load_all",
    "load_records",
    "stamp",
    "versions",
]
