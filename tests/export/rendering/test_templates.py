from pathlib import Path

import jinja2
import pytest

from lorkit.export.rendering.templates import environment


def test_an_unknown_name_is_an_error_and_data_is_escaped_where_asked(tmp_path: Path) -> None:
    (tmp_path / "page.jinja").write_text("{% if true %}\n{{ text }}\n{% endif %}\n")
    assert environment(tmp_path).get_template("page.jinja").render(text="<b>") == "<b>\n"
    page = environment(tmp_path, autoescape=True).get_template("page.jinja")
    assert page.render(text="<b>") == "&lt;b&gt;\n"
    with pytest.raises(jinja2.UndefinedError):
        page.render()
