"""Finding the few tools that a request needs among thousands."""

from alpha_umi.tools.retrieval.embeddings import SentenceEmbeddings
from alpha_umi.tools.retrieval.retriever import ToolRetriever

__all__ = ["SentenceEmbeddings", "ToolRetriever"]
