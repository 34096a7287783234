"""Problems whose local learning coefficient is known at finite temperature, and references where it is not."""
