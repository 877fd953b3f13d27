"""How notebooks show records and experiments: small tables in HTML, with everything that comes from a user escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from dlt_core.tie_map import TieMap

if TYPE_CHECKING:
    from dlt_core.records.record import RunRecord


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = (), caption: str = "") -> str:
    """An HTML table of plain values. The first cell of each row is its heading, unless there is a head."""
    lines = [f"<caption>{escape(caption)}</caption>"] if caption else []
    if head:
        lines.append(f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>")
    body = []
    for row in rows:
        first, *others = (escape(str(cell)) for cell in row)
        heading = f"<td>{first}</td>" if head else f"<th>{first}</th>"
        body.append(f"<tr>{heading}{''.join(f'<td>{cell}</td>' for cell in others)}</tr>")
    return f"<table>{''.join(lines)}<tbody>{''.join(body)}</tbody></table>"


def record_html(record: RunRecord) -> str:
    """A run: what it was, how it stands, its results, and the ties of its best model as a picture."""
    rows = [
        ("run", record.key),
        ("text", record.corpus["name"] + record.sample_mark),
        ("changes", record.changes or "none"),
        ("status", record.status),
    ]
    if record.error:
        rows.append(("error", record.error))
    if record.test:
        rows += [
            (f"test perplexity {record.unit}", f"{record.test['perplexity']:.1f}"),
            ("bits per byte", f"{record.test['bits_per_byte']:.3f}"),
        ]
    if record.parameters:
        unique, conventional = record.parameters["unique"], record.parameters["conventional"]
        rows.append(
            ("trainable parameters", f"{unique:,}, {unique / conventional:.0%} of {conventional:,} conventional")
        )
    if record.tie_map:
        rows.append(("weight sets", f"{TieMap(record.tie_map).num_independent} of {len(record.tie_map)} layers"))
    rows += [("optimiser steps", f"{record.budget.get('optimizer_steps', 0):,}"), ("seconds", f"{record.seconds:.0f}")]
    title = f"{record.experiment['name']}, {record.method}, seed {record.seed}"
    picture = TieMap(record.tie_map)._repr_svg_() if record.tie_map else ""
    return table(rows, caption=title) + picture


def records_html(records: Iterable[RunRecord]) -> str:
    """Several runs, a row for each."""
    rows = []
    for record in records:
        test, parameters = record.test or {}, record.parameters or {}
        rows.append(
            (
                record.method,
                record.seed,
                record.corpus["name"] + record.sample_mark,
                f"{test['perplexity']:.1f} {record.unit}" if test else record.status,
                f"{test['bits_per_byte']:.3f}" if test else "",
                len(set(record.tie_map)) if record.tie_map else "",
                f"{parameters['unique']:,}" if parameters else "",
            )
        )
    return table(
        rows, head=("method", "seed", "text", "test perplexity", "bits per byte", "weight sets", "trainable parameters")
    )


def experiment_html(title: str, overrides: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """The settings of a run. overrides: those that are not the preset's; fields: all."""
    changed = table(overrides.items()) if overrides else "<p>as the preset has it</p>"
    everything = f"<details><summary>all settings</summary>{table(fields.items())}</details>"
    return f"<p><b>{escape(title)}</b></p>{changed}{everything}"
