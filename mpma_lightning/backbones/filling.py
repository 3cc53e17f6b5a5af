"""Load a checkpoint's tensors into modules; a poor match is refused and changes nothing."""

from collections.abc import Mapping

from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones.checkpoint import Checkpoint
from mpma_lightning.backbones.tensor_match import find, needs_remapping, resized
from mpma_lightning.backbones.weight_match import LEAST_MATCH, REQUIRED, WeightMatch, print_matches

ADVICE = (
    "Use the backbone the checkpoint was made with (leave model.backbone out to take it from the file), or list in "
    "model.checkpoint_parts the parts to load"
)


def fill(
    modules: Mapping[str, nn.Module], checkpoint: Checkpoint, tokenizer: str | None = None, advice: str = ADVICE
) -> dict[str, WeightMatch]:
    """Fill ``modules`` in place and print a table of the match.

    Position embeddings are resampled to another grid and vocabulary rows are reordered by token; both count as resized.

    Args:
        modules: the parts of a backbone by name.
        checkpoint: from :func:`mpma_lightning.backbones.checkpoint.read_checkpoint`.
        tokenizer: the tokeniser in use, as JSON text, where it may differ from the checkpoint's.
        advice: last sentence of the error message.

    Raises:
        UserError: for some part, a tensor has another shape, the word or patch embedding is missing, or less than 90 %
            of the tensors match; nothing is loaded then.
    """
    loaded: dict[str, dict[str, Tensor]] = {part: {} for part in modules}
    matches = {part: WeightMatch() for part in modules}
    for part, match in matches.items():
        for name, target in modules[part].state_dict().items():
            full_name, found = f"{part}.{name}", find(checkpoint, part, name)
            if found is None and name.endswith("num_batches_tracked"):
                continue  # a batch-norm counter that old files lack and no forward pass uses
            if found is None:
                match.missing.append(full_name)
            elif found.shape == target.shape and not needs_remapping(full_name, checkpoint, tokenizer):
                loaded[part][name] = found
                match.matched += 1
            elif (fitted := resized(full_name, found, target, checkpoint, tokenizer)) is not None:
                loaded[part][name] = fitted
                match.resized.append(full_name)
            else:
                match.mismatched.append(f"{full_name} {tuple(found.shape)} → {tuple(target.shape)}")
    print_matches(checkpoint.path, matches, checkpoint.origin, remarks_on(checkpoint))
    for part, match in matches.items():
        if not match.fits:
            first = (match.mismatched + match.missing)[:3]
            advice = advice if match.filled or checkpoint.spec else f"{_names_in(checkpoint)}. {advice}"
            raise UserError(
                f"checkpoint {checkpoint.path} fits {match.share:.0%} of part '{part}': {len(match.mismatched)} "
                f"tensors of another shape (expected none), {len(match.missing)} of {match.total} missing (at most "
                f"{1 - LEAST_MATCH:.0%} may be, and never {' or '.join(REQUIRED)}); first: {'; '.join(first)}. {advice}"
            )
    for part, tensors in loaded.items():
        modules[part].load_state_dict(modules[part].state_dict() | tensors)
    return matches


def remarks_on(checkpoint: Checkpoint) -> list[str]:
    """What the report says of a file of another code base, below its table."""
    found = checkpoint.imported
    if found is None:
        return []
    left = found.left_out
    unused = [f"left out: {len(left)} tensors, such as {', '.join(left[:3])}"] if left else []
    return [*found.notes, *unused]


def _names_in(checkpoint: Checkpoint) -> str:
    """What a file of another code base holds: its parts, or the names of its tensors if it is of no known family."""
    if checkpoint.imported is not None:
        return f"The file ({checkpoint.origin}) holds {', '.join(checkpoint.imported.parts)}"
    return f"The file is of no known family; its first tensors: {', '.join(list(checkpoint.state)[:3])}"
