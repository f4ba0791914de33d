"""Live collectors: they read this machine and a running job. Artefacts are read elsewhere (`readers`)."""
