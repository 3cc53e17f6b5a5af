"""A Vision Transformer of timm whose blocks need every patch, such as EVA and BEiT."""

from torch import Tensor

from data_modules.errors import expect
from mpma_lightning.backbones.encoder import Levels, grid_of
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.vit import ViTEncoder


class WholeViTEncoder(ViTEncoder):
    """Rotary or relative positions inside the blocks are of the whole grid, so no patch can be dropped."""

    can_drop_patches = False
    honours = ("options", "weights", "pool")
    pools = ("mean", "cls")

    @property
    def local_levels(self) -> Levels:
        """The output of every block, numbered from 1."""
        return super().local_levels.at(range(1, len(self.vit.blocks) + 1))

    @property
    def depths(self) -> dict[str, int]:
        """As of a plain ViT, and of the norm of the pooled feature where it has parameters."""
        return super().depths | ({"vit.fc_norm": 0} if list(self.vit.fc_norm.parameters()) else {})

    def forward(
        self,
        image: Tensor,
        visible: Tensor | None = None,
        levels: tuple[int, ...] = (),
        local: int | None = None,
    ) -> Features:
        """Encode (B, 3, H, W); ``visible`` must be ``None``.

        Raises:
            UserError: the image is not a multiple of the patch size, or positions are of another size.
        """
        if visible is not None:
            raise ValueError("this ViT cannot drop patches: call without visible")
        grid, stem, first = grid_of(image, self.patch_size), self.vit.patch_embed, self.vit.num_prefix_tokens
        fits = not stem.strict_img_size or grid == stem.grid_size
        expect(fits, "the image side that reaches the encoder", image.shape[-1],
               f"{stem.img_size[1]}, the side of its positions; set model.backbone.image.size")  # fmt: skip
        places = sorted({*levels, *([] if local is None else [local - 1])})
        if places:
            tokens, maps = self.vit.forward_intermediates(image, indices=places, norm=True)
        else:
            tokens, maps = self.vit.forward_features(image), []
        prefix, patches = tokens[:, :first], tokens[:, first:]
        pooled = self.vit.fc_norm(prefix[:, 0] if self.pool == "cls" else patches.mean(1))
        found = dict(zip(places, maps, strict=True))
        features = Features(pooled, patches, prefix, grid, None, [found[level] for level in levels])
        return features if local is None else features.with_local(found[local - 1])
