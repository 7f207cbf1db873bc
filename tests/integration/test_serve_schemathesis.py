"""Every route against its own OpenAPI description: Schemathesis with all of its checks, without a network."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import EngineFinished, FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import ScenarioRecorder
from support.examples import examples
from support.releases.release import SYMBOLS, made_release
from support.serving.server import local_tiers

from common.release.registry import Registry
from serve.auth.keys import KeyFile
from serve.deployments.router import http_service
from serve.model_client.client import ModelClient
from serve.settings import ServeSettings

pytestmark = [pytest.mark.integration, pytest.mark.fuzz]
BOUNDS = {
    "seed": 1,
    "continue-on-failure": True,
    "generation": {"max-examples": examples(50), "deterministic": True, "database": "none"},
    "checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}},
    "phases": {"stateful": {"generation": {"max-examples": 3}, "max-steps": 4}},
}
BEYOND_JSON_SCHEMA = (
    "low <= close <= high",
    "never both",
    "of every bar, or of none",
    "send each day once",
    "not among the symbols",
    "as_of: ",
    "sector: no ",
    "horizon: got ",
    " closes, the release has ",
    " prices, this release needs ",
    "rows: got ",
    "the new prices are ",
)
"""What a request may be refused for although it fits its schema."""


def service(home: Path) -> tuple[Any, str]:
    """The application over a synthetic release with API keys, and a key for all routes."""
    made_release(home, "one")
    Registry(home).promote("one")
    keys = KeyFile(home / "keys.json")
    tiers = local_tiers(home)
    limits = {"forecasts_per_minute": 0, "timeout_s": 60}
    chosen = ServeSettings(home=str(home), keys=str(keys.path), access_log="off", limits=limits)
    model_client = ModelClient(*tiers, chosen)
    asyncio.run(model_client.watcher.check())
    return http_service(model_client), keys.create("operator", ("admin",))


def name_symbols(paths: dict[str, Any]) -> None:
    """Give each ``{symbol}`` of a path the release's symbols as examples, so that its route also answers."""
    for operations in paths.values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] == "symbol":
                    parameter["examples"] = {name: {"value": name} for name in SYMBOLS}


def problems_of(record: ScenarioRecorder) -> Iterator[str]:
    """Checks that failed, with the request; not a refusal for what no schema can say (its bytes, too)."""
    for case, checks in record.checks.items():
        answer = record.interactions[case].response if case in record.interactions else None
        text = answer.text if answer else ""
        status = answer.status_code if answer else 0
        allowed = status in (413, 423)  # 423: another refresh is under way
        allowed |= status in (409, 422) and any(rule in text for rule in BEYOND_JSON_SCHEMA)
        for check in checks:
            if check.failure_info and not (allowed and check.name == "positive_data_acceptance"):
                how = f"{check.failure_info.code_sample:.1000}\n{text:.500}"
                yield f"{record.label}: {check.name}: {check.failure_info.failure}\n{how}"


def test_every_route_responds_as_described_to_arbitrary_requests(tmp_path: Path):
    app, key = service(tmp_path)
    auth = {"openapi": {"APIKeyHeader": {"api_key": key}, "HTTPBearer": {"bearer": key}}}
    config = SchemathesisConfig.from_dict(BOUNDS | {"auth": auth})
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    name_symbols(schema.raw_schema["paths"])
    seen: dict[str, Counter[int]] = {}
    problems: list[str] = []
    for event in from_schema(schema).execute():
        match event:
            case ScenarioFinished(recorder=record):
                counts = seen.setdefault(record.label, Counter())
                counts.update(e.response.status_code for e in record.interactions.values() if e.response)
                problems += problems_of(record)
            case NonFatalError(value=error) | FatalError(exception=error):
                problems.append(repr(error))
            case EngineFinished(stop_reason=reason, running_time=seconds):
                print(f"{reason} after {seconds:.0f} s: {sum(seen.values(), Counter())}")
    assert not problems, f"{len(problems)} problems, such as\n" + "\n\n".join(problems[:20])
    assert not {status for counts in seen.values() for status in counts if status >= 500}
    routes = {
        f"{method.upper()} {path}"
        for path, methods in schema.raw_schema["paths"].items()
        for method in methods
    }
    # A route that only refuses is hardly tested.
    assert not {route: seen[route] for route in routes if not seen[route][200]}
