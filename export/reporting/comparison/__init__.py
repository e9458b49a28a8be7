"""Pages and charts of a comparison."""
