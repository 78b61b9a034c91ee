//! What must be seen: every claim about the order desk, on both stacks, under both process managers.
