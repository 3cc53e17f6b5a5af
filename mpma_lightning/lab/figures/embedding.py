"""The embedding map of a run, coloured by finding."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from data_modules.errors import UserError, expect
from mpma_lightning.figures.embedding_map import embedding_map, in_the_plane
from mpma_lightning.lab.figures.opened import Opened, drawn
from mpma_lightning.lab.figures.wanted import Drawn, Wanted

SAMPLES = 1000
HEALTHY = "No Finding"


def embedding(wanted: Wanted) -> Drawn:
    """Pooled features of the image encoder, of samples spread evenly over the split."""
    count = wanted.samples or SAMPLES
    expect(count >= 10, "--samples", count, "at least 10")

    def draw(opened: Opened) -> Mapping[str, Figure]:
        task, data = opened.task, opened.data
        if "image" not in task.backbone.parts:
            raise UserError(f"{wanted.runs[0]} has no image encoder: its parts are {', '.join(task.backbone.parts)}")
        rows = data.split_rows(opened.stage)
        names = [name for name in data.label_names if name in rows and name != HEALTHY]
        if not (rows[names] == 1).any(axis=None):
            raise UserError(f"{data.spec.name} has no positive labels to colour by in its {opened.stage} split")
        ids = opened.all_ids()
        places = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int)).tolist()
        features = [task.backbone.image(task.images(batch)).pooled.float().cpu() for batch in opened.batches(places)]
        labels = rows.set_index("id").loc[[ids[i] for i in places], names].to_numpy(float)
        points = in_the_plane(np.concatenate([each.numpy() for each in features]))
        what = f"Image embeddings of {len(places):,} films"
        return {"embedding": embedding_map(points, labels, names, what)}

    return drawn(wanted, draw, "embedding", patients=False)
