"""What all sections share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
Positive = Annotated[float, Field(gt=0)]
ONE_OR_EACH = Discriminator(lambda value: "each" if isinstance(value, list) else "one")
"""Chooses between a number and a list of them, so that a fault is told of that alone which was given."""


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def name_of(section: Any) -> str | None:
    """What a section is called, whether it is raw data or already a model: the tag that chooses its class."""
    name = section.get("name") if isinstance(section, dict) else getattr(section, "name", None)
    return name if isinstance(name, str) else None
