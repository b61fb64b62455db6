"""The atlas's tables: every figure is a slow loop's, every column says what it holds, the same input the same bytes."""

import copy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import synthetic_atlas
import torch

from circuits.activations import stream
from circuits.atlas import tables
from circuits.atlas.edges_table import MOST, MOST_HEADS
from circuits.atlas.sources import Opened, Source
from circuits.atlas.table_columns import METADATA, Column, Words, metadata, of_bytes, table, to_bytes
from circuits.errors import InputError
from circuits.extremes import pack
from circuits.fact_scores import f1_of, skill_of
from circuits.features import PATTERNS, board_state
from circuits.head_sources import CATEGORIES
from circuits.heads import kind_of
from circuits.induction.column_words import about as rules_about
from circuits.induction.table import RuleTable
from circuits.notation import CENTRE, LABELS, PLAYABLE, Unit, parse_unit, print_transcript
from circuits.patterns import FACTS
from circuits.weights import cosines, neuron_input, neuron_logits, neuron_output


@pytest.fixture(scope="module")
def results():
    return synthetic_atlas.results()


@pytest.fixture(scope="module")
def made(results):
    return dict(tables.tables(results))


@pytest.fixture(scope="module")
def positions(results):
    """Every valid position of the band: (ply, states, activations by layer), by another way than the pass."""
    hooks = [f"blocks.{layer}.mlp.hook_post" for layer in range(3)]
    (batch,) = stream(results.model, results.games, hooks, batch_size=len(results.games))
    boards = results.games.boards()
    state = board_state(boards)
    return [
        (ply, state[game, ply].tolist(), [batch.acts[hook][game, ply].double() for hook in hooks])
        for game in range(len(results.games))
        for ply in range(5, 54)
        if boards.valid[game, ply]
    ]


def rows(made, name, unit, column="unit"):
    return [row for row in made[name].to_pylist() if row[column] == unit]


def variance(values):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / len(values)


def test_one_neurons_squares_are_those_of_a_loop(results, made, positions):
    for unit in (Unit(0, "neuron", 13), Unit(2, "neuron", 101)):
        own = {row["square"]: row for row in rows(made, "squares", str(unit))}
        assert list(own) == list(LABELS)
        acts = [float(a[unit.layer][unit.index]) for _, _, a in positions]
        total, mean = variance(acts), sum(acts) / len(acts)
        for square in (0, 9, 19, 27, 43, 63):
            row, between = own[LABELS[square]], 0.0
            for number, state in enumerate(("empty", "theirs", "mine")):
                there = [act for act, (_, s, _) in zip(acts, positions, strict=True) if s[square] == number]
                assert row[f"positions_{state}"] == len(there)
                if not there:
                    assert row[f"mean_{state}"] is None and square in CENTRE
                    continue
                assert row[f"mean_{state}"] == pytest.approx(sum(there) / len(there), abs=1e-5)
                between += len(there) * (sum(there) / len(there) - mean) ** 2
            assert row["state_r2"] == pytest.approx(between / len(acts) / total, rel=1e-3, abs=1e-6)


def test_what_a_neuron_reads_and_writes_is_its_weights(results, made):
    model = results.model
    unit = Unit(1, "neuron", 77)
    own = {row["square"]: row for row in rows(made, "squares", str(unit))}
    for word, weight, hook in (
        ("reads", neuron_input(model, unit), "blocks.1.hook_resid_mid"),
        ("writes", neuron_output(model, unit), "blocks.1.hook_resid_post"),
    ):
        directions = results.directions[hook]
        wanted = dict(zip(directions.names, cosines(weight, directions).tolist(), strict=True))
        for square, row in own.items():
            for fact in ("mine", "empty"):
                assert row[f"{word}_{fact}"] == pytest.approx(wanted.get(f"{square} {fact}"), abs=1e-6)
    sd = rows(made, "units", str(unit))[0]["sd"]
    moves = neuron_logits(model, unit) * sd / results.streamed.mining.final_scale
    for square, logit in zip(PLAYABLE, moves.tolist(), strict=True):
        assert own[LABELS[square]]["logit"] == pytest.approx(logit, rel=1e-4, abs=1e-6)
    assert all(own[LABELS[s]]["logit"] is None and own[LABELS[s]]["reads_empty"] is None for s in CENTRE)
    assert all(row["separation_mine"] is None for row in own.values())


