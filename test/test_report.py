"""The report's page, figures and readers: self-contained, escaped, readable in light and dark, true to the numbers."""
import itertools
import json
import re

import matplotlib
import numpy as np
import pytest

from gearnet_plugin.report import Page, figures
from gearnet_plugin.report.page import STYLE, format_number
from gearnet_plugin.report.runs import curve, last, mean_curve, read_metrics
from gearnet_plugin.report.svg import SERIES, figure_svg
from html_page import parse


def all_figures():
    """One figure of each kind, with awkward input."""
    rng = np.random.default_rng(0)
    return [
        figures.curves([{"title": "a < b", "series": {"one": ([1, 2, 3], [1.0, None, 0.5]), "none": ([], [])},
                         "baseline": {"chance": 0.1}, "y": "nats & more"}]),
        figures.curves([{"title": "t", "series": {"one": (range(60), rng.random(60))}}] * 2, smooth=9),
        figures.metric_bars({"a": [0.5, 0.5, 0.75], "b": [1.0]}, "accuracy", {"majority": 0.4}, 1),
        figures.embedding_map(rng.normal(size=(6, 2)), list("aabbcc"), ["train", "valid", "test"] * 2, ("x", "y")),
        figures.embedding_map(np.zeros((1, 2)), ["a"]),
    ]


def test_page_holds_what_it_was_given_and_nothing_from_elsewhere():
    page = Page('Run <1> & "2"', "lead")
    section = page.section("First & foremost").text("a < b").note("careful").subheading("h").code("x > y\n  z")
    for figure in all_figures():
        section.figure(figure, 'shows "it"')
    section.table([["<b>", 1.0]], header=["name", "value"], caption="c < d")
    page.section("Second")
    page.section("Third")
    tree = parse(page.html())
    assert tree.title == 'Run <1> & "2"' and tree.headings == ["First & foremost", "Second", "Third"]
    assert "a < b" in tree.text and "x > y\n  z" in tree.text and "c < d" in tree.text
    assert tree.rows == [["name", "value"], ["<b>", "1.000"]]
    assert tree.links == ["data:,", "#s1", "#s2", "#s3"] and tree.count["svg"] == 5
    assert "http" not in page.html() and "script" not in tree.count and "@import" not in page.html()
    assert len(tree.ids) == len(set(tree.ids)), "ids of figures collide"
    assert set(re.findall(r"url\(#([^)]+)\)", page.html())) <= set(tree.ids)
    assert set(tree.uses) <= {"#" + name for name in tree.ids}


def test_svg_takes_the_colours_and_the_text_of_the_page():
    svg = figure_svg(figures.metric_bars({"a": [0.5]}, "accuracy", {"base": 0.4}), "p-", "label")
    assert "currentColor" in svg and "var(--c0, %s)" % SERIES[0] in svg
    assert ">accuracy</text>" in svg and "base 0.400" in svg
    assert not re.search(r"#(?:000000|ffffff|010203)", svg), "a colour that does not follow the page"
    assert svg == figure_svg(figures.metric_bars({"a": [0.5]}, "accuracy", {"base": 0.4}), "p-", "label")


def test_user_settings_stay(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 7.5)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "path")
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    for figure in all_figures():
        figure_svg(figure, "p-", "label")
    assert dict(matplotlib.rcParams) == before and matplotlib.get_backend() == backend
    # a figure of the user's own is taken too, in its own colours
    own = matplotlib.figure.Figure()
    own.add_subplot().plot([0, 1], color="#123456")
    assert "#123456" in figure_svg(own, "p-", "label")


def test_save_writes_the_page_whole(tmp_path):
    page = Page("title")
    assert page.save(tmp_path / "r.html") == str(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page.html()
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]


def test_tables():
    section = Page("t").section("s")
    section.table([{"a": 1, "b": None}, {"a": 0.5, "c": "x"}], caption="c")
    assert parse(section.html()).rows == [["a", "b", "c"], ["1", "", ""], ["0.500", "", "x"]]
    assert section.html().count('class="number"') == 6  # columns a and b hold numbers only
    section.table([])
    with pytest.raises(ValueError, match=r"should have 2 cells, but found \[1\]"):
        section.table([[1]], header=["a", "b"])


@pytest.mark.parametrize("value, text", [
    (0.35, "0.350"), (1.0, "1.000"), (0.0, "0.000"), (1e-4, "0.0001"), (123456.0, "1.23e+05"), (-0.0004, "-0.0004"),
    (float("nan"), "nan"), (7, "7"), (np.float32(0.25), "0.250"), (np.int64(3), "3"),
])
def test_numbers(value, text):
    assert format_number(value) == text


