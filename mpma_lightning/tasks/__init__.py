"""Tasks: one LightningModule per file."""
