"""What models cost: multiply-adds, memory, receptive fields, by analysis and measured."""

from keras_msrnn.profiling.comparison import Comparison, compare
from keras_msrnn.profiling.profiles import Part, Profile, profile

__all__ = ["Comparison", "Part", "Profile", "compare", "profile"]
