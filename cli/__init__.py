"""The command line: parse, call, render. No logic lives here, and heavy libraries load inside the verbs."""
