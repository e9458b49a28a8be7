"""Documents: the results of the commands as pydantic models, and their JSON Schemas."""
