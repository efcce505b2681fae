"""The same measures one checkpoint and one frequency at a time: `plain_measures`, or a file with such a `measure`."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
from protocol import read_job, serve

job = read_job()
torch.set_num_threads(job["threads"])
path = Path(job["code"])
sys.path.insert(0, str(path.parents[1]))  # a file that belongs to a package may import from it
spec = importlib.util.spec_from_file_location(f"{path.parent.name}.{path.stem}", path)
assert spec is not None
assert spec.loader is not None
code = importlib.util.module_from_spec(spec)
spec.loader.exec_module(code)
with np.load(job["material"]) as file:
    tensors = {name: torch.from_numpy(file[name]).double() for name in file.files}
train = tensors.pop("train_rows").long()


def repeat(repetition: int) -> dict:
    """Return the checkpoints of this repetition; their values into a file next to the job."""
    chosen = job["checkpoints"][repetition % len(job["checkpoints"])]
    rows = [
        code.measure({name: tensor[index] for name, tensor in tensors.items()}, train, job["frequencies"])
        for index in chosen
    ]
    values = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    np.savez(f"{job['values']}_{repetition}.npz", **values)  # pyright: ignore[reportArgumentType]
    return {"units": len(chosen), "measures": len(values)}


serve({"computed": job["what"]}, repeat)
