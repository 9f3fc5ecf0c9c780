"""What users write: services, collections, reactions."""
