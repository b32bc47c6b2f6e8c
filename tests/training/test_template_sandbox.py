"""Chat templates are programs that came with a model: none gets out of the sandbox, and none runs for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from harness import Case
from lies import change, spec_of, write_gguf

from gswarm.domain.errors import InvalidInputError
from gswarm.training.formats import Chat
from gswarm.training.job_types import PrepareRequest

pytestmark = pytest.mark.train

CHAT = Chat((("user", "what is 1 plus 2?"), ("assistant", "1 plus 2 is 3.")))


ESCAPES = [
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "{{ lipsum.__globals__['os'].popen('touch CANARY').read() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}{{ ()|attr('__class__') }}{{ []|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ raise_exception.__globals__['__builtins__']['open']('CANARY', 'w') }}",
    "{{ strftime_now.__globals__ }}{{ strftime_now.__closure__ }}{{ strftime_now.__code__ }}",
    "{{ tojson.__globals__ }}{{ (messages|tojson).__class__ }}",
    "{{ self._TemplateReference__context.environment.globals }}{{ self.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}{{ joiner.__init__.__globals__ }}{{ dict.__base__ }}{{ range.__class__ }}",
    "{% set ns = namespace() %}{% set ns.__class__ = dict %}{{ ns.__class__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}{{ m._environment }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{{ ('{0.__class__}'|attr('format'))(1) }}",
    "{{ (['{0.__class__}']|map('attr', 'format')|first)(1) }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ '{0.__class__}'.format_map({'0': 1}) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('touch CANARY') }}",
    "{% extends '/etc/passwd' %}",
    "{% generation %}{{ caller.__globals__ }}{% endgeneration %}",
    "{{ messages.append({'role': 'system', 'content': 'x'}) }}",
    "{{ messages[0].update({'role': 'x'}) }}",
    "{{ messages.clear() }}{{ messages[0].pop('role') }}",
    "{% for m in messages %}{{ loop.__init__.__globals__ }}{{ loop._iterable }}{% endfor %}",
    "{{ (messages|selectattr('__class__')|list) }}{{ messages|groupby('__class__') }}",
    "{{ get_flashed_messages }}{{ config }}{{ request.application.__globals__ }}{{ url_for.__globals__ }}",
    "{{ [].__reduce_ex__(2) }}{{ 'x'.__init_subclass__ }}{{ (1).__class__ }}",
    "{{ ''.join.__self__ }}{{ messages.__iter__.__self__.__class__ }}",
]
BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 9 ** (9 ** 9) }}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% set ns = namespace(x='a') %}{% for a in range(99999) %}{% for b in range(9) %}{% set ns.y = ns.x * 1000 %}{% endfor %}{% endfor %}",
    "{{ 'a' * 99999999999999 }}",
    "{{ range(999999999)|list }}",
    "{{ '%0999999999999d' % 1 }}",
    "{{ 1 / 0 }}",
    "{{ undefined.x.y }}",
    "{{ raise_exception('no') }}",
    "{% if %}",
    "{{ [" + "(" * 5000,
]
LEAKS = ("<class", "<module", "<function", "<built-in", "root:", " object at 0x", "__globals__", "__builtins__")


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """What kinds of Jinja environments compile something."""
    import jinja2
    from transformers.utils import chat_template_utils

    seen: list[type] = []
    compile_source = jinja2.Environment.compile

    def compile_seen(self: Any, *args: Any, **keys: Any) -> Any:
        seen.append(type(self))
        return compile_source(self, *args, **keys)

    monkeypatch.setattr(jinja2.Environment, "compile", compile_seen)
    chat_template_utils._compile_jinja_template.cache_clear()
    return seen


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer()


@pytest.mark.parametrize("template", ESCAPES)
def test_no_template_gets_out_of_the_sandbox(template: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gswarm.training.templates import render

    monkeypatch.chdir(tmp_path)
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    monkeypatch.setattr(tokenizer, "chat_template", template)
    try:
        rendered = render(tokenizer, turns, prompt=False)
    except InvalidInputError:
        rendered = ""
    assert not [leak for leak in LEAKS if leak in rendered]
    assert turns == [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("template", BOMBS, ids=lambda template: template[:40])
def test_templates_that_never_end_or_fail_are_refused(template: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gswarm.training import templates

    monkeypatch.setattr(templates, "RENDER_TIME_MAX_S", 0.2)
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises((InvalidInputError, MemoryError)):
        templates.render(tokenizer, [{"role": "user", "content": "hello"}], prompt=False)


def test_templates_and_what_they_write_have_a_limit(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gswarm.training import templates

    turns = [{"role": "user", "content": "hello"}]
    monkeypatch.setattr(templates, "TEMPLATE_CHARS_MAX", 1000)
    monkeypatch.setattr(templates, "RENDERED_CHARS_MAX", 1000)
    for template, is_taken in (("x" * 1000, True), ("x" * 1001, False), ("{{ 'x' * 1001 }}", False), ({"default": "x" * 1001}, False)):
        monkeypatch.setattr(tokenizer, "chat_template", template)
        if is_taken:
            assert len(templates.render(tokenizer, turns, prompt=False)) == 1000
        else:
            with pytest.raises(InvalidInputError):
                templates.render(tokenizer, turns, prompt=False)


def template_places(folder: Path, template: str) -> Iterator[Path]:
    """Every place where a model may keep its template."""
    yield write_gguf(folder.with_name("model.gguf"), folder, template)
    jinja = folder / "chat_template.jinja"
    jinja.write_text(template)
    yield folder
    jinja.unlink()
    change(folder / "tokenizer_config.json", chat_template=template)
    yield folder
    change(folder / "tokenizer_config.json", chat_template=[{"name": "default", "template": template}])
    yield folder


def test_wherever_a_template_comes_from_it_is_compiled_in_the_immutable_sandbox_only(
    folder: Path, root: Path, tmp_path: Path, environments: list[type]
) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from gswarm.training.base import resolve_base
    from gswarm.training.build import Workshop
    from gswarm.training.data import tokenize
    from gswarm.training.jobs import prepare

    canary = tmp_path / "canary"
    evil = f"{{{{ cycler.__init__.__globals__.os.system('touch {canary}') }}}}"
    for number, model in enumerate(template_places(folder, evil)):
        base = tmp_path / f"base-{number}"
        resolve_base(str(model), base, tmp_path / f"work-{number}")
        read = Workshop("cpu").tokenizer(base)
        assert evil in str(read.chat_template), "the template is the one that was planted"
        with pytest.raises(InvalidInputError, match="chat template cannot be used"):
            tokenize(CHAT, read, train_on_prompt=False)
        with pytest.raises(InvalidInputError, match="chat template cannot be used"):
            prepare(PrepareRequest((spec_of(model, root),), str(tmp_path / f"out-{number}")))
    assert environments
    assert all(issubclass(kind, ImmutableSandboxedEnvironment) for kind in environments)
    assert not canary.exists()


def test_a_trainer_is_built_without_looking_at_the_template(
    new_case: Callable[..., Case], folder: Path, tmp_path: Path, environments: list[type]
) -> None:
    from gswarm.training.build import Workshop

    case = new_case()
    environments.clear()
    (folder / "chat_template.jinja").write_text(ESCAPES[0])
    Workshop("cpu").build(case.spec, base_dir=folder, data_dir=case.data_dir, total_steps=case.total_steps, output_dir=tmp_path / "trainer")
    assert environments == []
