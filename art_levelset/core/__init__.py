"""The level-set core: fields, projection, bracketing, the sample network, distances and losses. It knows torch only."""
