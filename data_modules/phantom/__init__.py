"""Synthetic chest radiographs and reports with planted findings, written in the real MIMIC-CXR layout::

  <out>/mimic-cxr-jpg/                image root: files/, mimic-cxr-2.0.0-*.csv.gz, IMAGE_FILENAMES
  <out>/mimic-cxr/                    report root: mimic-cxr-reports/files/, cxr-*-list.csv.gz
  <out>/truth/labels.csv              exact labels of every image: 14 columns of 0/1; a study's images share them
  <out>/truth/findings.jsonl          one line an image: what that film shows, with name, side, zone, size, kind, count,
                                      phrase, box [x0, y0, x1, y1) in pixels and rle (read it with `decode_mask`)
  <out>/layouts/<name>/               with `--layouts`: the same films as other data sets have them
  <out>/phantom.json                  options, counts and whether the phantom is complete

With `--progression true` patients have two or three studies, whose findings grow, shrink, come and go, and reports that
say so; `layouts/ms_cxr_t` has the exact truth.
Report labels differ from the exact ones as in reality: doubtful mentions are -1, what is not mentioned is blank.
"""

from data_modules.phantom.patient import decode_mask
from data_modules.phantom.writer import write_phantom

__all__ = ["decode_mask", "write_phantom"]
