from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import SMALL_IMAGE, unit_rows
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.evaluation.context import embed, make_context
from robustbench_dml.evaluation.evaluate import attacked_values, choose_queries, context_for, evaluate_model
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.models.stem import StemConv2d
from robustbench_dml.models.wrappers import InOwnPrecision
from robustbench_dml.retrieval.gallery import Block, Gallery, Items
from robustbench_dml.retrieval.metrics import KMEANS_ITERATIONS
from robustbench_dml.spec.make import changed_evaluation
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, protocol_columns
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Evaluation, Threat
from robustbench_dml.spec.scores import empirical_robustness_score
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import uniform_per_item

CPU = torch.device("cpu")
THREAT = Threat(eps=0.3, alpha=0.1, steps=3)
PUBLISHED = Path(__file__).parents[2] / "leaderboards" / "published" / "published.csv"
PUBLISHED_NAMES = {
    "CA+": "ca_plus",
    "CA-": "ca_minus",
    "QA+": "qa_plus",
    "QA-": "qa_minus",
    "TMA": "tma",
    "ES:D": "es_d",
    "ES:R": "es_r",
    "LTM": "ltm",
    "GTM": "gtm",
    "GTT": "gtt",
}


def settings(
    *,
    queries: int | None = None,
    threat: Threat = THREAT,
    seed: int = 0,
    protocol: str = "ers",
    extra_attacks: tuple[str, ...] = (),
) -> Evaluation:
    return Evaluation(protocol=protocol, threat=threat, queries=queries, seed=seed, extra_attacks=extra_attacks)


