"""The networks of faces, made of what an npm and two PyPI packages ship, as ONNX files."""
