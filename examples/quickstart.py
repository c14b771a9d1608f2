"""Trains a small multi-scale ConvLSTM on Moving MNIST and draws a forecast.

Run it with `KERAS_BACKEND=tensorflow python examples/quickstart.py` (or jax, torch).
"""

import keras_msrnn
from keras_msrnn.data import MovingMNIST

train = MovingMNIST(batch_size=8, batches=20, context=5, horizon=5, size=32)
test = MovingMNIST(batch_size=8, batches=2, context=5, horizon=5, size=32, seed=1, fixed=True)

model = keras_msrnn.build("convlstm", multiscale=True, filters=16, patch_size=2)
model.fit(train, epochs=2, validation_data=test)

context, future = test[0]
forecast = model.predict(context)
figure = keras_msrnn.plotting.plot_forecast(context[0], future[0], forecast[0], persistence=True)
figure.savefig("forecast.png")
print("The forecast is drawn in forecast.png.")
