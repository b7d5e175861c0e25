"""A mistake stops the build with a message that names the notebook and the cause, and the previous book stays."""

import pytest


def fails(project, *said, arguments=()):
    before = project.pages()
    done = project.book(*arguments)
    assert done.code != 0, done
    for text in said:
        assert text in done.err, done
    assert "Traceback" not in done.err, done
    assert before, "there was a book"
    assert project.pages() == before, "the previous book changed"
    return done


def test_failing_cell_is_named_by_its_line_in_the_source(project):
    project.edit("notebooks/02_two.md", "print(clop_nb.second.VALUE", "x = 1\nprint(1 / 0")
    lines = (project.root / "notebooks/02_two.md").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "1 / 0" in text)
    fails(project, f"02_two.md, line {line}", "ZeroDivisionError: division by zero", "print(1 / 0")


def test_failing_notebook_does_not_keep_the_other_from_finishing(fresh):
    fresh.edit("notebooks/02_two.md", "print(", "raise RuntimeError('no'); print(")
    assert fresh.book().executed == ["01_one"]
    assert (fresh.root / "book/_executed/01_one.ipynb").exists()
    assert not (fresh.root / "book/_executed/02_two.ipynb").exists()
    assert not (fresh.root / "_build/html").exists()
    fresh.edit("notebooks/02_two.md", "raise RuntimeError('no'); ", "")
    mended = fresh.book()
    assert mended.code == 0, mended
    assert mended.executed == ["02_two"]


def test_unknown_parameter_is_named_with_the_known_ones(project):
    fails(project, "02_two.md", "unknown parameter `trial`", "did you mean `trials`?", arguments=("-p", "02:trial=3"))


def test_bad_parameter_value_reaches_the_reader_as_the_notebook_words_it(project):
    fails(project, "02_two.md, line", "trials must be a positive integer, got -3", arguments=("-p", "02:trials=-3"))


def test_parameter_of_an_unknown_notebook(project):
    fails(project, "no notebook '07'", "01_one", arguments=("-p", "07:trials=3"))


def test_unknown_preset(project):
    fails(project, "unknown preset 'huge'", "smoke, laptop, paper", arguments=("--preset", "huge"))


def test_unknown_preset_as_a_default(project):
    project.edit("notebooks/01_one.md", 'preset: str = "laptop"', 'trouble: str = "laptop"')
    fails(project, "01_one.md", "does not set `preset`")


def test_no_parameters_cell(project):
    project.edit("notebooks/01_one.md", ":tags: [parameters]\n", "")
    fails(project, "01_one.md", "no cell is tagged `parameters`")


def test_two_parameters_cells(project):
    project.edit("notebooks/01_one.md", "tags: [hide-input]", "tags: [parameters]")
    fails(project, "01_one.md", "2 cells are tagged `parameters`")


def test_notebook_that_the_table_of_contents_leaves_out(project):
    project.edit("_toc.yml", "  - file: book/_executed/02_two\n", "")
    fails(project, "notebooks/02_two.md is not in _toc.yml")


def test_entry_of_the_table_of_contents_without_a_notebook(project):
    (project.root / "notebooks/02_two.md").unlink()
    fails(project, "_toc.yml names book/_executed/02_two")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("See {numref}`fig-nowhere`.", "fig-nowhere", id="figure"),
        pytest.param("See {ref}`nowhere`.", "nowhere", id="section"),
        pytest.param("See [there](nowhere.md).", "nowhere.md", id="link"),
        pytest.param("As {cite:t}`unknown2024` says.", "unknown2024", id="citation"),
        pytest.param("The value is {glue}`nowhere`.", "nowhere", id="glued number"),
    ],
)
def test_broken_reference(project, text, said):
    project.edit("notebooks/01_one.md", "Some text.", text)
    fails(project, said, "notebooks/01_one.md")


def test_verdict_on_a_claim_that_the_paper_does_not_make(project):
    project.edit(
        "notebooks/01_one.md",
        "print(",
        "from IPython.display import display\n"
        'display({"application/vnd.clop-nb.verdict+json": {"id": "X9"}, "text/plain": ""}, raw=True)\nprint(',
    )
    fails(project, "01_one", "'X9'", "T1")
