"""From raw exchange files to supervised windows."""
