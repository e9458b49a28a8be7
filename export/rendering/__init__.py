"""Text and pictures: one SVG kit, numbers and names as text."""
