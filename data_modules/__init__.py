"""LightningDataModules that read public medical image-text data sets in their true layouts."""
