"""What kind of disk a path lies on: SQLite's locks do not hold on a network's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

NETWORK = {
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "macfuse",
    "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "osxfuse", "panfs", "pvfs2", "quobyte", "smb2", "smb3",
    "smbfs", "virtiofs", "wekafs",
}  # fmt: skip
"""Types of file systems that more than one machine can write."""
LOCAL_FUSE = {"fuseblk", "fuse.fuse-overlayfs", "fuse.fuseblk", "fuse.ntfs-3g"}
"""Those of FUSE's that lie on a disk of the machine: NTFS and exFAT, the layers of a container."""


def network_type(path: Path, mounts: Mapping[Path, str] | None = None) -> str | None:
    """Return the type of the file system of a path if it is a network's, else None.

    Args:
        path: need not exist.
        mounts: type by mount point; None: of this machine.
    """
    mounts = _mounts() if mounts is None else mounts
    path = path.resolve()
    kind = next((mounts[folder] for folder in (path, *path.parents) if folder in mounts), "")
    fuse = kind.startswith("fuse") and kind not in LOCAL_FUSE
    return kind if fuse or kind.lower() in NETWORK else None


def _mounts() -> dict[Path, str]:
    """Return the types by mount point; of several on one point the last, which hides the others."""
    return {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
