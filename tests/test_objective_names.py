"""Objectives by name, sums of them, and what is refused."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from skdc.objectives import (
    OBJECTIVES,
    Affinity,
    AttractorMasks,
    DeepLDA,
    MaskInference,
    Objective,
    Outputs,
    Targets,
    WeightedSum,
    WhitenedKMeans,
    objective_spec,
    one_hot_labels,
    resolve_objective,
)


class Lengths(Objective):
    """A caller's own objective, of the vectors as the network gave them."""

    needs = frozenset({"embeddings"})

    def __init__(self, wanted=1.0):
        self.wanted = wanted

    def __call__(self, outputs, targets):
        lengths = outputs.embeddings.norm(dim=-1)
        return (targets.weights * (lengths - self.wanted).square()).mean(-1)


def problem(n_points=50, n_sources=2, leading=()):
    generator = torch.Generator().manual_seed(0)
    outputs = Outputs(
        torch.randn(*leading, n_points, 4, generator=generator).requires_grad_(),
        torch.randn(*leading, n_points, n_sources, generator=generator).requires_grad_(),
    )
    labels = one_hot_labels(
        torch.randint(n_sources, (*leading, n_points), generator=generator), n_sources
    )
    mixture = torch.rand(*leading, n_points, generator=generator)
    weights = torch.rand(*leading, n_points, generator=generator)
    return outputs, Targets(labels, weights, mixture, 0.8 * labels * mixture.unsqueeze(-1))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_name_gives_its_objective_and_back(name):
    objective = resolve_objective(name)
    assert type(objective) is OBJECTIVES[name]
    assert objective_spec(objective) == objective_spec(name) == name
    assert objective.needs <= {"embeddings", "masks", "spectrograms"}
    assert clone(objective).get_params() == objective.get_params()


def test_a_sum_is_read_as_it_is_written():
    text = "0.75 * mask_inference + attractor_masks(sharpness=5.0) * 2 + deep_lda"
    both = resolve_objective(text)
    assert [weight for weight, _ in both.terms()] == [0.75, 2.0, 1.0]
    assert [repr(objective) for _, objective in both.terms()] == [
        "MaskInference()",
        "AttractorMasks(sharpness=5.0)",
        "DeepLDA()",
    ]
    assert both.needs == {"embeddings", "masks", "spectrograms"}


def test_a_factor_goes_to_each_term_in_brackets():
    both = resolve_objective("0.5 * (affinity + 3 * deep_lda)")
    assert [weight for weight, _ in both.terms()] == [0.5, 1.5]


term = st.one_of(
    st.sampled_from([Affinity(), WhitenedKMeans(), DeepLDA(), MaskInference()]),
    st.floats(0, 1e6).map(AttractorMasks),
    st.integers(0, 9).map(AttractorMasks),
)
sums = st.lists(st.tuples(st.floats(0, 1e9), term), min_size=1, max_size=4).map(
    lambda pairs: WeightedSum([o for _, o in pairs], [w for w, _ in pairs])
)


@given(objective=st.one_of(term, sums))
def test_written_objectives_are_read_back(objective):
    text = objective_spec(objective)
    assert text
    again = resolve_objective(text)
    assert objective_spec(again) == text
    outputs, targets = problem()
    torch.testing.assert_close(
        again(outputs, targets), objective(outputs, targets), rtol=1e-6, atol=0
    )


def test_a_number_of_numpy_can_be_written():
    assert objective_spec(AttractorMasks(np.float64(5.0))) == "attractor_masks(sharpness=5.0)"


@pytest.mark.parametrize("objective", [Lengths(), WeightedSum([Affinity(), Lengths()])])
def test_an_own_class_cannot_be_written(objective):
    assert resolve_objective(objective) is objective
    assert objective_spec(objective) is None


def test_a_registered_name_is_like_the_others(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "lengths", Lengths)
    text = "affinity + 0.1 * lengths(wanted=2.0)"
    assert objective_spec(resolve_objective(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dpcl", "objective 'dpcl' is unknown; there are affinity, balanced_affinity"),
        ("affinity + dpcl", "objective 'dpcl' is unknown"),
        ("", "objective '' is not understood; expected a name, or a sum"),
        ("affinity +", "is not understood"),
        ("affinity - deep_lda", "is not understood"),
        ("affinity * deep_lda", "is not understood"),
        ("-1 * affinity", "is not understood"),
        ("True * affinity", "is not understood"),
        ("attractor_masks(5)", "is not understood"),
        ("attractor_masks(sharpness=open)", "is not understood"),
        ("attractor_masks(**{})", "is not understood"),
        ("attractor_masks(width=5)", "Invalid parameter 'width'"),
        ("__import__('os')", "is not understood"),
    ],
)
def test_other_text_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve_objective(text)


@pytest.mark.parametrize(
    ("objective", "error", "message"),
    [
        (AttractorMasks, TypeError, "is the class AttractorMasks, expected an instance"),
        (3.0, TypeError, "expected a callable"),
        (torch.mean, TypeError, "with an attribute `needs`"),
        (None, TypeError, "objective is None, expected a callable"),
    ],
)
def test_other_objects_are_refused(objective, error, message):
    with pytest.raises(error, match=re.escape(message)):
        resolve_objective(objective)


def test_unknown_needs_are_refused():
    own: Any = Lengths()
    own.needs = frozenset({"embeddings", "phase"})
    with pytest.raises(ValueError, match="needs phase; there are embeddings, masks, spectro"):
        resolve_objective(own)


