"""A storage root in an object store, and its mirror on this machine."""

import errno
import json

import pytest
from obstore.store import MemoryStore
from support.storage.store import machine, objects

from common import storage

pytestmark = pytest.mark.usefixtures("no_mirrors")


@pytest.fixture
def two(tmp_path):
    """The storage roots of two machines with one store."""
    store = MemoryStore()
    return machine(tmp_path / "a", store, Counting), machine(tmp_path / "b", store, Counting)


class Counting(storage.ObjectStore):
    """Records the calls of the store, and can refuse writes."""

    broken = False

    def __init__(self, url, store):
        super().__init__(url, store)
        self.calls = []

    def download(self, key, target, *, unless=None):
        result = super().download(key, target, unless=unless)
        self.calls.append(("download" if result else "same", key))
        return result

    def below(self, prefix):
        self.calls.append(("list", prefix))
        return super().below(prefix)

    def put(self, key, content):
        if self.broken:
            raise storage.StorageError(f"{key}: no")
        return super().put(key, content)


def calls_of(home):
    store = storage.mirror_of(home).store
    result, store.calls = store.calls, []
    return result


def test_in_a_plain_folder_everything_is_the_file_itself(tmp_path):
    path = tmp_path / "runs" / "r" / "run.json"
    storage.write_json(path, {"a": 1})
    assert storage.mirror_of(path) is None
    assert storage.up_to_date(path) is path and storage.exists(path) and not storage.exists(tmp_path / "b")
    assert storage.address_of(path) == storage.display_path(path) == str(path)
    assert storage.locate(str(path)) == path
    assert (
        storage.fetch_matching(tmp_path / "runs", "*/run.json")
        == storage.matching_names(tmp_path, "runs/*/*")
        == [path]
    )
    with storage.listed_once(tmp_path):
        storage.upload(path)
    storage.remove(path)
    storage.remove(path)
    assert not path.exists() and storage.up_to_date(path) is path
    storage.remove_tree(tmp_path / "runs")
    storage.remove_tree(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_file_written_on_one_machine_is_read_on_another(two):
    here, there = two
    storage.write_json(here / "runs/r/run.json", {"a": 1})
    assert json.loads(storage.up_to_date(there / "runs/r/run.json").read_bytes()) == {"a": 1}
    storage.write_bytes(there / "runs/r/run.json", b"2")
    assert storage.up_to_date(here / "runs/r/run.json").read_bytes() == b"2"


def test_a_file_that_did_not_change_is_not_downloaded_again(two):
    here, there = two
    path, other = here / "runs/r/panel.parquet", there / "runs/r/panel.parquet"
    storage.write_bytes(path, b"prices")
    storage.up_to_date(path)
    assert calls_of(here) == [("same", "runs/r/panel.parquet")]
    for _ in range(2):
        storage.up_to_date(other)
    assert calls_of(there) == [("download", "runs/r/panel.parquet"), ("same", "runs/r/panel.parquet")]


def test_a_modified_copy_is_downloaded_again(two):
    here, there = two
    storage.write_bytes(here / "config.json", b"true")
    storage.up_to_date(there / "config.json").write_bytes(b"nope")
    assert storage.up_to_date(there / "config.json").read_bytes() == b"true"


def test_a_file_deleted_in_the_store_is_gone_even_if_a_local_copy_exists(two):
    here, there = two
    storage.write_bytes(here / "a/b", b"1")
    storage.up_to_date(there / "a/b")
    storage.remove(here / "a/b")
    with pytest.raises(FileNotFoundError, match="s3://memory/home/a/b"):
        storage.up_to_date(there / "a/b")
    assert not storage.exists(there / "a/b") and storage.fetch_matching(there, "a/*") == []


def test_a_tree_is_removed_in_the_store_even_without_local_copies(two):
    here, there = two
    for name in ("runs/r/a", "runs/r/b/c", "runs/rest"):
        storage.write_bytes(here / name, b"1")
    storage.remove_tree(there / "runs" / "r")
    assert objects(here) == {"runs/rest"}


def test_hidden_and_machine_specific_files_stay_local(two):
    here, there = two
    stays = ("releases/.staging-x/a", ".probe", "market/seed-7/1.csv", "cluster/cluster.json")
    for name in (*stays, "serve/server.json", "serve/logs/1", "serve/keys.json", "marketing"):
        storage.write_bytes(here / name, b"1")
    assert objects(there) == {"serve/keys.json", "marketing"}
    assert storage.up_to_date(here / "market/seed-7/1.csv").read_bytes() == b"1"


def test_a_write_that_the_store_refuses_leaves_both_sides_as_they_were(two):
    here, there = two
    storage.write_bytes(here / "result.json", b"old")
    storage.mirror_of(here).store.broken = True
    with pytest.raises(storage.StorageError):
        storage.write_bytes(here / "result.json", b"new")
    assert storage.up_to_date(there / "result.json").read_bytes() == b"old"
    assert (here / "result.json").read_bytes() == b"old"
    assert [path.name for path in here.iterdir() if path.name.startswith(".result")] == []


NAMES = ("a/run.json", "b/run.json", "b/tasks/t/result.json", "c/other.json", "x.json")


@pytest.mark.parametrize("pattern", ["*/run.json", "*.json", "**/result.json", "b/*.json", "?/tasks/t/*"])
def test_patterns_find_what_they_find_in_a_plain_folder(two, tmp_path, pattern):
    here, there = two
    for name in NAMES:
        storage.write_bytes(here / "runs" / name, f"runs/{name}".encode())
        storage.write_bytes(tmp_path / "plain/runs" / name, b"")
    expected = sorted((tmp_path / "plain/runs").glob(pattern))
    paths = storage.fetch_matching(there / "runs", pattern)
    assert [path.relative_to(there) for path in paths] == [
        path.relative_to(tmp_path / "plain") for path in expected
    ]
    assert all(path.read_bytes() == path.relative_to(there).as_posix().encode() for path in paths)


def test_one_listing_serves_a_folder_and_includes_later_writes(two):
    here, there = two
    for name in ("a", "b"):
        storage.write_bytes(here / f"tasks/{name}/result.json", b"1")
    storage.write_bytes(here / "tasks/a/state.npz", b"large")
    with storage.listed_once(there / "tasks", "result.json"):
        assert sorted(calls_of(there)) == [
            ("download", "tasks/a/result.json"),
            ("download", "tasks/b/result.json"),
            ("list", "tasks"),
        ]
        assert storage.exists(there / "tasks/a/result.json")
        assert not storage.exists(there / "tasks/c/result.json")
        storage.write_bytes(there / "tasks/c/result.json", b"3")
        assert storage.exists(there / "tasks/c/result.json")
        storage.remove(there / "tasks/a/result.json")
        assert not storage.exists(there / "tasks/a/result.json")
        assert calls_of(there) == []
        assert storage.up_to_date(there / "tasks/a/state.npz").read_bytes() == b"large"
    with pytest.raises(FileNotFoundError):
        storage.up_to_date(there / "tasks/d")
    assert len(calls_of(there)) == 1, "outside the block the store is listed again"


def test_a_conditional_write_succeeds_unless_another_writer_was_first(two):
    store = storage.mirror_of(two[0]).store
    first = store.put_if("alias", b"one", None)
    with pytest.raises(storage.Changed):
        store.put_if("alias", b"two", None)
    second = store.put_if("alias", b"two", first)
    with pytest.raises(storage.Changed):
        store.put_if("alias", b"three", first)
    assert store.read("alias")[0] == b"two" and store.head("alias").version == second


def test_a_write_whose_answer_was_lost_counts_as_written(two):
    """The library tries again after a broken connection, and then meets its own object."""
    store = storage.mirror_of(two[0]).store
    version = store.put("manifest", b"ours")
    assert store.put_if("manifest", b"ours", None) == version


def test_support_for_conditional_writes_is_tested_on_a_separate_object(two, caplog):
    here, there = (storage.mirror_of(home).store for home in two)
    assert here.keeps_conditions and there.keeps_conditions
    assert objects(two[0]) == {".nsecast-probe"} and not caplog.records


class Careless(storage.ObjectStore):
    """Ignores conditions, as some servers do."""

    def _refuses(self, mode):
        return False


def test_a_store_that_ignores_conditions_is_named_once_and_compared_before_writing(tmp_path, caplog):
    store = Careless("s3://careless/x", MemoryStore())
    first = store.put_if("alias", b"one", None)
    second = store.put_if("alias", b"two", first)
    for content, before in ((b"three", None), (b"three", first)):
        with pytest.raises(storage.Changed):
            store.put_if("alias", content, before)
    assert store.head("alias").version == second
    (record,) = caplog.records
    assert "s3://careless/x ignores conditional writes" in record.getMessage()


@pytest.mark.parametrize(
    "said", [("83647 requested and 1520 written",), (errno.ENOSPC, "No space left on device")]
)
def test_a_disk_that_is_full_is_told_with_the_file_that_was_written(tmp_path, said):
    def write(path):
        raise OSError(*said)

    with pytest.raises(OSError, match=r"No space left on device.*: '.*offsets\.npy'"):
        storage.write_with(tmp_path / "offsets.npy", write)
    assert not list(tmp_path.iterdir())
