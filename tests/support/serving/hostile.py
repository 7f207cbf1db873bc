"""Hostile requests: random valid and invalid calls of the API."""

import gzip
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from hypothesis import strategies as st

V4 = "/api/v4"
POSTS = {f"{V4}/predict": "symbol", f"{V4}/predict/batch": "symbols", f"{V4}/predict/sector": "sector"}
GOOD = [10.0 + day % 3 for day in range(60)]


@dataclass(frozen=True)
class Case:
    """One request."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        async def pieces() -> Any:
            for start in range(0, len(self.body), 1000):
                yield self.body[start : start + 1000]

        headers = {name: value.encode("latin-1") for name, value in self.headers.items()}
        content = pieces() if self.chunked else self.body
        return await client.request(self.method, self.path, content=content, headers=headers)


numbers = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from(
        [0, -0.0, 5e-324, 2.2e-308, 1e308, -1e308, 0.01, 1e6, 1e6 + 1, 2**63, -(2**63) - 1, 10**400, 1e-9]
    ),
)
WORDS = (
    *(
        "MOVES",
        "moves",
        "SHORT",
        "^NASI",
        "Banking",
        "1d",
        "30d",
        "NaN",
        "2022-03-01",
        "9999-12-31",
        "\ud800",
    ),
    *("../../etc/passwd", "%00", "\x00", "' OR 1=1 --", "{{7*7}}", "🦒" * 20, "ſſ", "A\u0301", "٣"),
)
words = st.text(max_size=20) | st.sampled_from(WORDS)
scalars = st.none() | st.booleans() | numbers | words
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
symbols = st.sampled_from(["MOVES", "THIN", "FROZEN", "SHORT", "GAPS", "SPLITS", "NEWCO", "NOPE"])
closes = st.one_of(
    st.lists(st.floats(0.01, 1e6), min_size=60, max_size=62),
    st.tuples(st.sampled_from([0.01, 1e6, 1, 0.1]), st.integers(59, 200)).map(
        lambda pair: [pair[0]] * pair[1]
    ),
    st.lists(st.sampled_from([0.01, 1e6]), min_size=60, max_size=64),
    st.tuples(st.integers(0, 59), scalars).map(lambda pair: [*GOOD[: pair[0]], pair[1], *GOOD[pair[0] :]]),
    st.sampled_from([[1] * 100_000, [[]] * 100_000, [1e308] * 5_000, ["1"] * 5_000]),
)
bars = st.lists(
    st.fixed_dictionaries(
        {"close": st.floats(0.01, 1e6)},
        optional={name: st.none() | numbers for name in ("high", "low", "volume")} | {"date": words},
    ),
    min_size=60,
    max_size=61,
)
horizons = st.sampled_from(["1d", "5d", "10d", "30d"])
days = st.dates().map(str)
often = {"horizon": horizons, "as_of": days, "allow_unknown": st.booleans()}
shaped = {
    f"{V4}/predict": st.fixed_dictionaries(
        {"symbol": symbols}, optional=often | {"recent_prices": closes, "recent_bars": bars}
    ),
    f"{V4}/predict/batch": st.fixed_dictionaries(
        {"symbols": st.lists(symbols | words, min_size=1, max_size=8) | st.just(["A"] * 100_000)},
        optional=often | {"recent_prices": closes | st.dictionaries(symbols, closes, max_size=2)},
    ),
    f"{V4}/predict/sector": st.fixed_dictionaries(
        {"sector": words | st.sampled_from(["banking", "Insurance"])},
        optional={"horizon": horizons, "as_of": days},
    ),
}
"""By path, bodies of the right form, mostly."""


@st.composite
def texts(draw: st.DrawFn, path: str) -> bytes:
    """A body as bytes: JSON of the right or another form, unusual JSON, or no JSON."""
    body = draw(shaped[path] | anything)
    if isinstance(body, dict) and draw(st.booleans()):
        body = body | draw(st.dictionaries(words | st.sampled_from(sorted(often)), anything, max_size=2))
    text = json.dumps(body, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    kind = draw(st.sampled_from(["plain"] * 6 + ["nested", "twice", "cut", "flip", "bytes", "UTF-16", "BOM"]))
    match kind:
        case "nested":
            opening = draw(st.sampled_from([b"[", b'{"symbol":', b'{"symbol": "MOVES", "recent_prices": [']))
            return opening * draw(st.sampled_from([10, 1_000, 20_000]))
        case "twice":
            name = json.dumps(POSTS[path]).encode()
            return b"{" + name + b": " + json.dumps(draw(scalars)).encode() + b", " + text[1:]
        case "cut":
            return text[: draw(st.integers(0, 200))]
        case "flip":
            at = draw(st.integers(0, 200)) % len(text)
            return text[:at] + draw(st.binary(min_size=1, max_size=2)) + text[at + 1 :]
        case "bytes":
            return draw(st.binary(max_size=300))
        case "UTF-16":
            return text.decode(errors="replace").encode("utf-16")
        case "BOM":
            return b"\xef\xbb\xbf" + text
    return text


@st.composite
def posts(draw: st.DrawFn) -> Case:
    path = draw(st.sampled_from(sorted(POSTS)))
    body = draw(texts(path))
    kinds = ["application/json"] * 6 + [
        "application/json; charset=utf-16",
        "text/plain",
        "",
        "multipart/form-data",
    ]
    kinds += [
        "application/x-www-form-urlencoded",
        "application/problem+json",
        'a/b; c="',
        "application/json\xff",
    ]
    headers = {"content-type": draw(st.sampled_from(kinds))}
    if packed := draw(st.sampled_from([""] * 8 + ["gzip", "deflate", "br, gzip", "identity"])):
        headers["content-encoding"] = packed
        body = gzip.compress(body, 1) if "gzip" in packed else body
    return Case("POST", path, body, headers, chunked=draw(st.integers(0, 5)) == 0)


@st.composite
def gets(draw: st.DrawFn, paths: list[str]) -> Case:
    path = draw(st.sampled_from(paths))
    for name in ("symbol", "sector"):
        path = path.replace(f"{{{name}}}", quote(_text(draw(symbols | words)), safe=""))
    query = st.one_of(
        st.tuples(st.just("horizon"), horizons | words),
        st.tuples(st.just("days"), st.integers(-1, 6_000) | scalars),
        st.tuples(st.just("as_of"), days | scalars),
        st.tuples(st.just("include_sectors"), st.booleans() | scalars),
        st.tuples(words, scalars),
    )
    pairs = [(_text(name), _text(value)) for name, value in draw(st.lists(query, max_size=3))]
    return Case("GET", path + ("?" + urlencode(pairs) if pairs else ""))


def _text(value: object) -> str:
    return str(value).encode(errors="replace").decode()


def cases(paths: list[str]) -> st.SearchStrategy[Case]:
    """Three posts to each get of one of these paths of the description."""
    return st.integers(0, 3).flatmap(lambda at: posts() if at else gets(paths))