def small_dataset(shape: tuple[int, int, int] = SMALL_IMAGE, images: int = 60) -> Dataset:
    """Classes that differ in their mean image, so that retrieval is neither perfect nor hopeless."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % 5
    means = torch.rand(5, *shape, generator=rng)
    pixels = 0.4 * means[labels] + 0.6 * torch.rand(images, *shape, generator=rng)
    split = Split((255 * pixels).to(torch.uint8), labels)
    return Dataset("small", split, split, {})


@pytest.fixture
def model() -> Embedder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Embedder(nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 6)))


def test_every_complete_published_row_has_the_score_of_its_columns() -> None:
    rows = pd.read_csv(PUBLISHED).dropna(subset=list(PUBLISHED_NAMES.values()))
    assert len(rows) == 85
    for row in rows.to_dict("records"):
        published = {name: row[key] for name, key in PUBLISHED_NAMES.items()}
        score = empirical_robustness_score(published, protocol_columns("ers").values())
        assert score == pytest.approx(row["ers"], abs=0.15), row["defense"]


def test_an_attack_without_radius_gives_exactly_the_benign_value(model: Embedder) -> None:
    dataset = small_dataset()
    found = evaluate_model(model, dataset, settings(threat=Threat(eps=0, alpha=0.1, steps=3)), device=CPU, batch_size=7)
    gallery = Gallery(embed(model.eval(), dataset.test, device=CPU), dataset.test.labels)
    items = torch.arange(60)
    for name in PROTOCOLS["ers"].attacks:
        attack = ATTACKS.get(name).build()
        draws = partial(uniform_per_item, items, key=(0, "targets", name, "small"))
        block = Block(gallery, items, attack.choose_targets(Items(gallery, items), draws))
        for column, values in attack.score(gallery.embeddings, block).items():
            assert np.array_equal(found.per_query[column], values.numpy()), column
    assert found.attacked["ES:D"] == 0
    assert found.attacked["ES:R"] == found.attacked["LTM"] == found.attacked["GTM"] == found.benign["R@1"]


def test_attacks_do_harm(model: Embedder) -> None:
    dataset = small_dataset()
    weak = evaluate_model(model, dataset, settings(threat=Threat(eps=0, alpha=0.1, steps=1)), device=CPU)
    strong = evaluate_model(model, dataset, settings(threat=Threat(eps=0.3, alpha=0.05, steps=12)), device=CPU)
    columns = protocol_columns("ers")
    for name, column in columns.items():
        assert column.ers(strong.attacked[name]) < column.ers(weak.attacked[name]), name
    assert strong.scores["ERS"] < weak.scores["ERS"] - 20


def test_values_are_the_means_of_the_per_query_values(model: Embedder) -> None:
    found = evaluate_model(model, small_dataset(), settings(queries=40), device=CPU)
    columns = protocol_columns("ers")
    for name, column in columns.items():
        assert found.attacked[name] == pytest.approx(column.scale * found.per_query[name].mean())
    for name in BENIGN_COLUMNS:
        if name != "NMI":
            assert found.benign[name] == pytest.approx(100 * found.per_query[name].mean())
    for name, (low, high) in found.intervals.items():
        value = {**found.benign, **found.attacked, **found.scores}[name]
        assert low <= value <= high, name
    assert set(found.intervals) == {*columns, *BENIGN_COLUMNS, *found.scores} - {"NMI"}


def test_fewer_queries_are_a_part_of_more_and_keep_their_targets(model: Embedder) -> None:
    dataset = small_dataset()
    many, few = (evaluate_model(model, dataset, settings(queries=n), device=CPU) for n in (40, 15))
    assert set(few.per_query["query"]) < set(many.per_query["query"])
    place = np.isin(many.per_query["query"], few.per_query["query"])
    for name, values in few.per_query.items():
        assert np.allclose(values, many.per_query[name][place], atol=1e-6), name


def test_queries_differ_by_seed_and_leave_out_images_alone_in_their_class() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3, 4, 4])
    assert 2 not in choose_queries(labels, settings(), "d")
    chosen = {tuple(choose_queries(labels, settings(queries=5, seed=seed), "d").tolist()) for seed in range(8)}
    assert len(chosen) > 1
    with pytest.raises(RbdmlError, match="10 queries asked for and 'd' has 9"):
        choose_queries(labels, settings(queries=10), "d")


def narrow() -> nn.Module:
    """The layers of C2F2 with a few channels: (B, 1, 28, 28) -> (B, 32)."""
    return nn.Sequential(
        StemConv2d(1, 6, kernel_size=5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(6, 12, kernel_size=5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
    )


@pytest.mark.parametrize("exact", [True, False], ids=["float64", "float32"])
def test_another_batch_size_moves_nothing_but_rounding(*, exact: bool) -> None:
    """Targets and queries are the same. A step of PGD can turn where a gradient is near zero, so values of float32 are
    compared with a tolerance: a hundredth of each column's range, and one query where queries are counted."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = Embedder(narrow())
    model = model.double() if exact else model
    dataset = small_dataset((1, 28, 28), images=50)
    threat = Threat(eps=77 / 255, alpha=3 / 255, steps=6)
    results = [
        evaluate_model(model, dataset, settings(threat=threat, queries=24), device=CPU, batch_size=size)
        for size in (5, 24)
    ]
    assert np.array_equal(results[0].per_query["query"], results[1].per_query["query"])
    items = torch.from_numpy(results[0].per_query["query"])
    gallery = Gallery(embed(InOwnPrecision(model.eval()), dataset.test, device=CPU), dataset.test.labels)
    for name in PROTOCOLS["ers"].attacks:
        attack, key = ATTACKS.get(name).build(), (0, "targets", name, "small")
        whole, *parts = (
            attack.choose_targets(Items(gallery, part), partial(uniform_per_item, part, key=key))
            for part in (items, *items.split(5))
        )
        assert torch.equal(whole, torch.cat(parts)), name
    for name, column in protocol_columns("ers").items():
        if exact:
            assert np.allclose(results[0].per_query[name], results[1].per_query[name], rtol=0, atol=1e-9), name
        counted = np.isin(results[0].per_query[name], (0, 1)).all()
        tolerance = (0.01 + (1 / 24 if counted else 0)) * column.scale
        assert results[0].attacked[name] == pytest.approx(results[1].attacked[name], abs=tolerance), name
    assert results[0].benign == results[1].benign


def test_the_same_evaluation_twice_is_the_same(model: Embedder) -> None:
    first, second = (evaluate_model(model, small_dataset(), settings(queries=20), device=CPU) for _ in range(2))
    assert first.attacked == second.attacked
    assert first.benign == second.benign
    assert first.intervals == second.intervals