def test_a_heads_squares_are_its_profile(results, made):
    writing = results.profiles.writing
    for row in rows(made, "squares", "L2H1"):
        square = LABELS.index(row["square"])
        for name, tensor in (
            ("separation_mine", writing.separation[2, 1, 0]), ("separation_empty", writing.separation[2, 1, 1]),
            ("logit_legal", writing.logits[2, 1, 0]), ("logit_illegal", writing.logits[2, 1, 1]),
        ):  # fmt: skip
            value = float(tensor[square])
            assert row[name] == (None if np.isnan(value) else pytest.approx(value))
        assert row["state_r2"] is None and row["mean_mine"] is None and row["logit"] is None


@pytest.mark.parametrize("receiver", ["L1N0", "L1N90", "L2N64"])
def test_edges_are_brute_force(results, made, receiver):
    model, unit = results.model, parse_unit(receiver)
    scale = float(results.streamed.ln2_scale()[unit.layer])
    sd = {row["unit"]: row["sd"] for row in made["units"].to_pylist()}
    read = model.W_in(unit.layer)[:, unit.index].double()
    found = []
    for layer in range(unit.layer):
        for index in range(model.shape.d_mlp):
            write = model.W_out(layer)[index].double()
            product = float(write @ read)
            sender = f"L{layer}N{index}"
            found.append((product * sd[sender] / scale, sender, product / float(write.norm() * read.norm())))
    typical = (sum(e**2 for e, _, _ in found) / len(found)) ** 0.5
    found.sort()
    wanted = found[: -MOST - 1 : -1] + found[:MOST]
    own = [row for row in rows(made, "edges", receiver, "receiver") if row["sign"]]
    assert [(row["sender"], row["sign"], row["rank"]) for row in own] == [
        (sender, 1 if effect > 0 else -1, i % MOST + 1) for i, (effect, sender, _) in enumerate(wanted)
    ]
    for row, (effect, _, cosine) in zip(own, wanted, strict=True):
        assert (row["effect"], row["cosine"]) == (pytest.approx(effect, rel=1e-4), pytest.approx(cosine, rel=1e-4))
        assert row["z"] == pytest.approx(effect / typical, rel=1e-4)


def test_an_edge_is_what_adding_the_senders_writing_does(results, made):
    """One sd more of the sender in the stream that the receiver reads, the LayerNorm's scale held."""
    model, row = results.model, rows(made, "edges", "L2N5", "receiver")[0]
    sender = parse_unit(row["sender"])
    sd = rows(made, "units", row["sender"])[0]["sd"]
    x = torch.randn(model.shape.d_model, generator=torch.Generator().manual_seed(1))
    scale, pre = results.streamed.ln2_scale()[2], []
    for more in (0.0, sd):
        y = x + more * model.W_out(sender.layer)[sender.index]
        pre.append(float((y - y.mean()) / scale @ model.W_in(2)[:, 5]))
    assert pre[1] - pre[0] == pytest.approx(row["effect"], abs=1e-4)
    # nothing but heads comes before the first layer's neurons
    assert {row["sign"] for row in rows(made, "edges", "L0N5", "receiver")} == {0}


@pytest.mark.parametrize("receiver", ["L0N5", "L2N64"])
def test_heads_before_a_neuron_are_brute_force(results, made, receiver):
    """Over the held-out games, what each head adds to the pre-activation less its mean at the ply on the others."""
    model, unit, band = results.model, parse_unit(receiver), slice(5, 54)
    hooks = [f"blocks.{layer}.attn.hook_z" for layer in range(unit.layer + 1)]
    train, held_out = results.games[:20], results.games[20:]
    read, added = model.W_in(unit.layer)[:, unit.index].double(), {}
    for part, games in (("train", train), ("held out", held_out)):
        (batch,) = stream(model, games, hooks, batch_size=len(games))
        where = games.boards().valid[:, band]
        for layer, hook in enumerate(hooks):
            for head in range(model.shape.n_heads):
                own = batch.acts[hook][:, band, head].double() @ (model.W_O(layer)[head].double() @ read)
                added[part, f"L{layer}H{head}"] = own, where
    scale, found = float(results.streamed.ln2_scale()[unit.layer]), []
    for sender in {name for _, name in added}:
        own, where = added["train", sender]
        mean = (own * where).sum(0) / where.sum(0).clamp_min(1)
        own, where = added["held out", sender]
        off = (own - mean)[where]
        found.append((float(off.square().mean().sqrt()) / scale, sender))
    found.sort(reverse=True)
    typical = (sum(e**2 for e, _ in found) / len(found)) ** 0.5
    rest = [row for row in rows(made, "edges", receiver, "receiver") if not row["sign"]]
    assert [(row["sender"], row["rank"]) for row in rest] == [(s, i + 1) for i, (_, s) in enumerate(found[:MOST_HEADS])]
    for row, (effect, _) in zip(rest, found, strict=False):
        assert row["effect"] == pytest.approx(effect, rel=1e-3) and row["cosine"] is None
        assert row["z"] == pytest.approx(effect / typical, rel=1e-3)


