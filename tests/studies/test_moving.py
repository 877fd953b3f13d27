"""What moving ties costs, from records that never were."""

from dlt_core.studies.moving import frozen_markdown
from tests.studies.conftest import made_up, table_cells


def test_frozen_runs_are_held_against_those_that_move_to_the_end():
    records = []
    for seed, noise in enumerate((0.0, 0.01, -0.01)):
        for method, moving, frozen in (("dynamic", 2.3, 2.2), ("random", 2.3, 2.25)):
            records.append(made_up(method, seed, moving + noise, name="agents-embedded"))
            records.append(
                made_up(method, seed, frozen + noise / (2 if method == "random" else 3), name="agents-embedded",
                        freeze_after=0.5)
            )  # fmt: skip
            records.append(made_up(method, seed, 9.0, name="agents-embedded", freeze_after=0.5, reward="neg_loss"))
    rows = table_cells(frozen_markdown(records))
    assert [row[:3] for row in rows] == [
        ["agents-embedded, freeze_after=0.5", "`dynamic`, frozen minus moving", "3"],
        ["agents-embedded, freeze_after=0.5", "`random`, frozen minus moving", "3"],
        ["agents-embedded, freeze_after=0.5", "frozen, `dynamic` minus `random`", "3"],
    ]
    assert [row[3][:6] for row in rows] == ["-0.100", "-0.050", "-0.050"]
    assert frozen_markdown([r for r in records if not r.changes]) == ""
