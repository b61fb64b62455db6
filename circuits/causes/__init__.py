"""What causes what: pairs of games, patching, ablation, paths, edges and the circuits made of them."""
