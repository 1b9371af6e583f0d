"""Plans: which machine takes which system, by predicted cost, and what would change that."""
