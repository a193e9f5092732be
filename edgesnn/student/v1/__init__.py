"""Students of version 1.0 in torch: the forward pass, and the student as a teacher."""
