"""The HTTP API as a page of Markdown, from its own OpenAPI description."""

import json
import re
from pathlib import Path
from typing import Any

import jinja2

from common import errors
from common.errors import NothingServes, Overloaded

BASE = "http://localhost:8000"
TEMPLATE = Path(__file__).with_name("http-api.md.j2")
RAISED = (
    *(errors.NotAuthenticated, errors.Forbidden, errors.UnknownSymbol, errors.GateClosed, errors.TooLarge),
    *(errors.BadRequest, errors.InsufficientHistory, errors.TooManyRequests, errors.BundleError, Overloaded),
    *(NothingServes, errors.TooSlow),
)
PLAIN = {
    "invalid-request": (422, "The request does not fit its schema; `errors` names the fields."),
    "bad-request": (400, "The body is not JSON."),
    "unsupported-media-type": (415, "The body was not sent as `application/json`."),
    "not-found": (404, "No such path."),
    "internal-server-error": (500, "The server failed, not the request; its log has the reason."),
}
SHOWN = 4
"""Fields of a part of an example that has an example of its own."""


def reference(description: dict[str, Any]) -> str:
    """The page for an OpenAPI description."""
    shapes = description["components"]["schemas"]
    shown: set[str] = set()

    def example(schema: dict[str, Any]) -> Any:
        """The first example of a shape, its fields in the shape's order; None if it has none."""
        shape = shapes.get(_name(schema), {})
        if not shape.get("examples"):
            return None
        given, fields = shape["examples"][0], shape["properties"]
        return {name: part(given[name], fields[name]) for name in fields if name in given}

    def part(value: Any, schema: dict[str, Any]) -> Any:
        """A field of an example; of a shape with an example of its own the first fields only."""
        if isinstance(value, list):
            return [part(each, schema.get("items", {})) for each in value]
        shape = shapes.get(_name(schema), {})
        if not (isinstance(value, dict) and shape.get("examples")):
            return value
        names = [name for name in shape["properties"] if name in value][:SHOWN]
        return {name: value[name] for name in names} | {"...": "..."}

    def first(schema: dict[str, Any]) -> bool:
        """Whether no example of that shape was shown before."""
        new = _name(schema) not in shown
        shown.add(_name(schema))
        return new

    page = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)  # nosec B701 # no HTML
    page.filters |= {
        "anchor": anchor,
        "default_value": _default,
        "example": example,
        "json": lambda value, indent: json.dumps(value, indent=indent),
        "meaning": _meaning,
        "plain": _plain,
        "schema": _schema,
        "type": _type,
    }
    problems = [(kind.http_status, kind.urn(), str(kind.__doc__)) for kind in RAISED]
    problems += [(status, f"urn:nsecast:{name}", meaning) for name, (status, meaning) in PLAIN.items()]
    operations = [
        (method.upper(), path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    template = page.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(
        operations=operations, shapes=shapes, problems=sorted(problems), curl=_curl, first=first
    )


def _curl(method: str, path: str, operation: dict[str, Any], body: Any) -> str:
    words = ["curl", "-s"] + (["-X", method] if method != "GET" and body is None else [])
    query = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    shown = [
        (each["name"], _default(each["schema"]).strip("`")) for each in query if "default" in each["schema"]
    ]
    asked = "&".join(f"{name}={value}" for name, value in shown)
    url = BASE + path.replace("{symbol}", "SCOM") + (f"?{asked}" if asked else "")
    words.append(f"'{url}'" if asked else url)
    if body is not None:
        words += ["-H", "'content-type: application/json'", "-d", f"'{json.dumps(body)}'"]
    return " ".join(words)


def _meaning(field: dict[str, Any]) -> str:
    default = f" Default {_default(field)}." if field.get("default") is not None else ""
    return _plain(field.get("description", "") + default)


def _schema(described: dict[str, Any]) -> dict[str, Any]:
    """Of a body in JSON; empty if there is none."""
    schema: dict[str, Any] = (
        (described or {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    return schema


def _name(schema: dict[str, Any]) -> str:
    reference: str = schema.get("$ref", "")
    return reference.rpartition("/")[2]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"[{_name(schema)}](#{_name(schema).lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[choice]))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind: str = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema, 'minItems', 'maxItems')}"
    if kind == "object":
        values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties") or {}]
        return f"map to {_type(values[0])}" if values[0] not in ({}, True) else "map"
    return {"date": "day", "date-time": "time"}.get(schema.get("format", ""), kind) + _bounds(
        schema, "minimum", "maximum"
    )


def _bounds(schema: dict[str, Any], least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if high is None:
        return f" ({low:,.12g} or more)"
    return f" ({low:,.12g} to {high:,.12g})" if low is not None else f" (up to {high:,.12g})"


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _plain(text: str) -> str:
    """A docstring for a table or a paragraph: one line, single backquotes, no bar that would end a cell."""
    return " ".join(str(text).split()).replace("``", "`").replace("|", "\\|")


def anchor(title: str) -> str:
    """The anchor that a heading of that title gets."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
