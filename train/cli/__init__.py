"""Commands of the data, training, evaluation and retraining."""
