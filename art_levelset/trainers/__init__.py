"""The trainers: the level-set losses inside an ordinary ART workflow."""
