"""Both clients, and a server that answers by a script."""

import pytest
from support.serving.client import Waited
from support.serving.server import scripted_server

from serve.client import Client


@pytest.fixture(params=[Client, Waited], ids=["sync", "async"])
def kind(request):
    return request.param


@pytest.fixture
def script():
    with scripted_server() as result:
        yield result
