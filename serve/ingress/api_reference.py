"""The reference of the HTTP API, from its OpenAPI description: as Markdown and as an HTML page."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt

from common import errors

BASE = "http://localhost:8000"
MARKDOWN = Path(__file__).with_name("http-api.md.j2")
PAGE = Path(__file__).with_name("http-api.html.j2")
RAISED = (
    *(errors.NotAuthenticated, errors.Forbidden, errors.UnknownSymbol, errors.CardNotFound),
    *(errors.GateClosed, errors.TooLarge),
    *(errors.BadRequest, errors.InsufficientHistory, errors.TooManyRequests, errors.BundleError),
    *(errors.Overloaded, errors.NothingServes, errors.TooSlow),
)
PLAIN = {
    "invalid-request": (422, "The request does not match its schema; `errors` names the fields."),
    "bad-request": (400, "The body is not JSON."),
    "unsupported-media-type": (415, "The body was not sent as `application/json`."),
    "not-found": (404, "There is no such path."),
    "internal-server-error": (500, "The server failed, not the request; its log has the reason."),
}
MAX_NESTED_FIELDS = 4
"""Fields shown of a nested object whose schema has an example of its own."""
SCROLLING = {
    "<table>": '<div class="box" tabindex="0"><table>',
    "</table>": "</table></div>",
    "<pre>": '<pre tabindex="0">',
}
"""Wide parts scroll on their own, with the keyboard too."""


def api_page(markdown: str, version: str) -> bytes:
    """Render `api_markdown` as HTML in the dashboard's style, without scripts and external resources."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for heading, title in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", _anchor(title.content))
    body = parser.renderer.render(tokens, parser.options, {})
    for tag, replacement in SCROLLING.items():
        body = body.replace(tag, replacement)
    template = jinja2.Template(PAGE.read_text("utf-8"), keep_trailing_newline=True)  # escaped by MarkdownIt
    page: str = template.render(version=version, body=body)
    return page.encode()


def api_markdown(description: dict[str, Any]) -> str:
    """Render an OpenAPI description as Markdown."""
    schemas = description["components"]["schemas"]
    shown: set[str] = set()

    def example(reference: dict[str, Any]) -> Any:
        """Return the first example of a schema with its fields in order; None if it has none."""
        schema = schemas.get(_name(reference), {})
        if not schema.get("examples"):
            return None
        values, fields = schema["examples"][0], schema["properties"]
        return {name: shortened(values[name], fields[name]) for name in fields if name in values}

    def shortened(value: Any, reference: dict[str, Any]) -> Any:
        """Cut nested objects that have an example of their own to their first fields."""
        if isinstance(value, list):
            return [shortened(item, reference.get("items", {})) for item in value]
        schema = schemas.get(_name(reference), {})
        if not (isinstance(value, dict) and schema.get("examples")):
            return value
        names = [name for name in schema["properties"] if name in value][:MAX_NESTED_FIELDS]
        return {name: value[name] for name in names} | {"...": "..."}

    def is_first(reference: dict[str, Any]) -> bool:
        """Return whether no example of this schema has been shown yet."""
        is_new = _name(reference) not in shown
        shown.add(_name(reference))
        return is_new

    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)  # nosec B701 # no HTML
    environment.filters |= {
        "anchor": _anchor,
        "default_value": _default,
        "example": example,
        "json": lambda value, indent: json.dumps(value, indent=indent),
        "meaning": _meaning,
        "plain": _plain,
        "schema": _json_schema,
        "type": _type,
    }
    problems = [(error.http_status, error.urn(), str(error.__doc__)) for error in RAISED]
    problems += [(status, f"urn:nsecast:{name}", meaning) for name, (status, meaning) in PLAIN.items()]
    operations = [
        (method.upper(), path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    template = environment.from_string(MARKDOWN.read_text("utf-8"))
    return template.render(
        operations=operations, schemas=schemas, problems=sorted(problems), curl=_curl, is_first=is_first
    )


def _curl(method: str, path: str, operation: dict[str, Any], body: Any) -> str:
    words = ["curl", "-s"] + (["-X", method] if method != "GET" and body is None else [])
    query = "&".join(
        f"{parameter['name']}={_default(parameter['schema']).strip('`')}"
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and "default" in parameter["schema"]
    )
    url = BASE + path.replace("{symbol}", "SCOM")
    words.append(f"'{url}?{query}'" if query else url)
    if body is not None:
        words += ["-H", "'content-type: application/json'", "-d", f"'{json.dumps(body)}'"]
    return " ".join(words)


def _meaning(field: dict[str, Any]) -> str:
    default = f" Default {_default(field)}." if field.get("default") is not None else ""
    return _plain(field.get("description", "") + default)


def _json_schema(content: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a JSON body; empty if there is none."""
    schema: dict[str, Any] = (content or {}).get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _name(schema: dict[str, Any]) -> str:
    reference: str = schema.get("$ref", "")
    return reference.rpartition("/")[2]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"[{_name(schema)}](#{_name(schema).lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(option) for option in schema[choice]))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(dict.fromkeys(f"`{value}`" for value in values))  # 1 and "1" look the same
    kind: str = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema, 'minItems', 'maxItems')}"
    if kind == "object":
        values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties") or {}]
        return f"map to {_type(values[0])}" if values[0] not in ({}, True) else "map"
    return {"date": "day", "date-time": "time"}.get(schema.get("format", ""), kind) + _bounds(
        schema, "minimum", "maximum"
    )


def _bounds(schema: dict[str, Any], minimum: str, maximum: str) -> str:
    low, high = schema.get(minimum), schema.get(maximum)
    if low is None and high is None:
        return ""
    if high is None:
        return f" ({low:,.12g} or more)"
    return f" ({low:,.12g} to {high:,.12g})" if low is not None else f" (up to {high:,.12g})"


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _plain(text: str) -> str:
    """Fit a docstring into a table cell: one line, single backquotes, escaped bars."""
    return " ".join(str(text).split()).replace("``", "`").replace("|", "\\|")


def _anchor(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
