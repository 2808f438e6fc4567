"""Figures are pure: the numbers that go in are the numbers drawn, in the objective's own colour."""

import numpy as np
import pandas as pd
import pytest

from workbench.plots import figures

STEPS = pd.DataFrame(
    {
        "step": [0, 1, 0, 1],
        "name": ["length", "length", "perplexity", "perplexity"],
        "value": [0.1, 0.2, 0.3, 0.4],
    }
)
WEIGHTS = pd.DataFrame(
    {
        "step": [0, 0, 1, 1, 0, 0],
        "kind": ["a", "a", "a", "a", "b", "b"],
        "objective": ["format", "length"] * 3,
        "weight": [0.25, 0.75, 0.5, 0.5, 0.75, 0.25],
    }
)


def test_the_papers_objectives_have_fixed_colours():
    assert figures.objective_colors(["length", "perplexity"]) == {
        "length": "#E69F00",
        "perplexity": "#0072B2",
    }


def test_every_objective_of_a_run_has_a_colour_of_its_own():
    names = [*figures.PAPER_COLORS, *(f"own{i}" for i in range(7))]
    colors = figures.objective_colors(names)
    assert len(set(colors.values())) == len(names)


def test_an_objective_keeps_its_colour_in_another_run():
    alone = figures.objective_colors(["vowels"])
    assert figures.objective_colors(["format", "vowels"])["vowels"] == alone["vowels"]


def test_the_kinds_that_ship_have_colours_of_their_own():
    assert len(set(figures.kind_colors(figures.FAMILIES).values())) == len(figures.FAMILIES)


def test_curves_draw_the_numbers_given():
    figure = figures.curves(STEPS)
    assert [t.name for t in figure.data] == ["perplexity", "length"]
    assert list(figure.data[1].y) == [0.1, 0.2]
    assert figure.data[1].line.color == "#E69F00"


def test_areas_are_means_per_step():
    """Step 0: format (0.25 + 0.75) / 2 = 0.5, length (0.75 + 0.25) / 2 = 0.5."""
    figure = figures.weight_area(WEIGHTS, mark=1)
    assert [t.name for t in figure.data] == ["format", "length"]
    assert list(figure.data[0].y) == [0.5, 0.5]
    assert figure.data[0].customdata[1] == {"step": "1"}
    assert figure.layout.shapes[0].x0 == 1


def test_one_panel_a_kind():
    figure = figures.weights_by_kind(WEIGHTS)
    assert [a.text for a in figure.layout.annotations] == ["a", "b"]
    first = next(t for t in figure.data if t.name == "format")
    assert list(first.y) == [0.25, 0.5]
    assert sum(bool(t.showlegend) for t in figure.data) == 2


def test_corners_of_the_map_are_the_objectives():
    """All weight on one objective lies on its corner; equal weights lie in the middle."""
    corners = figures.polygon(3)
    np.testing.assert_allclose(corners[0], [0, 1], atol=1e-12)
    np.testing.assert_allclose(figures.simplex_points(np.eye(3)), corners)
    np.testing.assert_allclose(figures.simplex_points(np.full((1, 3), 1 / 3)), [[0, 0]], atol=1e-12)


def test_a_click_on_the_map_leads_to_the_prompt():
    frame = pd.DataFrame(
        {
            "prompt_id": ["p1", "p2"],
            "step": [3, 4],
            "kind": ["fact", "fact"],
            "prompt": ["<b>bold</b>", "plain"],
            "format": [1.0, 0.5],
            "length": [0.0, 0.5],
        }
    )
    figure = figures.weight_map(frame, ["format", "length"], selected="p2")
    points = next(t for t in figure.data if t.name == "fact")
    assert points.customdata[0] == {"prompt": "p1", "step": "3"}
    assert points.text[0] == "&lt;b&gt;bold&lt;/b&gt;"
    ring = figure.data[-1]
    assert (len(ring.x), ring.marker.size) == (1, 13)


def test_intervals_are_distances_from_the_mean():
    frame = pd.DataFrame(
        {"side": ["a"], "name": ["judge"], "mean": [0.5], "low": [0.4], "high": [0.7]}
    )
    bar = figures.means_with_intervals(frame).data[0]
    np.testing.assert_allclose([*bar.error_y.array, *bar.error_y.arrayminus], [0.2, 0.1])


def test_the_front_is_drawn_through_its_points():
    frame = pd.DataFrame(
        {"side": ["a", "b", "c"], "x": [2.0, 1.0, 0.5], "y": [1.0, 2.0, 0.5], "front": [1, 1, 0]}
    ).astype({"front": bool})
    line, points = figures.pareto(frame, "x", "y").data
    assert list(line.x) == [1.0, 2.0]
    assert list(points.text) == ["a", "b", "c"]


def test_backgrounds_are_left_to_the_page():
    for figure in (figures.curves(STEPS), figures.weight_area(WEIGHTS)):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_a_figure_by_name():
    assert figures.figure("curves", STEPS, title="reward").layout.yaxis.title.text == "reward"
    with pytest.raises(ValueError, match="no figure 'pie'; there are curves"):
        figures.figure("pie", STEPS)


def test_weights_are_always_drawn_from_nought_to_one():
    """0.162 to 0.170 fills no panel; only a negative weight widens the axis."""
    close = WEIGHTS.assign(weight=0.166)
    assert list(figures.weights_by_kind(close).layout.yaxis.range) == [0, 1]
    signed = figures.weights_by_kind(WEIGHTS.assign(weight=-0.4))
    assert list(signed.layout.yaxis.range) == [-0.4, 1]
    assert not signed.data[0].stackgroup
