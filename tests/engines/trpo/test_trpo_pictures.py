"""The pictures of a step: what is drawn is what was measured, and every state has a picture without a fault."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from engines.figures import (
    Axis,
    Heatmap,
    Lines,
    Mark,
    Panels,
    Plot,
    Scatter,
    VectorField,
    check,
    is_empty,
    plots_of,
)
from engines.trpo.config import TrpoSettings, WhatIf
from engines.trpo.engine import TrpoEngine
from engines.trpo.trust_region import inner_products, probe_plane
from tests.engines.trpo.worlds import HERE, World

CALM = {"batch_steps": 60, "units": 8, "length": 20, "renderer": "vector"}


class Nothing(World):
    """Pays nothing, so that there is no gradient."""

    def reward(self):
        return 0.0


gymnasium.register("LabNothing-v0", Nothing)


def make(updates=0, **values) -> TrpoEngine:
    engine = TrpoEngine(TrpoSettings.build({**CALM, **values}), torch.device("cpu"))
    for _ in range(updates):
        engine.step()
    return engine


def picture(engine: TrpoEngine, name: str) -> Any:
    found = engine.figures([name])[name]
    assert check(found) == []
    return found


def marked(plot: Plot, label: str) -> Mark:
    (found,) = [mark for mark in plot.marks if mark.label == label]
    return found


@pytest.fixture(scope="module")
def exact() -> TrpoEngine:
    """Its Fisher matrix is made of the same states as its pictures, without damping."""
    return make(2, damping=0.0, fisher_fraction=1.0)


@pytest.fixture(autouse=True)
def let_go(request: pytest.FixtureRequest):
    yield
    if "exact" in request.fixturenames:
        request.getfixturevalue("exact").act(WhatIf(None))


def rejected() -> TrpoEngine:
    """The newest update found no step that could be taken."""
    engine = make(2)
    newest = engine.memory.newest
    report = dataclasses.replace(newest.report, accepted=None, reason="No step that was tried did.")
    engine.memory.add(dataclasses.replace(newest, update=3, report=report))
    return engine


def held(fraction: float) -> TrpoEngine:
    engine = make(3)
    engine.act(WhatIf(2, fraction))
    return engine


STATES = {
    "before the first step": lambda: make(),
    "after steps": lambda: make(3),
    "controls": lambda: make(2, environment="Pendulum-v1", batch_steps=200, critic=True, critic_epochs=1),
    "what if": lambda: held(0.5),
    "what if, far": lambda: held(200.0),
    "what if, backwards": lambda: held(-7.0),
    "vine": lambda: make(2, sampling="vine", vine_states=8, vine_length=20),
    "vine, drawn": lambda: make(
        2, environment="Pendulum-v1", sampling="vine", batch_steps=200, vine_states=4, vine_length=10
    ),
    "vine, begun": lambda: make(sampling="vine"),
    "natural gradient": lambda: make(2, rule="natural", step_size=0.03),
    "plain gradient": lambda: make(2, rule="gradient", step_size=0.03),
    "largest KL": lambda: make(2, constraint="max", fisher="empirical"),
    "linear": lambda: make(2, layers=0),
    "no gradient": lambda: make(2, environment="LabNothing-v0"),
    "no step": rejected,
    "another environment": lambda: make(1, environment=f"{HERE}:LabRooms-v0"),
}


@pytest.mark.parametrize("state", list(STATES))
def test_every_picture_is_without_fault_in_every_state(state):
    engine = STATES[state]()
    for name in engine.method.figure_names():
        found = picture(engine, name)
        if is_empty(found):
            # An empty picture says why.
            assert all(plot.note for plot in plots_of(found))
        for plot in plots_of(found) if name not in ("playback", "actions") else ():
            labels = [mark.label for mark in plot.marks if mark.label]
            assert len(labels) == len(set(labels)) <= 8
            for axis in (plot.x, plot.y):
                if axis.limits is not None:
                    assert np.isfinite(axis.limits).all() and axis.limits[0] < axis.limits[1]
            assert not plot.y.shown or plot.y.scale == "linear" or something_positive(plot)


def something_positive(plot: Plot) -> bool:
    return any(isinstance(mark, Lines) and (mark.y > 0.0).any() for mark in plot.marks)


def test_before_the_first_update_the_pictures_say_what_to_do():
    engine = make()
    for name in ("step", "plane", "residuals"):
        assert "Train" in picture(engine, name).note
    # Three need no update.
    assert not is_empty(picture(engine, "playback")) and not is_empty(picture(engine, "actions"))
    assert not is_empty(picture(engine, "bound"))


def test_an_update_without_a_step_says_why():
    assert "zero" in picture(make(1, environment="LabNothing-v0"), "step").note
    engine = rejected()
    upper, lower = picture(engine, "step").plots
    assert upper.note == engine.memory.newest.report.reason
    assert not len(marked(upper, "accepted").x)
    np.testing.assert_array_equal(marked(lower, "rejected").x, engine.memory.newest.report.fractions)
    assert not any(mark.label == "step taken" for mark in picture(engine, "plane").marks)


# The step


def test_lines_and_points_of_a_step_agree_on_the_same_states(exact):
    report = exact.memory.newest.report
    assert report.states == len(exact.memory.newest.observations)
    upper, lower = picture(exact, "step").plots
    surrogate, mean = marked(upper, "surrogate L"), marked(lower, "mean KL")
    largest, model = marked(lower, "largest KL"), marked(lower, "quadratic model")
    for index, fraction in enumerate(report.fractions):
        gain = report.surrogates[index] - report.surrogate_before
        assert np.interp(fraction, surrogate.x, surrogate.y) == pytest.approx(gain, rel=1e-3, abs=1e-5)
        assert np.interp(fraction, mean.x, mean.y) == pytest.approx(report.mean_kls[index], rel=1e-3)
        assert np.interp(fraction, largest.x, largest.y) == pytest.approx(report.max_kls[index], rel=1e-3)
    assert np.interp(1.0, model.x, model.y) == pytest.approx(report.delta, rel=1e-4)
    taken = marked(lower, "accepted")
    assert taken.y[0] == report.mean_kl <= report.delta
    # The linear model touches the surrogate where the step begins.
    linear = marked(upper, "linear model")
    near = np.abs(linear.x) == np.abs(linear.x[linear.x != 0]).min()
    np.testing.assert_allclose(linear.y[near], surrogate.y[near], rtol=0.2)
    assert 0.0 in linear.x


def test_delta_can_be_told_from_zero_on_the_axis_of_the_kl(exact):
    for engine in (exact, make(3, sampling="vine", vine_states=8, vine_length=20)):
        report = engine.memory.newest.report
        axis: Axis = picture(engine, "step").plots[1].y
        low, high = axis.limits
        worst = float(report.mean_kls.max())
        assert low < report.delta < high and worst <= high
        if axis.scale == "linear":
            assert low == 0.0 and report.delta > 0.1 * high
        else:
            assert worst > 8 * report.delta


def test_the_line_reaches_as_far_as_the_hand(exact):
    for fraction in (-4.0, 0.5, 9.0):
        exact.act(WhatIf(2, fraction))
        for plot in picture(exact, "step").plots:
            assert marked(plot, "what if").value == fraction
            line = next(mark for mark in plot.marks if isinstance(mark, Lines))
            assert line.x.min() <= fraction <= line.x.max()
            assert line.x.min() <= -0.5 and line.x.max() >= 2.0
        # Where it has gone can be seen, too.
        lower = picture(exact, "step").plots[1]
        curve = marked(lower, "mean KL")
        reached = float(curve.y[curve.x == fraction][0])
        assert f"{reached:.3g}" in lower.note and reached <= lower.y.limits[1]


# The plane


def measured(engine: TrpoEngine, x: float, y: float):
    """The plane at one point."""
    kept = engine.memory.newest
    report = kept.report
    return probe_plane(
        engine.policy,
        kept.observations,
        kept.surrogate,
        report.theta_old,
        report.gradient,
        report.step,
        [x],
        [y],
        report.delta,
    )


@pytest.mark.parametrize("held", [None, 12.0])
def test_the_solid_line_lies_where_the_measured_kl_is_delta(exact, held):
    exact.act(WhatIf(None if held is None else 2, held or 0.0))
    level = marked(picture(exact, "plane"), "δ, mean KL measured")
    places = np.flatnonzero(np.isfinite(level.x))
    assert len(places) > 30
    for place in places[::12].tolist():
        found = measured(exact, float(level.x[place]), float(level.y[place]))
        assert found.mean_kls[0, 0] == pytest.approx(exact.config.delta, rel=0.05)


def test_the_dashed_line_lies_where_the_quadratic_model_is_delta(exact):
    ellipse = marked(picture(exact, "plane"), "δ by the quadratic model")
    plane = measured(exact, 0.0, 0.0)
    policy, kept = exact.policy, exact.memory.newest
    axes = [policy.vector(plane.first), policy.vector(plane.second)]
    metric = inner_products(policy, kept.observations, policy.vector(kept.report.theta_old), axes)
    v = np.stack([ellipse.x, ellipse.y])
    np.testing.assert_allclose(0.5 * np.einsum("ia,ij,ja->a", v, metric, v), exact.config.delta, rtol=1e-3)


def test_conjugate_gradients_walk_from_nothing_to_the_natural_step(exact):
    way = marked(picture(exact, "plane"), "CG iterates")
    assert (way.x[0], way.y[0]) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert (way.x[-1], way.y[-1]) == pytest.approx((0.0, 1.0), abs=0.02)
    # The first of them follows the gradient.
    assert way.x[1] > 0.0 and abs(way.y[1]) < 1e-3 * way.x[1]
    # Of an earlier update the way is not kept.
    exact.act(WhatIf(1, 1.0))
    assert not any(mark.label == "CG iterates" for mark in picture(exact, "plane").marks)


def test_the_step_that_was_taken_is_where_its_kl_says(exact):
    for engine in (exact, make(3, fisher_fraction=0.5), make(2, rule="natural", step_size=0.02)):
        star = marked(picture(engine, "plane"), "step taken")
        report = engine.memory.newest.report
        found = measured(engine, 0.0, float(star.y[0]))
        # The picture's place is the same point of the parameters, whoever measured the Fisher matrix.
        place = float(star.y[0]) * found.second
        np.testing.assert_allclose(
            place, report.fractions[report.accepted] * report.step, rtol=1e-3, atol=1e-6
        )


def test_the_hand_is_on_the_plane_however_far_it_goes(exact):
    report = exact.memory.newest.report
    for fraction in (0.25, 6.0, -9.0):
        exact.act(WhatIf(2, fraction))
        plot = picture(exact, "plane")
        dot = marked(plot, "what if")
        assert dot.y[0] == pytest.approx(fraction, rel=0.02)
        assert plot.y.limits[0] < dot.y[0] < plot.y.limits[1]
        assert marked(plot, "step taken").y[0] == pytest.approx(report.fractions[report.accepted], rel=0.02)
        (heat,) = [mark for mark in plot.marks if isinstance(mark, Heatmap)]
        assert heat.extent[:2] == plot.x.limits and heat.limits[0] == -heat.limits[1]
        assert sum(isinstance(mark, VectorField) for mark in plot.marks) == 2


# The rest


def test_residuals_are_parts_of_the_gradient(exact):
    plot = picture(exact, "residuals")
    line = marked(plot, "update 2")
    residuals = exact.memory.newest.report.residuals
    np.testing.assert_allclose(line.y, residuals / residuals[0])
    assert line.y[0] == 1.0 and plot.y.scale == "log"
    exact.act(WhatIf(1, 1.0))
    assert marked(picture(exact, "residuals"), "update 1").role == "model"


def test_the_bound_is_never_above_the_return_and_algorithm_one_never_falls():
    for values in ({}, {"mdp_states": 3, "mdp_actions": 2, "mdp_gamma": 0.5, "seed": 3}, {"mdp_gamma": 0.99}):
        engine = make(2, **values)
        left, right = picture(engine, "bound").plots
        truth, bound = marked(left, "η − η_old"), marked(left, "bound: L − C max KL − η_old")
        gap, penalty = marked(left, "|η − L|"), marked(left, "C max KL")
        shown = np.isfinite(bound.y)
        assert shown.any()
        assert (bound.y[shown] <= truth.y[shown] * (1 + 1e-9)).all()
        far = np.isfinite(gap.y) & (gap.y > 1e-12)
        assert (gap.y[far] <= penalty.y[far]).all()
        etas = marked(right, "η").y
        assert len(etas) == 4 and (np.diff(etas) > 0.0).all()


def test_the_vine_is_drawn_from_the_states_it_branches_from():
    engine = make(2, sampling="vine", vine_states=8, vine_length=20)
    plot: Plot = picture(engine, "vine")
    found = engine.stage.vine
    starts = marked(plot, "branched from")
    assert isinstance(starts, Scatter) and 2 <= len(starts.x) <= len(found.shown)
    corners = {(float(x), float(y)) for x, y in zip(starts.x, starts.y, strict=True)}
    for label in ("best of its state", "worst of its state"):
        line = marked(plot, label)
        begins = np.concatenate([[0], np.flatnonzero(np.isnan(line.x))[:-1] + 1])
        assert {(float(line.x[i]), float(line.y[i])) for i in begins} == corners
    shown = {(state.trunk, state.step) for state in found.shown}
    assert all(
        any(np.allclose(found.trunks[trunk].observations[step][[0, 2]], corner) for trunk, step in shown)
        for corner in corners
    )
    assert "position" in plot.x.label and "angle" in plot.y.label
    # Another run of the same state has none until it has branched.
    fresh = make(sampling="vine")
    fresh.load_state_dict(engine.state_dict())
    assert is_empty(picture(fresh, "vine")) and "Train" in picture(fresh, "vine").note
    assert "Vine" in picture(make(1), "vine").note


def test_panels_of_a_step_share_what_they_are_about(exact):
    found: Panels = picture(exact, "step")
    assert len({plot.x for plot in found.plots}) == 1
    assert "update 2" in found.title and f"{exact.memory.newest.report.states:,}" in found.caption
