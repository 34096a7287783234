"""The installed version, stored with every result."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ontogeny")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"
