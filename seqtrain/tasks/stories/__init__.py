"""Stories with marked words that follow from a fact many words before."""

from seqtrain.tasks.stories.task import Stories

__all__ = ["Stories"]