class Constant(nn.Module):
    """A collapsed model: every image has the same embedding, and the input no influence."""

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(images.flatten(1)[:, :4] * 0 + torch.ones(4), dim=1)


def test_a_collapsed_model_is_flagged_and_gains_nothing_from_ties() -> None:
    found = evaluate_model(Constant(), small_dataset(), settings(), device=CPU)
    assert "collapsed" in found.findings.disqualifying
    assert found.findings.measured["effective rank"] == pytest.approx(1)
    assert found.findings.measured["mean cosine"] == pytest.approx(1)
    assert 1 <= found.findings.measured["k-means iterations"] <= KMEANS_ITERATIONS
    for name in ("CA+", "CA-", "QA+", "QA-"):
        assert found.attacked[name] == pytest.approx(50)


def test_a_model_that_spreads_its_embeddings_is_not_flagged() -> None:
    spread = Gallery(unit_rows(60, 6, seed=0), torch.arange(60) % 5)

    class Lookup(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return spread.embeddings[: len(images)] + 0 * images.sum()

    found = evaluate_model(Lookup(), small_dataset(), settings(queries=10), device=CPU)
    assert "collapsed" not in found.findings.flags


def test_a_model_in_float64_or_half_precision_can_be_evaluated(model: Embedder) -> None:
    single = evaluate_model(model, small_dataset(), settings(queries=10), device=CPU)
    double = evaluate_model(model.double(), small_dataset(), settings(queries=10), device=CPU)
    assert double.benign["R@1"] == single.benign["R@1"]
    half = evaluate_model(model.bfloat16(), small_dataset(), settings(queries=10), device=CPU)
    assert half.scores["ERS"] == pytest.approx(single.scores["ERS"], abs=10)


class Unnormalised(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_embeddings_that_are_not_unit_vectors_are_refused() -> None:
    with pytest.raises(RbdmlError, match="normalise them"):
        evaluate_model(Unnormalised(), small_dataset(), settings(), device=CPU)


def test_attack_steps_in_bfloat16_are_scored_in_full_precision() -> None:
    """Steps use the coarse network. Their results are embedded by the full one."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Embedder(nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 6)))
    seen: list[tuple[torch.dtype, bool]] = []
    network.backbone[1].register_forward_hook(  # type: ignore[index]
        lambda _, __, out: seen.append((out.dtype, torch.is_grad_enabled()))
    )
    data = small_dataset()
    half = settings(queries=20).model_copy(update={"precision": "bf16"})
    context = make_context(network, data.test, evaluation=half, dataset="small", device=CPU)
    assert set(seen) == {(torch.float32, False)}
    seen.clear()
    context.attack(ATTACKS.get("es").build(), "es", Items(context.gallery, torch.arange(8)))
    assert seen == [(torch.bfloat16, True)] * THREAT.steps + [(torch.float32, False)]
    coarse = evaluate_model(network, data, half, device=torch.device("cpu"))
    full = evaluate_model(network, data, settings(queries=20), device=torch.device("cpu"))
    assert coarse.benign == full.benign
    assert coarse.attacked != full.attacked
    for name, tolerance in {"TMA": 0.05, "ES:D": 0.1}.items():
        assert coarse.attacked[name] == pytest.approx(full.attacked[name], abs=tolerance), name


def test_attack_steps_in_bfloat16_let_the_images_of_past_steps_go() -> None:
    """Autocast keeps the casts of leaves with gradient as long as those of the weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Embedder(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 6)))
    seen: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given = inputs[0] if inputs[0]._base is None else inputs[0]._base
        alive.append(sum(one() is not None for one in seen))
        seen.append(weakref.ref(given))

    network.backbone[0].register_forward_pre_hook(look)  # type: ignore[index]
    half = settings(queries=20).model_copy(update={"precision": "bf16"})
    context = context_for(network, small_dataset(), half, device=CPU)
    attacked_values(context, torch.arange(20), batch_size=20)
    assert len(seen) > 9 * THREAT.steps
    assert max(alive) <= 3


