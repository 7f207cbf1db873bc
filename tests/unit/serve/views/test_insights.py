"""What a release keeps for serving: the report's own figures, as plain JSON that serving understands."""

import json

import numpy as np
import pytest
from support.releases.release import made_release
from support.training.evidence import bundle, made_evidence

from common import storage
from serve.schemas.insights import StoredInsights, Worth
from serve.views.insights import FILE as READ
from serve.views.insights import WORTH
from train.evaluation.questions import answers
from train.evaluation.worth import COST_PERCENT
from train.evaluation.worth_sentences import worth_document
from train.publish.insights import FILE, NEAREST, insights
from train.publish.publish import WORTH as PUBLISHED


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return made_evidence(
        folder=bundle(tmp_path_factory.mktemp("release")), info={"source": "synthetic seed=1"}
    )


def test_serving_reads_the_file_that_publishing_writes_and_finds_all_of_it(evidence, tmp_path):
    page = insights(evidence, answers(evidence))
    assert FILE == READ
    storage.write_json(tmp_path / FILE, page)
    read = StoredInsights.model_validate_json((tmp_path / FILE).read_bytes())
    assert json.loads(read.model_dump_json()) == page


def test_the_answers_are_those_of_the_report_with_their_figures(evidence):
    expected = answers(evidence)
    shown = insights(evidence, expected)["answers"]
    assert [(item["question"], item["answer"]) for item in shown] == [
        (item.question, item.answer) for item in expected
    ]
    (first,) = shown[0]["tables"]
    assert first["columns"] == list(expected[0].table.columns)
    assert [row[0] for row in first["rows"]] == expected[0].table["horizon"].tolist()
    assert np.allclose(
        [row[first["columns"].index("mape")] for row in first["rows"]], expected[0].table["mape"]
    )


def test_neighbours_are_the_nearest_by_the_obvious_search(evidence):
    vectors = {symbol: np.array(vector) for symbol, vector in evidence.embedding.items()}
    embedding = insights(evidence, [])["embedding"]
    assert [place["symbol"] for place in embedding["places"]] == list(vectors)
    assert sum(embedding["shares"]) <= 1 + 1e-9
    for item in embedding["places"]:
        away = {
            s: float(np.linalg.norm(v - vectors[item["symbol"]]))
            for s, v in vectors.items()
            if s != item["symbol"]
        }
        nearest = sorted(away.values())[:NEAREST]
        assert [other["distance"] for other in item["neighbours"]] == pytest.approx(nearest)
        assert all(away[other["symbol"]] == pytest.approx(other["distance"]) for other in item["neighbours"])


def test_chances_of_a_move_are_counted_by_horizon_and_tenth(evidence):
    moves = insights(evidence, [])["moves"]
    table = evidence.table[
        evidence.table["p_move"].notna() & evidence.table["actual"].notna() & ~evidence.table["frozen"]
    ]
    assert sum(move["n"] for move in moves) == len(table)
    for item in moves:
        low = item["bin"] / 10
        rows = table[
            (table["horizon"] == item["horizon"]) & (table["p_move"] >= low) & (table["p_move"] < low + 0.1)
        ]
        assert item["n"] == len(rows)
        assert item["seen"] == pytest.approx((rows["actual"] != rows["last_price"]).mean())


def test_chances_by_direction_are_counted_by_horizon_outcome_tier_and_tenth(evidence):
    made = insights(evidence, [])["directions"]
    table = evidence.table[~evidence.table["frozen"]]
    happened = {
        "up": table["actual"] > table["last_price"],
        "unchanged": table["actual"] == table["last_price"],
        "down": table["actual"] < table["last_price"],
    }
    assert {(each["outcome"], each["tier"]) for each in made} == {
        (outcome, tier) for outcome in happened for tier in ("all", "specific", "general")
    }
    for each in made:
        chance, low = table[f"probability_{each['outcome']}"], each["bin"] / 10
        rows = (table["horizon"] == each["horizon"]) & (chance >= low) & (chance < low + 0.1)
        if each["tier"] != "all":
            rows &= table["tier"] == each["tier"]
        assert each["n"] == rows.sum()
        assert each["forecast"] == pytest.approx(chance[rows].mean())
        assert each["seen"] == pytest.approx(happened[each["outcome"]][rows].mean())


def test_a_release_without_embedding_or_chances_keeps_none(tmp_path):
    plain = made_evidence(folder=tmp_path)
    page = insights(plain, [])
    assert page["embedding"] is None and page["answers"] == []


def test_a_release_is_published_with_its_insights(tmp_path):
    release = made_release(tmp_path)
    kept = StoredInsights.model_validate_json(release.file(FILE).read_bytes())
    assert len(kept.answers) == 5 and kept.moves and kept.directions
    worth = Worth.model_validate_json(release.file(WORTH).read_bytes())
    assert worth.cost_percent == COST_PERCENT and worth.verdict and worth.groups


def test_serving_reads_all_of_the_worth_that_publishing_writes(evidence, tmp_path):
    made = worth_document(evidence)
    storage.write_json(tmp_path / WORTH, made)
    read = Worth.model_validate_json((tmp_path / WORTH).read_bytes())
    assert PUBLISHED == WORTH and json.loads(read.model_dump_json()) == json.loads(json.dumps(made))
