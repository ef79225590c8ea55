"""What a pocket backbone is made from."""

from dataclasses import dataclass

from aquatint.models.architectures import ArchitectureName


@dataclass(frozen=True)
class PocketRecipe:
    """Size and training of a pocket backbone; all of it is part of its address.

    Attributes:
        width: Hidden width of both towers.
        num_blocks: Transformer blocks of each tower.
        image_size_px: Edge of the input image.
        patch_size_px: Edge of a patch.
        vocab_size: Upper limit of the tokenizer's vocabulary.
        num_buildings: Buildings of the pretraining world, disjoint from every recipe's.
        views_per_building: Views of each.
        epochs: Epochs of captioning; 0 leaves the weights random.
        batch_size: Documents of a step.
        learning_rate: Peak rate of AdamW.
        max_tokens: Longest document, image tokens included.
        seed: Decides scenes, weights and order.
        num_threads: Threads; sums depend on them.
        architecture: ``internvl``, ``qwen2_vl`` or ``qwen2_5_vl``.
        num_inspections: Photographs of slopes whose structures are described too.
        num_flights: Views of landing pads that are described and asked about too.
        num_visual_questions: Images of sparse scenes that are described and asked about too.
        weight_scale: Factor on the first weights of matrices. transformers draws them with a
            deviation of 0.02 whatever the width; at 96, whose inverse root is 0.1, they learn to
            see sooner when they begin larger.
        num_pointings: Views of landing pads in which it learns to point at a pixel.
        rope_theta: Base of the language model's rotary positions; small models over few image
            tokens need a small one to tell places apart.
        word_weight: Weight of the loss by which each image token learns which words lie in its
            area; 0 leaves it out. For worlds that say so: sparse scenes
            (``num_visual_questions``), landing pads (``num_pointings``), and aerial scenes where
            nothing else is read.
        asked_weight: Weight of the loss by which image tokens learn whether a question in front of
            the image asks for what lies in their area; 0 leaves it out. For ``num_pointings``.
        num_key_value_heads: Of the language model; 0 for a third of its heads, at least one.
        num_vision_blocks: Blocks of the vision tower; 0 for ``num_blocks``.
        mrope_section: Channels of half a head's width that turn with a token's time, row and
            column, fastest first; a longer list goes around again. Channels that turn fast tell
            places apart, slow ones are what a content is found by.
        marks_turns: Whether the mark that begins a turn of a dialogue is one token, as in Qwen's
            own tokenizers, and not spelt out.

    Raises:
        ValueError: If ``asked_weight`` is given without ``num_pointings``.
    """

    width: int
    num_blocks: int
    image_size_px: int
    patch_size_px: int
    vocab_size: int
    num_buildings: int
    views_per_building: int
    epochs: int
    batch_size: int
    learning_rate: float
    max_tokens: int
    seed: int
    num_threads: int = 1
    architecture: ArchitectureName = "internvl"
    num_inspections: int = 0
    num_flights: int = 0
    num_visual_questions: int = 0
    weight_scale: float = 1.0
    num_pointings: int = 0
    rope_theta: float = 1e4
    word_weight: float = 0.0
    asked_weight: float = 0.0
    num_key_value_heads: int = 0
    num_vision_blocks: int = 0
    mrope_section: tuple[int, ...] = (4, 6, 6)
    marks_turns: bool = False

    @property
    def reads_aerial_words(self) -> bool:
        """Whether image tokens learn words of aerial scenes: where no other scenes have words."""
        others = (
            self.num_inspections,
            self.num_flights,
            self.num_visual_questions,
            self.num_pointings,
        )
        return bool(self.word_weight) and not any(others)

    def __post_init__(self) -> None:
        """Refuse a loss that nothing could teach."""
        if self.asked_weight and not self.num_pointings:
            raise ValueError(
                f"asked_weight {self.asked_weight:g} needs num_pointings, got 0: no other images "
                "say which image token a question asks for."
            )
