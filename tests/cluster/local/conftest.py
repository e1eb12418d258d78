"""The fork server that `local_ranks` uses stays until the tests end, so it is there before each."""

import multiprocessing

import pytest


@pytest.fixture(scope="session", autouse=True)
def fork_server_of_local_ranks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ddml_kit.cluster.local.endpoint", "cloudpickle"])
    process = context.Process(target=int)
    process.start()
    process.join()
    process.close()
