"""The claims of the Q-Newton paper (arXiv 2405.00252), each beside what is measured here."""
