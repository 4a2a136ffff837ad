"""The paper's experiments and the demonstration, one module each."""
