"""BERT and RoBERTa of transformers: Bio_ClinicalBERT, PubMedBERT, CXR-BERT with its projection, and the like."""

from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported
from mpma_lightning.backbones.spec import BackboneSpec


def translate(foreign: Foreign) -> Imported:
    """A text encoder; the head of masked language modelling is left out."""
    state = bert(foreign, r"(?:bert\.|roberta\.)?")
    config = bert_config(state, foreign.config)
    return Imported(BackboneSpec(text=bert_spec(config)), state, tokenizer=foreign.tokenizer, text_config=config)


FAMILY = Family(
    "BERT",
    (r"(bert\.|roberta\.)?embeddings\.word_embeddings\.weight", r"(bert\.|roberta\.)?encoder\.layer\.0\..*"),
    translate,
)
