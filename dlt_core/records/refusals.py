"""What pydantic refuses, said plainly."""

from __future__ import annotations

import re

from pydantic import ValidationError

from dlt_core.tie_map import in_short


def refusal(error: ValidationError) -> str:
    """The first two fields that are wrong: their names, what is allowed, and what came instead."""
    refused = []
    for wrong in error.errors(include_url=False):
        field = ".".join(map(str, wrong["loc"]))
        if "missing" in wrong["type"]:
            refused.append(f"{field} is missing")
        elif wrong["type"] == "unexpected_keyword_argument":
            refused.append(f"{field} is not a known field")
        elif wrong["type"] == "value_error":
            refused.append(f"{field} {wrong['ctx']['error']}".strip())
        else:
            allowed = re.sub(r"^(Input|String) should", "must", wrong["msg"])
            refused.append(f"{field} {allowed}, got {in_short(wrong['input'])}".lstrip())
    return "; ".join(refused[:2] + [f"and {len(refused) - 2} more"] * (len(refused) > 2))
