"""A log of served forecasts in the hands of someone who can write its files."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import MemoryStore
from support.releases.receipts import BEFORE, day_log, made_log, parts, rewrite_as_before, write
from support.storage.store import machine

from common import storage
from serve.audit.files import SCHEMA, Link, fold, read_part, write_part
from serve.audit.hash_chain import check, digest_of


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return made_log(tmp_path_factory.mktemp("home"))


@pytest.fixture
def copy(log, tmp_path):
    return shutil.copytree(log, tmp_path / "served")


def rewritten(path, change, *, honest):
    """A part with other rows, its name right again; ``honest``: with the digest that these rows have."""
    table, (link,) = read_part(path)
    table = change(table)
    plain = link.__dict__ | {"rows": len(table)}
    if honest:
        plain["digest"] = digest_of(Link(**plain), table)
    path.unlink()
    return write_part(path.parent, path.stem.rpartition("-")[0], table, [Link(**plain)])


def priced(table):
    at = table.column_names.index("published")
    return table.set_column(at, "published", pa.array([99.5] * len(table)))


CHANGES = {
    "edited": priced,
    "reordered": lambda table: table.take(list(reversed(range(len(table))))),
    "one row gone": lambda table: table.slice(1),
    "one row twice": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("honest", [False, True])
def test_rows_changed_by_someone_who_can_write_parquet_are_noticed(copy, change, honest):
    """Even with a digest of their own, since the next part states another."""
    path = rewritten(parts(copy)["KCB,SCOM"], change, honest=honest)
    chain = check(copy)
    assert chain.verdict == "broken" and path.name in chain.problems[0]


def test_a_part_put_into_another_day_and_the_same_place_twice_are_noticed(copy, tmp_path):
    path = parts(copy)["BAT"]
    path.rename(copy / "2022-04-02" / path.name)
    assert any("it is of 2022-04-03" in problem for problem in check(copy).problems)


def test_rows_folded_and_apart_count_once_and_other_rows_in_the_same_place_are_noticed(copy):
    day = parts(copy)["BAT"].parent
    apart = shutil.copytree(day, copy.parent / "apart")
    fold(day)
    for path in apart.iterdir():
        shutil.copy(path, day)
    chain = check(copy)
    assert chain.verdict == "intact" and chain.parts == 9
    path = rewritten(parts(copy)["BAT"], priced, honest=True)
    assert any(path.name in problem or "twice" in problem for problem in check(copy).problems)


def test_files_written_before_the_chain_existed_are_read_reported_and_left_unchanged(copy):
    table = (
        read_part(parts(copy)["BAT"])[0]
        .select(SCHEMA.names[: SCHEMA.names.index("as_of")])
        .replace_schema_metadata({})
    )
    day = copy / "2022-04-01"
    for name in ("0123456789ab-000000", "all-0123456789ab"):
        pq.write_table(table, day / f"{name}.parquet")
        result, links = read_part(day / f"{name}.parquet")
        assert links == [] and result.schema == SCHEMA and result["request_ids"].null_count == 1
        assert result["probability_up"].null_count == result["expected_change_percent"].null_count == 1
    before = sorted(path.name for path in day.iterdir())
    fold(day)
    assert sorted(path.name for path in day.iterdir()) == before
    chain = check(copy)
    assert chain.verdict == "intact" and len(chain.unchained) == 2 and chain.parts == 9


def test_files_with_fewer_columns_are_read_folded_and_followed_by_those_of_now(tmp_path):
    log = day_log(tmp_path)
    write(log, 0, "KCB")
    write(log, 0, "SCOM")
    rewrite_as_before(tmp_path / "served", {"KCB-0": "chosen"})
    assert pq.read_schema(parts(tmp_path / "served", 0)["KCB"]).names == BEFORE.names
    assert check(tmp_path / "served").verdict == "intact"
    write(day_log(tmp_path), 1, "BAT")
    ((_, path),) = parts(tmp_path / "served", 0).items()
    assert path.name.startswith("all-")
    chain = check(tmp_path / "served")
    assert (chain.verdict, chain.parts) == ("intact", 3)
    rows = read_part(path)[0].to_pylist()
    assert [row["request_ids"] for row in rows] == [["chosen"], ["SCOM-0"]]
    assert all(row["form"] is None and row["prices"] is None for row in rows)


def test_a_file_whose_links_were_removed_does_not_pass_as_an_old_one(copy):
    path = parts(copy)["KCB,SCOM"]
    table = pq.read_table(path).replace_schema_metadata({})
    path.unlink()
    pq.write_table(table, path.with_name("0123456789ab-000000.parquet"))
    chain = check(copy)
    assert chain.verdict == "broken" and len(chain.unchained) == 1


def test_an_invented_writer_of_a_past_day_is_detected(copy, tmp_path):
    """Forecasts added once the prices are known; on the newest day they cannot be detected."""
    (tmp_path / "other").mkdir()
    made_up = day_log(tmp_path / "other")
    write(made_up, 1, "SCOM")
    ((_, path),) = parts(tmp_path / "other" / "served", 1).items()
    shutil.copy(path, copy / "2022-04-02")
    late = f"2022-04-02/{path.name}: {path.name[:12]} was not there yet when 2022-04-03/"
    assert any(problem.startswith(late) for problem in check(copy).problems)


def test_machines_that_share_an_object_store_write_one_log(tmp_path, no_mirrors):
    store = MemoryStore()
    homes = [machine(tmp_path / name, store) for name in ("one", "two", "three")]
    logs = [day_log(home) for home in homes[:2]]
    for day in (0, 1, 2):
        for log, symbol in zip(logs, ("KCB", "SCOM"), strict=True):
            write(log, day, symbol)
    chain = check(homes[2] / "served")
    assert (chain.verdict, chain.parts, len(chain.heads)) == ("intact", 6, 2)
    (middle,) = storage.fetch_matching(homes[1] / "served" / "2022-04-02", "*.parquet")
    storage.remove(middle)
    assert check(homes[2] / "served").verdict == "broken"


def test_writers_that_fold_and_look_at_once_leave_an_intact_chain(tmp_path):
    logs, days = [day_log(tmp_path) for _ in range(3)], 6
    together = threading.Barrier(len(logs))

    def work(log, symbol):
        for day in range(days):
            together.wait()
            for _ in range(3):
                write(log, day, symbol)

    with ThreadPoolExecutor(len(logs)) as pool:
        list(pool.map(work, logs, ("KCB", "SCOM", "BAT")))
    chain = check(tmp_path / "served")
    assert (chain.problems, chain.parts) == ([], 3 * 3 * days)
