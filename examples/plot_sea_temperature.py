"""
Maps with coordinates, chunk by chunk
=====================================

xarray's arrays have names for their dimensions and coordinates for their elements, and Dask cuts what is larger than
memory into chunks. :mod:`depthwise.xarray` filters over dimensions by their names, computes nothing before it is asked
for, and gives each result the coordinates of its window's centre.
"""

# %%
# A made-up sea: eight months of temperatures on a grid of half degrees, warm at the equator, with eddies. Each chunk is
# a quarter of one month's map.

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import depthwise.xarray
from depthwise import filters

lat, lon = np.arange(-79.75, 80, 0.5), np.arange(0.25, 360, 0.5)
months = np.arange("2026-01", "2026-09", dtype="datetime64[M]").astype("datetime64[ns]")
eddies = np.random.default_rng(0).normal(size=(months.size, lat.size, lon.size)).astype(np.float32)
eddies = filters.gaussian(eddies, (6, 6), mode="wrap") * 40
season = 4 * np.sin(2 * np.pi * np.arange(months.size) / 12)[:, None] * np.sin(np.radians(lat))
field = 28 * np.cos(np.radians(lat)) ** 2 + season
field = (field[:, :, None] + eddies).astype(np.float32)
data = da.from_array(field, chunks=(1, 160, 360))
sea = xr.DataArray(
    data, {"time": months, "lat": lat, "lon": lon}, ("time", "lat", "lon"), "sst", {"units": "degrees Celsius"}
)

# %%
# East of the last meridian comes the first again, so the map is smoothed with ``mode="wrap"``; north and south of it
# with the nearest row. What is left are the eddies. A mean of 8 x 8 cells with a stride of 8 makes a coarse map.

smooth = depthwise.xarray.gaussian(sea, 12, dim="lon", mode="wrap")
smooth = depthwise.xarray.gaussian(smooth, 12, dim="lat", mode="nearest")
mean = np.full((1, 1, 8, 8), 1 / 64, np.float32)
coarse = depthwise.xarray.convolution(sea, mean, dim=("lat", "lon"), stride=8)
print(coarse)

# %%
# Nothing has been computed so far. Coordinates of the coarse map are the centres of its cells, and whether an array is
# in chunks changes no bit of the convolution.

whole = depthwise.xarray.convolution(sea.compute(), mean, dim=("lat", "lon"), stride=8)
assert (coarse.compute().values == whole.values).all()
assert np.allclose(coarse.lat, lat.reshape(-1, 8).mean(1))
assert np.allclose(coarse.lon, lon.reshape(-1, 8).mean(1))

# %%
# One month. Selecting it before computing leaves all other months' chunks alone.

warm, difference = {"cmap": "turbo", "vmin": -2, "vmax": 32}, {"cmap": "RdBu_r", "vmin": -6, "vmax": 6}
maps = {
    "sea temperature, 320 x 720": (sea, warm),
    "smoothed by 6 degrees": (smooth, warm),
    "eddies: the one less the other": (sea - smooth, difference),
    "means of 4 degrees, 40 x 90": (coarse, warm),
}
fig, axes = plt.subplots(2, 2, figsize=(11, 5.2), layout="constrained", sharex=True, sharey=True)
for ax, (title, (array, look)) in zip(axes.flat, maps.items(), strict=True):
    drawn = ax.pcolormesh(array.lon, array.lat, array.sel(time=months[2]), **look)
    ax.set_title(title)
    fig.colorbar(drawn, ax=ax, label="°C", pad=0.01)
for ax in axes[1]:
    ax.set_xlabel("longitude")
for ax in axes[:, 0]:
    ax.set_ylabel("latitude")
plt.show()
