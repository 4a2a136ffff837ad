"""The fit of a network to a cloud by eq. 13, its judgement, its progress and its checkpoints."""
