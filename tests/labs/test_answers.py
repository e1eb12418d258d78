"""Every exercise in the page: empty, wrong, right, and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Notebook, opened

pytestmark = pytest.mark.browser

LABS = Path(__file__).parent.parent.parent / "labs"

# By lab and exercise: a wrong answer, words of what the check says of it, and a right one.
ANSWERS = {
    "00_start.ipynb": {
        "latency_and_bandwidth(my_fit)": (
            "def my_fit(sizes, seconds):\n    return seconds[0], sizes[1] / seconds[1]",
            "not the expected answer",
            "def my_fit(sizes, seconds):\n"
            "    slope = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])\n"
            "    return seconds[0] - sizes[0] * slope, 1 / slope",
        ),
        "total(my_total)": (
            "def my_total(comm, x):\n    return comm.all_reduce(x)",
            "use send and recv alone",
            "def my_total(comm, x):\n"
            "    if comm.rank == 0:\n"
            "        for _ in range(comm.size - 1):\n"
            "            x += comm.recv().value\n"
            "        for other in range(1, comm.size):\n"
            "            comm.send(x, other)\n"
            "        return x\n"
            "    comm.send(x, 0)\n"
            "    return comm.recv(0).value",
        ),
    },
    "01_one_machine.ipynb": {
        "one_pass(my_pass)": (
            "def my_pass(w, x, y, gradient, lr, batch_size):\n"
            "    for k in range(len(x) // batch_size):\n"
            "        part = slice(k * batch_size, (k + 1) * batch_size)\n"
            "        w = w - lr * gradient(w, x[part], y[part])\n"
            "    return w",
            "not the expected answer",
            "def my_pass(w, x, y, gradient, lr, batch_size):\n"
            "    k = 0\n"
            "    while k < len(x):\n"
            "        w = w - lr * gradient(w, x[k : k + batch_size], y[k : k + batch_size])\n"
            "        k += batch_size\n"
            "    return w",
        ),
        "adam_step(my_adam)": (
            "def my_adam(w, m, v, gradient, t, lr):\n"
            "    m[...] = 0.9 * m + 0.1 * gradient\n"
            "    v[...] = 0.999 * v + 0.001 * gradient**2\n"
            "    w -= lr * m / (v**0.5 + 1e-8)",
            "not the expected answer",
            "def my_adam(w, m, v, gradient, t, lr):\n"
            "    m[...] = 0.9 * m + 0.1 * gradient\n"
            "    v[...] = 0.999 * v + 0.001 * gradient**2\n"
            "    w -= lr * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)",
        ),
        "lbfgs_direction(my_direction)": (
            "import numpy as np\n\n\n"
            "def my_direction(gradient, steps, changes):\n"
            "    if not steps:\n"
            "        return gradient\n"
            "    identity = np.eye(len(gradient))\n"
            "    B = identity * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])\n"
            "    for s, y in zip(steps, changes):\n"
            "        V = identity - np.outer(y, s) / (s @ y)\n"
            "        B = V.T @ B @ V + np.outer(s, s) / (s @ y)\n"
            "    return B @ gradient",
            "a matrix was made to get there",
            "def my_direction(gradient, steps, changes):\n"
            "    q, kept = gradient.copy(), []\n"
            "    for s, y in list(zip(steps, changes))[::-1]:\n"
            "        kept.append((s @ q) / (s @ y))\n"
            "        q = q - kept[-1] * y\n"
            "    if steps:\n"
            "        q = q * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])\n"
            "    for s, y, a in zip(steps, changes, kept[::-1]):\n"
            "        q = q + (a - (y @ q) / (s @ y)) * s\n"
            "    return q",
        ),
    },
    "02_hogwild.ipynb": {
        "sparse_update(my_update)": (
            "def my_update(w, gradient, lr):\n    w -= lr * gradient.dense(len(w))",
            "coordinates written",
            "def my_update(w, gradient, lr):\n    w[gradient.indices] -= lr * gradient.values",
        ),
        "staleness(my_staleness)": (
            "def my_staleness(before, after, rank):\n    return sum(after) - sum(before)",
            "not the expected answer",
            "def my_staleness(before, after, rank):\n"
            "    return sum(after) - sum(before) - (after[rank] - before[rank])",
        ),
    },
    "03_parameter_server.ipynb": {
        "ssp_condition(my_condition)": (
            "def my_condition(clock, clocks, staleness):\n"
            "    return clock - min(clocks) < staleness",
            "not the expected answer",
            "def my_condition(clock, clocks, staleness):\n"
            "    return all(clock <= other + staleness for other in clocks)",
        ),
        "push_with_momentum(my_push)": (
            "def my_push(w, velocity, gradient, lr, momentum):\n"
            "    velocity = momentum * velocity + gradient\n"
            "    w -= lr * velocity",
            "not the expected answer",
            "def my_push(w, velocity, gradient, lr, momentum):\n"
            "    velocity *= momentum\n"
            "    velocity += gradient\n"
            "    w -= lr * velocity",
        ),
        "backup_workers(my_backup)": (
            "def my_backup(times, overhead):\n    return 1",
            "not the expected answer",
            "import numpy as np\n\n\n"
            "def my_backup(times, overhead):\n"
            "    rounds, n = times.shape\n"
            "    ends = [np.sort(times)[:, n - b - 1].mean() for b in range(n)]\n"
            "    return min(range(n), key=lambda b: (overhead + ends[b]) / (n - b))",
        ),
    },
    "04_all_reduce.ipynb": {
        "round_a_ring(my_ring)": (
            "def my_ring(comm, x):\n"
            "    total = passed = x\n"
            "    for _ in range(comm.size - 1):\n"
            "        comm.send(passed, (comm.rank + 1) % comm.size)\n"
            "        passed = comm.recv((comm.rank - 1) % comm.size).value\n"
            "        total = total + passed\n"
            "    return total",
            "whole vectors travel",
            "def my_ring(comm, x):\n"
            "    n, left, right = comm.size, comm.rank - 1, (comm.rank + 1) % comm.size\n"
            "    chunks = [c.copy() for c in np.array_split(x, n)]\n"
            "    for s in range(n - 1):\n"
            "        comm.send(chunks[(comm.rank - s) % n], right)\n"
            "        chunks[(left - s) % n] += comm.recv(left % n).value\n"
            "    for s in range(n - 1):\n"
            "        comm.send(chunks[(right - s) % n], right)\n"
            "        chunks[(comm.rank - s) % n] = comm.recv(left % n).value\n"
            "    return np.concatenate(chunks)",
        ),
        "halving(my_halving)": (
            "def my_halving(comm, x):\n"
            "    distance = 1\n"
            "    while distance < comm.size:\n"
            "        comm.send(x, comm.rank ^ distance)\n"
            "        x = x + comm.recv(comm.rank ^ distance).value\n"
            "        distance *= 2\n"
            "    return x[: len(x) // comm.size]",
            "not the expected answer",
            "def my_halving(comm, x):\n"
            "    distance = 1\n"
            "    while distance < comm.size:\n"
            "        halves, upper = np.array_split(x, 2), bool(comm.rank & distance)\n"
            "        comm.send(halves[not upper], comm.rank ^ distance)\n"
            "        x = halves[upper] + comm.recv(comm.rank ^ distance).value\n"
            "        distance *= 2\n"
            "    return x",
        ),
        "fastest_way(my_choice)": (
            "def my_choice(n, nbytes, network):\n    return 'ring'",
            "ring, which takes 700 µs",
            "import math\n\n\n"
            "def my_choice(n, nbytes, network):\n"
            "    racks, a, b = network.racks, network.latency, network.bandwidth\n"
            "    far, slow = a, b\n"
            "    if racks > 1:\n"
            "        far, slow = a + network.uplink_latency, min(b, network.uplink_bandwidth)\n"
            "    m, p, rounds = n // racks, 2 ** int(math.log2(n)), math.ceil(math.log2(n))\n"
            "    beyond = 2 * (far + nbytes / slow) * (p < n)\n"
            "    times = {\n"
            "        'master_worker': 2 * (far + (n - 1) * nbytes / slow),\n"
            "        'tree': 2 * rounds * (far + nbytes / slow),\n"
            "        'ring': 2 * (n - 1) * (far + nbytes / n / slow),\n"
            "        'halving_doubling':\n"
            "            2 * math.log2(p) * far + 2 * (p - 1) / p * nbytes / slow + beyond,\n"
            "        'hierarchical': 2 * (m - 1) * (a + nbytes / m / b)\n"
            "            + 2 * (racks - 1) * (far + nbytes / racks / slow),\n"
            "    }\n"
            "    return min(times, key=times.get)",
        ),
    },
    "05_batch_size.ipynb": {
        "scaled_rate(my_rate)": (
            "def my_rate(step, rate, batch, base_batch, warm):\n"
            "    return rate * batch / base_batch",
            "not the expected answer",
            "def my_rate(step, rate, batch, base_batch, warm):\n"
            "    new = rate * batch / base_batch\n"
            "    return new if step >= warm else rate + (new - rate) * step / warm",
        ),
        "speed_up(my_speed_up)": (
            "def my_speed_up(serial, parallel, target):\n"
            "    return serial[0][-1] / parallel[0][-1]",
            "not the expected answer",
            "def my_speed_up(serial, parallel, target):\n"
            "    one, many = (\n"
            "        next((t for t, loss in zip(*run) if loss <= target), float('inf'))\n"
            "        for run in (serial, parallel)\n"
            "    )\n"
            "    return one / many",
        ),
        "growing_batch(my_batches)": (
            "def my_batches(batch, samples, passes, after, factor):\n"
            "    return [batch] * (passes * samples // batch)",
            "not the expected answer",
            "def my_batches(batch, samples, passes, after, factor):\n"
            "    sizes = []\n"
            "    for k in range(passes):\n"
            "        size = batch * factor ** sum(k >= a for a in after)\n"
            "        sizes += [size] * -(-samples // size)\n"
            "    return sizes",
        ),
    },
    "06_compression.ipynb": {
        "packed_signs(my_signs)": (
            "def my_signs(comm, x, d):\n"
            "    if comm.rank == 0:\n"
            "        comm.send(np.where(x < 0, -1, 1).astype(np.int8), 1)\n"
            "    else:\n"
            "        return comm.recv(0).value",
            "eight of them fit a byte",
            "def my_signs(comm, x, d):\n"
            "    if comm.rank == 0:\n"
            "        comm.send(np.packbits(x < 0), 1)\n"
            "    else:\n"
            "        return 1 - 2.0 * np.unpackbits(comm.recv(0).value, count=d)",
        ),
        "top_k_with_memory(my_top_k)": (
            "def my_top_k(gradient, memory, k):\n"
            "    kept = np.argsort(-abs(gradient))[:k]\n"
            "    return kept, gradient[kept], memory",
            "not the expected answer",
            "def my_top_k(gradient, memory, k):\n"
            "    x = gradient + memory\n"
            "    kept = np.argsort(-abs(x))[:k]\n"
            "    values = x[kept]\n"
            "    x[kept] = 0\n"
            "    return kept, values, x",
        ),
        "codec_for_link(my_codec)": (
            "def my_codec(n, bandwidth, nbytes, codecs):\n"
            "    return min(codecs, key=lambda name: codecs[name][0])",
            "not the expected answer",
            "def my_codec(n, bandwidth, nbytes, codecs):\n"
            "    seconds = {'everything': 2 * (n - 1) / n * nbytes / bandwidth}\n"
            "    for name, (size, encode, decode) in codecs.items():\n"
            "        seconds[name] = encode + (n - 1) * size / bandwidth + n * decode\n"
            "    return min(seconds, key=seconds.get)",
        ),
    },
    "07_decentralised.ipynb": {
        "metropolis_weights(my_weights)": (
            "def my_weights(neighbours):\n"
            "    W = np.zeros((len(neighbours), len(neighbours)))\n"
            "    for i, those in enumerate(neighbours):\n"
            "        W[i, [i, *those]] = 1 / (1 + len(those))\n"
            "    return W",
            "not the expected answer",
            "def my_weights(neighbours):\n"
            "    d = [len(those) for those in neighbours]\n"
            "    W = np.zeros((len(d), len(d)))\n"
            "    for i, those in enumerate(neighbours):\n"
            "        for j in those:\n"
            "            W[i, j] = 1 / (1 + max(d[i], d[j]))\n"
            "        W[i, i] = 1 - W[i].sum()\n"
            "    return W",
        ),
        "choco_step(my_step)": (
            "def my_step(comm, x, x_hat, W, gamma, codec):\n"
            "    i = comm.rank\n"
            "    news = codec.decode(codec.encode(x - x_hat[i]))\n"
            "    for j in x_hat:\n"
            "        if j != i:\n"
            "            comm.send(news, j)\n"
            "    for j in x_hat:\n"
            "        x_hat[j] += comm.recv(j).value if j != i else news\n"
            "    return x + gamma * sum(W[i, j] * (x_hat[j] - x_hat[i]) for j in x_hat)",
            "send what codec.encode returns",
            "def my_step(comm, x, x_hat, W, gamma, codec):\n"
            "    i = comm.rank\n"
            "    news = codec.encode(x - x_hat[i])\n"
            "    for j in x_hat:\n"
            "        if j != i:\n"
            "            comm.send(news, j)\n"
            "    for j in x_hat:\n"
            "        x_hat[j] += codec.decode(comm.recv(j).value if j != i else news)\n"
            "    return x + gamma * sum(W[i, j] * (x_hat[j] - x_hat[i]) for j in x_hat)",
        ),
        "largest_gamma(my_gamma)": (
            "def my_gamma(error):\n"
            "    return max(k / 50 for k in range(1, 51) if error(k / 50) < 1)",
            "it took too many runs",
            "def my_gamma(error):\n"
            "    low, high = 0, 1\n"
            "    if error(1) < 1:\n"
            "        return 1\n"
            "    while high - low > 1 / 32:\n"
            "        middle = (low + high) / 2\n"
            "        if error(middle) < 1:\n"
            "            low = middle\n"
            "        else:\n"
            "            high = middle\n"
            "    return low",
        ),
    },
    "09_byzantine.ipynb": {
        "trimmed_mean(my_trimmed_mean)": (
            "def my_trimmed_mean(gradients, f):\n"
            "    return np.sort(gradients, axis=0)[f:-f].mean(axis=0)",
            "not the expected answer",
            "def my_trimmed_mean(gradients, f):\n"
            "    return np.sort(gradients, axis=0)[f : len(gradients) - f].mean(axis=0)",
        ),
        "krum(my_krum)": (
            "def my_krum(gradients, f):\n"
            "    far = ((gradients[:, None] - gradients) ** 2).sum(axis=-1)\n"
            "    scores = np.sort(far)[:, 1 : len(gradients) - f - 1].sum(axis=1)\n"
            "    return gradients[np.argmin(scores)]",
            "one row of the table after the other",
            "def my_krum(gradients, f):\n"
            "    n, scores = len(gradients), []\n"
            "    for g in gradients:\n"
            "        far = np.sort(np.square(gradients - g).sum(axis=1))\n"
            "        scores.append(far[1 : n - f - 1].sum())\n"
            "    return gradients[np.argmin(scores)]",
        ),
        "beat_the_median(my_lies)": (
            "def my_lies(honest, a):\n    return np.tile(-100 * honest.mean(axis=0), (a, 1))",
            "the same can be had with short ones",
            "def my_lies(honest, a):\n    return np.tile(-honest.mean(axis=0), (a, 1))",
        ),
    },
    "10_adversarial_examples.ipynb": {
        "l2_projection(my_projection)": (
            "def my_projection(v, eps):\n    return np.clip(v, -eps, eps)",
            "not the expected answer",
            "def my_projection(v, eps):\n"
            "    length = np.linalg.norm(v, axis=1, keepdims=True)\n"
            "    return v / np.maximum(1, length / eps)",
        ),
        "projected_descent(my_pgd)": (
            "def my_pgd(gradient, x, eps, step, steps, start):\n"
            "    at = start\n"
            "    for _ in range(steps):\n"
            "        at = at + step * np.sign(gradient(at))\n"
            "    return np.clip(np.clip(at, x - eps, x + eps), 0, 1)",
            "not the expected answer",
            "def my_pgd(gradient, x, eps, step, steps, start):\n"
            "    at = start\n"
            "    for _ in range(steps):\n"
            "        at = np.clip(at + step * np.sign(gradient(at)), x - eps, x + eps)\n"
            "        at = np.clip(at, 0, 1)\n"
            "    return at",
        ),
        "worst_image(my_worst)": (
            "def my_worst(w, b, x, y, eps):\n    return np.clip(x - eps * y * w, 0, 1)",
            "not the expected answer",
            "def my_worst(w, b, x, y, eps):\n    return np.clip(x - eps * y * np.sign(w), 0, 1)",
        ),
    },
}


@pytest.mark.parametrize("lab", ANSWERS)
def test_exercises_are_answered_in_the_page(chromium, tmp_path: Path, lab: str) -> None:
    with opened(chromium, LABS, lab, tmp_path) as notebook:
        notebook.run_all()
        for call, (wrong, told, right) in ANSWERS[lab].items():
            cell = notebook.page.locator(".jp-Notebook .jp-Cell").filter(has_text=f"check.{call}")
            cell.get_by_text("not attempted yet").wait_for()
            rewrite(notebook, cell, f"{wrong}\n\n\ncheck.{call}")
            cell.get_by_text(told).first.wait_for()
            cell.scroll_into_view_if_needed()
            name = call.partition("(")[0]
            notebook.screenshot(f"exercise-{name}-wrong", 1100, 900)
            rewrite(notebook, cell, f"{right}\n\n\ncheck.{call}")
            cell.get_by_text("right on").wait_for()
            rewrite(notebook, cell, f"{right}\n\n\ncheck.{call}\ncheck.{name}.hint()")
            cell.get_by_text("Hint 1 of").wait_for()


def rewrite(notebook: Notebook, cell, code: str) -> None:
    """Put other code into a cell, as by hand, and run it."""
    cell.locator(".cm-content").click()
    notebook.page.keyboard.press("Control+A")
    notebook.page.keyboard.insert_text(code)
    notebook.page.keyboard.press("Control+Enter")
