"""The model card: its figures are those of the evidence, its intervals cover, its limits follow."""

import json
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from support.releases.release import made_release
from support.training.evidence import bundle, forecasts, made_evidence
from typer.testing import CliRunner

import nsecast
from common.presets import train_config
from common.release.registry import Registry
from common.release.released_models import MODEL_CARD, read_model_card
from train.evaluation.forecasts import Forecasts
from train.evaluation.ratio_intervals import with_intervals
from train.publish.model_card import limits, model_card


def card(tmp_path, evidence) -> str:
    config = train_config(evidence.info["preset"], {}).model_dump(mode="json")
    (tmp_path / "config.json").write_text(json.dumps(config))
    return model_card(replace(evidence, folder=tmp_path))


def tables(text: str) -> list[list[list[str]]]:
    """The rows of each table, as a Markdown parser finds them."""
    found: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in pairwise(tokens):
        if before.type == "table_open":
            found.append([])
        if before.type == "tr_open":
            found[-1].append([])
        if before.type in ("td_open", "th_open"):
            found[-1][-1].append(token.content)
    return found


def test_the_figures_of_the_card_are_those_of_the_evidence(tmp_path):
    evidence = made_evidence(folder=bundle(tmp_path))
    text = card(tmp_path, evidence)
    rows = {row[0]: row for row in tables(text)[1][1:]}
    for truth in evidence.pooled.to_dict(orient="records"):
        row = rows[str(truth["horizon"])]
        assert row[1:3] == [str(truth["n"]), str(truth["symbols"])]
        assert row[3].startswith(f"{truth['rel_mae']:.3f}") and row[4].startswith(f"{truth['rel_rmse']:.3f}")
    for said in (evidence.info["train_end"], evidence.info["valid_end"], evidence.info["test_end"]):
        assert said in text
    assert all(len({len(row) for row in table}) == 1 for table in tables(text))
    assert "nan" not in text.lower().replace("finance", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "synthetic seed=1"}, "**Synthetic data.**"),
        ({"quick": True}, "**Quick release.**"),
        ({"failed": {"ALFA": "broke"}}, "replaced by the general model: ALFA."),
        ({"refit": {"train_end": "2024-05-31"}}, "the same recipe trained to 2024-05-31"),
    ],
)
def test_what_is_special_about_a_release_is_on_its_card_and_nothing_else_is(tmp_path, change, said):
    assert said in card(tmp_path, made_evidence(info=change))
    assert said not in card(tmp_path, made_evidence(info={"source": "archive", "quick": False}))


def test_limits_follow_from_the_figures():
    evidence = made_evidence()
    nothing = evidence.by_tier.iloc[:0]
    figures = {"horizon": 5, "n": 100, "rel_mae": 0.9, "rel_mae_low": 0.85, "rel_mae_high": 0.95}
    figures |= {"rel_rmse": 0.9, "rel_rmse_low": 0.85, "rel_rmse_high": 0.95, "cover90": 0.9}

    def said(**changes: float) -> str:
        return "\n".join(limits(evidence, pd.DataFrame([figures | changes]), nothing))

    assert "than the last price." not in said() and "intervals contained" not in said()
    assert (
        "5 days ahead, the published price (relMAE 0.900 [0.850 to 1.010]) is not measurably better"
        in said(rel_mae_high=1.01)
    )
    assert "(relRMSE 0.900 [1.010 to 1.100]) is worse than" in said(rel_rmse_low=1.01, rel_rmse_high=1.1)
    assert "the 90 % intervals contained 85.0 % of" in said(cover90=0.85)
    assert "do not move" in said() and "HALT" in said(), "the stock that stands still is named"


def test_intervals_of_ratios_cover_the_ratio_of_a_made_market():
    rng, days = np.random.default_rng(2), pd.bdate_range("2022-01-03", periods=120)
    inside = 0
    for _ in range(200):
        last, size = 10.0, rng.gamma(4, 0.1, len(days))  # all stocks move more on some days
        change = rng.choice([-1, 1], (len(days), 5)) * size[:, None]
        ratio = rng.uniform(0.5, 1.3, change.shape)  # mean .9
        table = pd.DataFrame(
            {"cutoff": np.repeat(days, 5), "symbol": list("ABCDE") * len(days), "horizon": 1}
        )
        table["actual"] = last + change.ravel()
        table["published"] = table["raw"] = table["actual"] - (ratio * change).ravel()
        table = table.assign(last_price=last, frozen=False)
        table = table.assign(**{f"{side}{level}": np.nan for side in ("lo", "hi") for level in (80, 90, 95)})
        (row,) = with_intervals(table).to_dict(orient="records")
        inside += row["rel_mae_low"] <= 0.9 <= row["rel_mae_high"]
        assert row["rel_rmse_low"] < row["rel_rmse"] < row["rel_rmse_high"]
    assert 180 <= inside <= 198


def test_a_preset_without_intervals_and_a_short_test_part_have_a_card(tmp_path):
    plain = made_evidence(forecasts((1,), plain=True), info={"preset": "v4_log"})
    text = card(tmp_path, plain)
    assert "probabilities of a rise" not in text and "highs, lows" not in text
    few = plain.table[plain.table["cutoff"] >= plain.table["cutoff"].unique()[-3]]
    short = replace(plain, forecasts=Forecasts(few, plain.universe))
    assert "(" not in tables(card(tmp_path, short))[1][1][3]


def test_a_release_is_published_with_its_card_and_the_command_prints_it(tmp_path):
    release = made_release(tmp_path)
    text = read_model_card(release)
    assert text.startswith("# Model card: nsecast release ") and MODEL_CARD in release.files
    Registry(tmp_path).promote(release.id)
    done = CliRunner().invoke(nsecast.app, ["models", "card", "--home", str(tmp_path)])
    assert done.exit_code == 0 and done.output == text


def test_the_card_of_a_refreshed_release_names_it_and_its_prices(tmp_path):
    path = tmp_path / MODEL_CARD
    path.write_text("# Model card: nsecast release base\n\nThe rest.\n")
    info = {"refreshed": {"from": "base", "to": "2024-01-05", "trained": {}}}
    release = SimpleNamespace(
        id="newer", files={MODEL_CARD: {}}, file=lambda name: tmp_path / name, info=info
    )
    lines = read_model_card(release).splitlines()
    assert lines[0] == "# Model card: nsecast release base" and lines[-1] == "The rest."
    assert lines[2].startswith("> **Refreshed.** Release newer") and "prices to 2024-01-05" in lines[2]
    release.info = {}
    assert read_model_card(release) == path.read_text()
