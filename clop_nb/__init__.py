"""Executable companion to "Preventing Collapse in Contrastive Learning with Orthonormal Prototypes".

The science of the book lives here: the losses, the collapse dynamics, their exact thresholds and the numbers
that the paper prints. ``import clop_nb`` needs torch and numpy only; plotting and the verdicts of the notebooks
are modules of their own.
"""

from clop_nb import dynamics, paper, prototypes, spectra, theory

__version__ = "0.1.0"
__all__ = ["__version__", "dynamics", "paper", "prototypes", "spectra", "theory"]
