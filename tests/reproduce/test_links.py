"""Links between what is committed: each leads to a page, to a copied file, on purpose to nothing, or it is refused."""

import pytest

from dlt_core import CHECKOUT
from dlt_core.reproduce.links import Links

NOTEBOOK = CHECKOUT / "notebooks" / "04_gpt2_wikitext2.ipynb"


@pytest.fixture
def links():
    pages = {"README.md": "readme", "notebooks/README.md": "teaching", "notebooks/03_algorithm_1.ipynb": "03"}
    return Links({CHECKOUT / path: name for path, name in pages.items()})


@pytest.mark.parametrize(
    ("target", "there"),
    [
        ("../README.md#the-notebooks", "readme.html#the-notebooks"),
        ("README.md#td-error", "teaching.html#td-error"),
        ("03_algorithm_1.ipynb", "03.html"),
        ("03_algorithm_1.html#What-Comes-Out", "03.html#What-Comes-Out"),
        ("../figures/results.csv", "figures/results.csv"),
        ("../figures/benchmark/cpu.json", "figures/benchmark/cpu.json"),
        ("https://arxiv.org/abs/2401.12819", "https://arxiv.org/abs/2401.12819"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("#here", "#here"),
    ],
)
def test_a_link_leads_to_the_page_with_its_anchor_or_to_a_file(links, target, there):
    text = f'<a id="name"></a>before <a class="x" href="{target}" title="t">some\n<b>words</b></a> after'
    assert links.connect(text, NOTEBOOK) == text.replace(target, there)
    assert links.files == ({CHECKOUT / there} if there.startswith("figures/") else set())


def test_a_picture_is_copied_and_one_within_the_page_stays(links):
    text = '<img alt="a" src="../figures/fig_memory.png" width="5"><img src="data:image/png;base64,AA==">'
    assert links.connect(text, NOTEBOOK) == text.replace("../figures", "figures")
    assert links.files == {CHECKOUT / "figures" / "fig_memory.png"}


@pytest.mark.parametrize(
    "target",
    [
        "exercises/solutions",
        "../figures/records",
        "../figures/records/gpt2-embedded-laptop-dynamic-seed0.json",
        "../LICENSE",
        "../CITATION.cff",
        "../dlt_core/agents.py",
    ],
)
def test_what_the_site_leaves_out_is_only_words(links, target):
    assert links.connect(f'see <a href="{target}">these <i>words</i></a>.', NOTEBOOK) == "see these <i>words</i>."
    assert links.files == set()


@pytest.mark.parametrize(
    "target",
    [
        "05_gpt2_wikitext103.ipynb",  # there, but no page is made of it
        "../figures/README.md#the-runs",
        "no_such_notebook.ipynb",
        "../figures/no_such_figure.png",
        "../no_such_folder",
        "no_such_program.py",
        "../../outside.png",
    ],
)
def test_a_link_that_leads_to_nothing_is_refused(links, target):
    with pytest.raises(ValueError, match=r"04_gpt2_wikitext2\.ipynb leads to .* mend the link"):
        links.connect(f'<a href="{target}">words</a>', NOTEBOOK)


def test_a_picture_that_is_not_there_is_refused(links):
    with pytest.raises(ValueError, match="mend the link"):
        links.connect('<img src="no_such_figure.png">', NOTEBOOK)
    with pytest.raises(ValueError, match="no picture"):
        links.connect('<img src="../LICENSE">', NOTEBOOK)