def test_units_are_what_the_stages_found(results, made, positions):
    mining, ablations = results.streamed.mining, results.ablations
    every = {row["unit"]: row for row in made["units"].to_pylist()}
    assert len(every) == 3 * (128 + 4) and list(every)[:2] == ["L0N0", "L0N1"] and list(every)[128] == "L0H0"
    row = every["L1N7"]
    acts = [float(a[1][7]) for _, _, a in positions]
    assert row["mean"] == pytest.approx(sum(acts) / len(acts), abs=1e-5)
    assert row["sd"] == pytest.approx(variance(acts) ** 0.5, rel=1e-3)
    assert (row["lowest"], row["highest"]) == (pytest.approx(min(acts)), pytest.approx(max(acts), rel=1e-5))
    assert row["share_positive"] == pytest.approx(sum(a > 0 for a in acts) / len(acts))
    by_ply = {p: [a for a, (q, _, _) in zip(acts, positions, strict=True) if q == p] for p in range(5, 54)}
    means = {p: sum(own) / len(own) for p, own in by_ply.items() if own}
    between = sum(len(by_ply[p]) * (m - row["mean"]) ** 2 for p, m in means.items()) / len(acts)
    assert row["ply_r2"] == pytest.approx(between / variance(acts), rel=1e-3)
    assert row["peak_ply"] == max(means, key=means.get)
    squares = rows(made, "squares", "L1N7")
    best = max(squares, key=lambda s: s["state_r2"] or 0)
    assert (row["state_square"], row["state_r2"]) == (best["square"], best["state_r2"])
    up = max(squares, key=lambda s: -9 if s["logit"] is None else s["logit"])
    assert (row["raises"], row["raises_logit"]) == (up["square"], up["logit"])
    assert row["lowers_logit"] == min(s["logit"] for s in squares if s["logit"] is not None)
    fact = results.patterns[1][7]
    assert row["best_fact"] == FACTS[fact.scores[0].fact] and row["shuffled_skill"] == np.float32(fact.shuffled_skill)
    assert row["best_f1_low"] == np.float32(fact.scores[0].f1_interval[0])
    assert every["L1N100"]["best_fact"] is None  # not scored
    rule, counted = results.rules["L1N7"], results.rules.counted("L1N7")
    assert row["rule_status"] == rule.status and row["tree_r2"] == np.float32(rule.tree)
    assert row["rule"] == (rule.rule and rule.rule.rule)
    assert row["partner_half_turn"] == (counted.partners[0].unit if counted.partners[0].found else None)
    assert "flipped" in row["roles"] and ("clock" in row["roles"]) == (rule.status == "clock")
    for kind, unit, layer, index in (("neuron", "L1N7", 1, 7), ("head", "L2H3", 2, 3)):
        assert every[unit]["ablated_positions"] == ablations.positions == 3
        for name, column in (
            ("kl", "kl"),
            ("kl_direct", "kl_direct"),
            ("top", "top_changed"),
            ("legal", "legal_change"),
        ):
            assert every[unit][column] == pytest.approx(float(ablations.mean(name, kind)[layer, index]))
            assert every[unit][f"{column}_se"] == pytest.approx(float(ablations.se(name, kind)[layer, index]))
    head, tally = every["L2H3"], results.streamed.heads
    assert head["mean"] is None and head["rule"] is None and head["raises"] is None
    for c, name in enumerate(CATEGORIES):
        slug = name.replace(" ", "_")
        assert head[f"attention_{slug}"] == pytest.approx(float(tally.attention()[2, 3, c]))
        assert head[f"uniform_{slug}"] == pytest.approx(float(tally.uniform_attention()[c]))
    kind = kind_of(results.profiles.attention, 2, 3)
    assert head["head_kind"] == kind.name and head["head_share"] == np.float32(kind.share)
    assert head["tv"] == pytest.approx(float(results.profiles.attention.tv[2, 3, 0]))
    assert head["logit_gap_low"] == pytest.approx(float(results.profiles.writing.logit_gap[2, 3, 1]))
    assert mining.positions == len(positions)


