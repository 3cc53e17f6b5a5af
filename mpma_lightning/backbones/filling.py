"""Fill modules from a checkpoint; a poor match is refused with nothing loaded."""

from collections.abc import Mapping

from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones.checkpoint import Checkpoint
from mpma_lightning.backbones.tensor_match import find, moves_rows, resized
from mpma_lightning.backbones.weight_match import DECISIVE, LEAST_MATCH, WeightMatch, print_matches

ADVICE = (
    "Use the backbone the checkpoint was made with (leave model.backbone out to take it from the file), or name in "
    "model.checkpoint_parts the parts to take"
)


def fill(
    modules: Mapping[str, nn.Module], checkpoint: Checkpoint, tokenizer: str | None = None, advice: str = ADVICE
) -> dict[str, WeightMatch]:
    """Fill ``modules`` in place and print how they matched.

    Position embeddings are resampled to another grid and vocabulary rows are moved by token; both count
    as resized. A part is refused, with nothing loaded, when a tensor has another shape, when the word or the patch
    embedding is missing, or when less than 90 % of the tensors fit.

    Args:
        modules: by the name of their part.
        checkpoint: see :func:`mpma_lightning.backbones.checkpoint.read_checkpoint`.
        tokenizer: the tokeniser in use, as JSON text, when it may differ from the checkpoint's.
        advice: ends the message of a poor match.

    Raises:
        UserError: a poor match; the message names the part and the first tensors that did not fit.
    """
    plans: dict[str, dict[str, Tensor]] = {part: {} for part in modules}
    matches = {part: WeightMatch() for part in modules}
    for part, match in matches.items():
        for name, target in modules[part].state_dict().items():
            full, found = f"{part}.{name}", find(checkpoint, part, name)
            if found is None and name.endswith("num_batches_tracked"):
                continue  # a counter that old files lack and nothing reads
            if found is None:
                match.missing.append(full)
            elif found.shape == target.shape and not moves_rows(full, checkpoint, tokenizer):
                plans[part][name] = found
                match.matched += 1
            elif (fitted := resized(full, found, target, checkpoint, tokenizer)) is not None:
                plans[part][name] = fitted
                match.resized.append(full)
            else:
                match.mismatched.append(f"{full} {tuple(found.shape)} → {tuple(target.shape)}")
    print_matches(checkpoint.path, matches)
    for part, match in matches.items():
        if not match.fits:
            first = (match.mismatched + match.missing)[:3]
            raise UserError(
                f"checkpoint {checkpoint.path} fits {match.share:.0%} of part '{part}': {len(match.mismatched)} "
                f"tensors of another shape (none may be), {len(match.missing)} of {match.total} missing (at most "
                f"{1 - LEAST_MATCH:.0%} may be, and no {' or '.join(DECISIVE)}); first: {'; '.join(first)}. {advice}"
            )
    for part, plan in plans.items():
        modules[part].load_state_dict(modules[part].state_dict() | plan)
    return matches
