from lorkit.export.reporting.pages.style import chip, page_style, shade


def test_shades_and_chips_of_templates_have_styles() -> None:
    css = page_style()["css"]
    for share in (0.0, 0.33, 1.0):
        assert f".matrix td.{shade(share)} {{" in css
    for structure in (1, 7, 8, 300):
        assert f".chip.{chip(structure)} {{" in css
    assert chip(8) == chip(1)
