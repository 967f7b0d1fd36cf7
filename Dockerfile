# GCD Explorer in a container, for a CPU or, with the NVIDIA container toolkit, for a GPU:
#   docker build -t gcd-explorer .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL -p 7860:7860 gcd-explorer        # CPU
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --gpus all -p 7860:7860 gcd-explorer
# PyPI's torch brings its own CUDA libraries, so both are the same image. It writes to /tmp alone.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HOME=/tmp \
    GCD_CACHE=/tmp/gcd \
    GRADIO_TEMP_DIR=/tmp/gradio \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860

WORKDIR /srv/gcd
COPY requirements.txt ./
RUN pip install -r requirements.txt
COPY app.py LICENSE pyproject.toml README.md ./
COPY assets assets
COPY checkpoints checkpoints
COPY gcd_core gcd_core

USER 10001:10001
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["python", "app.py"]
