"""The objectives of pre-training, one per file; a new one also needs a line in :class:`Objectives`."""

from dataclasses import dataclass, field, fields

from data_modules.errors import expect
from mpma_lightning.objectives.base import Objective, ObjectiveOptions
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.image_text_matching import ImageTextMatchingOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions
from mpma_lightning.objectives.state import PretrainingState

__all__ = ["Objective", "ObjectiveOptions", "Objectives", "PretrainingState"]


@dataclass(kw_only=True)
class Objectives:
    """L = λ_img L_img + λ_rep L_rep + λ_g L_g + λ_l L_l + λ_itm L_itm; an objective of weight 0 is off.

    Attributes:
        image_reconstruction: L_img.
        report_reconstruction: L_rep.
        global_alignment: L_g.
        local_alignment: L_l.
        image_text_matching: L_itm, off by default.
    """

    image_reconstruction: ImageReconstructionOptions = field(default_factory=ImageReconstructionOptions)
    report_reconstruction: ReportReconstructionOptions = field(default_factory=ReportReconstructionOptions)
    global_alignment: GlobalAlignmentOptions = field(default_factory=GlobalAlignmentOptions)
    local_alignment: LocalAlignmentOptions = field(default_factory=LocalAlignmentOptions)
    image_text_matching: ImageTextMatchingOptions = field(default_factory=ImageTextMatchingOptions)

    def active(self) -> dict[str, ObjectiveOptions]:
        """Options by name of the objectives with a weight above 0; UserError for a negative weight."""
        options = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, option in options.items():
            expect(option.weight >= 0, f"model.objectives.{name}.weight", option.weight, "0 (off) or more")
        return {name: option for name, option in options.items() if option.weight > 0}
