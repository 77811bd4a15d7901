"""The page itself, of NiceGUI's elements; what it shows and does is in `alpha_umi.ui`."""
