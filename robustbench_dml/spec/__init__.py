"""The settings of a run: specs, published values, protocols, columns, scores, the registries and the option table."""
