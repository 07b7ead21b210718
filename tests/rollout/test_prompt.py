"""Prompts as token ids: what is added to them, and what is refused."""

import pytest

from rlvr.rollout.prompt import OverlongPrompt, PromptRenderer
from rlvr.types import Message, Problem
from tests.rollout.models import CHARACTERS, save_tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ message.role[0] }}:{{ message.content }}.{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def problem(prompt):
    return Problem(id="p/0", prompt=prompt, answer="")


def ids(text):
    return tuple(CHARACTERS.index(character) + 2 for character in text)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plain")
    save_tokenizer(directory)
    return str(directory)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    directory = tmp_path_factory.mktemp("chatty")
    save_tokenizer(directory, chat_template=TEMPLATE)
    return str(directory)


def renderer(path, system_prompt="", max_prompt_tokens=20):
    return PromptRenderer(path, system_prompt=system_prompt, max_prompt_tokens=max_prompt_tokens)


def test_text_goes_to_the_model_as_it_is(chatty):
    assert renderer(chatty)(problem("2+3=?")) == ids("2+3=?")


def test_messages_go_through_the_chat_template(chatty):
    assert renderer(chatty)(problem((Message(role="user", content="2+3"),))) == ids("u:2+3.a:")


def test_a_system_prompt_turns_text_into_a_chat(chatty):
    assert renderer(chatty, "be brief")(problem("2+3")) == ids("s:be brief.u:2+3.a:")


def test_a_system_message_of_the_problem_wins(chatty):
    messages = (Message(role="system", content="x"), Message(role="user", content="y"))
    assert renderer(chatty, "be brief")(problem(messages)) == ids("s:x.u:y.a:")


def test_a_prompt_that_is_too_long_is_refused_and_not_cut(plain):
    assert len(renderer(plain, max_prompt_tokens=5)(problem("2+3=?"))) == 5
    with pytest.raises(OverlongPrompt, match=r"p/0.* 6 tokens .*max_prompt_tokens=5"):
        renderer(plain, max_prompt_tokens=5)(problem("2+33=?"))


def test_an_empty_prompt_is_refused(plain):
    with pytest.raises(ValueError, match=r"p/0.*no tokens"):
        renderer(plain)(problem(""))


def test_messages_without_a_chat_template_are_refused_with_a_remedy(plain):
    with pytest.raises(ValueError, match=r"p/0.*no chat template: use plain-text"):
        renderer(plain)(problem((Message(role="user", content="2"),)))


def test_a_directory_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no tokenizer"):
        renderer(str(tmp_path))
