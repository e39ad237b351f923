"""From the text of a YAML file to checked classes: what is allowed works, mistakes are told how to mend."""
import inspect
import os
import time

import pytest
import torch
from easydict import EasyDict

from gearnet_plugin.engine import ConfigError, stock
from gearnet_plugin.engine.build import PACKAGE, build, check, check_all, describe
from gearnet_plugin.engine.config import missing, override, parse, parse_value, read_text, render, variables
from gearnet_plugin.engine.schema import ENGINE, complete, parse_gpus
from tiny_run import CONFIG
from torchdrug import core

MINIMAL = """
dataset: {class: TinyChainsForTests}
task: {class: Unsupervised, model: {class: GearNetEncoder, input_dim: 21, hidden_dims: [8], num_relation: 7}}
optimizer: {class: Adam}
"""


def load(text, *assignments, **values):
    return complete(override(parse(render(text, values)), assignments))


def checked(*assignments):
    config = load(CONFIG, *assignments, gpus=None)
    check_all(config)
    return config


def shapes(module):
    return {name: value.shape for name, value in module.state_dict().items()}


# === rendering ===


@pytest.mark.parametrize("value", [None, True, [0, 1], 1, 2.5, 1e-7, "plain", "a: b #c", "null", "1", "it's",
                                   "~/x y"])
def test_variables_keep_their_values(value):
    assert parse(render("x: {{ x }}", {"x": value})) == {"x": value}


def test_text_of_variables_may_stand_inside_other_text():
    assert parse(render("x: {{ root }}/data", {"root": "~/a"})).x == "~/a/data"


def test_variables_are_those_the_file_names():
    assert variables(CONFIG) == ["gpus", "output_dir"]
    with pytest.raises(ConfigError, match="c.yaml: the variable `gpu` .* Did you mean `gpus`.*: `gpus`"):
        render("gpus: {{ gpus }}", {"gpu": 0}, "c.yaml")
    with pytest.raises(ConfigError, match="needs a value for `gpus`, `ckpt`: give --gpus VALUE --ckpt VALUE"):
        render("{{ gpus }} {{ ckpt }} {{ out | default(1) }}", {})
    with pytest.raises(ConfigError, match="cannot be rendered: .*has no attribute 'y'"):
        render("{{ x.y }}", {"x": {}})


@pytest.mark.parametrize("template, message", [
    ("{{ ''.__class__.__mro__ }}", "refused, the file reaches for Python's internals"),
    ("{{ cycler.__init__.__globals__.os.system('true') }}", r"`\(...\)` cannot stand"),
    ("{{ 'a' * 10000000000 }}", "moderate numbers only"),
    ("{{ 9 ** 99999999 }}", r"no `\*\*`"),
    ("{{ '%0300000000d' % 1 }}", "moderate numbers only"),
    ("{{ 'x' | center(300000000) }}", "no filter `center` in a configuration; there are `default`"),
    ("{{ 'x'.center(300000000) }}", r"`\(...\)` cannot stand in a configuration"),
    ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "`for` cannot stand"),
    ("{% set n = namespace(x='aa') %}" + "{% set n.x = n.x ~ n.x %}" * 60, "`set` cannot stand"),
    ("{{ 'abcdefghij'" + " | join('abcdefghij')" * 30 + " }}", "text of more than 100000"),
    ("{{ 'a'" + " | tojson" * 60 + " }}", "text or list of more than 100000"),
    ("{{ 1 " + "+ 1" * 5000 + " }}", "cannot be rendered"),
    ("{{ " + "[" * 3000 + "]" * 3000 + " }}", "nested too deeply"),
    ("{{ " + "9" * 5000 + " }}", "cannot be rendered"),
    ("{% include '/etc/passwd' %}", "`include` cannot stand"),
    ("{{ x", r"cannot be rendered \(line 1\)"),
])
def test_templates_that_reach_too_far_are_refused(template, message):
    start = time.process_time()  # of this process alone, however busy the machine is
    with pytest.raises(ConfigError, match="f.yaml: .*(%s)" % message):
        render("x: " + template, {}, "f.yaml")
    assert time.process_time() - start < 2


