"""The published table of clock and pizza runs: Zhong et al. 2306.17844, released with their code.

One row a training run. Its `distance_irrelevance` is that of the largest wrong logit, while the text of the paper has
that of the right answer's; its `gradient_sim` comes from 100 triples, with a standard error of up to 0.04.
"""

import csv
import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError

SOURCE = "Zhong et al. 2306.17844, released table of runs"
CIRCULAR = 0.995  # circularity of an embedding that counts as circular (2306.17844, appendix)
COLUMNS = {
    "attn_coeff": ("attention_rate", "attention rate"),
    "gradient_sim": ("gradient_symmetricity", "gradient symmetricity"),
    "distance_irrelevance": ("distance_irrelevance_top_wrong", "distance irrelevance (largest wrong logit)"),
    "circularity": ("circularity", "circularity"),
}
ONE_LAYER = {"n_layers": 1, "diff_vocab": 0, "eqn_sign": 0}  # addition, both tokens from one embedding


def read_published_runs(path: str | Path) -> xr.Dataset:
    """Return the one-layer runs of the paper from its table.

    Parameters
    ----------
    path : str or Path
        CSV with a header, as it is or compressed (.gz).

    Returns
    -------
    xarray.Dataset
        `attention_rate`, `gradient_symmetricity`, `distance_irrelevance_top_wrong` and `circularity` over `run`, of the
        runs of `ONE_LAYER` that have all of them (2,381 in the released table, 817 of them with `CIRCULAR` embeddings).

    Raises
    ------
    SltGrokError
        The file is missing or no such table, lacks a column, or holds no such run.
    """
    path = Path(path)
    needed = (*COLUMNS, *ONE_LAYER)
    try:
        with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in needed if name not in (rows.fieldnames or ())]
            if missing:
                raise SltGrokError(
                    f"{path}: expected the published table of clock and pizza runs, it lacks {', '.join(missing)}"
                )
            found = np.array([[float(row[name] or math.nan) for name in needed] for row in rows]).reshape(
                -1, len(needed)
            )
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such file; expected the published table of clock and pizza runs") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, TypeError, ValueError) as error:
        raise SltGrokError(
            f"{path}: expected a CSV file with a number in each of {', '.join(needed)} ({error})"
        ) from error
    values, kind = np.split(found, [len(COLUMNS)], axis=1)
    chosen = values[np.isfinite(values).all(1) & (kind == list(ONE_LAYER.values())).all(1)]
    if not len(chosen):
        raise SltGrokError(f"{path}: expected one-layer runs of addition with their measures, it has none")
    return xr.Dataset(
        {
            name: ("run", column, {"long_name": long_name, "source": SOURCE})
            for (name, long_name), column in zip(COLUMNS.values(), chosen.T, strict=True)
        }
    )