def test_a_test_set_of_single_images_has_nothing_to_retrieve() -> None:
    with pytest.raises(RbdmlError, match="nothing to retrieve"):
        choose_queries(torch.arange(5), settings(), "small")


FURTHER = ("ca-w2", "qa+m10", "spqa-m5", "ranking-margin")
FURTHER_COLUMNS = {"CA- W=2", "QA+ M=10", "SPQA- M=5", "SPQA- M=5 kept", "RM"}


def test_further_attacks_fill_columns_that_the_score_leaves_out(model: Embedder) -> None:
    dataset = small_dataset()
    plain = evaluate_model(model, dataset, settings(queries=20), device=CPU)
    more = evaluate_model(model, dataset, settings(queries=20, extra_attacks=FURTHER), device=CPU)
    assert set(more.attacked) - set(plain.attacked) == FURTHER_COLUMNS
    assert set(more.intervals) - set(plain.intervals) == FURTHER_COLUMNS
    for name, values in plain.per_query.items():
        assert np.array_equal(more.per_query[name], values), name
    assert more.scores == plain.scores
    for name, interval in plain.intervals.items():
        assert more.intervals[name] == interval, name
    for name in FURTHER_COLUMNS:
        assert np.isfinite(more.per_query[name]).all()
        assert more.intervals[name][0] <= more.attacked[name] <= more.intervals[name][1]


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (["qa+"], "QA+"),
        (["ltm-published"], "LTM"),
        (["ca+w2", "gtm-published"], "GTM"),
        (["es"], "ES:D"),
        (["published", "gtt"], "GTT"),
    ],
)
def test_an_attack_whose_column_is_filled_is_refused(names: list[str], column: str) -> None:
    with pytest.raises(
        RbdmlError, match=rf"'{names[-1].replace('+', '[+]')}' fills column {column.replace('+', '[+]')}, "
    ):
        changed_evaluation(settings(), {"extra_attacks": names})


def test_further_attacks_by_name_and_all_that_were_published() -> None:
    assert changed_evaluation(settings(), {"extra_attacks": ["qa+m2", "qa+m2"]}).extra_attacks == ("qa+m2",)
    published = changed_evaluation(settings(), {"extra_attacks": ["published"]})
    assert published.extra_attacks == PROTOCOLS["ers"].further
    assert len(published.extra_attacks) == 20
    assert changed_evaluation(published, {"extra_attacks": ["published", "ca+w5"]}) == published
    with pytest.raises(RbdmlError, match="unknown attack 'qa\\+m3'"):
        changed_evaluation(settings(), {"extra_attacks": ["qa+m3"]})


def test_the_published_protocol_differs_from_the_definitions_in_three_columns(model: Embedder) -> None:
    dataset = small_dataset()
    ours, theirs = (
        evaluate_model(model, dataset, settings(protocol=protocol), device=CPU) for protocol in ("ers", "ers-published")
    )
    assert list(ours.attacked) == list(theirs.attacked)
    different = {name for name in ours.per_query if not np.array_equal(ours.per_query[name], theirs.per_query[name])}
    assert different == {"LTM", "GTM", "ES:D"}
    fewer = settings(threat=THREAT.model_copy(update={"steps": THREAT.steps - 1}))
    assert np.array_equal(theirs.per_query["ES:D"], evaluate_model(model, dataset, fewer, device=CPU).per_query["ES:D"])
    assert set(theirs.scores) == {"ERS", "sERS"}
    scored = empirical_robustness_score(theirs.attacked, protocol_columns("ers").values())
    assert theirs.scores["ERS"] == pytest.approx(scored)


def test_values_do_not_depend_on_the_batch_size_or_the_attacks_beside(linear_model: Embedder) -> None:
    """In float64, where a linear network's rounding decides no sign of a gradient."""
    dataset = small_dataset(images=40)
    found = [
        evaluate_model(linear_model, dataset, settings(extra_attacks=extra_attacks), device=CPU, batch_size=size)
        for size, extra_attacks in ((40, ()), (7, FURTHER), (1, ()))
    ]
    for other in found[1:]:
        for name, values in found[0].per_query.items():
            assert np.allclose(other.per_query[name], values, atol=1e-9), name