def test_a_sum_is_the_sum_of_losses_and_gradients():
    outputs, targets = problem(leading=(3,))
    targets.weights[1, :20] = 0.0
    objectives = [WhitenedKMeans(), MaskInference(), AttractorMasks(), Lengths(2.0), DeepLDA()]
    weights = [0.5, 1.0, 2.0, 0.1, 0.0]
    losses = WeightedSum(objectives, weights)(outputs, targets)
    parts = [w * o(outputs, targets) for w, o in zip(weights, objectives, strict=True)]
    total = torch.stack(parts).sum(0)  # (objectives, mixtures) -> (mixtures,)
    torch.testing.assert_close(losses, total)
    ours, theirs = (torch.autograd.grad(x.sum(), list(outputs)) for x in (losses, total))
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)


def test_weights_of_numpy_serve():
    outputs, targets = problem()
    weights: Any = np.array([0.5, 2.0])
    both = WeightedSum([MaskInference(), DeepLDA()], weights)
    expected = 0.5 * MaskInference()(outputs, targets) + 2 * DeepLDA()(outputs, targets)
    torch.testing.assert_close(both(outputs, targets), expected)
    assert objective_spec(both) == "0.5 * mask_inference + 2.0 * deep_lda"


def test_weights_are_one_by_default():
    outputs, targets = problem()
    loss = WeightedSum([Affinity(), DeepLDA()])(outputs, targets)
    torch.testing.assert_close(loss, Affinity()(outputs, targets) + DeepLDA()(outputs, targets))


def test_sums_can_be_nested():
    outputs, targets = problem()
    inner = WeightedSum([Affinity(), MaskInference()], [1.0, 3.0])
    outer = WeightedSum([inner, DeepLDA()], [0.5, 1.0])
    flat = WeightedSum([Affinity(), MaskInference(), DeepLDA()], [0.5, 1.5, 1.0])
    torch.testing.assert_close(outer(outputs, targets), flat(outputs, targets))
    text = objective_spec(outer)
    assert text
    again = resolve_objective(text)
    torch.testing.assert_close(again(outputs, targets), flat(outputs, targets))


def test_parameters_of_a_sum_can_be_searched():
    both = WeightedSum([AttractorMasks(), WhitenedKMeans(), AttractorMasks(5.0)])
    names = {"attractor_masks-1__sharpness", "attractor_masks-2__sharpness"}
    assert names <= both.get_params().keys()
    grid = {"attractor_masks-2__sharpness": [1.0, 2.0], "weights": [None, [1.0, 2.0, 3.0]]}
    for params in ParameterGrid(grid):
        candidate = clone(both).set_params(**params)
        assert candidate.objectives[2].sharpness == params["attractor_masks-2__sharpness"]
        assert candidate.weights == params["weights"]
    assert both.objectives[2].sharpness == 5.0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"attractor_masks__width": 5}, "Invalid parameter 'width'"),
        ({"deep_lda__sharpness": 5}, "there is no objective 'deep_lda' in this sum; there are"),
        ({"sharpness": 5}, "Invalid parameter 'sharpness'"),
    ],
)
def test_unknown_parameters_of_a_sum_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        WeightedSum([AttractorMasks(), WhitenedKMeans()]).set_params(**params)


@pytest.mark.parametrize(
    ("objectives", "weights", "error", "message"),
    [
        ([], None, ValueError, "has no objectives"),
        ([Affinity()], [1.0, 2.0], ValueError, "has 1 objectives and 2 weights"),
        ([Affinity()], [-1.0], ValueError, r"weights\[0\] is -1.0, expected"),
        ([Affinity()], [float("nan")], ValueError, r"weights\[0\] is nan, expected"),
        ([Affinity(), DeepLDA], None, TypeError, r"objectives\[1\] is the class DeepLDA"),
    ],
)
def test_impossible_sums_are_refused(objectives, weights, error, message):
    with pytest.raises(error, match=message):
        WeightedSum(objectives, weights)(*problem())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("affinity", {"embeddings": None}, "Affinity needs embeddings, got None"),
        ("mask_inference", {"masks": None}, "MaskInference needs masks, got None"),
        ("attractor_masks", {"mixture": None}, "AttractorMasks needs mixture, got None"),
        ("affinity + mask_inference", {"sources": None}, "MaskInference needs sources, got None"),
        (
            "deep_lda",
            {"embeddings": torch.ones(49, 4)},
            r"embeddings has shape \(49, 4\), expected \(50, any\) as weights has shape \(50,\)",
        ),
        ("affinity", {"labels": torch.ones(50)}, r"labels has shape \(50,\), expected \(50, any"),
        (
            "attractor_masks",
            {"sources": torch.ones(50, 3)},
            r"sources has shape \(50, 3\), expected \(50, 2\)",
        ),
        (
            "mask_inference",
            {"mixture": torch.ones(1)},
            r"mixture has shape \(1,\), expected \(50,",
        ),
        ("mask_inference", {"masks": torch.ones(50, 1)}, "gives 1 masks, expected 2 .* to 8"),
        ("mask_inference", {"masks": torch.ones(50, 9)}, "gives 9 masks, expected 2 .* to 8"),
        ("attractor_masks(sharpness=-1)", {}, "sharpness is -1, expected a number of at least 0"),
    ],
)
def test_what_cannot_be_computed_is_refused(name, change, message):
    outputs, targets = problem()
    outputs = outputs._replace(**{k: v for k, v in change.items() if k in outputs._fields})
    targets = targets._replace(**{k: v for k, v in change.items() if k in targets._fields})
    with pytest.raises(ValueError, match=message):
        resolve_objective(name)(outputs, targets)


def test_a_sharpness_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="sharpness is nan, expected a number of at least 0"):
        AttractorMasks(float("nan"))(*problem())
