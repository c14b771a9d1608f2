"""Nowcasts rain from radar images of KNMI and scores them beside persistence.

Put the HDF5 files of some hours (RAD_NL25_RAP_5min_*.h5, from https://dataplatform.knmi.nl) into a
folder; 92 of them, 7.6 hours, train in about six minutes on two cores:

    KERAS_BACKEND=tensorflow python examples/radar_nowcasting.py FOLDER
"""

import argparse
import pathlib

import keras

import keras_msrnn
from keras_msrnn import data, losses, metrics, plotting

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("folder", help="folder of KNMI files")
parser.add_argument("--out", default="radar-nowcast", help="new folder for the results")
parser.add_argument("--epochs", type=int, default=60)
options = parser.parse_args()
out = pathlib.Path(options.out)
out.mkdir(parents=True)

# 5 frames -> 6 frames: from 25 minutes to the next half hour. The 416 km square that the radars
# see, in pixels of 4 km; the first 60 % of the time for training, the last quarter for the test.
radar = data.KNMI(options.folder)
train, validation, test = data.split_in_time(
    radar, 5, 6, at=(0.6, 0.75), crop=(220, 161, 416, 416), resize=(104, 104), batch_size=4
)
units = train.units
print(f"{len(radar)} frames from {radar.times[0]} to {radar.times[-1]}; windows: "
      f"{len(train.starts)} training, {len(validation.starts)} validation, "
      f"{len(test.starts)} test.")  # fmt: skip

# What the radars do not see is NaN: the model sees it as dry, losses and scores leave it out.
model = keras_msrnn.build(
    "predrnn", multiscale=True, filters=32, scales=(1, 2, 1), patch_size=4, fill_missing=0, seed=0
)
steps = options.epochs * len(train)
rate = keras.optimizers.schedules.CosineDecay(
    1e-4, steps, warmup_target=2e-3, warmup_steps=max(1, steps // 20)
)
model.compile(
    keras.optimizers.Adam(rate),
    losses.BalancedSquaredPlusAbsoluteError(units),
    metrics=[metrics.CSI(0.5, units), metrics.CSI(2, units)],
)
history = model.fit(train, validation_data=validation, epochs=options.epochs, verbose=2)
model.save(out / "model.keras")

scores = keras_msrnn.evaluate_forecast({"MS-PredRNN": model}, test, thresholds=(0.5, 2, 5))
scores.to_csv(out / "scores.csv")
print(scores)

figure = plotting.plot_history(history)
figure.savefig(out / "training.png")
for threshold in ("0.5", "2", "5"):
    figure = plotting.plot_scores(
        scores.by_lead_time(f"csi_{threshold}"),
        f"CSI at {threshold} mm/h",
        xlabel="lead time (5 minutes)",
    )
    figure.savefig(out / f"csi_{threshold}.png")
context, future = test[len(test) - 1]
sample = context[-1], future[-1], model.predict(context, verbose=0)[-1]
plotting.plot_forecast(*sample, units=units, persistence=True).savefig(out / "forecast.png")
plotting.animate_forecast(out / "forecast.gif", *sample, units=units)
print(f"Look at the pictures in {out}.")
