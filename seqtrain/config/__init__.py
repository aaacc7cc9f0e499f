"""The config: what can be set, reading it, and saying what is wrong with it."""

from seqtrain.config.document import read_list, texts
from seqtrain.config.load import config_from, find_config, load_config, located, read_config, to_yaml
from seqtrain.config.schema import Config

__all__ = [
    "Config",
    "config_from",
    "find_config",
    "load_config",
    "located",
    "read_config",
    "read_list",
    "texts",
    "to_yaml",
]
