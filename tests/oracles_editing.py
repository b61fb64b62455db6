"""Edits made the slow way: one case, one layer, one square at a time, by whole passes with a hook."""

import numpy as np
import torch


def edited_logits(model, readers, ground, cases, row: int, method) -> torch.Tensor:
    """The logits at the edited position of one case."""
    tokens, ply = cases.tokens[row : row + 1, :59].long(), int(cases.ply[row])
    before, after, applies = (t[row] for t in cases.by_ply())
    plies = [ply] if method.plies == "last" else [t for t in range(ply + 1) if applies[:, t].any()]
    squares = cases.square[row].tolist()

    def edit_at(hook):
        def edit(x, _):
            shape = x.shape
            flat = x.reshape(shape[0], shape[1], -1)
            for t in plies:
                done = [
                    (s, int(before[k, t]), int(after[k, t])) for k, s in enumerate(squares) if s >= 0 and applies[k, t]
                ]
                flat[0, t] = new_stream(flat[0, t].double().numpy(), done, hook, t, readers, ground, method)
            return flat.view(shape)

        return edit

    hooks = [method.hook(layer) for layer in method.layers]
    return model.run(tokens, edit=[(hook, edit_at(hook)) for hook in hooks])[0][0, ply]


def new_stream(x, done, hook, t, readers, ground, method) -> torch.Tensor:
    """The stream of one position after some squares' edits (square, from, to)."""
    s = method.strength
    if method.name in ("negate", "absolute", "class mean"):
        wanted = []
        for square, b, a in done:
            w = readers[hook].weight[:, square].double().numpy()
            directions = {"colour": w[:, 2] - w[:, 1]}
            if square not in (27, 28, 35, 36) and (b == 0 or a == 0):
                directions["empty"] = w[:, 0] - (w[:, 1] + w[:, 2]) / 2
            for name, u in directions.items():
                u = u - u.mean()
                u = u / np.linalg.norm(u)
                sign = {"colour": {0: 0, 1: -1, 2: 1}, "empty": {0: 1, 1: -1, 2: -1}}[name][a]
                if method.name == "absolute":
                    goal = s * sign
                elif method.name == "negate":
                    goal = -s * (x @ u)
                    if name == "colour" and a == 0:
                        goal = 0.0
                    if name == "colour" and b == 0:
                        e = w[:, 0] - (w[:, 1] + w[:, 2]) / 2
                        e = e - e.mean()
                        goal = sign * s * abs(x @ e / np.linalg.norm(e))
                else:
                    mean = ground.means.ply_mean[hook][t].double().numpy()
                    state = ground.means.state[hook][square].double().numpy()
                    to, now = (mean + state[a]) @ u, (mean + state[b]) @ u
                    goal = (to + now) / 2 + s * (to - (to + now) / 2)
                wanted.append((u, goal))
        U, goals = np.stack([u for u, _ in wanted]), np.array([g for _, g in wanted])
        if method.solve == "in turn":
            for u, goal in wanted:
                x = x + (goal - x @ u) * u
            return torch.tensor(x)
        return torch.tensor(x + np.linalg.pinv(U) @ (goals - U @ x))
    for square, b, a in done:
        if method.name == "target vector":
            at = hook if method.reader is None else f"blocks.{method.reader}.hook_resid_post"
            w = readers[at].weight[:, square, a].double().numpy()
            w = w - w.mean()
            x = x + s * w / np.linalg.norm(w)
        elif method.name == "mean difference":
            state = ground.means.state[hook][square].double().numpy()
            x = x + s * (state[a] - state[b])
        elif method.name == "contrast":
            x = x + s * ground.contrasts[hook][square, b, a].double().numpy()
        elif method.name == "head shift":
            x = x + shift(square, b, a, hook, ground, method)
    return torch.tensor(x)


def shift(square, b, a, hook, ground, method):
    """What one layer's heads are moved by: those among the best ``method.heads`` of all the method's layers."""
    ranked = []
    for layer in method.layers:
        at = method.hook(layer)
        spread = ground.means.spread[at].double().numpy()
        state = ground.means.state[at][square].double().numpy()
        difference = (state[a] - state[b]).reshape(len(spread), -1)
        for head, d in enumerate(difference):
            theta = d / np.linalg.norm(d)
            sigma = np.sqrt(theta @ spread[head] @ theta)
            ranked.append((np.linalg.norm(d) / sigma, at, head, method.strength * sigma * theta))
    ranked.sort(key=lambda item: -item[0])
    n, d_head = ground.means.spread[hook].shape[:2]
    found = np.zeros((n, d_head))
    for _, at, head, vector in ranked[: method.heads]:
        if at == hook:
            found[head] = vector
    return found.reshape(-1)


def gradient_steps(reader, x, target, steps: int, rate: float, eps: float) -> torch.Tensor:
    """Adam down the cross-entropy to target probabilities [square, class], by torch's own Adam."""
    moving = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([moving], lr=rate, eps=eps)
    for _ in range(steps):
        optimiser.zero_grad()
        with torch.enable_grad():
            loss = -(target * reader(moving).log_softmax(-1)).sum()
            loss.backward()
        optimiser.step()
    return moving.detach()
