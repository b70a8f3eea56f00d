# Raftyard in a container:
#   docker build -t raftyard .
#   docker run --rm -p 127.0.0.1:8000-8005:8000-8005 -e TOKEN="$(openssl rand -base64 24)" raftyard
# A published port reaches only what listens beyond the container's own loopback: hence 0.0.0.0, and hence TOKEN, without
# which Raftyard refuses to listen there. Every request then carries `Authorization: Bearer TOKEN`.
FROM python:3.11-slim

RUN useradd --create-home raftyard
WORKDIR /home/raftyard
COPY --chown=raftyard . source
RUN pip install --no-cache-dir ./source && rm -r source

USER raftyard
ENV DEFAULT_HOST=0.0.0.0 PYTHONUNBUFFERED=1
# The orchestrator, and the five nodes of cluster 0.
EXPOSE 8000-8005
# As process 1 it gets SIGTERM itself, and stops in order.
CMD ["raftyard", "serve"]
