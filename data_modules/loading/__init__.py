"""From rows of an index to batches: data set, batch sampler, resumable loader."""
