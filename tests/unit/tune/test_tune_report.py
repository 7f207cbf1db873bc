"""The search's report: complete, safe, with the search's figures, and clear about missing results."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from support.rendering import LOADING, Seen
from support.tuning.results import BECAUSE, PARAMETERS, SWEPT, made_study, made_tuning

from tune.report import write_report
from tune.report.charts import figures, proposals
from tune.results import Tuning

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def read(path: Path, tuning: Tuning) -> Seen:
    write_report(path, tuning, made_study(tuning))
    seen = Seen()
    seen.feed(path.read_text(encoding="utf-8"))
    return seen


def shown_text(seen: Seen) -> str:
    return " ".join(seen.text.replace("\xa0", " ").split())


def cells(row: list[dict]) -> dict[str, dict]:
    return {item["data-k"]: item for item in row[1:]}


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    return made_tuning()


@pytest.fixture(scope="module")
def seen(tmp_path_factory, tuning) -> Seen:
    return read(tmp_path_factory.mktemp("page") / "report.html", tuning)


def test_the_page_begins_with_the_answers_and_the_shares_of_trials(seen, tuning):
    text = shown_text(seen)
    assert BECAUSE in text and tuning.info["contest"]["sentence"] in text
    counts, total = tuning.trials["state"].value_counts(), len(tuning.trials)
    for state, word in (("done", "finished"), ("stopped", "stopped early"), ("failed", "failed")):
        assert f"{counts[state]} {word} ({100 * counts[state] / total:.0f} %)" in text
    assert f"The default reached {tuning.default_score:.4f}" in text
    assert "2:39:00" in text and "noise 0.0021" in text and "Not better than the default." in text


def test_every_trial_has_its_figures_and_its_reason_in_the_table(seen, tuning):
    rows = {int(cells(row)["trial"]["data-v"]): cells(row) for row in seen.tables["trials"][1:]}
    truth = tuning.trials.set_index("trial")
    assert set(rows) == set(truth.index)
    for number, row in rows.items():
        for name in PARAMETERS:
            assert float(row[name]["data-v"]) == truth.loc[number, name]
        key = "score" if truth.loc[number, "state"] == "done" else "partial"
        other = {"score": "partial", "partial": "score"}[key]
        assert "data-v" not in row[other], "an unfinished score must not stand among finished ones"
        if truth.loc[number, "state"] != "failed":
            assert float(row[key]["data-v"]) == pytest.approx(truth.loc[number, "score"], rel=1e-12)
    failed = truth.index[truth["state"] == "failed"]
    assert len(failed) and all("worker died <of> & hunger" in rows[item]["reason"]["text"] for item in failed)
    assert rows[tuning.info["winner_trial"]]["notes"]["text"] == "winner"


def test_the_comparison_shows_every_seed_with_their_mean(seen, tuning):
    rows = [cells(row) for row in seen.tables["contest-table"][1:]]
    held = tuning.info["contest"]
    for side in ("default", "winner"):
        own = {row["seed"]["text"]: row for row in rows if row["side"]["text"] == side}
        totals = [item["total"] for item in held[side]]
        assert [float(own[str(seed)]["total"]["data-v"]) for seed in held["seeds"]] == totals
        assert float(own["mean"]["total"]["data-v"]) == pytest.approx(np.mean(totals))
        assert float(own["0"]["rel_rmse_3"]["data-v"]) == held[side][0]["rel_rmse"][3]
    heads = [item["text"].replace("\xa0", " ") for item in seen.tables["contest-table"][0][1:]]
    assert "relMAE, 1 d" in heads and "relRMSE, 30 d" in heads


def test_the_page_is_valid_and_self_contained(seen):
    assert not seen.open_tags and not seen.mismatched
    links = [value for _, attrs in seen.tags for name, value in attrs.items() if name in LOADING]
    assert links and all(value.startswith(("#", "data:")) for value in links)
    policy = next(attrs["content"] for _, attrs in seen.tags if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert len(seen.scripts) == 3 and len(seen.scripts[1]) > 1e6
    names = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    targets = [value[1:] for value in links if value.startswith("#")]
    assert len(names) == len(set(names)) and set(targets) <= set(names)
    kinds = [tag for tag, _ in seen.tags]
    assert kinds.count("table") == kinds.count("caption")


def test_every_chart_is_valid_plotly_and_on_the_page(seen, tuning):
    drawn = figures(tuning, proposals(made_study(tuning)))
    places = {attrs["data-figure"] for _, attrs in seen.tags if "data-figure" in attrs}
    assert places == set(drawn) == set(json.loads(seen.scripts[0])["figures"])
    assert places == {"history", "curves", *(f"slice_{name}" for name in PARAMETERS)}
    for figure in drawn.values():
        go.Figure(json.loads(re.sub(r'"--c-[a-z0-9]+"', '"#123456"', json.dumps(figure))))


def test_the_table_of_sizes_has_the_differences_with_their_intervals(seen, tuning):
    rows = next(table for table in seen.tables.values() if table[0][1]["text"] == "embedding size")[1:]
    sizes = sorted(tuning.info["embedding"]["sizes"], key=lambda row: row["size"])
    assert [float(row[1]["data-v"]) for row in rows] == sorted(SWEPT)
    for row, size in zip(rows, sizes, strict=True):
        assert [float(cell["data-v"]) for cell in row[3:6]] == [
            size[k] for k in ("difference", "low", "high")
        ]


def test_a_size_without_an_interval_is_listed_without_one(tmp_path):
    rows = [
        {"size": size, "fits": 1, "score": 0.97, "difference": 0.0, "low": None, "high": None}
        for size in (4, 10)
    ]
    embedding = {"sizes": rows, "default": 10, "sufficient": True, "because": "one pair."}
    seen = read(tmp_path / "report.html", made_tuning(embedding=embedding))
    table = next(table for table in seen.tables.values() if table[0][1]["text"] == "embedding size")
    assert "data-v" not in table[1][4] and "one pair." in shown_text(seen)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embedding": None}, ("was not compared in this search", "sizes were not compared")),
        (
            {"contest": None},
            ("has not been compared with the default on the test part yet", "Not compared yet"),
        ),
        (
            {"model": "specific:SCOM", "embedding": None},
            ("Which sizes suit the model of SCOM?", "have no embedding"),
        ),
    ],
)
def test_missing_comparisons_are_explained(tmp_path, changes, words):
    text = shown_text(read(tmp_path / "report.html", made_tuning(**changes)))
    assert all(word in text for word in words)


def test_a_comparison_without_an_opponent_or_noise_is_explained(tmp_path):
    sentence = "The default is itself the best on validation."
    alone = {"seeds": [], "default": [], "winner": [], "gain": 0.0, "noise": 0.0, "better": False}
    text = shown_text(read(tmp_path / "a.html", made_tuning(contest=alone | {"sentence": sentence})))
    assert text.count(sentence) == 3
    held = made_tuning().info["contest"]
    for noise in (None, float("inf")):
        text = shown_text(read(tmp_path / "b.html", made_tuning(contest=held | {"noise": noise})))
        assert "the noise is unknown" in text


@pytest.mark.parametrize("fate", ["failed", "stopped", "interrupted"])
def test_a_search_without_a_finished_trial_still_gives_a_page(tmp_path, fate):
    changes = {"embedding": None, "contest": None, "winner": None, "winner_trial": None}
    seen = read(tmp_path / "report.html", made_tuning(5, fate=fate, **changes))
    text = shown_text(seen)
    assert "No trial finished" in text and "Fewer than two proposals finished" in text
    assert "Too few trials" in text and len(seen.tables["trials"]) == 18
    assert "NaN" not in seen.scripts[0] and not seen.open_tags


def test_one_finished_proposal_is_listed_and_only_its_learning_curve_is_drawn(tmp_path):
    tuning = made_tuning(1, fate="done")
    seen = read(tmp_path / "report.html", tuning)
    assert "Fewer than two proposals finished" in shown_text(seen)
    assert set(json.loads(seen.scripts[0])["figures"]) == {"curves"}


def test_a_search_without_trials_gives_a_page(tmp_path):
    tuning = made_tuning(0, winner=None, winner_trial=None, contest=None, embedding=None)
    empty = replace(tuning, trials=tuning.trials.iloc[:0])
    text = shown_text(read(tmp_path / "report.html", empty))
    assert "No trial was started." in text and "There is nothing to list here." in text


def test_a_saved_search_gives_the_same_page(tmp_path, tuning):
    write_report(tmp_path / "loaded.html", tuning.save(tmp_path), made_study(tuning))
    write_report(tmp_path / "made.html", tuning, made_study(tuning))
    assert (tmp_path / "loaded.html").read_text() == (tmp_path / "made.html").read_text()


@pytest.mark.parametrize(("source", "has_banner"), [("synthetic seed=1", True), ("archive", False)])
def test_invented_prices_are_named_in_a_banner_the_title_and_the_footer(tmp_path, source, has_banner):
    seen = read(tmp_path / "report.html", made_tuning(source=source))
    assert any("synthetic" in attrs.get("class", "") for _, attrs in seen.tags) is has_banner
    assert (
        seen.text.count("was invented") == (2 if has_banner else 0)
        and ("SYNTHETIC" in seen.text) is has_banner
    )
    assert "Not investment advice" in seen.text


def test_a_quick_search_says_that_it_measures_nothing(tmp_path, seen):
    assert "figures measure nothing" in shown_text(read(tmp_path / "report.html", made_tuning(quick=True)))
    assert "figures measure nothing" not in shown_text(seen)


def test_hostile_texts_are_text_and_nothing_else(tmp_path):
    tuning = made_tuning(id=HOSTILE, source=HOSTILE, versions={HOSTILE: HOSTILE})
    tuning.trials["reason"] = HOSTILE
    seen = read(tmp_path / "report.html", tuning)
    assert HOSTILE in seen.text and len(seen.scripts) == 3 and "<" not in seen.scripts[0]
    assert not any("onerror" in attrs for _, attrs in seen.tags)
