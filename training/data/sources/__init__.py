"""One reader a file: `read` yields trajectories of one data set; `alpha-umi data sources` lists them."""
