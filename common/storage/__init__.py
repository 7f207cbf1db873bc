"""Storage in a folder, or in an object store through a folder that mirrors it.

A storage root is a `Path` in either case. Files below it are written and read through this package, which
keeps a mirror and its object store in step (`common.storage.mirror`).
"""

from common.storage.errors import Changed, StorageError
from common.storage.files import (
    atomic_path,
    current,
    exists,
    finite,
    found,
    json_bytes,
    looked,
    names,
    push,
    remove,
    remove_tree,
    sha256,
    sync_file,
    sync_folder,
    write_bytes,
    write_json,
    write_with,
)
from common.storage.leases import Lease
from common.storage.local import exclusive_here
from common.storage.locks import claim, exclusive, lease_of
from common.storage.mirror import Mirror
from common.storage.object_store import Entry, ObjectStore
from common.storage.root import address_of, adopt, home, locate, mirror_of, shown

__all__ = [
    "Changed",
    "Entry",
    "Lease",
    "Mirror",
    "ObjectStore",
    "StorageError",
    "address_of",
    "adopt",
    "atomic_path",
    "claim",
    "current",
    "exclusive",
    "exclusive_here",
    "exists",
    "finite",
    "found",
    "home",
    "json_bytes",
    "lease_of",
    "locate",
    "looked",
    "mirror_of",
    "names",
    "push",
    "remove",
    "remove_tree",
    "sha256",
    "shown",
    "sync_file",
    "sync_folder",
    "write_bytes",
    "write_json",
    "write_with",
]
