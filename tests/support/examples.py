"""How many examples a property test that costs seconds tries."""

import os

ALL = "NSECAST_ALL_EXAMPLES"
"""If 1, all of them (`make test-all`); otherwise (`make test`) a quarter."""


def examples(number: int) -> int:
    return number if os.environ.get(ALL) == "1" else -(-number // 4)