def test_patterns_are_the_scores(results, made):
    own = rows(made, "patterns", "L2N3")
    scored = results.patterns[2][3]
    assert [row["rank"] for row in own] == [1, 2, 3, 4, 5]
    assert len(made["patterns"]) == 3 * synthetic_atlas.SCORED * 5
    for row, score in zip(own, scored.scores, strict=True):
        both, fact_only, on_only, neither = score.held_out
        n = both + fact_only + on_only + neither
        assert row["fact"] == FACTS[score.fact] and row["positions"] == n
        assert row["f1"] == pytest.approx(f1_of(score.held_out))
        assert row["skill"] == pytest.approx(skill_of(f1_of(score.held_out), (both + fact_only) / n))
        assert row["recall"] == pytest.approx(both / (both + fact_only))
        assert row["precision"] == (pytest.approx(both / (both + on_only)) if both + on_only else None)
        assert (row["f1_low"], row["f1_high"]) == tuple(map(np.float32, score.f1_interval))
    for row in made["patterns"].to_pylist():
        if row["move"]:
            index = FACTS.index(row["fact"])
            pattern = PATTERNS[index]
            assert (row["move"], row["direction"], row["flanked"]) == (
                LABELS[pattern.square], pattern.direction, pattern.flanked
            )  # fmt: skip
            assert row["literal"] is None
        else:
            assert row["fact"] == f"{row['square']} {row['literal']}" and row["flanked"] is None


