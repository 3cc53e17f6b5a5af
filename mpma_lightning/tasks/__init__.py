"""One LightningModule a file; the base owns the skeleton."""
