"""How good a checkpoint is: static, live and by data size, with one report beside the paper's numbers."""
