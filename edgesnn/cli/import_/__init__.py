"""`edgesnn import`: a network that another library wrote as NIR."""