def test_examples_are_the_extremes_with_their_transcripts(results, made):
    mining, games = results.streamed.mining, results.games
    for unit in (Unit(0, "neuron", 0), Unit(2, "neuron", 127)):
        own = rows(made, "examples", str(unit))
        wanted = [(end, *pair) for end in ("top", "bottom") for pair in mining.examples(unit, end)]
        assert len(own) == len(wanted) == 6
        for row, (end, address, value) in zip(own, wanted, strict=True):
            assert (row["end"], row["address"], row["activation"]) == (end, str(address), pytest.approx(value))
            game, ply = games.locate(row["address"])
            moves = [PLAYABLE[t - 1] for t in games.tokens[game, : ply + 1].tolist()]
            assert row["moves"] == print_transcript(moves) and (row["game"], row["ply"]) == (address.game, ply)
    # Games that are made on demand, and games in any order, give the same.
    opened = Opened(Source.random(40, 3), torch.arange(40), None)
    shuffled = games[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    for other in (opened, shuffled):
        assert dict(tables.tables(replace(results, games=other)))["examples"].equals(made["examples"])
    with pytest.raises(InputError, match="among the examples and not among these 3 games"):
        list(tables.tables(replace(results, games=games[:3])))


def test_probes_are_the_counts(results, made):
    tally = results.streamed.probes
    own = made["probes"].to_pylist()
    assert len(own) == 7 * 64 and own[64]["point"] == tally.hooks[1]
    for row in (own[0], own[64 + 27], own[-1]):
        counts = tally.counts[tally.hooks.index(row["point"]), LABELS.index(row["square"])].tolist()
        n = sum(map(sum, counts))
        assert row["positions"] == n == results.streamed.mining.positions
        assert row["accuracy"] == pytest.approx(sum(counts[s][s] for s in range(3)) / n)
        assert row["majority"] == pytest.approx(max(map(sum, counts)) / n)
        for s, state in enumerate(("empty", "theirs", "mine")):
            true = sum(counts[s])
            assert row[f"recall_{state}"] == (pytest.approx(counts[s][s] / true) if true else None)


def test_files_say_what_they_hold_and_are_the_same_bytes(results, made, tmp_path):
    files, again = {}, {}
    sums = tables.write_tables(results, files.__setitem__)
    assert sums == tables.write_tables(results, again.__setitem__) and files == again
    assert list(sums) == list(tables.TABLES) and list(files) == [f"{name}.parquet" for name in sums]
    for name, data in ((tables.file_of(n).removesuffix(".parquet"), files[tables.file_of(n)]) for n in sums):
        read = of_bytes(data)
        assert read.equals(made[name]) and read.schema.metadata[METADATA]
        for column in read.schema:
            assert len(column.metadata[b"description"]) > 5, (name, column.name)
        about = metadata(read.schema)
        about = about.get("atlas", about)
        assert about["table"] == name and about["provenance"] == results.provenance
        assert about["measured"]["pass"] == "40 games, 1,960 positions, plies 5–53"
        assert about["chance_cosine"] == pytest.approx(63**-0.5)
    names = [column.name for column in tables.COLUMNS["units"]]
    assert made["units"].column_names == names and len(set(names)) == len(names)
    (tmp_path / "rules.parquet").write_bytes(files["rules.parquet"])
    assert RuleTable.load(tmp_path / "rules.parquet") == results.rules
    assert made["rules"].schema.field("rule").metadata[b"description"].decode() == rules_about("rule")


def test_only_the_units_asked_for_get_rows(results):
    some = tuple(map(parse_unit, ("L1N3", "L1H0", "L2N9", "L0N1")))
    found = dict(tables.tables(replace(results, layers=(1, 2), units=some)))
    assert found["units"]["unit"].to_pylist() == ["L1N3", "L1H0", "L2N9"]
    assert set(found["squares"]["unit"].to_pylist()) == {"L1N3", "L1H0", "L2N9"}
    assert set(found["edges"]["receiver"].to_pylist()) == {"L1N3", "L2N9"}
    assert set(found["rules"]["unit"].to_pylist()) == set(found["examples"]["unit"].to_pylist()) == {"L1N3", "L2N9"}
    whole = dict(tables.tables(results))
    for name in ("units", "squares", "edges", "rules", "patterns", "examples"):
        column = "receiver" if name == "edges" else "unit"
        keep = [unit in {"L1N3", "L1H0", "L2N9"} for unit in whole[name][column].to_pylist()]
        assert found[name].replace_schema_metadata().equals(whole[name].filter(keep).replace_schema_metadata()), name
    heads = dict(tables.tables(replace(results, units=(Unit(0, "head", 2),))))
    assert heads["units"].num_rows == 1 and heads["edges"].num_rows == heads["examples"].num_rows == 0


def test_a_stage_left_out_leaves_nulls(results):
    found = dict(tables.tables(replace(results, rules=None, profiles=None, ablations=None, patterns={}, directions={})))
    assert "rules" not in found and found["patterns"].num_rows == 0
    units, squares = found["units"], found["squares"]
    for name in ("rule", "rule_status", "head_kind", "tv", "kl", "kl_se", "best_fact", "twin"):
        assert units[name].null_count == units.num_rows, name
    assert units["mean"].null_count == 12 and units["attention_mine"].null_count == 3 * 128
    assert squares["reads_mine"].null_count == squares["separation_mine"].null_count == squares.num_rows
    assert set(metadata(units.schema)["measured"]) == {"pass"}


def test_a_neuron_that_never_varies_has_no_figures(results):
    streamed = copy.deepcopy(results.streamed)
    mining = streamed.mining
    mining.sums[1, 3], mining.squares[1, 3], mining.state_sums[1, 3], mining.positive[1, 3] = 0, 0, 0, 0
    for end in ("top", "bottom"):
        getattr(mining, end)[1].keys[3] = pack(torch.zeros(3), torch.tensor([5, 6, 7]))
    found = dict(tables.tables(replace(results, streamed=streamed)))
    (row,) = rows(found, "units", "L1N3")
    assert row["sd"] == row["mean"] == row["highest"] == 0 and row["ply_r2"] is row["raises"] is None
    assert all(s["state_r2"] is None and s["mean_mine"] == 0 for s in rows(found, "squares", "L1N3"))
    assert not rows(found, "edges", "L1N3", "sender")  # no sd, no effect


def test_columns_of_every_kind_and_words():
    about = [Column(kind, kind, f"a {kind}") for kind in ("text", "whole", "count", "number")]
    made = table(
        about,
        {"text": Words(("a", "b"), np.array([1, -1, 0])), "whole": [1, None, 3], "number": np.array([0.5, np.nan, 2])},
        {"x": 1},
    )
    assert made.to_pylist() == [
        {"text": "b", "whole": 1, "count": None, "number": 0.5},
        {"text": None, "whole": None, "count": None, "number": None},
        {"text": "a", "whole": 3, "count": None, "number": 2.0},
    ]
    assert of_bytes(to_bytes(made)).equals(made) and metadata(made.schema) == {"x": 1}
    assert made.schema.types == [pa.string(), pa.int32(), pa.int64(), pa.float32()]
    with pytest.raises(InputError, match="number is infinite"):
        table(about, {"number": np.array([np.inf])}, {})
    with pytest.raises(KeyError, match="nothing"):
        table(about, {"nothing": [1]}, {})