def test_what_templates_may_hold():
    text = "{% if big %}x: {{ n * 2 + 1 }}{% else %}x: {{ [n, 'b'] | join('-') | upper }}{% endif %}"
    assert parse(render(text, {"big": True, "n": 4})).x == 9
    assert parse(render(text, {"big": False, "n": "a"})).x == "A-B"


@pytest.mark.parametrize("text", ["x: '{{ x }}'", 'x: "a/{{ x }}"', "y: 1\nx: [a, '{{ x }}/b']"])
def test_quotes_around_a_variable_are_refused(text):
    with pytest.raises(ConfigError, match=r"f.yaml: line \d: write {{ ... }} without quotes"):
        render(text, {"x": "it's"}, "f.yaml")


def test_quotes_elsewhere_are_no_quotes_around_a_variable():
    text = "# it's {{ x }}\nx: {{ x | default('a') }}\ny: ['b', {{ x }}]  # 'c {{ x }}'"
    assert parse(render(text, {"x": "it's"})) == {"x": "it's", "y": ["b", "it's"]}


# === YAML ===


def test_numbers_without_a_dot_are_numbers():
    assert parse("x: [1e-3, 2E5, -1e+2, 1e, e1]").x == [1e-3, 2e5, -1e2, "1e", "e1"]


