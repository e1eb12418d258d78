# The labs in a container, for one learner:
#
#   docker build -t ddml-kit --build-arg TORCH_INDEX=... .
#   docker run --rm -p 127.0.0.1:8888:8888 ddml-kit
#
# and open the address that it prints. TORCH_INDEX is the address of the PyTorch project's index of
# wheels for the CPU ("Get started" on its pages). Without it, Linux on x86-64 gets a torch that
# brings gigabytes of CUDA along; it works all the same.
FROM python:3.12-slim

# tini is process 1, since somebody must bury what a killed kernel leaves
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 learner

USER learner
RUN python -m venv /home/learner/venv && mkdir /home/learner/course
WORKDIR /home/learner/course
ENV PATH=/home/learner/venv/bin:$PATH

COPY --chown=learner:learner pyproject.toml constraints.txt LICENSE README.md ./
COPY --chown=learner:learner ddml_kit ddml_kit
COPY --chown=learner:learner labs labs
COPY --chown=learner:learner binder binder

# Workers share memory through memfds, so Docker's 64 MB of /dev/shm are enough
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        -c constraints.txt '.[labs]' \
    && rm -rf build ddml_kit.egg-info \
    && python binder/prepare.py

EXPOSE 8888
ENTRYPOINT ["tini", "--"]
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--LabApp.default_url=/lab/tree/labs/index.ipynb"]
