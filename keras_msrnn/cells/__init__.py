"""The cells: one step of each model at one scale."""

from keras_msrnn.cells.cell import ConvRNNCell
from keras_msrnn.cells.cms_lstm import CMSLSTMCell
from keras_msrnn.cells.convlstm import ConvLSTMCell
from keras_msrnn.cells.mim import MIMCell
from keras_msrnn.cells.mk_lstm import MKLSTMCell
from keras_msrnn.cells.modernn import MoDeRNNCell
from keras_msrnn.cells.motionrnn import MotionCell
from keras_msrnn.cells.preciplstm import PrecipLSTMCell
from keras_msrnn.cells.predrnn import DecoupledRNN, PredRNNCell
from keras_msrnn.cells.predrnnpp import CausalLSTMCell
from keras_msrnn.cells.trajgru import TrajGRUCell

__all__ = [
    "CMSLSTMCell",
    "CausalLSTMCell",
    "ConvLSTMCell",
    "ConvRNNCell",
    "DecoupledRNN",
    "MIMCell",
    "MKLSTMCell",
    "MoDeRNNCell",
    "MotionCell",
    "PrecipLSTMCell",
    "PredRNNCell",
    "TrajGRUCell",
]
