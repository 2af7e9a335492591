"""Public images and volumes out of the package registries, by their own clients, each file checked."""
