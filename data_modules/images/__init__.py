"""Pixels: where an image lies, decoding, DICOM, masks and boxes, augmentation."""
