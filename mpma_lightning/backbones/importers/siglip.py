"""SigLIP folders of transformers, such as MedSigLIP: the image tower with its attention pooling."""

from mpma_lightning.backbones.importers.clip_names import HF_VIT, vision
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported, Table
from mpma_lightning.backbones.importers.hf_vit import normalisation_of
from mpma_lightning.backbones.importers.vit_names import PREFIX, vit_heads, vit_spec
from mpma_lightning.backbones.spec import BackboneSpec

END = r"\.(weight|bias)"
POOLING: Table = [
    (r"vision_model\.head\.probe", "attn_pool.latent"),
    (r"vision_model\.head\.attention\.in_proj_(weight|bias)", r"attn_pool.in_proj.\1"),
    (rf"vision_model\.head\.attention\.out_proj{END}", r"attn_pool.proj.\1"),
    (rf"vision_model\.head\.layernorm{END}", r"attn_pool.norm.\1"),
    (rf"vision_model\.head\.mlp\.fc([12]){END}", r"attn_pool.mlp.fc\1.\2"),
]
NOTE = "the text tower is not imported: it attends to padding, which no text encoder here does"


def translate(foreign: Foreign) -> Imported:
    """An image encoder whose feature is what SigLIP compares with texts."""
    config = foreign.config.get("vision_config") or {}
    pooling = foreign.take(POOLING, PREFIX)
    state = vision(foreign, HF_VIT, r"vision_model\.") | pooling
    width = state[f"{PREFIX}patch_embed.proj.weight"].shape[0]
    for kind in ("weight", "bias"):
        joined = state.pop(f"{PREFIX}attn_pool.in_proj.{kind}")
        state[f"{PREFIX}attn_pool.q.{kind}"] = joined[:width].clone()
        state[f"{PREFIX}attn_pool.kv.{kind}"] = joined[width:].clone()
    heads = config.get("num_attention_heads") or vit_heads(width)
    exact = config.get("hidden_act") == "gelu"
    base = "vit_base_patch16_siglip_224" if exact else "vit_base_patch32_siglip_256"  # the latter with tanh's GELU
    image = vit_spec(state, "map", heads, base)
    assert image.options is not None
    image.options["patch_size"] = state[f"{PREFIX}patch_embed.proj.weight"].shape[-1]
    return Imported(BackboneSpec(image=image), state, normalisation_of(foreign.config) or (0.5, 0.5), notes=[NOTE])


FAMILY = Family(
    "SigLIP of transformers", (r"vision_model\.head\.probe", r"vision_model\.post_layernorm\.weight"), translate
)
