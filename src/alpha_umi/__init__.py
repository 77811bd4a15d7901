"""α-UMi on LangGraph: agents made of small, locally fine-tuned models."""
