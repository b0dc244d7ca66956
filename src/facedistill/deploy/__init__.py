"""Students as ONNX files: graphs, precisions, working memory and model cards."""
