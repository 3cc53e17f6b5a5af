"""The command `app`: a page on this computer to look through a checkpoint."""
