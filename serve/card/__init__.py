"""The forecast card, in English and Swahili."""
