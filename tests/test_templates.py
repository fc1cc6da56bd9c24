import pytest

import llmrec.templates as templates
from llmrec.errors import ConfigError
from llmrec.templates import load_template, template_names

MATTER = """---
name: greeting
version: 2
used_by: a test
variables:
  who: Whom to greet.
  items: What they chose.
---
"""
BODY = """Hello {{ who }}!
{% for item in items %}
- {{ item }}
{% endfor %}
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "greeting.md.jinja"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_template_is_filled(written):
    template = load_template(written(MATTER + BODY))
    assert template.name == "greeting"
    assert template.version == 2
    assert dict(template.variables) == {"who": "Whom to greet.", "items": "What they chose."}
    assert template.render(who="Ann", items=["pen", "ink"]) == "Hello Ann!\n- pen\n- ink"


def test_values_are_text_and_never_templates(written):
    template = load_template(written(MATTER + BODY))
    hostile = "{{ 7*7 }} {% raw %} <b>&amp;</b> 日本 🖋"
    assert template.render(who=hostile, items=[]) == f"Hello {hostile}!"


def test_missing_and_unknown_variables_are_named(written):
    template = load_template(written(MATTER + BODY))
    with pytest.raises(ConfigError, match=r"greeting needs the variable 'items': What they chose"):
        template.render(who="Ann")
    with pytest.raises(ConfigError, match="no variable 'itemz'; did you mean 'items'"):
        template.render(who="Ann", itemz=[])


def test_the_fingerprint_follows_version_and_body_alone(written):
    first = load_template(written(MATTER + BODY)).fingerprint
    assert load_template(written(MATTER.replace("Whom to", "Who to") + BODY)).fingerprint == first
    assert load_template(written(MATTER.replace("n: 2", "n: 3") + BODY)).fingerprint != first
    assert load_template(written(MATTER + BODY + "Bye.")).fingerprint != first


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BODY, "line 1: a template opens with front matter"),
        (MATTER.rstrip("-\n") + "\n" + BODY, "line 1: a template opens with front matter"),
        ("---\n- a\n---\n", "line 2: the front matter must hold keys and values"),
        (MATTER.replace("used_by", "usedby") + BODY, "line 4: unknown key 'usedby'; did you mean"),
        (MATTER.replace("used_by: a test\n", "") + BODY, "lacks the key 'used_by'"),
        (MATTER.replace("n: 2", "n: two") + BODY, "line 3: version is 'two'; expected a whole"),
        (MATTER.replace("n: 2", "n: true") + BODY, "line 3: version is True"),
        (MATTER.replace("name: greeting", "name:") + BODY, "line 2: name is None; expected a text"),
        (MATTER.replace("Whom to greet.", "") + BODY, "line 5: variable 'who' has no sentence"),
        (MATTER.replace("who: Whom", "w-o: Whom") + BODY, "line 5: variable 'w-o' is no name"),
        (MATTER.replace("name: g", "name: [g") + BODY, "line 3: the front matter is no YAML"),
        (MATTER + BODY.replace("{{ item }}", "{{ itm }}"), "line 11: the variable 'itm' is not"),
        (MATTER + "{{ who }}\n", "variable 'items' is declared but the text never uses it"),
        (MATTER + BODY + "{% if who %}\n", "line 13: no valid template"),
        (MATTER + BODY + "{{ who | shout }}\n", "line 13: no valid template: No filter named"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(written, text, complaint):
    path = written(text)
    with pytest.raises(ConfigError) as caught:
        load_template(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "line", ["{{ who.name.first }}", "{{ who.__class__.__mro__ }}", "{{ 1 / who | length }}"]
)
def test_a_body_that_cannot_be_filled_tells_its_line(written, line):
    path = written(MATTER + BODY + line + "\n")
    with pytest.raises(ConfigError, match=f"{path.name} line 13: the template cannot be filled"):
        load_template(path).render(who="", items=[])


def test_a_template_cannot_change_what_it_is_given(written):
    path = written(MATTER + BODY + "{{ items.append(1) }}\n")
    given = ["pen"]
    with pytest.raises(ConfigError, match="cannot be filled"):
        load_template(path).render(who="Ann", items=given)
    assert given == ["pen"]


def test_functions_of_the_language_need_no_declaration(written):
    path = written(MATTER + BODY + "{% for n in range(2) %}{{ n }}{% endfor %}")
    assert load_template(path).render(who="Ann", items=[]) == "Hello Ann!\n01"


def test_unknown_names_and_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="'user_profil'; did you mean 'user_profile'"):
        load_template("user_profil")
    with pytest.raises(ConfigError, match=r"must end in \.jinja"):
        load_template(tmp_path / "mine.txt")
    with pytest.raises(ConfigError, match=r"mine\.jinja cannot be read"):
        load_template(tmp_path / "mine.jinja")


def test_a_shipped_file_is_called_like_its_template(written, monkeypatch):
    path = written(MATTER + BODY)
    path.rename(path.with_name("hello.md.jinja"))
    monkeypatch.setattr(templates, "resource_dir", lambda _: path.parent)
    with pytest.raises(ConfigError, match="the name is 'greeting' but the file is called 'hello'"):
        load_template("hello")


@pytest.mark.parametrize("name", template_names())
def test_every_shipped_template_is_valid(name):
    assert load_template(name).name == name


def test_the_profile_templates_ship():
    expected = {"item_profile", "item_profile_llm", "user_profile", "user_profile_llm"}
    assert expected <= set(template_names())
