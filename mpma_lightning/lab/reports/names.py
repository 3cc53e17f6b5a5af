"""Names of metrics as a reader says them."""

import re

_SPELT = {
    "ap": "AP", "auroc": "AUROC", "cnr": "CNR", "dice": "Dice", "f1": "F1", "i2t": "image→text",
    "iou": "IoU", "map": "mAP", "mrr": "MRR", "mse": "MSE", "t2i": "text→image",
}  # fmt: skip
_PATTERNS = (
    (r"\bfraction (\d+(?:\.\d+)?)(?= |$)", lambda found: f"{100 * float(found[1]):g} % of the labels"),
    (r"\bmAP 40 75 mgca\b", "mAP@.40-.75 of MGCA"),
    (r"\bmAP (\d\d)\b", r"mAP@.\1"),
    (r"\bmar (\d+)\b", r"mAR of \1 boxes"),
    (r"\bprobe(\d+)\b", r"probe of \1 studies,"),
    (r"\b([rp])(\d+)\b", lambda found: f"{found[1].upper()}@{found[2]}"),
    (r"\b(zero|in|label) (shot|batch|fraction)\b", r"\1-\2"),
)


def in_words(name: str) -> str:
    """``zero_shot_auroc`` is "zero-shot AUROC", ``fraction_0.1/auroc`` is "10 % of the labels · AUROC"."""
    parts = (" ".join(_SPELT.get(word, word) for word in part.split("_")) for part in name.split("/"))
    text = " · ".join(parts)
    for pattern, spelt in _PATTERNS:
        text = re.sub(pattern, spelt, text)
    return text
