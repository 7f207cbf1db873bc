"""Releases with arbitrary files, published in a registry."""

import json

from common.release.manifest import MANIFEST, _digest

FILES = {
    "general/model.onnx": b"weights" * 50,
    "specific/SCOM/model.onnx": b"more weights" * 50,
    "config.toml": b"seed = 7\n",
}


def publish(registry, release_id, files=FILES, **info):
    staging = registry.stage(release_id)
    for name, content in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    return registry.publish(staging, release_id, info=info)


def rewrite_manifest(published, **changes):
    """Alter a manifest the way a careful forger would, its own digest included."""
    manifest = json.loads(published.file(MANIFEST).read_text()) | changes
    manifest["digest"] = _digest(manifest)
    published.file(MANIFEST).write_text(json.dumps(manifest))


def staging_folders(registry):
    return list(registry.folder.glob(".staging-*"))
