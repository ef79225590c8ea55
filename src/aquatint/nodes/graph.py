"""How a recipe's nodes get their full names: recipe, part, dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kedro.pipeline import Node

# Catalog entries and parameters that belong to no recipe.
SHARED = frozenset(
    {
        "backbone",
        "qwen2_vl_backbone",
        "vla_backbone",
        "covt_backbone",
        "navigation_backbone",
        "feature_store",
        "params:run",
    }
)


@dataclass(frozen=True)
class Part:
    """One nested namespace of a recipe, drawn by Kedro-Viz as one box.

    Attributes:
        recipe: Recipe, the outer namespace.
        name: Part, the inner namespace.
    """

    recipe: str
    name: str

    def node(
        self,
        func: Callable[..., object],
        name: str,
        inputs: dict[str, str],
        outputs: list[str] | str,
        tags: list[str],
    ) -> Node:
        """Make a node of this part.

        Args:
            func: Node function.
            name: Verb and object, unique in the project.
            inputs: Dataset by argument: a plain name is the part's own, ``data.images`` another
                part's, ``.visual_models`` the recipe's own beside its parts, and the names in
                ``SHARED`` stay as they are.
            outputs: Plain names.
            tags: Words of the project's vocabulary.
        """
        return Node(
            func,
            inputs={argument: self.resolve(dataset) for argument, dataset in inputs.items()},
            outputs=[self.resolve(dataset) for dataset in outputs]
            if isinstance(outputs, list)
            else self.resolve(outputs),
            name=name,
            tags=tags,
            namespace=f"{self.recipe}.{self.name}",
        )

    def resolve(self, dataset: str) -> str:
        """Return the full name of a dataset or of a parameter (``params:...``)."""
        if dataset in SHARED or dataset.count(".") == 2:  # the full name of another recipe's
            return dataset
        prefix, bare = ("params:", dataset[7:]) if dataset.startswith("params:") else ("", dataset)
        inner = bare.lstrip(".") if "." in bare else f"{self.name}.{bare}"
        return f"{prefix}{self.recipe}.{inner}"
