"""Storage in a folder, or in an object store through a folder that mirrors it.

A storage root is a `Path` in either case. Files below it are written and read through this package, which
keeps a mirror and its object store in step (`common.storage.mirror`).
"""

from common.storage.errors import Changed, StorageError
from common.storage.files import (
    atomic_path,
    exists,
    fetch_matching,
    finite,
    json_bytes,
    listed_once,
    matching_names,
    remove,
    remove_tree,
    sha256,
    sync_file,
    sync_folder,
    up_to_date,
    upload,
    write_bytes,
    write_json,
    write_with,
)
from common.storage.leases import Lease
from common.storage.local import exclusive_here
from common.storage.locks import exclusive, is_locked, lease_of, lock_or_fail
from common.storage.mirror import Mirror
from common.storage.object_store import Entry, ObjectStore
from common.storage.root import address_of, display_path, home, locate, mirror_of, register_mirror

__all__ = [
    "Changed",
    "Entry",
    "Lease",
    "Mirror",
    "ObjectStore",
    "StorageError",
    "address_of",
    "atomic_path",
    "display_path",
    "exclusive",
    "exclusive_here",
    "exists",
    "fetch_matching",
    "finite",
    "home",
    "is_locked",
    "json_bytes",
    "lease_of",
    "listed_once",
    "locate",
    "lock_or_fail",
    "matching_names",
    "mirror_of",
    "register_mirror",
    "remove",
    "remove_tree",
    "sha256",
    "sync_file",
    "sync_folder",
    "up_to_date",
    "upload",
    "write_bytes",
    "write_json",
    "write_with",
]
