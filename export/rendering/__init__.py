"""Drawing and writing: one SVG kit, numbers and names as text."""