# === figures ===


def test_pca_finds_the_directions_that_the_data_were_made_of():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    scores = rng.normal(size=(400, 5)) * [9, 4, 0.1, 0.1, 0.1]
    coordinates, share = figures.pca(scores @ basis.T + 3)
    # a direction has no sign of its own
    for i in range(2):
        assert abs(np.corrcoef(coordinates[:, i], scores[:, i])[0, 1]) > 0.99
    variance = np.linalg.eigvalsh(np.cov((scores @ basis.T).T))[::-1]
    np.testing.assert_allclose(share, variance[:2] / variance.sum(), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(coordinates[3] - coordinates[9]),
                               np.linalg.norm((scores - scores.mean(0))[3, :2] - (scores - scores.mean(0))[9, :2]),
                               rtol=2e-2)


def test_pca_of_little():
    coordinates, share = figures.pca(np.ones((3, 4)))
    assert not coordinates.any() and not share.any()
    assert figures.pca([[1.0], [2.0]])[0].shape == (2, 2)
    with pytest.raises(ValueError, match=r"at least 2 rows of numbers, but found shape \(1, 4\)"):
        figures.pca(np.ones((1, 4)))
    with pytest.raises(ValueError, match="finite numbers"):
        figures.pca([[1.0, np.nan], [0.0, 1.0]])


def test_map_wants_a_class_for_each_point():
    with pytest.raises(ValueError, match=r"should have shape \(3, 2\).* but found \(2, 2\)"):
        figures.embedding_map(np.zeros((2, 2)), list("abc"))


def test_running_mean_skips_gaps_and_keeps_to_its_window():
    x, y = np.array([1.0, 2, 3, 4, 10]), np.array([1.0, np.nan, 3, 5, 7])
    np.testing.assert_allclose(figures._running_mean(x, y, 3), [1, 2, 4, 4, 7])


# Full colour blindness simulated: Machado, Oliveira and Fernandes 2009, severity 1, linear RGB
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    value = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE Lab of linear RGB: distances in it are about what the eye sees; 2 is just noticeable."""
    xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                    [0.0193339, 0.1191920, 0.9503041]]) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_stay_apart_for_everybody(mode):
    def values(pattern):
        return re.findall(pattern + r": (#[0-9a-f]{6})", STYLE)

    background = values("--page")[mode]
    colours = [values("--c%d" % i)[mode] for i in range(6)]
    if mode == 0:
        assert tuple(colours) == SERIES
    for colour in [*colours, values("--ink")[mode], values("--faint")[mode]]:
        light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (colour, background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, "%s on %s" % (colour, background)
    for kind, matrix in BLINDNESS.items():
        seen = [lab(matrix @ linear(colour)) for colour in colours]
        for i, j in itertools.combinations(range(6), 2):
            apart = np.linalg.norm(seen[i] - seen[j])
            assert apart >= (20 if max(i, j) < 4 else 14), (kind, colours[i], colours[j], apart)


# === runs ===


def record(kind, epoch, **values):
    return json.dumps({"kind": kind, "scope": "epoch", "epoch": epoch, "step": epoch, "time": 0.0, "values": values})


def test_metrics_are_read_even_after_a_kill(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [record("train", 1, loss=2.0), record("valid", 1, accuracy=0.5), record("train", 2, loss=None),
             record("test", 1, accuracy=0.25)]
    path.write_text("\n".join([*lines, '{"kind": "tr']))
    records = read_metrics(tmp_path)
    assert curve(records, "loss") == ([1, 2], [2.0, None])
    assert curve(records, "accuracy", "valid") == ([1], [0.5])
    assert last(records)["values"] == {"accuracy": 0.25} and last(records[:1]) is None
    path.write_text("\n".join([lines[0], "nonsense", lines[1]]))
    with pytest.raises(ValueError, match="metrics.jsonl, line 2: no valid JSON"):
        read_metrics(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        read_metrics(tmp_path / "nowhere")


def test_mean_over_runs_takes_what_all_have():
    assert mean_curve([([1, 2, 3], [1.0, None, 3.0]), ([1, 2, 3, 4], [3.0, 1.0, 5.0, 9.0])]) == ([1, 3], [2.0, 4.0])
    assert mean_curve([]) == ([], [])
