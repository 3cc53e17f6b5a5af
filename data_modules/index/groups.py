"""Groups of samples that are never negatives of each other: connected components over shared keys."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_modules.index.hashing import stable_hash
from data_modules.index.words import normalise


def connected_groups(frame: pd.DataFrame, keys: tuple[str, ...], named_by: str = "id") -> pd.Series:
    """int64 hash of each row's component: rows are joined by an equal value in any of ``keys``.

    ``text`` is compared in normalised form; blanks and absent columns join nothing. The hash is that of the
    component's smallest value of ``named_by``, of ``id`` where all are blank, whatever the order of rows.
    """
    count = len(frame)
    nodes, total = [np.zeros(0, int)], count
    rows = [np.zeros(0, int)]
    for key in keys:
        if key not in frame:
            continue
        codes, values = pd.factorize(frame[key].replace("", pd.NA))
        if key == "text":
            joined = pd.Series(values, dtype="str").map(normalise).replace("", pd.NA)
            codes = np.where(codes < 0, -1, pd.factorize(joined)[0][codes])
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        nodes.append(codes[known] + total)
        total += int(codes.max(initial=-1)) + 1
    edges = (np.concatenate(rows), np.concatenate(nodes))
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(total, total))
    component = pd.Series(connected_components(graph, directed=False)[1][:count], index=frame.index)
    smallest = _smallest(frame[named_by], component).fillna(_smallest(frame["id"], component))
    return component.map(smallest.map(lambda name: stable_hash("group", name))).astype("int64")


def _smallest(values: pd.Series, component: pd.Series) -> pd.Series:
    named = values.astype("string")
    return named.where(named.fillna("") != "").groupby(component).min()
