def outputs(reference): return {}
