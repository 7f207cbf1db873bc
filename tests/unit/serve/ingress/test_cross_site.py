"""Without keys: other names than this machine's, and pages of other sites, are refused."""

from pathlib import Path

import pytest
from support.serving.server import ADMIN, Client

from serve.auth.keys import KeyFile
from serve.deployments.router import http_service
from serve.ingress.app import make_api
from serve.model_client.client import ModelClient
from serve.settings import ServeSettings

CLEAR, HEALTH = "/api/v4/cache/clear", "/api/v4/health"
HERE = "http://localhost:8000"
EVIL = "https://evil.example"


def service(home: Path, **settings: object) -> Client:
    model_client = ModelClient(None, None, ServeSettings(home=str(home), access_log="off", **settings))
    return Client(http_service(model_client))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return service(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8000", "LOCALHOST:8000", "localhost.", "app.localhost:8000"),
        *("127.0.0.1", "127.0.0.1:8000", "127.8.9.10:1", "[::1]", "[::1]:8000", "[::ffff:127.0.0.1]:8000"),
    ],
)
def test_names_of_this_machine_are_answered_with_any_port(client, host):
    assert client.post(CLEAR, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("notlocalhost", "10.0.0.7:8000", "0.0.0.0:8000", "[::]:8000", "[fe80::1]", "[::1]evil"),
        *("evil@localhost", "localhost/x", "", "localhost:8000:1", "localhost, evil.example", "128.0.0.1"),
        "[::ffff:10.0.0.7]",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", HEALTH), ("POST", CLEAR), ("GET", "/"), ("GET", "/x")])
def test_a_page_that_points_its_own_name_here_gets_nothing(client, host, method, path):
    """DNS rebinding: the browser takes the request for one of the same origin, and says so."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json" and answer.headers["x-request-id"]
    problem = answer.json()
    assert problem["type"] == "urn:nsecast:foreign-host" and "http://localhost" in problem["detail"]
    assert "allowed_hosts" in problem["detail"] and "keys" in problem["detail"]


def test_two_host_headers_are_refused_even_if_the_first_is_local(client):
    answer = client.post(CLEAR, headers=[("Host", "localhost"), ("Host", "evil.example")])
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["10.1.2.3:8000", "evil.example"])
def test_probes_are_answered_whatever_the_host(client, path, host):
    """Kubernetes asks by the pod's address; there is no release, hence 503 of /readyz."""
    assert client.get(path, headers={"Host": host}).status_code == (200 if path == "/healthz" else 503)


def test_with_keys_any_host_and_origin_is_answered(tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    key = file.create("operator", ("admin",))
    client = service(tmp_path, keys=str(file.path), loopback=False)
    headers = {"Host": "nse.example", "Origin": EVIL, "Sec-Fetch-Site": "cross-site", "X-API-Key": key}
    assert client.post(CLEAR, headers=headers).status_code == 200
    assert client.post(CLEAR, headers=headers | {"X-API-Key": "none"}).status_code == 401


def test_names_that_the_operator_allows_are_answered_and_count_as_the_same_origin(tmp_path):
    client = service(tmp_path, allowed_hosts=("NSE.example",))
    headers = {"Host": "nse.example", "Origin": "https://nse.example"}
    assert client.post(CLEAR, headers=headers).status_code == 200
    assert client.post(CLEAR, headers={"Host": "www.nse.example"}).status_code == 403


FOREIGN = {
    "form of another site": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "old browser": {"Origin": EVIL},
    "sandboxed frame": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "no origin": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "another port of this machine": {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    "another name of this machine": {"Origin": "http://127.0.0.1:8000"},
    "malformed": {"Origin": "http://["},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_pages_of_other_sites_are_refused_by_every_route_that_needs_admin_rights(client, headers):
    for path in sorted(ADMIN):
        answer = client.post(path, headers={"Host": "localhost:8000"} | headers)
        assert answer.status_code == 403, path
        problem = answer.json()
        assert problem["type"] == "urn:nsecast:cross-site" and "--cors" in problem["detail"]


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_pages_of_other_sites_cannot_make_this_machine_forecast(client, headers):
    """They could not read the answer, and still use up the rate of this machine's own programs."""
    headers = {"Host": "localhost:8000"} | headers
    for path in ("/api/v4/predict/all", "/api/v4/outlook/SCOM"):
        assert client.get(path, headers=headers).status_code == 403
    assert client.post("/api/v4/predict", headers=headers, json={"symbol": "SCOM"}).status_code == 403


def test_every_route_that_changes_the_service_is_looked_at(tmp_path):
    routes = make_api(ModelClient(None, None, ServeSettings(home=str(tmp_path), access_log="off"))).routes
    client = service(tmp_path)
    posts = [route.path for route in routes if "POST" in route.methods]
    assert set(posts) >= ADMIN
    for path in posts:
        assert client.post(path, headers={"Origin": EVIL}, json={}).status_code in (403, 422), path


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": HERE, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Origin": HERE},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=["a program", "the dashboard", "the dashboard in an old browser", "its GET", "typed in"],
)
def test_programs_and_the_servers_own_page_are_answered(client, headers):
    headers = {"Host": "localhost:8000"} | headers
    assert client.post(CLEAR, headers=headers).status_code == 200
    assert client.get(HEALTH, headers=headers).status_code == 503  # there is no release


def test_a_link_from_another_site_may_be_followed(client):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=headers).status_code == 200
    assert client.get(HEALTH, headers=headers).status_code == 503


def test_configured_origins_are_answered_and_a_star_gives_no_admin_rights(tmp_path):
    partner = {"Origin": "https://partner.example", "Sec-Fetch-Site": "cross-site"}
    named = service(tmp_path, cors_origins=("https://partner.example",))
    assert named.post(CLEAR, headers=partner).status_code == 200
    assert named.get(HEALTH, headers=partner).status_code == 503
    assert named.post(CLEAR, headers={"Origin": EVIL}).status_code == 403
    anyone = service(tmp_path, cors_origins=("*",))
    assert anyone.get(HEALTH, headers=partner).status_code == 503
    assert anyone.post(CLEAR, headers=partner).status_code == 403
