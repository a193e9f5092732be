"""A student kept open: a pool of runners, generations, conversations, the backend of agents."""
