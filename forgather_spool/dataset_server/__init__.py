"""The dataset server: data sets over HTTP, for training on another host or before a slow disk."""
