"""Alerts and dashboard: expressions that parse, of metrics and labels that exist, explained in the guide."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from support.machine.manifests import CASES, FOLDER, ROOT, one

RULES = one("PrometheusRule")["spec"]["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
OPERATOR = {"kuberay_job_deployment_status": {"namespace", "name", "deployment_status"}}
"""Of KubeRay itself, from its reference of metrics."""
SCRAPED = {"ray_cluster", "role"}
"""Labels that scrape.yaml adds."""


def ours() -> dict[str, set[str]]:
    """Prometheus names of the service's metrics, each with its labels, from the object that makes them."""
    import ray.util.metrics as kinds

    from serve.observability.metrics import Observer

    results: dict[str, set[str]] = {}
    for metric in vars(Observer("off")).values():
        if not isinstance(metric, kinds.Metric):
            continue
        name, labels = f"ray_{metric.info['name']}", set(metric.info["tag_keys"])
        if isinstance(metric, kinds.Counter):
            results[f"{name}_total"] = labels
        elif isinstance(metric, kinds.Histogram):
            results |= {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
        else:
            results[name] = labels
    return results


def of_the_monitor() -> dict[str, set[str]]:
    from cluster.monitor.prometheus import GAUGES

    return {f"nsecast_monitor_{name}": set(labels) for name, (_, labels) in GAUGES.items()}


def of_ray_serve(name: str) -> set[str] | None:
    """Labels of one of Ray Serve's own metrics, if the installed Ray has it."""
    import ray.serve

    source = (Path(ray.serve.__file__).parent / "_private" / "deployment_state.py").read_text()
    return {"deployment", "application"} if f'"{name.removeprefix("ray_")}"' in source else None


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m").replace("$cluster", "x")


def selectors(expression: Any) -> Iterator[Any]:
    """Every metric with its matchers, at any depth."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("expr", "lhs", "rhs", "args", "param", "selector", "vector_selector"):
        below = getattr(expression, name, None)
        for item in below if isinstance(below, list) else [below]:
            if item is not None and not isinstance(item, str):
                yield from selectors(item)


@pytest.mark.parametrize(("where", "text"), list(expressions()), ids=[where for where, _ in expressions()])
def test_expressions_use_metrics_and_labels_that_exist(where, text):
    known = ours() | of_the_monitor() | OPERATOR
    result = list(selectors(promql_parser.parse(text)))
    names = set(re.findall(r"\b(?:ray_|nsecast_|kuberay_)\w+", text)) - SCRAPED
    assert {item.name for item in result} == names != set()
    every = set()
    for entry in result:
        labels = known[entry.name] if entry.name in known else of_ray_serve(entry.name)
        assert labels is not None, f"{entry.name}: nothing exports it"
        used = {matcher.name for matcher in entry.matchers.matchers}
        assert used <= labels | SCRAPED, f"{entry.name} has no {used - labels}"
        every |= labels
    for grouped in re.findall(r"by \(([\w, ]+)\)", text):
        assert set(grouped.split(", ")) <= every


def test_every_metric_of_the_service_is_on_the_dashboard():
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    hidden = {name for name in ours() if name not in shown and not name.endswith(("_count", "_sum"))}
    assert hidden == set()


def test_panels_do_not_overlap_and_have_a_place():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells and place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"]) >= 14


def test_the_guide_explains_every_alert_and_no_other():
    text = (ROOT / "docs" / "operations.md").read_text()
    explained = re.findall(r"^\| `(Nsecast\w+)` \|", text, re.M)
    assert explained == [rule["alert"] for rule in RULES]
    assert all(rule["labels"]["severity"] in ("critical", "warning") for rule in RULES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
def test_alerts_fire_when_they_should_and_not_otherwise(tmp_path):
    """Prometheus' own evaluation, every alert both ways."""
    assert {(name, fires) for name, *_, fires in CASES} >= {
        (rule["alert"], fires) for rule in RULES for fires in (True, False)
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(one("PrometheusRule")["spec"]))
    checked = subprocess.run(["promtool", "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    for name, series, minute, fires in CASES:
        # a label set that no alert has: promtool then prints what fired
        case = {
            "interval": "1m",
            "input_series": [{"series": item, "values": values} for item, values in series.items()],
            "alert_rule_test": [
                {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": [{"exp_labels": {"x": "y"}}]}
            ],
        }
        document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}
        (tmp_path / "case.yaml").write_text(yaml.safe_dump(document))
        done = subprocess.run(
            ["promtool", "test", "rules", "case.yaml"], cwd=tmp_path, capture_output=True, text=True
        )
        text = done.stdout + done.stderr
        assert "got:" in text, text
        assert (f'alertname="{name}"' in text.split("got:")[1]) is fires, (name, series, text)
