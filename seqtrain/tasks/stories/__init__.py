"""Stories whose marked words follow from a fact told many words before."""

from seqtrain.tasks.stories.task import Stories

__all__ = ["Stories"]