@pytest.mark.parametrize("text, message", [
    ("x: !!python/object/apply:os.system ['true']", "plain values only; refused is the tag"),
    ("x: !!python/name:os.system", "plain values only"),
    ("x: 1\ny: 2\nx: 3", r"`x` is written twice \(line 3"),
    ("x: {y: 1, y: 2}", "`y` is written twice"),
    ("x: [1", r"no valid YAML \(line"),
    ("- 1", "expected a mapping with `dataset`, `task` and `optimizer`, but found list"),
    ("", "expected a mapping .* but found nothing"),
    ("1: x", "keys are text, but found `1`"),
    ("x: 2024-01-01", "x: expected text, a number"),
    ("x: &x [*x]", "levels; are aliases"),
    ("a: &a [1,2,3,4,5,6,7,8,9]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
     "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*d,*d,*d,*d,*d,*d,*d,*d,*d]",
     "more than 100000 values"),
    ("a: &a {<<: [{x: 1}, {y: 2}]}", r"`<<` takes one mapping.*\(line 1"),
    ("a0: &a0 {x: 1}\n" + "".join("a%d: &a%d {<<: *a%d, x%d: 1}\n" % (i, i, i - 1, i) for i in range(1, 600)),
     "more than 100000 keys; are mappings merged"),
    ("y: 1\nx: 2024-13-45", r"`2024-13-45` is no value: .* \(line 2"),
    ("y: 1\nx: " + "9" * 5000, r"`9+` is no value: .* \(line 2"),
    ("x: 0x" + "f" * 9000, "x: a whole number of 36000 bits"),
    ("x: !!timestamp y", "`y` is no value"),
    ("x: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    ("x: " + "[" * 300, "nested too deeply|no valid YAML|levels"),
])
def test_yaml_that_is_no_plain_mapping_is_refused(text, message):
    # what it takes without limits is minutes, or all memory; a busy machine counts for nothing
    start = time.process_time()
    with pytest.raises(ConfigError, match="(?s)f.yaml: .*(%s)" % message):
        parse(text, "f.yaml")
    assert time.process_time() - start < 20


def test_aliases_share_values():
    config = parse("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}")
    assert config == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    # what stands deeper is made later, after it was merged elsewhere
    config = parse("z: &z {x: 1}\ndeep: {a: &a {<<: *z, x: 2}}\nb: {<<: *a}")
    assert config.deep.a == config.b == {"x": 2}


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "pretrain.yaml").write_text("x: 1")
    with pytest.raises(ConfigError, match="no configuration file .* Did you mean `pretrain.yaml`"):
        read_text(str(tmp_path / "pretrian.yaml"))
    with pytest.raises(ConfigError, match="is a folder"):
        read_text(str(tmp_path))


# === --set ===


@pytest.mark.parametrize("text", ["*.cif", "2024-01-01", "2024-13-45", "0123", "1_000", "0x1F", "12:30", "@x", "%x",
                                  "&a b", "!x", "a #b", "#x", "it's", "a/b"])
def test_values_on_the_command_line_are_text_unless_plain_yaml(text):
    assert parse_value(text) == text


@pytest.mark.parametrize("text, value", [
    ("1", 1), ("-1.5", -1.5), ("1e-3", 1e-3), ("0", 0), ("0.5", 0.5), (".5", 0.5), ("true", True), ("null", None),
    ("~", None), ("", None), ("'0123'", "0123"), ('"a b"', "a b"), ("[1, x]", [1, "x"]),
    ("{a: 1}", {"a": 1}), ("a: 1", {"a": 1})])
def test_plain_yaml_on_the_command_line(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


def test_values_are_set_by_path():
    config = parse("a: {b: [{c: 1}, {c: 2}], d: x}")
    override(config, ["a.b.1.c=3e-2", "a.d=[1, null]", "a.e.f=true", "g="])
    assert config == {"a": {"b": [{"c": 1}, {"c": 0.03}], "d": [1, None], "e": {"f": True}}, "g": None}
    assert config.a.e.f is True


@pytest.mark.parametrize("assignment, message", [
    ("a.b.2.c=1", "`a.b` is a list of 2, so --set takes an index of 0 to 1, but found `2`"),
    ("a.b.x=1", "`a.b` is a list of 2"),
    ("a.n.0=1", r"a.n.0: `a.n` is an empty list; set it as a whole: --set 'a.n=\[...\]'"),
    ("a.d=" + "[" * 3000, r"a.d: `\[+` is no YAML value"),
    ("a.d.e=1", "cannot go below `a.d`, which is the value `x`"),
    ("a.d", "--set takes `key.path=value`"),
    ("=1", "--set takes `key.path=value`"),
    ("a..b=1", "--set takes `key.path=value`"),
    ("a.d=[", "a.d: `\\[` is no YAML value"),
])
def test_paths_that_lead_nowhere_are_refused(assignment, message):
    with pytest.raises(ConfigError, match=message):
        override(parse("a: {b: [{c: 1}, {c: 2}], d: x, n: []}"), [assignment])


def test_a_misspelt_path_is_found_by_the_checks():
    with pytest.raises(ConfigError, match="optimizr: unknown key. Did you mean `optimizer`"):
        load(CONFIG, "optimizr.lr=1", gpus=None)
    with pytest.raises(ConfigError, match="optimizer.lrr: unknown argument of Adam. Did you mean `lr`"):
        checked("optimizer.lrr=1")


# === sections ===


def test_what_is_left_out_is_written_in():
    config = load(MINIMAL)
    assert isinstance(config, EasyDict) and config.task.model["class"] == "GearNetEncoder"
    assert (config.output_dir, config.seed, config.train.num_epoch) == ("runs", 0, 1)
    assert complete(config) == config
    stock_defaults = inspect.signature(core.Engine).parameters
    stock = {name: stock_defaults[name].default for name in ENGINE if name != "precision"}
    assert {**stock, "precision": None} == config.engine


@pytest.mark.parametrize("assignment, message", [
    ("engin.gpus=0", "engin: unknown key. Did you mean `engine`. Allowed: .*`train`"),
    ("engine.batchsize=4", "engine.batchsize: unknown key. Did you mean `batch_size`"),
    ("engine.batch_size=0", "engine.batch_size: expected a whole number of at least 1, but found `0`"),
    ("engine.batch_size=true", "engine.batch_size: expected a whole number"),
    ("engine.batch_size=1.5", "engine.batch_size: expected a whole number"),
    ("engine=5", "engine: expected a mapping with `gpus`"),
    ("engine.gpus=[a]", "engine.gpus: expected null for CPU, or GPU ids such as"),
    ("train.num_epochs=4", "train.num_epochs: unknown key. Did you mean `num_epoch`"),
    ("save_interval=0", "save_interval: expected a whole number of at least 1 or null"),
    ("metric_mode=up", "metric_mode: expected `min`"),
    ("metric=[a]", "metric: expected text"),
    ("seed=-1", "seed: expected a whole number of at least 0"),
    ("task=null", "task: missing; a configuration needs `dataset`, `task`, `optimizer`"),
    ("optimizer=Adam", "optimizer: expected a mapping with `class`"),
    ("dataset={path: x}", "dataset: expected a mapping with `class`"),
])
def test_wrong_sections_are_named(assignment, message):
    with pytest.raises(ConfigError, match=message):
        load(MINIMAL, assignment)


def test_one_checkpoint_at_a_time():
    with pytest.raises(ConfigError, match="cannot stand beside `model_checkpoint`; set .* --set model_checkpoint=null"):
        load(MINIMAL, "checkpoint=a", "model_checkpoint=b")


@pytest.mark.parametrize("text, ids", [("null", None), ("0", [0]), ("0,1", [0, 1]), ("[0,1]", [0, 1]),
                                       ("3, 1", [3, 1])])
def test_gpus_are_written_in_several_ways(text, ids):
    assert parse_gpus(parse_value(text)) == ids


# === classes ===


@pytest.mark.parametrize("assignment, message", [
    ("task.class=PropertyPredicton", "task.class: no class `PropertyPredicton` .* `PropertyPrediction`"),
    ("task.model.class=GearNetEnc", "task.model.class: .* mean `GearNetEncoder`.* `models`: .*`GearNet`"),
    ("dataset.class=Nothing123", "dataset.class: no class `Nothing123` is .* Registered as `datasets`:"),
    ("task.model.class='.*'", r"task.model.class: expected the name of a registered class, but found `\.\*`"),
    ("task.model.class='GearNetEncoder('", "expected the name of a registered class"),
    ("task.model.class=3", "task.model.class: expected the name of a registered class"),
    ("task.model.class=f1_max", "`f1_max` is registered, but no class"),
    ("task.model.hidden_dim=[1]", "task.model.hidden_dim: unknown argument of GearNetEncoder. Did you mean "
                                  "`hidden_dims`. Allowed: `input_dim`, `hidden_dims`"),
    ("task.model={class: GearNetEncoder, input_dim: 21}",
     "task.model.hidden_dims: missing; GearNetEncoder needs `hidden_dims`, `num_relation`"),
    ("task.graph_construction_model.edge_layers.1.radios=1",
     "task.graph_construction_model.edge_layers.1.radios: .* Did you mean `radius`"),
    ("task.model={Class: GearNetEncoder}", "task.model.Class: unknown key. Did you mean `class`"),
    ("task.criterion={ce: {class: Adam}}", "task.criterion.ce: a class stands inside `task.criterion`, which has no"),
    ("task.metric=[[{class: Adam}]]", "task.metric.0.0: a class is built as an argument or in a list that is one"),
    ("optimizer.params=[]", "optimizer.params: is given by run.py and cannot be set"),
    ("optimizer.class=GearNetEncoder", "optimizer.class: expected an optimizer, but `GearNetEncoder` is"),
    ("dataset.class=Adam", "dataset.class: expected a dataset, but `Adam` is none"),
    ("task.class=EnzymeCommission", "task.class: expected a task"),
    ("scheduler.class=Adagrad", "scheduler.class: expected a learning rate scheduler"),
    ("scheduler.class=StepLR", "scheduler.step_size: missing; StepLR needs `step_size`"),
])
def test_wrong_classes_and_arguments_are_named(assignment, message):
    with pytest.raises(ConfigError, match=message):
        checked(assignment)


def test_a_name_of_several_classes_is_told(monkeypatch):
    table = core.Registry.table
    monkeypatch.setitem(table, "one", {"TwiceForTests": torch.nn.Identity})
    monkeypatch.setattr(type(table), "flatten", lambda self: {"one.TwiceForTests": 1, "two.TwiceForTests": 2})
    with pytest.raises(ConfigError, match="means several classes: `one.TwiceForTests`, `two.TwiceForTests`"):
        check({"class": "TwiceForTests"}, "task.model")


def test_arguments_passed_on_by_the_host_are_known():
    check({"class": "EnzymeCommission", "path": "x", "atom_feature": None}, "dataset")
    with pytest.raises(ConfigError, match="dataset.atom_featur: .* Did you mean `atom_feature`"):
        check({"class": "EnzymeCommission", "path": "x", "atom_featur": None}, "dataset")


def test_arguments_may_have_names_of_dict_methods():
    config = EasyDict({"class": "ProteinView", "view": "residue", "keys": "graph"})
    assert build(config, "transform").keys == ["graph"] or build(config, "transform").keys == "graph"


def test_errors_inside_constructors_name_the_key():
    config = checked("task.model.readout=max")
    with pytest.raises(ConfigError, match="task.model: GearNetEncoder cannot be built: readout should be"):
        build(config.task, "task")
    config = checked("optimizer.lr=a")
    with pytest.raises(ConfigError, match=r"optimizer: .* TypeError: .*\(\w+.py, line \d+\)"):
        build(config.optimizer, "optimizer", params=[torch.nn.Parameter(torch.zeros(1))])


@pytest.mark.parametrize("file, told", [
    (os.path.join(PACKAGE, "datasets", "x.py"), "wrong"),
    ("/elsewhere/gearnet_plugin-data/x.py", "ValueError: wrong (x.py, line 1)")])
def test_messages_of_this_package_are_for_users(file, told):
    with pytest.raises(ValueError, match="wrong") as caught:
        exec(compile("raise ValueError('wrong')", file, "exec"))  # noqa: S102
    assert describe(caught.value) == told


def test_config_to_object_to_config():
    task = build(checked().task, "task")
    again = core.Configurable.load_config_dict(task.config_dict())
    assert again.config_dict() == task.config_dict()
    assert shapes(again) == shapes(task)


# === --stock ===


def test_stock_replaces_ours_and_keeps_the_weights_names():
    ours = """
    class: MultiviewContrastive
    model: {class: GearNetEncoder, input_dim: 21, hidden_dims: [8, 8], num_relation: 7, edge_input_dim: 59,
            num_angle_bin: 8, batch_norm: true}
    crop_funcs: [{class: SubsequenceNode, max_length: 50}]
    noise_funcs: [{class: IdentityNode}]
    tau: 0.1
    graph_construction_model: {class: ResidueGraphConstruction, edge_layers: [{class: KNNEdge}], gaps: index}
    """
    config = {"dataset": {"class": "StructureFolder", "path": "x"}, "task": parse(ours)}
    replaced, lines = stock.to_stock(config)
    task = replaced["task"]
    assert (task["class"], task["model"]["class"], task["model"]["model"]["class"]) == (
        "Unsupervised", "MultiviewContrast", "GearNet")
    assert task["model"]["tau"] == 0.1 and task["graph_construction_model"]["class"] == "GraphConstruction"
    assert replaced["dataset"] == config["dataset"] and len(lines) == 3
    check(task, "task")
    assert shapes(build(config["task"], "task")) == shapes(build(task, "task"))


def test_stock_refuses_what_it_lacks():
    config = {"task": {"class": "ResidueGraphConstruction", "gaps": "number"}}
    with pytest.raises(ConfigError, match="task.gaps: `GraphConstruction` lacks .* behaves like `index`"):
        stock.to_stock(config)


def test_variables_in_comments_need_no_value():
    """ESM-GearNet's files hold a commented `model_checkpoint: {{ ckpt }}`; a `#` in an expression is no comment."""
    text = "task: {{ task }}\n# model_checkpoint: {{ ckpt }}\nnote: a  # {{ more }} and {{ task }}\n"
    assert missing(text, {}) == ["task"]
    assert parse(render(text, {"task": "a"})) == {"task": "a", "note": "a"}
    assert "b" in render(text, {"task": "a", "ckpt": "b"})
    assert missing("a: {{ b | default(' # ') }} {{ c }}\n", {}) == ["c"]
