"""What every part of nsecast shares; imports neither Ray nor, outside ``common.network.build``, Keras."""
