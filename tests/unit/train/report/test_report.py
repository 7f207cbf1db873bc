"""The report's page: whole, harmless, the evidence's own figures, and nothing to load."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from support.rendering import LOADING, Seen
from support.training.evidence import HOSTILE, SYMBOLS, TESTED, bundle, closes, forecasts, made_evidence

from common.pages.render import render
from common.pages.tables import verdict_of
from train.evaluation.forecasts import Forecasts
from train.evaluation.questions import answers
from train.report.charts import best_epoch, figures, principal_axes
from train.report.page import write_report
from train.report.stock_data import stock_series
from train.report.tables import shown_as


def read(path: Path, evidence) -> Seen:
    write_report(path, evidence, answers(evidence))
    seen = Seen()
    seen.feed(path.read_text(encoding="utf-8"))
    return seen


def cell(row: list[dict], key: str, horizon: int) -> dict:
    return next(each for each in row[1:] if (each["data-k"], each.get("data-h")) == (key, str(horizon)))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return made_evidence(folder=bundle(tmp_path_factory.mktemp("release")))


@pytest.fixture(scope="module")
def seen(tmp_path_factory, evidence):
    return read(tmp_path_factory.mktemp("page") / "report.html", evidence)


def test_every_counter_has_a_row_and_can_be_chosen(seen):
    rows = [row[0]["data-symbol"] for row in seen.tables["counters"][1:]]
    assert rows == list(SYMBOLS)
    assert {attrs.get("value") for tag, attrs in seen.tags if tag == "option"} >= set(SYMBOLS)


def test_the_page_loads_nothing_and_its_policy_forbids_it(seen):
    links = [(tag, value) for tag, attrs in seen.tags for name, value in attrs.items() if name in LOADING]
    assert links and all(value.startswith(("#", "data:")) for _, value in links)
    policy = next(attrs["content"] for tag, attrs in seen.tags if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy and "http" not in policy
    assert len(seen.scripts) == 3 and "Plotly" in seen.scripts[1] and len(seen.scripts[1]) > 1e6


def test_tags_are_closed_tables_captioned_and_inputs_labelled(seen):
    assert not seen.open_tags and not seen.mismatched
    kinds = [tag for tag, _ in seen.tags]
    assert kinds.count("table") == kinds.count("caption") == len(seen.tables)
    names = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    labelled = {attrs.get("for") for tag, attrs in seen.tags if tag == "label"}
    controls = {attrs["id"] for tag, attrs in seen.tags if tag in ("select", "input") and "id" in attrs}
    assert len(names) == len(set(names)) and len(controls) == 6 and controls <= labelled
    assert {"main", "nav", "header", "footer", "h1"} <= set(kinds)


def test_figures_of_the_matrix_are_those_of_the_evidence(seen, evidence):
    for row, truth in zip(
        seen.tables["counters"][1:], evidence.matrix.to_dict(orient="records"), strict=True
    ):
        for horizon in evidence.horizons:
            for key in ("n", "mae", "naive_mae", "rel_mae", "rel_rmse", "dm_abs_p", "cover90", "width90"):
                found, value = cell(row, key, horizon).get("data-v"), truth[f"{key}_{horizon}d"]
                assert (found is None and pd.isna(value)) or float(found) == pytest.approx(value, rel=1e-12)


def test_headline_figures_are_the_pooled_ones(seen, evidence):
    rows = {row[2]["data-k"]: row[2:] for row in seen.tables["figures"][1:]}
    pooled = evidence.pooled
    assert len(rows) >= 12
    for key, cells in rows.items():
        assert [float(each["data-v"]) for each in cells] == pytest.approx(pooled[key].tolist(), rel=1e-12)
    assert f"{pooled['mae'][0]:,.3f} KES" in seen.text.replace("\xa0", " ")


def test_the_intervals_by_stock_stand_beside_what_perfect_calibration_would_show(seen, evidence):
    table = next(rows for name, rows in seen.tables.items() if "perfect" in str(rows))
    shown = {row[1]["text"].strip(): row for row in table[1:]}
    for horizon in evidence.horizons:
        own = evidence.by_symbol[evidence.by_symbol["horizon"] == horizon]
        own = own[(own["n"] >= 20) & own["cover90"].notna()]["cover90"]
        assert float(shown[str(horizon)][3]["data-v"]) == pytest.approx(own.between(0.85, 0.95).mean())


def test_all_answers_stand_in_the_page(seen, evidence):
    text = seen.text.replace("\xa0", " ")
    for answer in answers(evidence):
        assert answer.question in text and answer.answer in text


def test_hostile_names_are_text_and_nothing_else(seen):
    assert HOSTILE in seen.text
    assert not any("onerror" in attrs or attrs.get("src") == "x" for _, attrs in seen.tags)
    labels = json.dumps(json.loads(seen.scripts[0])["figures"]["embedding"])
    assert "<img" not in labels and "&lt;img" in labels and "<" not in seen.scripts[0]


@pytest.mark.parametrize(("source", "said"), [("synthetic market seed=1", True), ("archive", False)])
def test_a_synthetic_release_says_so_in_a_banner_the_title_and_the_footer(tmp_path, source, said):
    seen = read(tmp_path / "report.html", made_evidence(info={"source": source}))
    banners = [attrs for _, attrs in seen.tags if "synthetic" in attrs.get("class", "")]
    assert bool(banners) is said and ("SYNTHETIC" in seen.text) is said
    assert seen.text.count("was invented") == (2 if said else 0)
    assert "Not investment advice" in seen.text


def test_a_quick_and_a_partial_release_say_so_whatever_their_names(tmp_path):
    evidence = made_evidence(release=HOSTILE, info={"quick": True, "failed": {HOSTILE: "broke"}})
    seen = read(tmp_path / "report.html", evidence)
    assert "Quick release." in seen.text and f"Models that failed: {HOSTILE}." in seen.text
    assert len(seen.scripts) == 3


def test_a_release_without_intervals_chances_or_embedding_says_what_is_missing(tmp_path):
    plain = made_evidence(forecasts((1,), plain=True), info={"preset": "v4_log"})
    seen = read(tmp_path / "report.html", plain)
    for said in ("no intervals", "not forecast these probabilities", "no embedding", "no training curves"):
        assert said in seen.text
    assert "NaN" not in seen.scripts[0]
    assert "l" not in json.loads(seen.scripts[0])["stocks"]["forecast"]["ALFA"]["1"]


def test_rivals_stand_next_to_ours_or_the_page_says_how_to_run_them(tmp_path, seen):
    assert "nsecast backtest" in seen.text
    rows = [("naive", 1, 1.0, 1.0), ("drift", 1, 1.02, 0.99), ("drift", 5, 1.1, 1.2), ("v4_log", 1, 3.4, 3.5)]
    rivals = pd.DataFrame(rows, columns=["model", "horizon", "rel_mae", "rel_rmse"])
    evidence = made_evidence(rivals=rivals)
    found = read(tmp_path / "report.html", evidence)
    table = next(rows for rows in found.tables.values() if rows[0][1]["text"] == "model")
    assert [row[1]["text"] for row in table[1:]] == ["nsecast", "naive", "drift", "v4_log"]
    assert table[1][0]["class"] == "ours" and "class" not in table[2][0]
    assert [each.get("data-v") for each in table[2][2:]] == ["1.0"] * 4
    assert table[4][2]["data-v"] == "3.4" and "data-v" not in table[4][4]


def test_an_empty_test_part_still_gives_a_page(tmp_path, evidence):
    write_report(
        tmp_path / "report.html",
        replace(evidence, forecasts=Forecasts(evidence.table.iloc[:0], evidence.universe)),
        [],
    )
    assert "Not investment advice" in (tmp_path / "report.html").read_text()


def test_every_chart_is_valid_plotly(evidence):
    for name, figure in figures(evidence).items():
        several = [figure] if "data" in figure else figure.values()
        for each in several:
            plain = json.loads(re.sub(r'"--c-[a-z0-9]+"', '"#123456"', json.dumps(each)))
            assert len(go.Figure(plain).data) == len(each["data"]) > 0, name


def test_the_series_of_a_stock_are_its_closes_and_forecasts(evidence):
    found = stock_series(evidence, SYMBOLS)
    days = [f"{day:%Y-%m-%d}" for day in TESTED]
    own = found["forecast"]["ALFA"]["5"]
    rows = evidence.table[(evidence.table["symbol"] == "ALFA") & (evidence.table["horizon"] == 5)]
    assert [found["dates"][place] for place in own["t"]] == days
    for key, name in (("p", "published"), ("l", "lo90"), ("h", "hi90")):
        assert own[key] == pytest.approx(rows[name].tolist(), abs=0.005)
    truth = closes().loc[found["dates"], "ALFA"]
    assert found["close"]["ALFA"] == pytest.approx(truth.tolist()) and "NEW" not in found["close"]


def test_the_map_keeps_the_variance_of_the_two_widest_directions():
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, [5, 3, 1, 0.1], (40, 4))
    places, shares = principal_axes({str(number): row.tolist() for number, row in enumerate(vectors)})
    widest = np.sort(np.linalg.eigvalsh(np.cov(vectors.T)))[::-1]
    assert shares == pytest.approx(widest[:2] / widest.sum())
    assert places.var(axis=0, ddof=1) == pytest.approx(widest[:2])


def test_the_best_epoch_has_the_lowest_validation_loss_that_is_a_number():
    epochs = [
        {"epoch": 1, "val_loss": 2.0},
        {"epoch": 2, "val_loss": float("nan")},
        {"epoch": 3, "val_loss": 1.0},
    ]
    assert best_epoch(epochs)["epoch"] == 3 and best_epoch(epochs[1:2]) is None


def test_better_and_worse_are_told_by_sign_and_word_not_by_colour_alone():
    assert verdict_of(0.9996) == verdict_of(1.0004) == ("equal", "=")
    better, worse = (unescape(shown_as("rel_mae", value, p=0.01)) for value in (0.9, 1.1))
    assert "✓ " in better and "0.900*" in better and "better, significantly" in better
    assert "✗ " in worse and "1.100*" in worse
    assert "*" not in shown_as("rel_mae", 0.9, p=0.2) and "*" not in shown_as("rel_mae", 0.9, p=float("nan"))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            (0.8, 0.798, 0.999),
            "0.1 % smaller than naive’s; may be chance. The mean error is 0.800 KES, naive’s "
            "0.798: worse in KES, where errors at high prices count more; the verdict is by relMAE.",
        ),
        ((0.798, 0.8, 1.001), "naive’s 0.800: better in KES, where"),
        ((0.798, 0.8, 0.999), "naive’s 0.800."),
        ((0.8, 0.8, 0.999), "naive’s 0.800."),
    ],
)
def test_a_card_explains_an_error_in_kes_that_points_elsewhere_than_its_verdict(figures, said):
    mae, naive_mae, rel_mae = figures
    row = {"horizon": 10, "n": 900, "mae": mae, "naive_mae": naive_mae, "rel_mae": rel_mae, "dm_abs_p": 0.4}
    card = render("train.report", "cards.html", pooled=[row | {"cover90": None}])
    assert said in " ".join(card.split())
