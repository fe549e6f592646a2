"""Who acts and learns: the agent, its actor and critic, the cloned policy and its guidance."""
