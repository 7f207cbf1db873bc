"""The page at ``/`` as it is sent: what it may load, what a browser keeps, that its files fit together."""

import gzip
import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import plotly
import pytest
from fastapi import FastAPI
from support.serving.server import Client

from serve.dashboard.assets import FOLDER, Assets, plotly_version
from serve.ingress.app import make_api, openapi_description
from serve.ingress.dashboard_routes import POLICY, add_dashboard
from serve.model_client.client import ModelClient
from serve.schemas.problems import register
from serve.settings import ServeSettings

SCRIPTS = sorted(FOLDER.rglob("*.js"))
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.fixture(scope="module")
def client() -> Client:
    api = FastAPI()
    register(api)
    add_dashboard(api)
    return Client(api)


class Page(HTMLParser):
    """What a page loads, and what of it a strict policy would not run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in = tag
        self.inline += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        self.inline += ["style"] if tag == "style" else []
        source = given.get("src") if tag == "script" else given.get("href") if tag == "link" else None
        self.loads += [source] if source else []

    def handle_data(self, data: str) -> None:
        if self._in == "script" and data.strip():
            self.inline.append("script")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


def test_the_policy_lets_the_page_run_and_load_nothing_but_its_own_files(client):
    answer = client.get("/")
    sent = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert sent == POLICY and sent["default-src"] == "'none'"
    assert sent["script-src"] == sent["style-src"] == "'self'"
    page = Page(answer.text)
    assert page.inline == []
    assert page.loads and all(re.match(r"static/", each) for each in page.loads)


def test_the_apis_reference_is_a_page_without_scripts_whose_links_lead_somewhere(tmp_path):
    model_client = ModelClient(None, None, ServeSettings(home=str(tmp_path), access_log="off"))
    answer = Client(make_api(model_client)).get("/docs")
    page = Page(answer.text)
    assert page.inline == [] and "<script" not in answer.text
    assert page.loads and all(re.match(r"static/", each) for each in page.loads)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    there = set(re.findall(r' id="([^"]+)"', answer.text))
    links = set(re.findall(r'href="#([^"]+)"', answer.text))
    paths = openapi_description()["paths"]
    assert links <= there and len(there) > len(paths) > 10
    assert all(f"{method.upper()} {path}" in answer.text for path, found in paths.items() for method in found)


def test_every_file_that_the_page_names_is_there_to_be_kept_for_ever(client):
    loads = Page(client.get("/").text).loads
    assert {path.suffix for path in map(Path, loads)} == {".js", ".css", ".svg"}
    for name in loads:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/").headers["cache-control"] == "no-cache"


def test_a_changed_file_changes_every_address(tmp_path):
    for name in ("index.html", "app.js", "views/market.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("$version $preload $styles $plotly" if name == "index.html" else "1;")
    before = Assets(tmp_path)
    (tmp_path / "views" / "market.js").write_text("2;")
    after = Assets(tmp_path)
    assert before.version != after.version and before.page != after.page
    assert f"static/{after.version}/views/market.js" in after.page.content.decode()


@pytest.mark.parametrize(
    "path", ["static/000000000000/app.js", "static/plotly-0.0.0.js", "static/x/%2e%2e/app.js"]
)
def test_a_file_of_another_version_is_a_problem_in_json(client, path):
    answer = client.get(f"/{path}")
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


def test_plotly_comes_out_of_the_installed_package(client):
    installed = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    answer = client.get(f"/static/plotly-{plotly_version()}.js")
    assert answer.headers["content-encoding"] == "gzip" and answer.content == installed.read_bytes()
    assert f'data-plotly="static/plotly-{plotly_version()}.js"' in client.get("/").text


def test_the_style_sheets_that_plotly_would_write_find_their_ids_taken(client):
    program = client.get(f"/static/plotly-{plotly_version()}.js").text
    written = {each for each in re.findall(r'getElementById\("([^"]+)"\)', program) if len(each) == 64}
    page = client.get("/").text
    assert written and all(f'id="{each}"' in page for each in written)
    assert 'id="plotly.js-style-global" class="no-inline-styles"' in page and "no-inline-styles" in program


def test_a_browser_that_has_a_file_is_told_so_and_head_sends_no_body(client):
    for path in ("/", f"/static/{Assets().version}/app.js"):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
        assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200
        head = client.request("HEAD", path)
        assert (
            head.status_code == 200 and head.content == b"" and head.headers["etag"] == first.headers["etag"]
        )


def test_a_file_is_packed_for_whoever_takes_that_and_plain_for_others(client):
    path = f"/static/{Assets().version}/app.js"
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == (FOLDER / "app.js").read_bytes()
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9, mtime=0))
    assert packed.headers["etag"] == plain.headers["etag"] and packed.headers["vary"] == "Accept-Encoding"


def imports(path: Path) -> Iterator[tuple[set[str], Path]]:
    for names, source in re.findall(r'^import \{([^}]+)\} from "([^"]+)";', path.read_text(), re.M):
        target = posixpath.normpath(path.relative_to(FOLDER).parent.joinpath(source).as_posix())
        yield {each.strip() for each in names.split(",") if each.strip()}, FOLDER / target


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_what_another_exports_and_uses_it(path):
    text = path.read_text()
    for names, target in imports(path):
        exported = set(
            re.findall(
                r"^export (?:async )?(?:const|function) (\w+)|^export class (\w+)", target.read_text(), re.M
            )
        )
        assert names <= {name for pair in exported for name in pair}, target
        unused = {name for name in names if len(re.findall(rf"\b{name}\b", text)) < 2}
        assert not unused, f"{path.name} imports {unused}"


@pytest.mark.parametrize(
    "path", [each for each in FOLDER.rglob("*") if each.is_file()], ids=lambda path: path.name
)
def test_a_file_is_short_names_no_other_host_and_writes_no_html(path):
    text = path.read_text()
    assert len(text.splitlines()) < 250
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {NAMESPACE}
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )


def test_no_script_knows_a_time_zone_by_itself():
    zones = r"\b(Africa|America|Asia|Europe)/|\bEAT\b|3_600_000"
    assert [path.name for path in SCRIPTS if re.search(zones, path.read_text())] == []
    assert re.search(r"useZone\(healthNow\(\)\.timezone\)", (FOLDER / "app.js").read_text())


def test_the_page_names_the_scripts_of_its_first_view_so_that_none_waits_for_another(client):
    version = Assets().version
    named = {posixpath.relpath(each, f"static/{version}") for each in Page(client.get("/").text).loads}
    needed = {FOLDER / "app.js", FOLDER / "views" / "market.js"}
    while found := {target for path in needed for _, target in imports(path)} - needed:
        needed |= found
    assert {name for name in named if name.endswith(".js")} == {
        path.relative_to(FOLDER).as_posix() for path in needed
    }
    assert len(needed) < len(SCRIPTS)


def test_the_page_is_no_part_of_the_api(client):
    paths = httpx.Response(200, text=client.get("/openapi.json").text).json()["paths"]
    assert paths == {}
