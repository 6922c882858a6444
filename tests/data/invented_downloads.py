"""Builds small downloads in each layout; images are empty files unless bytes are given: sources do not open images."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

NNUNET = {
    "channel_names": {"0": "FLAIR", "1": "T1w", "2": "T1gd", "3": "T2w"},
    "labels": {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3},
    "file_ending": ".nii.gz",
}
COLLECTION = (
    '"Image Data ID","Subject","Group","Sex","Age","Visit","Modality","Description","Type","Acq Date","Format",'
    '"Downloaded"'
)
ADNIMERGE = (
    '"RID","PTID","VISCODE","SITE","COLPROT","ORIGPROT","EXAMDATE","DX_bl","AGE","PTGENDER","DX","EXAMDATE_bl",'
    '"Years_bl"'
)


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def add_nnunet(root: Path, *cases: str, image: bytes = b"", labels: bytes = b"", **about) -> Path:
    for case in cases:
        for channel in range(4):
            put(root / "imagesTr" / f"{case}_{channel:04d}.nii.gz", image)
        put(root / "labelsTr" / f"{case}.nii.gz", labels)
    put(root / "dataset.json", json.dumps({**NNUNET, "numTraining": len(cases), **about}).encode())
    return root


def add_bids(root: Path, participants: str, *images: str, content: bytes = b"") -> Path:
    """Participants' values are given with commas, images without .nii.gz."""
    put(root / "participants.tsv", participants.replace(",", "\t").encode())
    put(root / "dataset_description.json", b'{"Name": "Ours", "BIDSVersion": "1.10.0"}')
    for image in images:
        parts = image.split("_")
        session = [part for part in parts if part.startswith("ses-")]
        put(root.joinpath(parts[0], *session, "anat", f"{image}.nii.gz"), content)
    return root


def add_sessions(root: Path, subject: str, text: str) -> Path:
    return put(root / subject / f"{subject}_sessions.tsv", text.replace(",", "\t").encode())


def collection_row(image, subject="301_S_6056", group="CN", age=71, visit="sc", day="3/13/2018", **changes) -> str:
    row = {"sex": "F", "modality": "MRI", "description": "MPRAGE", "kind": "Original", **changes}
    values = (f"I{image}", subject, group, row["sex"], age, visit, row["modality"], row["description"], row["kind"])
    return ",".join(f'"{value}"' for value in (*values, day, "DCM", "1/02/2024"))


def merge_row(rid=6056, viscode="bl", protocol="ADNI3", day="2018-04-13", dx="CN", **changes) -> str:
    row = {"dx_bl": "CN", "age": 71.2, "sex": "Female", "bl": "2018-04-13", "years": "", **changes}
    values = (rid, f"301_S_{rid}", viscode, 301, protocol, protocol, day, row["dx_bl"], row["age"], row["sex"], dx)
    return ",".join(f'"{value}"' for value in (*values, row["bl"], row["years"]))


def write_lines(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    return put(path, ("\n".join(lines) + "\n").encode(encoding))


def add_table(root: Path, suffix: str = ".csv", content: bytes = b"") -> Path:
    rows = {
        "subject": ["p2", "p1"], "age_years": [61.5, 62.0], "sex": ["M", "F"], "diagnosis": ["CN", "AD"],
        "image": ["2.nii.gz", "1.nii.gz"],
    }  # fmt: skip
    for name in rows["image"]:
        put(root / name, content)
    path = root / f"people{suffix}"
    frame = pd.DataFrame(rows)
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path, index=False)
    return path
